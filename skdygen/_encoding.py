"""Texts and labels, checked and encoded."""

import hashlib
import numbers
import re

import numpy as np
import pandas as pd
from pandas.api.types import is_scalar
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS = (str, (bool, np.bool_), numbers.Integral, numbers.Real)
_HELD_AS = dict(zip(_KINDS, (str, bool, np.int64, np.float64), strict=True))


def check_texts(X, *, name="X"):
    """Validate texts; give a list of str.

    They may be in a list, tuple, 1-d array, Series or one-column frame or array. A
    TypeError names the first row that is no string, or says that `X` is no ordered
    collection; a ValueError that it is a bare string, is empty, has several columns, or
    has a text that is no valid Unicode.
    """
    if isinstance(X, (str, bytes)):
        raise ValueError(
            f"{name} is a single string, but a collection of texts is expected; "
            f"for one text, pass [text]."
        )
    if not hasattr(X, "__len__") or isinstance(X, (dict, set, frozenset)):
        raise TypeError(
            f"{name} is a {type(X).__name__}, but an ordered collection of texts is "
            f"expected: a list, a 1-d array, a Series or a one-column frame."
        )
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) != 1:
        if len(shape) != 2 or shape[1] != 1:
            raise ValueError(
                f"{name} has shape {tuple(shape)}, but one text per row is expected; "
                f"select the column that holds the texts."
            )
        X = np.asarray(X)[:, 0]
    texts = to_list(X)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"{name} must hold strings, but row {row} is {text!r} "
                f"({type(text).__name__}); drop the row, or put a text there "
                f"(an empty string is allowed)."
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{name} has a text that is no valid Unicode in row {row}: "
                f"{error.reason}; repair it with "
                f"text.encode(errors='replace').decode()."
            ) from error
    if not texts:
        raise ValueError(f"{name} is empty: at least one text is needed.")
    return texts


def find_index(*inputs):
    """Return the index of the first input that is of pandas; None if none is."""
    kinds = (pd.Series, pd.DataFrame)
    return next((values.index for values in inputs if isinstance(values, kinds)), None)


def check_order(name, table, index):
    """Raise an error if rows that go by position have the index of X, otherwise."""
    if index is None or not isinstance(table, (pd.Series, pd.DataFrame)):
        return
    index = pd.Index(index)
    is_other = index.is_unique and len(table) == len(index)
    if is_other and not table.index.equals(index) and table.index.isin(index).all():
        row = np.flatnonzero(table.index != index)[0]
        raise ValueError(
            f"{name} has the index of X in another order: {shown(table.index, row)} in "
            f"row {row}, where X has {shown(index, row)}; bring it into the order of X "
            f"with .loc, or pass {name}.to_numpy() if it is in that order."
        )


def find_texts(X):
    """Give the texts of whatever holds nothing else, or None."""
    try:
        return check_texts(X)
    except (TypeError, ValueError):
        return None


def fingerprint(texts):
    """Checksum of the words of texts, whatever is between them.

    Nobody can read a text from it, and tables change blanks and ends of lines.
    """
    found = hashlib.sha256()
    for text in texts:
        found.update(repr(text.split()).encode())
    return found.hexdigest()


def find_copies(texts):
    """Number of the words of each text, (n_samples,), blanks and case aside."""
    words = [hash(words_of(text)) for text in texts]
    return firsts_of(np.array(words, dtype=np.int64))


def words_of(text):
    """Give what texts have in common that differ by blanks or case alone."""
    return " ".join(text.casefold().split())


def firsts_of(groups):
    """Position of the first row with the same number, for each row, (n_samples,)."""
    _, firsts, numbers = np.unique(groups, return_index=True, return_inverse=True)
    return firsts[numbers]


