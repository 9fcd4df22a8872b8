"""Estimators in one file each, by skops: nothing in it is executed when it is read."""

from __future__ import annotations

import copy
import copyreg
import hashlib
import importlib
import json
import logging
import os
import platform
import secrets
import sys
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from pickle import PicklingError
from stat import S_IMODE
from types import FunctionType
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from . import __version__, _bundle, _self_test
from ._sklearn_compat import METADATA_REQUESTS
from ._vetting import check_value, names_to_trust, open_archive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

logger = logging.getLogger(__name__)

_FORMAT = 1  # raised when an older skdygen could not read the file
_HEADER = "skdygen.json"  # a member of the file besides those of skops
_PACKAGES = "scikit-learn skops numpy scipy torch transformers sentence-transformers"
# Trusted besides what skdygen exports and what skops trusts. Trees are not: compiled
# code follows the positions in them unchecked.
_TRUSTED = [
    "numpy.dtype",
    "scipy.sparse._csr.csr_array",
    "scipy.sparse._csr.csr_matrix",
    "skdygen._pool.Pool",
    "skdygen._targets.Targets",
    "skdygen._votes.Votes",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
]
# Folders, which no stranger's file is to name: a cache holds pickles. And a loss that
# every fit makes anew, whose module has moved between versions of scikit-learn.
_LEFT_OUT = {"memory", "temp_folder", "checkpoint_dir", "_loss_function_", "_self_test"}
_ATOMS = (
    type(None), bool, int, float, str, type, slice, np.generic, np.dtype, np.ufunc,
    np.random.RandomState, np.random.Generator, sparse.sparray, sparse.spmatrix,
)  # fmt: skip
_ENCODED = "__skdygen__"  # key in a dict that stands for what skops stores badly


class StorageMixin:
    """Gives estimators the methods `save` and `load`."""

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        bundle: bool = False,
    ) -> None:
        """Write this estimator, fitted or not, to one file, for `skdygen.load`.

        There is no pickle in it and no code. Paths become strings, the folders of
        caches and callbacks are left out, and pretrained models are found by their
        name, unless they go along. What it answers to a few made questions goes along;
        `load` asks again.

        Parameters
        ----------
        path : str or Path
            The file, such as "model.skops"; never half-written.
        overwrite : bool, default=False
            Whether a file that an earlier call has written is replaced.
        bundle : bool, default=False
            Whether the language model goes into the file, so that nothing else is
            needed where it is loaded; it may then be one that was passed as an object.

        Raises
        ------
        FileExistsError, TypeError
            If something at `path` is not to be replaced; or an attribute, which is
            named, cannot be stored without pickle, or would not be read back.
        ValueError
            If there is no language model to `bundle`.
        """
        path = Path(path).expanduser()
        if path.exists() and not is_saved_model(path):
            raise FileExistsError(f"{path} is no saved model; choose another path.")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists; pass overwrite=True to replace it.")
        model, objects = _bundle.model_to_bundle(self) if bundle else (None, {})
        portable = _portable(self, type(self).__name__, objects)
        skops = _import_skops()
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            skops.dump(portable, temporary, compression=ZIP_DEFLATED, compresslevel=1)
            if bundle:
                with ZipFile(temporary, "a") as file:
                    _bundle.write_model(model, file)
            header = {"format": _FORMAT, "versions": versions()}
            header["card"] = _bundle.describe(self, portable)
            header["self_test"] = _record_self_test(self, temporary)
            with ZipFile(temporary, "a") as file:
                header["checksum"] = _checksum(file, header)
                file.writestr(_HEADER, json.dumps(header))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        trusted: Sequence[str] = (),
        warm: bool = False,
        check_model: bool = True,
    ) -> Self:
        """Read an estimator of this class; see `skdygen.load`."""
        found = load(path, trusted, warm=warm, check_model=check_model)
        if isinstance(found, cls):
            return found
        found = type(found).__name__
        raise ValueError(f"{path} holds a {found}, not a {cls.__name__}.")


def load(
    path: str | os.PathLike[str],
    trusted: Sequence[str] = (),
    *,
    warm: bool = False,
    check_model: bool = True,
) -> Any:
    """Read an estimator that its method `save` has written.

    Parameters
    ----------
    path : str or Path
        The file.
    trusted : sequence of str, default=()
        Full names of classes and functions that may be imported and used besides those
        of skdygen, and of scikit-learn what is usual for texts, such as
        ``"my_package.MyVectorizer"`` or ``"sklearn.svm._classes.SVC"``.
    warm : bool, default=False
        Whether the language model is loaded and asked once, so that the first
        prediction is as fast as the next; it is then also compared with the one that
        was fine-tuned. False leaves that to the first prediction.
    check_model : bool, default=True
        Whether it is an error if predictions need a language model that is neither in
        the file nor on this machine, nor known to the hub; or if the estimator does not
        answer a few made questions as it did where it was saved.

    Returns
    -------
    estimator : object
        As it was saved, but for the folders of caches.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read; if it is damaged, was written by something else or
        by a newer skdygen, or names what is not trusted, before anything is made of it;
        if the language model is not to be had, or its answers are others. The numbers
        are not signed: a whole file may be anybody's.

    Examples
    --------
    >>> clf = skdygen.load("model.skops")  # doctest: +SKIP
    """
    path = Path(path).expanduser()
    with open_regular(path) as file:
        header = _read_header(file, path)
        made = _load(file, path, header, trusted)
        _bundle.read_model(open_archive(file), path, made)
    if check_model or warm:
        test = _self_test.SelfTest(path, header)
        test.ask(made)
        with test.refusing():
            _bundle.prepare(made, path, is_warm=warm)
    return made


