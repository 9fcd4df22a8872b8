"""The container that the stages hand on."""

import hashlib
import json
import multiprocessing
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ._encoding import label_array
from ._memmap import allocate, allocate_in, folder_of_mapped, parts, take
from ._storage import open_regular, replacing

_FORMAT, _FORMAT_VERSION = "skdygen.Trajectories", "1"
_ARRAYS = ("embeddings", "probabilities", "prior", "opinions")
_VIEW = "view:"  # in front of its name, in a file
_TOLD = ("classes", "opinion_weights", "fine_tuned")  # as JSON, there
_MOST_OFF = 1e-3  # of a sum of probabilities, which may be in half precision


class Trajectories:
    """Training dynamics of a set of texts: where each text was after every epoch.

    To scikit-learn a `Trajectories` is a 2-d array with one row per text: it has a
    `shape` and a length, splitters can slice it, and ``np.asarray`` gives the
    flattened embeddings, so that any estimator can follow a dynamics stage.

    Parameters
    ----------
    embeddings : array-like of shape (n_samples, n_branches, n_epochs, n_features)
        Embedding of each text by each branch after each epoch.
    probabilities : array-like of shape (n_samples, n_branches, n_epochs, n_classes)
        Class probabilities at the same moments.
    classes : array-like of shape (n_classes,), default=None
        The classes that the last axis of `probabilities` stands for, sorted; None
        numbers them from 0.
    prior : array-like of shape (n_samples, n_classes), default=None
        Prior belief in each class as the true one; rows sum to 1.
    opinions : array-like of shape (n_samples, n_opinions, n_classes), default=None
        The distributions that the prior was made of, if it was made of several.
    opinion_weights : array-like of shape (n_opinions,), default=None
        How much each of them counted, with a sum of 1; None: alike.
    views : dict of str to array-like of shape (n_samples, n_features), default=None
        Other features of the texts, which no label has touched, by name. "initial" is
        the embedding before the training.
    fine_tuned : bool, default=False
        Whether the encoder itself was trained, and not only a head on it.
    groups : array-like of int of shape (n_samples,), default=None
        Copies of a text have the same number: where a prior leaves out one of them, it
        leaves out all that nobody has verified. None: nobody has compared them.

    Attributes
    ----------
    shape : tuple (n_samples, n_branches * n_epochs * n_features)
        Shape of the flattened embeddings.

    Raises
    ------
    ValueError
        If the arrays do not fit together, hold NaN or infinite values, or distributions
        that do not sum to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skdygen import Trajectories
    >>> trajectories = Trajectories(np.zeros((6, 2, 3, 4)), np.full((6, 2, 3, 2), 0.5))
    >>> trajectories.shape
    (6, 24)
    >>> len(trajectories[:2])
    2
    """

    ndim = 2

    def __init__(
        self, embeddings, probabilities, classes=None, prior=None, *, opinions=None,
        opinion_weights=None, views=None, fine_tuned=False, groups=None,
    ):  # fmt: skip
        self._put_together(
            embeddings, probabilities, classes, prior, opinions=opinions, groups=groups,
            opinion_weights=opinion_weights, views=views, fine_tuned=fine_tuned,
        )  # fmt: skip
        self._neighbors = {}  # found in these arrays, for priors that ask again
        check_numbers(self.embeddings, "embeddings")
        _check_distributions(self.probabilities, "probabilities")
        self._check_prior()
        for name, view in self.views.items():
            check_numbers(view, f"views[{name!r}]")

    @classmethod
    def _unchecked(cls, *arrays, _neighbors=None, **named):
        """Make trajectories of arrays whose numbers are known to be right, or not yet.

        It reads none of them: parts of mapped arrays are of no other numbers.
        """
        made = cls.__new__(cls)
        made._put_together(*arrays, **named)
        made._neighbors = {} if _neighbors is None else _neighbors
        return made

    def _put_together(
        self, embeddings, probabilities, classes=None, prior=None, *, opinions=None,
        opinion_weights=None, views=None, fine_tuned=False, groups=None,
    ):  # fmt: skip
        """Take arrays that fit together."""
        self.fine_tuned = bool(fine_tuned)
        self.embeddings = _as_array(embeddings, "embeddings", 4)
        self.probabilities = _as_array(probabilities, "probabilities", 4)
        if self.embeddings.shape[:3] != self.probabilities.shape[:3]:
            raise ValueError(
                f"embeddings and probabilities must agree in (n_samples, n_branches, "
                f"n_epochs), but have {self.embeddings.shape[:3]} and "
                f"{self.probabilities.shape[:3]}."
            )
        self.classes = np.arange(self.n_classes)
        if classes is not None:
            self.classes = label_array(classes, "classes")
        if self.classes.shape != (self.n_classes,):
            raise ValueError(
                f"classes must hold {self.n_classes} labels, one per column of "
                f"probabilities, but has shape {self.classes.shape}."
            )
        if not np.array_equal(np.unique(self.classes), self.classes):
            raise ValueError(
                f"classes must be sorted and differ from each other, but are "
                f"{self.classes.tolist()}."
            )
        self.prior = None if prior is None else _as_array(prior, "prior", 2)
        if prior is not None and self.prior.shape != (len(self), self.n_classes):
            raise ValueError(
                f"prior must have shape {(len(self), self.n_classes)}, but has "
                f"{self.prior.shape}."
            )
        self._take_opinions(opinions, opinion_weights)
        self.groups = None if groups is None else _as_array(groups, "groups", 1)
        if groups is not None and (
            self.groups.shape != (len(self),) or self.groups.dtype.kind == "f"
        ):
            raise ValueError(
                f"groups must hold {len(self)} integers, one per text, but has shape "
                f"{self.groups.shape} and dtype {self.groups.dtype}."
            )
        self.views = {}
        for name, view in (views or {}).items():
            self.views[name] = _as_array(view, f"views[{name!r}]", 2)
            if len(view) != len(self):
                raise ValueError(
                    f"views[{name!r}] must have {len(self)} rows, one per text, but "
                    f"has {len(view)}."
                )

    def _take_opinions(self, opinions, weights):
        """Take opinions, if there are any, and how much each counts; None: alike."""
        self.opinions = None
        if opinions is not None:
            self.opinions = _as_array(opinions, "opinions", 3)
            if self.opinions.shape[::2] != (len(self), self.n_classes):
                raise ValueError(
                    f"opinions must have shape ({len(self)}, n_opinions, "
                    f"{self.n_classes}), but has {self.opinions.shape}."
                )
        n_opinions = 0 if opinions is None else self.opinions.shape[1]
        if weights is None:
            weights = np.full(n_opinions, 1 / max(n_opinions, 1))
        self.opinion_weights = _as_array(weights, "opinion_weights", 1)
        if len(self.opinion_weights) != n_opinions:
            raise ValueError(
                f"opinion_weights must hold {n_opinions} numbers, one for each of the "
                f"opinions, but holds {len(self.opinion_weights)}."
            )

    def _check_prior(self):
        """Raise an error if prior or opinions are no distributions."""
        for name in ("prior", "opinions"):
            if getattr(self, name) is not None:
                _check_distributions(getattr(self, name), name)
        if self.opinions is not None:
            _check_distributions(self.opinion_weights[None], "opinion_weights")

    n_branches = property(lambda self: self.embeddings.shape[1])
    n_epochs = property(lambda self: self.embeddings.shape[2])
    n_features = property(lambda self: self.embeddings.shape[3])
    n_classes = property(lambda self: self.probabilities.shape[3])
    shape = property(lambda self: (len(self), int(np.prod(self.embeddings.shape[1:]))))

    def __len__(self):
        return self.embeddings.shape[0]

    def __array__(self, dtype=None, copy=None):
        """Return the embeddings as an array of shape `self.shape`, float32 or more."""
        if dtype is None:
            dtype = np.promote_types(self.embeddings.dtype, np.float32)
        flat = self.embeddings.reshape(self.shape)
        if copy is False and flat.dtype != dtype:
            raise ValueError("a copy is needed to give the embeddings as an array.")
        return flat.astype(dtype, copy=bool(copy))

    def __getitem__(self, rows):
        """Return the trajectories of some texts: a view for a slice, else a copy.

        A large copy of memory-mapped trajectories is memory-mapped too, in the same
        folder. Of a tuple the first entry selects, and the rest must be whole.
        """
        if isinstance(rows, tuple):
            rows, *columns = rows
            if any(c is not Ellipsis and c != slice(None) for c in columns):
                raise IndexError(
                    "Trajectories are indexed by text only; use np.asarray first to "
                    "select columns."
                )
        if isinstance(rows, (int, np.integer)):
            row = range(len(self))[rows]
            rows = slice(row, row + 1)
        groups = None if self.groups is None else self.groups[rows]
        return self._changed(lambda array: take(array, rows), groups)

    def _changed(self, function, groups=None):
        """Apply a function to every array; those that are missing stay so."""
        state = self.__dict__ | {
            name: function(getattr(self, name))
            for name in _ARRAYS
            if getattr(self, name) is not None
        }
        state["views"] = {name: function(view) for name, view in self.views.items()}
        state |= {"groups": groups, "_neighbors": None}
        return Trajectories._unchecked(**state)

    def _arrays(self):
        """What is known of texts, by name, without what is missing."""
        found = {name: getattr(self, name) for name in _ARRAYS}
        found |= {_VIEW + name: view for name, view in self.views.items()}
        return {name: array for name, array in found.items() if array is not None}

    def __getstate__(self):
        # joblib hands over the name of a mapped file; that of a process of its own is
        # gone with what was mapped before anybody can read it.
        is_child = multiprocessing.parent_process() is not None

        def portable(array):
            if is_child and folder_of_mapped(array) is not None:
                return np.array(array)
            return np.asarray(array).view(np.ndarray)

        return vars(self._changed(portable, self.groups))

    def __repr__(self):
        return (
            f"Trajectories(n_samples={len(self)}, n_branches={self.n_branches}, "
            f"n_epochs={self.n_epochs}, n_features={self.n_features}, "
            f"n_classes={self.n_classes}, prior={self.prior is not None})"
        )

    def _allocate(self, shape, dtype):
        """Return an array to be filled, (n_samples, *shape); mapped if this is."""
        arrays = self.embeddings, self.probabilities
        folders = [folder_of_mapped(array) for array in arrays]
        folder = next((found for found in folders if found is not None), None)
        return allocate_in(folder, (len(self), *shape), dtype)

    def with_prior(self, prior, opinions=None, opinion_weights=None):
        """Return the same trajectories with another prior.

        Parameters
        ----------
        prior : array-like of shape (n_samples, n_classes)
            Prior belief in each class as the true one; rows sum to 1.
        opinions : array-like of shape (n_samples, n_opinions, n_classes), default=None
            What it was made of.
        opinion_weights : array-like of shape (n_opinions,), default=None
            How much each of them counted, with a sum of 1; None: alike.

        Returns
        -------
        trajectories : Trajectories
            Shares its arrays with this one.
        """
        found = {"prior": prior, "opinions": opinions}
        found["opinion_weights"] = opinion_weights
        made = self._unchecked(**vars(self) | found)
        made._check_prior()
        return made

    def with_views(self, views):
        """Return the same trajectories with more views.

        Parameters
        ----------
        views : dict of str to array-like of shape (n_samples, n_features)
            They are added to those that are there.

        Returns
        -------
        trajectories : Trajectories
            Shares its arrays with this one.
        """
        made = self._unchecked(**vars(self) | {"views": self.views | views})
        for name in views:
            check_numbers(made.views[name], f"views[{name!r}]")
        return made

    def with_groups(self, groups):
        """Return the same trajectories, knowing which texts are copies.

        Parameters
        ----------
        groups : array-like of int of shape (n_samples,)
            The same number for all copies of a text.

        Returns
        -------
        trajectories : Trajectories
            Shares its arrays with this one.
        """
        return self._unchecked(**vars(self) | {"groups": groups, "_neighbors": None})

    def with_classes(self, classes):
        """Return the same trajectories with more classes, or with fewer.

        Parameters
        ----------
        classes : array-like of shape (n_other_classes,)
            Sorted. The probability of those that no network has learnt is 0; only such
            ones can be left out.

        Returns
        -------
        trajectories : Trajectories
            These themselves if the classes are the same; else without prior and
            opinions.
        """
        if np.array_equal(classes, self.classes):
            return self
        shape = (*self.probabilities.shape[1:3], len(classes))
        probabilities = self._allocate(shape, self.probabilities.dtype)
        is_known = np.isin(classes, self.classes)
        probabilities[..., ~is_known] = 0
        is_kept = np.isin(self.classes, classes)
        probabilities[..., is_known] = self.probabilities[..., is_kept]
        return self._unchecked(
            self.embeddings, probabilities, classes, views=self.views,
            fine_tuned=self.fine_tuned, groups=self.groups, _neighbors=self._neighbors,
        )  # fmt: skip

    def save(self, path):
        """Write the trajectories to one safetensors file.

        A temporary file is written and renamed: `path` is never half-written.

        Parameters
        ----------
        path : str or Path
            The file; one that exists is replaced.

        Raises
        ------
        OSError
            If it cannot be written; what was there stays.
        """
        path = Path(path).expanduser()
        tensors = self._arrays()
        if self.groups is not None:
            tensors["groups"] = self.groups
        tensors = {name: np.ascontiguousarray(a) for name, a in tensors.items()}
        metadata = {"format": _FORMAT, "version": _FORMAT_VERSION}
        metadata["classes"] = json.dumps(self.classes.tolist())
        metadata["opinion_weights"] = json.dumps(self.opinion_weights.tolist())
        metadata["fine_tuned"] = json.dumps(self.fine_tuned)
        metadata["sha256"] = _hash(tensors, metadata)
        with replacing(path) as temporary:
            try:
                save_file(tensors, temporary, metadata=metadata)
            except SafetensorError as error:  # whatever the system says comes as this
                raise OSError(f"{path} cannot be written: {error}") from error

    @classmethod
    def load(cls, path, *, max_nbytes=None, temp_folder=None):
        """Read trajectories that `save` has written.

        Parameters
        ----------
        path : str or Path
            The file.
        max_nbytes : int, str or None, default=None
            Size above which an array is memory-mapped, in bytes or as "1G"; None
            reads everything into memory.
        temp_folder : str or Path, default=None
            Folder of the mapped arrays; None takes the system's temporary folder.

        Returns
        -------
        trajectories : Trajectories
            The same numbers, to the bit.

        Raises
        ------
        ValueError
            If the file holds something else.
        """
        path = Path(path).expanduser()
        open_regular(path).close()
        try:
            return cls._read(path, max_nbytes, temp_folder)
        except OSError:  # there is no room for arrays
            raise
        except Exception as error:  # of many kinds, by what the damage has hit
            raise ValueError(
                f"{path} is damaged or does not hold Trajectories: {error}"
            ) from error

    @classmethod
    def _read(cls, path, max_nbytes, temp_folder):
        """Read trajectories, and compare them with their checksum."""
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise ValueError("its format is another one.")
            if metadata["version"] != _FORMAT_VERSION:
                raise ValueError(
                    f"it was written by a newer skdygen (format "
                    f"{metadata['version']}); update skdygen to read it."
                )
            arrays = {
                name: _read(file.get_slice(name), max_nbytes, temp_folder)
                for name in file.keys()  # noqa: SIM118, safe_open is no dict
            }
        if metadata["sha256"] != _hash(arrays, metadata):
            raise ValueError("it has another checksum.")
        views = {n: arrays.pop(n) for n in list(arrays) if n.startswith(_VIEW)}
        views = {name.removeprefix(_VIEW): view for name, view in views.items()}
        told = {name: json.loads(metadata[name]) for name in _TOLD}
        return cls(views=views, **told, **arrays)


