"""What a file of an estimator may hold, looked at before and after it is made.

skops looks at the names of types. It does not look at what its loaders do with a type
of that name, nor how large all of it is, nor whether positions in arrays lie within
these: compiled code of numpy, scipy and scikit-learn follows them unchecked.
"""

import io
import json
import re
from numbers import Integral
from zipfile import ZipFile

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer

_MOST_DEEP = 300  # dicts and lists within each other; a model has some 50
_MOST_BYTES = 2**28  # unpacked, and so many times as large as it is packed
_MOST_PACKED = 300  # what `save` writes can have 230
# What each loader of skops may make. Others, and these of other types, would call what
# they find: the constructor of a type, or its `__setstate__`.
_MADE_BY = {
    "DefaultDictNode": r"collections\.defaultdict",
    "DictNode": r"builtins\.dict|collections\.OrderedDict|sklearn\.utils\.\w+\.Bunch",
    "DTypeNode": r"numpy\.dtype",
    "FunctionNode": r".*",
    "JsonNode": r".*",
    "ListNode": r"builtins\.list",
    "LossNode": r"(sklearn\._loss\.)?_loss\.Cy\w+",
    "MaskedArrayNode": r"numpy\.ma\.MaskedArray",
    "MethodNode": r".*",
    "NdArrayNode": r"numpy\.\w+",
    "ObjectNode": r"(skdygen|sklearn)\..*",
    "OperatorFuncNode": r"operator\.\w+",
    "PartialNode": r"functools\.partial",
    "RandomGeneratorNode": r"numpy\.random\._generator\.Generator",
    "RandomStateNode": r"numpy\.random\.mtrand\.RandomState",
    "SetNode": r"builtins\.set",
    "SliceNode": r"builtins\.slice",
    "SparseMatrixNode": r"scipy\.sparse\._cs[cr]\.cs[cr]_(array|matrix)",
    "TreeNode": r"sklearn\.tree\._tree\.Tree",
    "TupleNode": r"builtins\.tuple",
    "TypeNode": r".*",
}
# What of scikit-learn is trusted: what predicts in Python, or checks what it is given.
_KNOWN = (
    "_loss", "calibration", "compose", "decomposition._pca",
    "decomposition._truncated_svd", "discriminant_analysis", "dummy",
    "ensemble._bagging", "ensemble._forest", "ensemble._hist_gradient_boosting",
    "ensemble._stacking", "ensemble._voting", "ensemble._weight_boosting",
    "feature_extraction.text", "feature_selection", "frozen", "impute",
    "kernel_approximation", "linear_model", "metrics", "model_selection",
    "multioutput", "naive_bayes", "neighbors", "neural_network", "pipeline",
    "preprocessing._data", "preprocessing._function_transformer",
    "preprocessing._label", "random_projection", "svm._classes.Linear", "tree", "utils",
)  # fmt: skip
_KNOWN = tuple(f"sklearn.{name}" for name in _KNOWN)


def open_archive(file):
    """Open the zip archive of an estimator; a ValueError says that it is too large."""
    archive = ZipFile(file)
    n_packed = file.seek(0, io.SEEK_END)
    _check_size(sum(info.file_size for info in archive.infolist()), n_packed)
    return archive


def names_to_trust(file, trusted):
    """Names in a file that somebody has to trust, though skops does not ask for that.

    A ValueError says what is not in the file of any estimator.
    """
    archive = open_archive(file)
    walk = _Walk(archive)
    walk.visit(json.loads(archive.read("schema.json")))
    _check_size(walk.n_bytes, file.seek(0, io.SEEK_END))
    return walk.names - {*trusted}


