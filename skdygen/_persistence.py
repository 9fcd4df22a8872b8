"""Fitted estimators on disk: JSON and arrays, nothing that is executed."""

import importlib
import json
import math
import os
import shutil
from pathlib import Path

import joblib
import numpy as np
import sklearn
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.neighbors import BallTree, KDTree

from .utils._files import sha256, sha256_of_json, write_safetensors
from .utils._mixins import check_sklearn_version

_FORMAT = "skdygen.model"
_VERSION = 1  # of the format; raised when an older skdygen could not read the folder
_TREE, _ARRAYS = "model.json", "arrays.safetensors"
_TRUSTED_PACKAGES = ("skdygen", "sklearn")
# Small objects without a state that estimators of scikit-learn hold.
# By the module that they name as theirs, which before 1.8 lacks the package.
_LOSSES = {
    "sklearn._loss._loss": "sklearn._loss._loss",
    "_loss": "sklearn._loss._loss",
    "sklearn.linear_model._sgd_fast": "sklearn.linear_model._sgd_fast",
    "_sgd_fast": "sklearn.linear_model._sgd_fast",
}
# Built anew, as neighbours' estimators of scikit-learn do.
_TREES = {"KDTree": KDTree, "BallTree": BallTree}
_SPARSE = {"csr_array", "csr_matrix", "csc_array", "csc_matrix"}


class FolderMixin:
    """Gives estimators the methods `save` and `load`."""

    def save(self, path, *, overwrite=False):
        """Write this estimator, fitted or not, to a folder.

        It holds JSON and safetensors, no pickle and no code, and can be read on a
        machine without the device that the estimator was fitted on. Paths become
        strings, a `joblib.Memory` is not kept, and pretrained models are not part of
        it: they are found by their name.
        The folder is written beside and renamed, so that it is never half-written.

        Parameters
        ----------
        path : str or Path
            The folder.
        overwrite : bool, default=False
            Whether a folder that an earlier call has written is replaced.

        Raises
        ------
        FileExistsError
            If there is something at `path` that is not to be replaced.
        TypeError
            If the estimator holds what cannot be written so, such as a function; it is
            named.
        """
        save_estimator(self, path, overwrite=overwrite)

    @classmethod
    def load(cls, path, *, trusted=()):
        """Read what `save` has written.

        Parameters
        ----------
        path : str or Path
            The folder.
        trusted : sequence of str, default=()
            Full names of estimators, such as ``"my_package.MyVectorizer"``, that may
            be made besides those of skdygen and scikit-learn. Their packages are
            imported.

        Returns
        -------
        estimator : object
            As it was saved.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        ValueError
            If the folder is damaged or holds something else, was written by a newer
            skdygen or with a newer scikit-learn, or names estimators that are not
            trusted.
        """
        estimator = load_estimator(path, trusted=trusted)
        if not isinstance(estimator, cls):
            raise ValueError(
                f"{path} holds a {type(estimator).__name__}, not a {cls.__name__}."
            )
        return estimator