def check_trajectories(X, *, name="X"):
    """Return `X` if it is a `Trajectories`, and raise a clear error if not."""
    if isinstance(X, Trajectories):
        if not len(X):
            raise ValueError(f"{name} holds no trajectories: the selection is empty.")
        return X
    raise TypeError(
        f"{name} must be Trajectories, the output of a dynamics stage such as "
        f"skdygen.dynamics.LanguageModelDynamics, but is a {type(X).__name__}; where "
        f"set_output or transform_output asks for frames, use "
        f"set_output(transform='default') on the stages before."
    )


def check_prior(trajectories):
    """Raise a clear error if the second stage has been left out."""
    if trajectories.prior is None:
        raise ValueError(
            "X has no prior, or none of these classes; put a prior such as "
            "skdygen.priors.ConsensusPrior before the denoiser, and pass it the same "
            "verified labels."
        )


def _as_array(values, name, ndim):
    """Return values as an array of numbers of so many dimensions."""
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    if array.ndim != ndim or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} must be a {ndim}-d array of numbers, but has shape {array.shape} "
            f"and dtype {array.dtype}."
        )
    return array


def check_numbers(array, name):
    """Raise an error if a value is NaN or infinite; a mapped array is not copied."""
    if array.dtype.kind != "f":
        return
    for part in parts(len(array)):
        is_wrong = ~np.isfinite(array[part])
        if is_wrong.any():
            first = np.argwhere(is_wrong)[0]
            found, row = array[part][tuple(first)], part.start + first[0]
            raise ValueError(
                f"{name} has {found} in row {row}, but finite numbers are needed, "
                f"below {np.finfo(array.dtype).max:g} as {array.dtype}; leave this "
                f"text out, or put numbers there."
            )