def _load(file, path, header, trusted):
    """Read an estimator without its language model."""
    if header["format"] > _FORMAT:
        newer = header["versions"]["skdygen"]
        raise ValueError(f"{path} is of a newer skdygen, {newer}: update to read it.")
    if header["checksum"] not in (None, _checksum(open_archive(file), header)):
        raise ValueError(f"{path} is damaged: it is not what was written.")
    skops = _import_skops()
    known = {*_own_types(), *_TRUSTED, *trusted}
    try:
        unknown = names_to_trust(file, trusted)
        unknown |= {*skops.get_untrusted_types(file=file)} - known
        if not unknown:
            return _make(file, known)
    except Exception as error:  # of many kinds, by what the damage has hit
        others = f"other versions of packages ({error!r}), {header['versions']}"
        raise ValueError(f"{path} is damaged, or needs {others}.") from error
    names = sorted(unknown)
    hint = f"if you know what that does and who wrote it, pass trusted={names}"
    raise ValueError(f"{path} names what is not trusted by default: {hint}.")


def _make(file, trusted):
    """Make what is in a file."""
    made = _import_skops().load(file, trusted=sorted(trusted))
    return _portable(made, "it", is_read=True)


def _import_skops():
    """Import skops where it is needed: it takes seconds."""
    # It asks modules for the names of scipy.special, in the order of their import, and
    # transformers 5.5 answers each with warnings, 44,000 of them.
    of_transformers = logging.getLogger("transformers")
    level = of_transformers.level
    of_transformers.setLevel(logging.ERROR)
    try:
        from skops import io
    finally:
        of_transformers.setLevel(level)
    return io


def _record_self_test(estimator, path):
    """Ask what has been written of an estimator; None if it has no answers."""
    try:
        check_is_fitted(estimator)
        with open(path, "rb") as file:
            made = _make(file, _import_skops().get_untrusted_types(file=file))
            _bundle.read_model(open_archive(file), path, made)
        return _self_test.record(made)
    except NotFittedError:
        return None
    except Exception as error:  # whatever an estimator of somebody's may raise
        logger.info("the file has no self-test: %r", error)
        return None


def _checksum(archive, header):
    """Make a checksum of the checksums in an archive, and of its header's other parts.

    Whoever changes numbers with right checksums has to make this one anew, too.
    """
    members = [(info.filename, info.file_size, info.CRC) for info in archive.infolist()]
    members = sorted(member for member in members if member[0] != _HEADER)
    said = {name: part for name, part in header.items() if name != "checksum"}
    return hashlib.sha256(
        json.dumps([said, members], sort_keys=True).encode()
    ).hexdigest()


def hash_rest(file):
    """Make a SHA-256 of an open file, from where it is read."""
    found = hashlib.sha256()
    while block := file.read(2**20):
        found.update(block)
    return found