def encode_labels(
    y, *, missing_label=None, classes=None, n_samples=None, min_classes=2, name="y"
):
    """Turn labels into classes, sorted, and codes; -1 where there is no label.

    Labels are strings, integers, booleans, or floats with integral values. With
    `missing_label` None every row must have one; NaN stands for all null values (None,
    NaN, `pandas.NA`, `pandas.NaT`). `classes` None takes those that are found, at
    least `min_classes`.

    A TypeError says that labels are of several types; a ValueError that `y` is not
    one-dimensional or of length `n_samples`, lacks labels that `missing_label` does not
    announce, is continuous, has a label that no array holds as it is, has too few
    classes, or one that is not in `classes`.
    """
    given, rows, n_samples = _read_labels(y, missing_label, n_samples, name)
    if len(given):
        check_classification_targets(given)  # warns of as many classes as texts
    found, n_missing = np.unique(given), n_samples - len(given)
    _check_n_classes(found, min_classes, n_missing, missing_label, name)
    classes = found if classes is None else classes
    codes = np.full(n_samples, -1, dtype=np.int64)
    codes[rows] = _positions(given, classes, rows, name)
    return classes, codes


def find_labels(y, missing_label=None, n_samples=None):
    """Labels that are there, of one type, and their rows; errors as `encode_labels`."""
    given, rows, n_samples = _read_labels(y, missing_label, n_samples, "y")
    _check_n_classes(given, 1, n_samples - len(given), missing_label, "y")
    return given, rows


def _read_labels(y, missing_label, n_samples, name):
    """Labels that are there, their rows, and the number of all rows."""
    values = label_column(y, name)
    if n_samples is not None and len(values) != n_samples:
        raise ValueError(
            f"X has {n_samples} texts but {name} has {len(values)} labels; "
            f"pass one label per text."
        )
    is_missing = _find_missing(values, missing_label, name)
    rows = np.flatnonzero(~is_missing)
    return unify(values[rows], rows, name), rows, len(values)


def name_codes(codes, classes, missing_label=None):
    """Labels of codes as users write them, (n_samples,); `missing_label` for -1."""
    if (codes >= 0).all():
        return classes[codes]
    labels = classes[codes].astype(object)
    labels[codes < 0] = missing_label
    if _kind(missing_label) != _kind(classes[:1].tolist()[0]):
        return labels
    array = np.array(labels.tolist())
    is_held = array.dtype.kind == classes.dtype.kind
    return array if is_held and array.tolist() == labels.tolist() else labels


def by_chance(probabilities):
    """Tell which texts were drawn by chance, not taken in any case or afterwards."""
    return (probabilities > 0) & (probabilities < 1)


def check_unicode(classes, labels, rows, name):
    """Raise an error if a label is no valid Unicode, which few files can hold."""
    if classes.dtype.kind != "U":
        return
    wrong = [label for label in classes.tolist() if _SURROGATE.search(label)]
    if wrong:
        first = int(np.argmax(np.isin(labels, wrong)))
        raise ValueError(
            f"{name} has a label that is no valid Unicode in row {rows[first]}: "
            f"{shown(labels, first)}; repair it with "
            f"label.encode(errors='replace').decode()."
        )


def join_classes(classes, labels, name, where):
    """Union of classes and of labels of the same type; numbers are alike."""
    kinds = {classes.dtype.kind, labels.dtype.kind}
    if len(kinds) > 1 and not kinds <= {"i", "u", "f"}:
        raise TypeError(
            f"{name} has {shown(labels)} ({type(labels[0].item()).__name__}) in "
            f"{where}, but labels are such as {shown(classes)} "
            f"({type(classes[:1].tolist()[0]).__name__}); use the same type."
        )
    joined = np.union1d(classes, labels)
    apart = set(classes.tolist()) | set(np.unique(labels).tolist())
    if set(joined.tolist()) != apart:
        raise ValueError(
            f"{name} has {labels.dtype} labels and the others are {classes.dtype}, "
            f"which no type holds together as they are; use int64 or strings."
        )
    return classes if len(joined) == len(classes) else joined


def shown(labels, position=0):
    """Write a label the way users write it, not as a numpy scalar."""
    return repr(labels[position : position + 1].tolist()[0])


def to_list(X):
    """Make a list of a container, by its own method if it has one."""
    for method in ("tolist", "to_pylist", "to_list"):
        if hasattr(X, method):
            return getattr(X, method)()
    return list(X)