def _check_distributions(array, name):
    """Raise an error if a row, along the last axis, is no distribution."""
    check_numbers(array, name)
    for part in parts(len(array)):
        few = array[part]
        sums = few.sum(axis=-1, dtype=np.float64)
        is_wrong = (np.abs(sums - 1) > _MOST_OFF) | (few < 0).any(axis=-1)
        if is_wrong.any():
            first = tuple(np.argwhere(is_wrong)[0])
            raise ValueError(
                f"{name} in row {part.start + first[0]} sum up to {sums[first]:.4g}, "
                f"the smallest is {few[first].min():.4g}: they are no distribution; "
                f"make all at least 0, and divide them by their sum along the last "
                f"axis."
            )


def _read(stored, max_nbytes, temp_folder):
    """Read one stored array piece by piece."""
    shape = tuple(stored.get_shape())
    if shape[0] and 0 in shape:  # without bytes any number of rows fits into a file
        raise ValueError(f"an array of the shape {shape} is empty.")
    dtype = {"F16": np.float16, "F32": np.float32, "F64": np.float64}.get(
        stored.get_dtype()
    )
    if dtype is None:
        return stored[:]
    array = allocate(shape, dtype, max_nbytes=max_nbytes, temp_folder=temp_folder)
    for part in parts(shape[0]):
        array[part] = stored[part]
    return array


def _hash(arrays, metadata):
    """Hash what is in a file: arrays by name, and what is told as JSON."""
    found = hashlib.sha256("".join(metadata[name] for name in _TOLD).encode())
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype.name} {array.shape}".encode())
        stored = array.dtype.newbyteorder("<")
        for part in parts(len(array)):
            found.update(np.ascontiguousarray(array[part], dtype=stored))
    return found.hexdigest()
