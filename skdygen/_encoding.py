"""Texts and labels, checked and encoded."""

import numbers
import re

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

_SURROGATE = re.compile("[\ud800-\udfff]")


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
    texts = _to_list(X)
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
    announce, is continuous, has too few classes, or one that is not in `classes`.
    """
    values = _label_column(y, name)
    if n_samples is not None and len(values) != n_samples:
        raise ValueError(
            f"X has {n_samples} texts but {name} has {len(values)} labels; "
            f"pass one label per text."
        )
    is_missing = _find_missing(values, missing_label, name)
    given, rows = values[~is_missing], np.flatnonzero(~is_missing)
    if given.dtype == object:
        given = _unify_objects(given, rows, name)
    if len(given):
        _check_discrete(given, name)
    found = np.unique(given)
    check_unicode(found, given, rows, name)
    _check_n_classes(found, min_classes, is_missing, missing_label, name)
    classes = found if classes is None else classes
    codes = np.full(len(values), -1, dtype=np.int64)
    codes[rows] = _positions(given, classes, rows, name)
    return classes, codes


def name_codes(codes, classes, missing_label=None):
    """Labels of codes as users write them, (n_samples,); `missing_label` for -1."""
    if (codes >= 0).all():
        return classes[codes]
    labels = classes[codes].astype(object)
    labels[codes < 0] = missing_label
    is_alike = isinstance(missing_label, type(labels[np.argmax(codes)]))
    return np.array(labels.tolist()) if is_alike else labels


def encode_verified(verified, classes, n_samples, missing_label=None):
    """Turn verified labels into classes, more than those given if need be, and codes.

    They come as one value for each text, missing where nobody has looked (null, or
    `missing_label`); as a dict or Series from positions to labels; or as a frame with
    the columns "index" and "verified", such as `labels_to_check` gives, which may have
    a "probability", too. These come third, (n_samples,), NaN where they are not known.
    A TypeError says that labels are not of the type of the given ones; a ValueError
    that a position is no text's, or is there twice, or that a probability is none.
    """
    rows, labels = _verified_pairs(verified, n_samples)
    drawn = np.full(n_samples, np.nan)
    if isinstance(verified, pd.DataFrame) and "probability" in verified:
        drawn[rows] = verified["probability"].to_numpy(dtype=float)
        wrong = np.flatnonzero((drawn <= 0) | (drawn > 1))
        if len(wrong):
            raise ValueError(
                f"verified has the probability {drawn[wrong[0]]} for text {wrong[0]}; "
                f"it must be above 0 and at most 1, or missing."
            )
    is_missing = np.asarray(pd.isna(labels), dtype=bool)
    if missing_label is not None and not pd.isna(missing_label):
        is_missing |= np.array([label == missing_label for label in labels], dtype=bool)
    rows, labels = rows[~is_missing], labels[~is_missing]
    codes = np.full(n_samples, -1, dtype=np.int64)
    if not len(rows):
        return classes, codes, drawn
    labels = _unify_objects(labels, rows, "verified")
    if labels.dtype.kind == "f" and classes.dtype.kind in "iu":  # NaN made them so
        _check_discrete(labels, "verified")
        labels = labels.astype(classes.dtype)
    check_unicode(np.unique(labels), labels, rows, "verified")
    classes = join_classes(classes, labels, "verified", f"row {rows[0]}")
    codes[rows] = np.searchsorted(classes, labels)
    return classes, codes, drawn


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
    return classes if len(joined) == len(classes) else joined


def _verified_pairs(verified, n_samples):
    """Positions and labels, as objects, of whatever holds verified labels."""
    if isinstance(verified, pd.DataFrame) and {"index", "verified"} <= set(verified):
        rows, labels = verified["index"].tolist(), verified["verified"]
    elif isinstance(verified, dict):
        rows, labels = list(verified), list(verified.values())
    elif isinstance(verified, pd.Series) and len(verified) != n_samples:
        rows, labels = verified.index.tolist(), verified
    else:
        labels = _label_column(verified, "verified")
        if len(labels) != n_samples:
            raise ValueError(
                f"verified has {len(labels)} rows, but there are {n_samples} texts; "
                f"pass one row per text, missing where nobody has looked, or a dict "
                f"from positions to labels."
            )
        return np.arange(n_samples), labels.astype(object)
    seen = set()
    for row in rows:
        if not isinstance(row, numbers.Integral) or not 0 <= row < n_samples:
            raise ValueError(
                f"verified has a label for text {row!r}, but there are {n_samples} "
                f"texts, counted from 0."
            )
        if row in seen:
            raise ValueError(f"verified has two labels for text {row}; keep one.")
        seen.add(row)
    column = np.empty(len(rows), dtype=object)
    column[:] = _to_list(labels)
    return np.array(rows, dtype=np.int64), column


def shown(labels, position=0):
    """Write a label the way users write it, not as a numpy scalar."""
    return repr(labels[position : position + 1].tolist()[0])


def _to_list(X):
    """Make a list of a container, by its own method if it has one."""
    for method in ("tolist", "to_pylist", "to_list"):
        if hasattr(X, method):
            return getattr(X, method)()
    return list(X)


def _label_column(y, name):
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
    if getattr(y, "shape", None) is None:
        column = np.empty(len(y), dtype=object)
        for row, label in enumerate(_to_list(y)):  # lists would be taken for columns
            column[row] = label
        return column
    column = np.asarray(y)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column_or_1d(column, warn=True)
    if column.ndim != 1:
        raise ValueError(
            f"{name} has shape {column.shape}, but one label per text is expected; "
            f"select the column that holds the labels."
        )
    return column if column.dtype.kind in "biufU" else column.astype(object)


def _find_missing(values, missing_label, name):
    """Tell which rows have no label, (n_samples,) of bool."""
    is_null = np.asarray(pd.isna(values), dtype=bool)
    if missing_label is not None and pd.isna(missing_label):
        return is_null
    if is_null.any():
        row = int(np.argmax(is_null))
        raise ValueError(
            f"{name} has no label in row {row} ({shown(values, row)}); drop such rows, "
            f"or pass missing_label=np.nan to keep their texts without a label."
        )
    if missing_label is None:
        return is_null
    return np.array([value == missing_label for value in values], dtype=bool)


def _unify_objects(given, rows, name):
    """Give labels held as objects the type they share."""
    kinds = (str, (bool, np.bool_), numbers.Integral, numbers.Real)
    for kind in kinds:
        if len(given) and isinstance(given[0], kind):
            break
    else:
        kind = object
    for row, label in zip(rows, given, strict=True):
        is_bool_among_others = isinstance(label, (bool, np.bool_)) and kind != kinds[1]
        if kind is object or not isinstance(label, kind) or is_bool_among_others:
            raise TypeError(
                f"{name} mixes types or holds a type that is no label: row {row} is "
                f"{label!r} ({type(label).__name__}), row {rows[0]} is {shown(given)} "
                f"({type(given[0]).__name__}); use strings, integers or booleans, "
                f"one type throughout."
            )
    return np.array(given.tolist())


def _check_discrete(given, name):
    """Raise an error if labels are numbers that stand for no classes."""
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise ValueError(
            f"{name} contains infinity, but classes are expected: strings, integers or "
            f"booleans."
        )
    try:
        check_classification_targets(given)
    except ValueError as error:
        raise ValueError(
            f"{name} holds continuous values such as {shown(given)}, but classes are "
            f"expected: strings, integers or booleans."
        ) from error


def _check_n_classes(classes, min_classes, is_missing, missing_label, name):
    """Raise an error if there are too few classes to learn from."""
    if len(classes) >= min_classes:
        return
    found = f"one class only, {shown(classes)}" if len(classes) else "no label at all"
    hint = ""
    if is_missing.any():
        hint = (
            f"; {int(is_missing.sum())} rows equal missing_label={missing_label!r} "
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