def save_estimator(estimator, path, *, overwrite=False):
    """Write an estimator to a folder; see `FolderMixin.save`."""
    from . import __version__

    path = Path(path)
    if path.exists() and not is_saved_model(path):
        raise FileExistsError(f"{path} is no saved model; choose another path.")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists; choose another path, or pass overwrite=True."
        )
    writer = _Writer()
    tree = writer.encode(estimator, type(estimator).__name__)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        write_safetensors(writer.arrays, beside / _ARRAYS)
        content = {
            "format": _FORMAT,
            "format_version": _VERSION,
            "versions": {
                "skdygen": __version__,
                "scikit-learn": sklearn.__version__,
                "numpy": np.__version__,
            },
            "sha256_of_arrays": sha256(beside / _ARRAYS),
            "sha256_of_estimator": sha256_of_json(tree),
            "estimator": tree,
        }
        (beside / _TREE).write_text(json.dumps(content, indent=1))
        _replace_folder(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def is_saved_model(path):
    """Whether a folder is one that `save_estimator` has written, damaged or not."""
    try:
        content = json.loads((Path(path) / _TREE).read_text(encoding="utf-8"))
        return content["format"] == _FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        return False


def load_estimator(path, *, trusted=()):
    """Read an estimator from a folder; see `FolderMixin.load`."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    try:
        content = json.loads((path / _TREE).read_text(encoding="utf-8"))
        is_ours = content["format"] == _FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no model that skdygen has saved, or it is damaged: {error}"
        ) from error
    if not is_ours or not isinstance(content.get("format_version"), int):
        raise ValueError(f"{path} holds no model that skdygen has saved.")
    if content["format_version"] > _VERSION:
        newer = content.get("versions", {}).get("skdygen")
        raise ValueError(
            f"{path} was saved by a newer skdygen ({newer}), in format "
            f"{content['format_version']}; this one reads up to {_VERSION}: update "
            f"skdygen to read it."
        )
    saved_with = content.get("versions", {}).get("scikit-learn")
    check_sklearn_version(saved_with, path)
    arrays = _read_arrays(path, content.get("sha256_of_arrays"))
    tree = content.get("estimator")
    if sha256_of_json(tree) != content.get("sha256_of_estimator"):
        raise ValueError(f"{path / _TREE} is damaged: it is not what was saved.")
    return _Reader(arrays, trusted, path).decode(tree)


class _Writer:
    """Turns objects into JSON values and named arrays; each object once."""

    def __init__(self):
        self.arrays = {}
        self._seen = {}

    def encode(self, value, where):
        if isinstance(value, (bool, str)) or value is None:
            return value
        if isinstance(value, np.generic):
            return {
                "type": "scalar",
                "dtype": value.dtype.str,
                "value": self.encode(value.item(), where),
            }
        if isinstance(value, int):
            return value
        if isinstance(value, float):
            if math.isfinite(value):
                return value
            return {"type": "float", "value": repr(value)}
        if isinstance(value, list):
            return [self.encode(v, f"{where}[{i}]") for i, v in enumerate(value)]
        if isinstance(value, tuple):
            return {"type": "tuple", "items": self.encode(list(value), where)}
        if isinstance(value, dict):
            items = [
                [self.encode(k, where), self.encode(v, f"{where}[{k!r}]")]
                for k, v in value.items()
            ]
            return {"type": "dict", "items": items}
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, joblib.Memory):
            return None  # a folder of this machine
        if isinstance(value, np.dtype) or _is_scalar_type(value):
            name = np.dtype(value).str
            return {"type": "dtype", "value": name, "is_class": _is_scalar_type(value)}
        return self._encode_shared(value, where)

    def _encode_shared(self, value, where):
        """Encode what several objects may refer to."""
        if id(value) in self._seen:
            return {"type": "reference", "id": self._seen[id(value)][0]}
        number = len(self._seen)
        self._seen[id(value)] = number, value  # kept, so that its id stays its own
        return {"id": number} | self._encode_object(value, where)

    def _encode_object(self, value, where):
        if isinstance(value, bytes):
            name = self._keep(np.frombuffer(value, dtype=np.uint8))
            return {"type": "bytes", "name": name}
        if isinstance(value, np.ndarray):
            if value.dtype.kind in "biuf":
                return {"type": "array", "name": self._keep(value)}
            if value.dtype.kind in "UO":
                return {
                    "type": "objects",
                    "dtype": value.dtype.str,
                    "shape": list(value.shape),
                    "items": self.encode(value.ravel().tolist(), where),
                }
        if type(value).__name__ in _SPARSE and sparse.issparse(value):
            parts = (value.data, value.indices, value.indptr, value.shape)
            return {
                "type": "sparse",
                "class": type(value).__name__,
                "parts": self.encode(list(parts), where),
            }
        if isinstance(value, np.random.RandomState):
            state = value.get_state(legacy=True)
            return {"type": "random_state", "state": self.encode(state, where)}
        if isinstance(value, BaseEstimator):
            state = _without_cache(value.__getstate__())
            tree = type(state.get("_tree")).__name__
            if tree in _TREES:
                state["_tree"] = None
            return {
                "type": "estimator",
                "class": f"{type(value).__module__}.{type(value).__qualname__}",
                "tree": tree if tree in _TREES else None,
                "state": {k: self.encode(v, f"{where}.{k}") for k, v in state.items()},
            }
        if type(value).__module__ in _LOSSES:
            cls, args = value.__reduce__()
            return {
                "type": "loss",
                "class": f"{cls.__module__}.{cls.__qualname__}",
                "args": self.encode(args, where),
            }
        raise TypeError(
            f"{where} holds a {type(value).__module__}.{type(value).__qualname__}, "
            f"which cannot be saved without pickle; save the estimator with skops or "
            f"joblib instead."
        )

    def _keep(self, array):
        name = str(len(self.arrays))
        self.arrays[name] = np.ascontiguousarray(np.asarray(array)).reshape(array.shape)
        return name


class _Reader:
    """Makes the objects that `_Writer` has described."""

    def __init__(self, arrays, trusted, path):
        self.arrays = arrays
        self.trusted = frozenset(trusted)
        self.path = path
        self._made = {}

    def decode(self, value):
        if isinstance(value, list):
            return [self.decode(v) for v in value]
        if not isinstance(value, dict):
            return value
        made = getattr(self, f"_make_{value['type']}")(value)
        if "id" in value:
            self._made[value["id"]] = made
        return made

    def _make_reference(self, value):
        return self._made[value["id"]]

    def _make_scalar(self, value):
        return np.dtype(value["dtype"]).type(self.decode(value["value"]))

    def _make_float(self, value):
        return float(value["value"])

    def _make_tuple(self, value):
        return tuple(self.decode(value["items"]))

    def _make_dict(self, value):
        return {self.decode(k): self.decode(v) for k, v in value["items"]}

    def _make_dtype(self, value):
        dtype = np.dtype(value["value"])
        return dtype.type if value["is_class"] else dtype

    def _make_bytes(self, value):
        return self.arrays[value["name"]].tobytes()

    def _make_array(self, value):
        return self.arrays[value["name"]]

    def _make_objects(self, value):
        items = self.decode(value["items"])
        array = np.empty(len(items), dtype=value["dtype"])
        array[:] = items
        return array.reshape(value["shape"])

    def _make_sparse(self, value):
        *parts, shape = self.decode(value["parts"])
        if value["class"] not in _SPARSE:
            raise ValueError(f"{self.path} names the class {value['class']}.")
        return getattr(sparse, value["class"])(tuple(parts), shape=shape)

    def _make_random_state(self, value):
        random_state = np.random.RandomState()
        random_state.set_state(self.decode(value["state"]))
        return random_state

    def _make_estimator(self, value):
        cls = self._find_class(value["class"])
        estimator = cls.__new__(cls)
        self._made[value["id"]] = estimator
        state = _without_cache(
            {name: self.decode(part) for name, part in value["state"].items()}
        )
        estimator.__setstate__(state)
        if value["tree"] in _TREES:
            estimator._tree = _TREES[value["tree"]](
                estimator._fit_X,
                estimator.leaf_size,
                metric=estimator.effective_metric_,
                **estimator.effective_metric_params_,
            )
        return estimator

    def _make_loss(self, value):
        module, _, name = value["class"].rpartition(".")
        if module not in _LOSSES:
            raise ValueError(f"{self.path} names the loss {value['class']}.")
        return getattr(importlib.import_module(_LOSSES[module]), name)(
            *self.decode(value["args"])
        )

    def _find_class(self, name):
        """Import the class of an estimator, if it is trusted."""
        package = name.partition(".")[0]
        if package not in _TRUSTED_PACKAGES and name not in self.trusted:
            raise ValueError(
                f"{self.path} holds a {name}, which is no estimator of skdygen or "
                f"scikit-learn; if you trust it, pass trusted=[{name!r}]."
            )
        module, _, attribute = name.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"{self.path} holds a {name}, which is not to be found here: {error}"
            ) from error
        if not (isinstance(found, type) and issubclass(found, BaseEstimator)):
            raise ValueError(f"{self.path} holds a {name}, which is no estimator.")
        return found


def _without_cache(state):
    """State of an estimator without its `memory`.

    A cache is a folder of one machine. It holds pickles, and a file that says where
    they are would have them loaded.
    """
    return state | {"memory": None} if "memory" in state else dict(state)


def _is_scalar_type(value):
    return isinstance(value, type) and issubclass(value, np.generic)


def _read_arrays(path, expected):
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        if sha256(path / _ARRAYS) != expected:
            raise ValueError(f"{path / _ARRAYS} is damaged: it is not what was saved.")
        return load_file(path / _ARRAYS)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path / _ARRAYS} cannot be read: {error}") from error


def _replace_folder(beside, path):
    """Move a folder to its place; what is there goes when the new one has come."""
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    if path.exists():
        path.replace(old)
    try:
        beside.replace(path)
    except BaseException:
        if old.exists():
            old.replace(path)
        raise
    shutil.rmtree(old, ignore_errors=True)