class _Walk:
    """A walk through all that skops would make of a file."""

    def __init__(self, archive):
        self.archive = archive
        self.sizes = {info.filename: info.file_size for info in archive.infolist()}
        self.names, self.n_bytes = set(), 0  # of what is not trusted; of all
        self._lengths = {}  # of nodes by their identity

    def visit(self, part, depth=0):
        """Look at a part of the schema; give the number of nodes in it."""
        if depth > _MOST_DEEP:
            raise ValueError("it is nested too deeply")
        if isinstance(part, list):
            return sum([self.visit(value, depth + 1) for value in part])
        if not isinstance(part, dict):
            return 0
        is_node = isinstance(part.get("__loader__"), str)
        if is_node:
            self._look_at(part)
        length = is_node + sum([self.visit(v, depth + 1) for v in part.values()])
        # One that stands for a longer one would be looked at again and again.
        identity = part.get("__id__") if is_node else None
        if identity and self._lengths.setdefault(identity, length) != length:
            raise ValueError("a part of it stands for another")
        return length

    def _look_at(self, node):
        """Look at a node itself: its type, and how large it is."""
        loader, name = node["__loader__"], f"{node['__module__']}.{node['__class__']}"
        is_known = name.startswith(_KNOWN) or not name.startswith("sklearn.")
        if not (is_known and re.fullmatch(_MADE_BY.get(loader, ""), name)):
            self.names.add(name)
        if isinstance(member := node.get("file"), str):
            self.n_bytes += self.sizes[member]
            if loader == "SparseMatrixNode":  # an archive of arrays
                inner = ZipFile(io.BytesIO(self.archive.read(member)))
                self.n_bytes += sum(info.file_size for info in inner.infolist())


def _check_size(n_bytes, n_packed):
    if n_bytes > _MOST_BYTES + _MOST_PACKED * n_packed:
        raise ValueError(f"it would unpack to {n_bytes:,} bytes")


def check_value(value, where):
    """Raise a TypeError about values that would end the process or open files."""
    problem = _find_problem(value)
    if problem is not None:
        raise TypeError(f"{where} holds {problem}.")


def _find_problem(value):
    """Say what is wrong with a value; None if nothing is."""
    if isinstance(value, np.ndarray):
        # Without bytes any number of items fits into a file.
        return "an array of empty items" if value.size and not value.itemsize else None
    if sparse.issparse(value):
        return _find_problem_of_sparse(value)
    if isinstance(value, (np.random.RandomState, np.random.Generator)):
        return _find_problem_of_random(value)
    if isinstance(value, CountVectorizer) and hasattr(value, "vocabulary_"):
        columns = list(value.vocabulary_.values())
        are_numbers = all(isinstance(column, Integral) for column in columns)
        if not are_numbers or sorted(columns) != list(range(len(columns))):
            return "a vocabulary whose columns are not numbered from 0"
    if isinstance(value, HashingVectorizer) and not value.n_features > 0:
        return f"a HashingVectorizer of {value.n_features} features"
    if isinstance(value, (CountVectorizer, HashingVectorizer)):
        is_plain = type(value.input) is str and value.input == "content"
        if not is_plain:
            return f"a vectorizer that opens texts as files, input={value.input!r}"
    if type(value).__module__.startswith("sklearn.neighbors."):
        return _find_problem_of_neighbours(vars(value))
    return None


def _find_problem_of_neighbours(parts):
    """Say what is wrong with the rows that a search for neighbours has learnt."""
    rows = parts.get("_fit_X")
    if rows is None:
        return None
    shape = parts["n_samples_fit_"], parts["n_features_in_"]
    n_labels = len(parts["_y"]) if "_y" in parts else shape[0]
    if rows.shape != shape or 0 in shape or n_labels != shape[0]:
        return f"neighbours of the shape {rows.shape}"
    return None


def _find_problem_of_sparse(array):
    """Say what is wrong with a sparse array; scipy passes over some of it."""
    if array.format not in ("csr", "csc"):
        return f"a sparse array in the format {array.format}; use csr"
    if not array.indices.dtype.kind == array.indptr.dtype.kind == "i":
        return "a sparse array whose positions are no integers"
    if (np.diff(array.indptr) < 0).any():
        return "a sparse array whose rows go backwards"
    try:
        array.check_format(full_check=True)
    except ValueError as error:
        return f"a sparse array that is broken: {error}"
    return None


def _find_problem_of_random(source):
    """Say what is wrong with a source of random numbers."""
    if isinstance(source, np.random.Generator):
        state = source.bit_generator.state
    else:
        state = source.get_state(legacy=False)
    places = state["state"].get("pos", 0), state.get("buffer_pos", 0)
    if not (0 <= places[0] <= 624 and 0 <= places[1] <= 4):
        return "random numbers from outside of their buffer"
    return None
