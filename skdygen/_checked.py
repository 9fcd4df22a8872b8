"""Verified labels as users give them: read, put in order, encoded."""

import numbers

import numpy as np
import pandas as pd

from ._encoding import (
    as_frame,
    check_order,
    is_marker,
    join_classes,
    label_column,
    shown,
    to_list,
    unify,
)


def is_several(verified):
    """Tell whether verified labels are a list of frames, dicts or Series, one a draw.

    A list of labels has one for each text.
    """
    is_list = isinstance(verified, (list, tuple))
    return is_list and all(
        hasattr(draw, "keys") or _is_table(draw) for draw in verified
    )


def by_position(verified, index, n_samples):
    """Give verified labels positions for their index, if they and the texts have one.

    A ValueError says that the texts have none such, or several, or that there is one
    for each in another order.
    """
    if is_several(verified):
        return [by_position(draw, index, n_samples) for draw in verified]
    verified = _of_pandas(verified)
    is_table = isinstance(verified, pd.DataFrame) and "text" not in verified
    if index is not None and is_table:
        _check_positions(verified, pd.Index(index))
    if index is None or not isinstance(verified, pd.Series):
        return verified
    index = pd.Index(index)  # an array after `load`
    if len(verified) == n_samples:
        check_order("verified", verified, index)
        return verified
    twice = index[index.duplicated()]
    for is_wrong, found in (
        (~verified.index.isin(index), "is not in"),
        (verified.index.isin(twice), "stands for several texts in"),
    ):
        if is_wrong.any():
            raise ValueError(
                f"verified has a label for {shown(verified.index[is_wrong])}, which "
                f"{found} the index of X; pass a dict from positions to labels."
            )
    return verified.set_axis(index.get_indexer_for(verified.index))


def _check_positions(table, index):
    """Raise an error if rows of a table have the index of X, but others' positions."""
    if isinstance(table.index, pd.RangeIndex) or not table.index.isin(index).all():
        return
    for i, row in enumerate(table.get("index", ())):
        is_position = isinstance(row, numbers.Integral) and 0 <= row < len(index)
        if is_position and index[row] != table.index[i]:  # others have their own error
            raise ValueError(
                f"verified has the position {row} for {shown(table.index, i)}, but X "
                f"has {shown(index, row)} there; pass it with the texts it was made of."
            )


def check_same_texts(verified, texts):
    """Raise an error if a frame of verified labels has other texts at its positions."""
    for draw in verified if is_several(verified) else ():
        check_same_texts(draw, texts)
    is_table = isinstance(verified, pd.DataFrame) and {"index", "text"} <= {*verified}
    if texts is None or not is_table:
        return
    for row, text in zip(verified["index"], verified["text"], strict=True):
        if not (isinstance(row, numbers.Integral) and 0 <= row < len(texts)):
            continue  # an error of its own
        # Tables change blanks and cut what is long.
        if isinstance(text, str) and text.split()[:20] != texts[row].split()[:20]:
            raise ValueError(
                f"verified has the text {text[:40]!r} for position {row}, but X has "
                f"{texts[row][:40]!r} there; pass it with the texts it was made of."
            )


def encode_verified(verified, classes, n_samples, missing_label=None):
    """Turn verified labels into classes, more than those given if need be, and codes.

    They come as one value for each text, missing where nobody has looked (null, or
    `missing_label`); as a dict or Series from positions to labels; or as a frame with
    the columns "index" and "verified", such as `labels_to_check` gives, which may have
    a "probability", too. These come third, (n_samples,), NaN where they are not known.
    A TypeError says that labels are not of the type of the given ones; a ValueError
    that a position is no text's, or is there twice, or that a probability is none.
    """
    verified = _of_pandas(verified)
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
    is_missing |= is_marker(labels, missing_label, rows, "verified")
    # A cell that is left empty can come back as "", which is a class in `y` alone.
    given = {*classes.tolist()}
    blank = [isinstance(x, str) and not x.strip() and x not in given for x in labels]
    is_missing |= np.array(blank, dtype=bool)
    rows, labels = rows[~is_missing], labels[~is_missing]
    codes = np.full(n_samples, -1, dtype=np.int64)
    if not len(rows):
        return classes, codes, drawn
    labels = unify(labels, rows, "verified")
    if labels.dtype.kind == "f" and classes.dtype.kind in "iu":  # NaN made them so
        labels = labels.astype(np.int64)
    classes = join_classes(classes, labels, "verified", f"row {rows[0]}")
    codes[rows] = np.searchsorted(classes, labels)
    return classes, codes, drawn


def _of_pandas(verified):
    """Make a DataFrame of a table of polars or arrow with several columns."""
    is_other = _is_table(verified) and hasattr(verified, "to_pandas")
    return as_frame(verified) if is_other else verified


def _is_table(verified):
    """Tell whether verified labels have several columns."""
    return len(getattr(verified, "shape", ())) == 2 and verified.shape[1] > 1


def _verified_pairs(verified, n_samples):
    """Positions and labels, as objects, of whatever holds verified labels."""
    if isinstance(verified, pd.DataFrame) and {"index", "verified"} <= set(verified):
        rows, labels = verified["index"].tolist(), verified["verified"]
    elif isinstance(verified, dict):
        rows, labels = list(verified), list(verified.values())
    elif isinstance(verified, pd.Series) and len(verified) != n_samples:
        rows, labels = verified.index.tolist(), verified
    else:
        labels = label_column(verified, "verified")
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
    column[:] = to_list(labels)
    return np.array(rows, dtype=np.int64), column