def as_frame(table):
    """Make a DataFrame of objects of a table of polars or arrow."""
    # Their own conversion makes floats of integers with gaps.
    names = getattr(table, "column_names", table.columns)
    keys = range(len(names)) if hasattr(table, "column_names") else names
    columns = {j: to_list(table[key]) for j, key in enumerate(keys)}
    return pd.DataFrame(columns, dtype=object).set_axis(names, axis=1)


def unmask(array):
    """Return an array with None in the place of what a mask hides."""
    if not isinstance(array, np.ma.MaskedArray):
        return array
    is_hidden, array = np.ma.getmaskarray(array), array.data
    return np.where(is_hidden, None, array.astype(object)) if is_hidden.any() else array


def label_array(labels, name):
    """Return labels, none of them missing, as a 1-d array that holds them unchanged."""
    column = label_column(labels, name)
    _find_missing(column, None, name)
    return unify(column, range(len(column)), name)


def label_column(y, name):
    """Return `y` as a 1-d array that keeps the labels' own types."""
    if y is None:
        raise ValueError(
            f"This estimator requires {name} to be passed, but the target {name} is "
            f"None: pass one label per text."
        )
    if hasattr(y, "__array__") and not hasattr(y, "__len__"):
        y = np.asarray(y)
    is_ordered = hasattr(y, "__len__") and not isinstance(y, (dict, set, frozenset))
    if isinstance(y, (str, bytes)) or not is_ordered:
        raise ValueError(
            f"{name} is a {type(y).__name__}, but one label per text is expected."
        )
    shape = getattr(y, "shape", None)
    if shape is not None and len(shape) == 2 and shape[1] == 1:
        y = as_frame(y) if hasattr(y, "to_pandas") else y
        if isinstance(y, pd.DataFrame):
            y = y.iloc[:, 0]
        else:
            y = column_or_1d(unmask(np.asanyarray(y)), warn=True)
    elif shape is not None and len(shape) != 1:
        raise ValueError(
            f"{name} has shape {tuple(shape)}, but one label per text is expected; "
            f"select the column that holds the labels."
        )
    if isinstance(getattr(y, "dtype", None), np.dtype):
        column = unmask(y if isinstance(y, np.ndarray) else np.asarray(y))
        return column if column.dtype.kind in "biufU" else column.astype(object)
    column = np.empty(len(y), dtype=object)
    for row, label in enumerate(to_list(y)):  # lists would be taken for columns
        column[row] = None if label is np.ma.masked else label
    return column


def _find_missing(values, missing_label, name):
    """Tell which rows have no label, (n_samples,) of bool."""
    is_null = np.asarray(pd.isna(values), dtype=bool)
    if missing_label is not None and is_null_marker(missing_label):
        return is_null
    if is_null.any():
        row = int(np.argmax(is_null))
        raise ValueError(
            f"{name} has no label in row {row} ({shown(values, row)}); drop such rows, "
            f"or pass missing_label=np.nan to keep their texts without a label."
        )
    return is_marker(values, missing_label, range(len(values)), name)


def is_null_marker(missing_label):
    """Whether `missing_label` is a null value; an error says that it is no value."""
    if not is_scalar(missing_label):
        raise ValueError(
            f"missing_label={missing_label!r} is a {type(missing_label).__name__}, but "
            f"one value is expected, such as -1, '' or np.nan, which stands for all "
            f"null values."
        )
    return bool(pd.isna(missing_label))


def is_marker(values, missing_label, rows, name):
    """Tell which values are `missing_label`, if that is no null value."""
    found = np.zeros(len(values), dtype=bool)
    if is_null_marker(missing_label):
        return found
    kind, written = _kind(missing_label), str(missing_label).removesuffix(".0")
    for i, value in enumerate(values.tolist()):
        its_kind = _kind(value)
        if its_kind == kind:
            found[i] = value == missing_label
        elif its_kind is not None and (
            value == missing_label or str(value).removesuffix(".0") == written
        ):
            raise ValueError(
                f"missing_label={missing_label!r} is of the type "
                f"{type(missing_label).__name__}, but {name} has {value!r} in row "
                f"{rows[i]} ({type(value).__name__}); use the same type."
            )
    return found