@contextmanager
def replacing(path):
    """Yield the path of a temporary file beside a file, which it becomes when whole.

    A link stays, and what it leads to is replaced; a file that is there hands on its
    mode.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no file that can be replaced; choose another path.")
    # Random, since threads and containers can have a process id in common; cut, since
    # names have a greatest length.
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.part")
    temporary.open("xb").close()
    try:
        mode = S_IMODE((path if path.exists() else temporary).stat().st_mode)
        with suppress(PermissionError):  # not every file system has modes
            temporary.chmod(0o600)  # until it is whole
        yield temporary
        with suppress(PermissionError):
            temporary.chmod(mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def open_regular(path):
    """Open a file that ends: pipes and devices may not."""
    if Path(path).exists() and not Path(path).is_file():
        raise OSError(f"{path} is not a regular file; copy it to one.")
    return open(path, "rb")


def versions():
    """Versions of what computes."""
    found = {name: version(name) for name in _PACKAGES.split()}
    return found | {"skdygen": __version__, "Python": platform.python_version()}


def read_card(path):
    """Read what a file says of its estimator, and its versions, and nothing else."""
    with open_regular(path) as file:
        header = _read_header(file, path)
        is_bundled = _bundle.has_model(open_archive(file))
    return header["card"] | {"bundled": is_bundled, "versions": header["versions"]}


def is_saved_model(path):
    """Whether a file is one that `StorageMixin.save` has written."""
    try:
        with open_regular(path) as file:
            return bool(_read_header(file, path))
    except (OSError, ValueError):
        return False


def _read_header(file, path):
    """Return what a file says of itself."""
    try:
        header = json.loads(open_archive(file).read(_HEADER))
        known = {name: header[name] for name in ("format", "versions")}
        # Older files have no more.
        return known | {"card": {}, "self_test": None, "checksum": None} | header
    except Exception as error:  # as above
        raise ValueError(f"{path} is damaged or no saved model.") from error


def _own_types():
    """Return the full names of the classes that skdygen exports."""
    exported = []
    for name in ("", ".dynamics", ".priors", ".denoisers"):  # these import this module
        module = importlib.import_module(__package__ + name)
        exported += [getattr(module, name) for name in module.__all__]
    return [f"{c.__module__}.{c.__qualname__}" for c in exported if isinstance(c, type)]


def _portable(value, where, seen=None, *, is_read=False):
    """Return a copy that skops stores as it is or, of one read, the original."""
    seen = {} if seen is None else seen
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is pd.NA or value is pd.NaT:  # all null values mean the same
        return np.nan
    if isinstance(value, pd.Index):  # of the training texts
        return _portable_index(value)
    if isinstance(value, _ATOMS):
        check_value(value, where)
        return value
    if id(value) not in seen:
        seen[id(value)] = value, None  # the value is kept, so that its id is its own
        copied = _copied(
            value, where, lambda v, at: _portable(v, where + at, seen, is_read=is_read)
        )
        check_value(copied if is_read else value, where)
        seen[id(value)] = value, copied
    if seen[id(value)][1] is None:
        raise TypeError(f"{where} refers to what it is a part of.")
    return seen[id(value)][1]


def _portable_index(index):
    """Labels of an index as an array; what is no number, string or time as strings."""
    labels = index.to_numpy()
    if labels.dtype == object and not all(type(v) in (str, int) for v in labels):
        labels = np.array([str(label) for label in labels], dtype=object)
    return labels


def _copied(value, where, convert):
    """Copy a container or an object, with what `convert` makes of its parts."""
    kind, is_dict = type(value), isinstance(value, dict)
    if kind is bytes:  # skops stores them once for each object that has them
        return {_ENCODED: np.frombuffer(value, dtype=np.uint8)}
    if is_dict and _ENCODED in value:
        is_bytes = isinstance(value[_ENCODED], np.ndarray)
        return (bytes if is_bytes else dict)(convert(value[_ENCODED], ""))
    if is_dict and not all(type(key) is str for key in value):
        # In skops a key that is False comes back as True, and None not at all.
        return {_ENCODED: convert(list(value.items()), "")}
    if kind is range:  # of a search
        return list(value)
    if kind in (list, tuple, set):
        return kind(convert(v, f"[{i}]") for i, v in enumerate(value))
    if isinstance(value, np.ndarray):
        made = value.view(np.ndarray) if isinstance(value, np.memmap) else value
        if made.dtype == object:
            made = made.copy()
            for i, item in np.ndenumerate(np.asarray(value)):
                np.asarray(made)[i] = convert(item, f"[{i}]")
        return made
    try:
        make, args, state, *rest = value.__reduce_ex__(2)
    except PicklingError as error:  # says what to do
        raise TypeError(f"{where}: {error}") from error
    except (TypeError, ValueError):  # cannot be pickled or has no state
        make, args, state, rest = None, (), None, []
    is_plain = make is copyreg.__newobj__ and args == (kind,) and not any(rest)
    is_of_torch = any(c.__module__.startswith("torch") for c in kind.__mro__)
    if is_dict or (is_plain and type(state) is dict and not is_of_torch):
        made = copy.copy(value)
        parts, at = (made, "[{!r}]") if is_dict else (vars(made), ".{}")
        if not is_dict:
            parts.pop("_skl_callbacks", None)  # of scikit-learn; they watch fits
            is_request = isinstance(value, METADATA_REQUESTS)
            if is_request and not isinstance(value.owner, str):  # the estimator itself
                parts["owner"] = type(value.owner).__name__
        for name, part in parts.items():
            is_kept = is_dict or name not in _LEFT_OUT
            parts[name] = convert(part, at.format(name)) if is_kept else None
        return made
    module = sys.modules.get(getattr(value, "__module__", None))
    is_named = value is getattr(module, getattr(value, "__qualname__", ""), None)
    if (is_named and kind is FunctionType) or kind.__module__.startswith("sklearn."):
        return value  # skops stores names of functions, and knows what is compiled
    hint = "use joblib"
    if is_of_torch and where.endswith(".model"):
        hint = "pass its name or folder, or bundle=True"
    elif callable(value):
        hint = "pass a function of a module, which is stored by its name, or use joblib"
    name = f"{kind.__module__}.{kind.__qualname__}"
    raise TypeError(f"{where} holds a {name}, which only pickle can store; {hint}.")