def _kind(label):
    """Tell strings, booleans and numbers apart; None for all else."""
    found = next((kind for kind in _KINDS if isinstance(label, kind)), None)
    return numbers.Real if found is numbers.Integral else found


def unify(given, rows, name):
    """Give labels the type they share; errors say which of them has none."""
    if given.dtype == object and len(given):
        given = _unify_objects(given, rows, name)
    if given.dtype.kind == "f":
        check_whole(given, rows, name)
    check_unicode(np.unique(given), given, rows, name)
    return given


def _unify_objects(given, rows, name):
    """Give labels held as objects the type they share."""
    kind = next((kind for kind in _KINDS if isinstance(given[0], kind)), None)
    if kind is numbers.Integral and any(isinstance(label, float) for label in given):
        kind = numbers.Real
    for row, label in zip(rows, given, strict=True):
        is_bool_among_others = isinstance(label, (bool, np.bool_)) and kind != _KINDS[1]
        if kind is None:
            raise TypeError(
                f"{name} holds a type that is no label: row {row} is {label!r} "
                f"({type(label).__name__}); use strings, integers or booleans."
            )
        if not isinstance(label, kind) or is_bool_among_others:
            raise TypeError(
                f"{name} mixes types: row {row} is {label!r} ({type(label).__name__}), "
                f"row {rows[0]} is {shown(given)} ({type(given[0]).__name__}); use "
                f"strings, integers or booleans, one type throughout."
            )
    return hold(given, _HELD_AS[kind], rows, name)


def hold(given, dtype, rows, name):
    """Put labels in an array of a type; an error says which one it would change."""
    values = given.tolist()
    if dtype is str:  # a member of an Enum is what it is equal to, not its name
        values = [str.__str__(value) for value in values]
    if dtype in (np.int64, np.float64):
        for row, value in zip(rows, values, strict=True):
            is_integer = isinstance(value, numbers.Integral)
            if is_integer and not -(2**63) <= value < 2**63:
                raise ValueError(
                    f"{name} has the integer {value} in row {row}, which is too large "
                    f"for 64 bits; use strings."
                )
    array = np.array(values, dtype=dtype)
    for row, label, held in zip(rows, given.tolist(), array.tolist(), strict=True):
        if label != held:
            hint = "strip the NUL at its end" if dtype is str else "use strings"
            raise ValueError(
                f"{name} has the label {label!r} in row {row}, which would become "
                f"{held!r} in an array; {hint}."
            )
    return array


def check_whole(given, rows, name):
    """Raise an error if floats stand for no classes."""
    for is_wrong, problem in (
        (~np.isfinite(given), "contains infinity,"),
        (given != np.round(given), "holds continuous values,"),
        # From here on neighbours are the same number, and may have been merged.
        (np.abs(given) >= 2.0 ** (np.finfo(given.dtype).nmant + 1),
         f"holds numbers too large to be told apart as {given.dtype},"),
    ):  # fmt: skip
        if is_wrong.any():
            first = int(np.argmax(is_wrong))
            raise ValueError(
                f"{name} {problem} such as {shown(given, first)} in row {rows[first]}, "
                f"but classes are expected: strings, integers or booleans."
            )


def _check_n_classes(classes, min_classes, n_missing, missing_label, name):
    """Raise an error if there are too few classes to learn from."""
    if len(classes) >= min_classes:
        return
    found = f"one class only, {shown(classes)}" if len(classes) else "no label at all"
    hint = ""
    if n_missing:
        hint = (
            f"; {n_missing} rows equal missing_label={missing_label!r} "
            f"and count as unlabelled"
        )
    raise ValueError(
        f"{name} has {found}{hint}; "
        + ("a classifier needs at least two classes.", "pass labels.")[min_classes < 2]
    )


def _positions(given, classes, rows, name):
    """Position of each label in the classes, (n_labelled,)."""
    codes = np.searchsorted(classes, given).clip(max=len(classes) - 1)
    unknown = classes[codes] != given
    if unknown.any():
        first = int(np.argmax(unknown))
        raise ValueError(
            f"{name} has the label {shown(given, first)} in row {rows[first]}, which "
            f"is not among the classes {classes.tolist()} seen before."
        )
    return codes
