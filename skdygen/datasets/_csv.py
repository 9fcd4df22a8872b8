"""Texts and labels from CSV files."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch


def load_noisy_csv(
    path: str | os.PathLike[str],
    *,
    text: str = "text",
    given: str = "label_noisy",
    gold: str | None = None,
) -> Any:
    """Read texts and labels from a CSV file, compressed or not.

    Parameters
    ----------
    path : str or Path
        The file; compression is inferred from its name.
    text : str, default="text"
        Column of the texts.
    given : str, default="label_noisy"
        Column of the given labels; an empty field means that there is none.
    gold : str, default=None
        Column of the right labels, if there is one. They are for scoring only.

    Returns
    -------
    data : `sklearn.utils.Bunch`
        `data`, list of str, the texts; `target`, ndarray of shape (n_samples,), the
        given labels, null where there is none (pass ``missing_label=np.nan`` to
        estimators); and `gold`, the right labels or None. If all labels are
        numbers, each written in the usual way, they are numbers, else strings.

    Raises
    ------
    ValueError
        If a column is missing, or the file has no rows, is not in UTF-8, or has rows
        of more cells than the header. Commas alone at the end of rows do not matter.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skdygen.datasets import load_noisy_csv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "tickets.csv"
    ...     _ = path.write_text("body,tag\\nwhere is it,delivery\\nit broke,\\n")
    ...     data = load_noisy_csv(path, text="body", given="tag")
    >>> data.data, data.target
    (['where is it', 'it broke'], array(['delivery', nan], dtype=object))
    """
    try:
        frame = _read(Path(path))
    except ValueError as error:  # among them those of UTF-8 and of pandas' parser
        problem = str(error).strip()
        raise ValueError(f"{path} is no table in CSV and UTF-8: {problem}.") from error
    for argument, column in (("text", text), ("given", given), ("gold", gold)):
        if column is not None and column not in frame.columns:
            raise ValueError(
                f"{argument}={column!r} is no column of {path}; it has "
                f"{', '.join(map(repr, frame.columns))}."
            )
    if frame.empty:
        raise ValueError(f"{path} has no rows.")
    return Bunch(
        data=frame[text].tolist(),
        target=_labels(frame[given]),
        gold=None if gold is None else _labels(frame[gold]),
    )


def _read(path):
    """Read strings; of rows longer than the header, pandas makes the start an index."""
    params = {"dtype": str, "keep_default_na": False}
    frame = pd.read_csv(path, **params)
    if isinstance(frame.index, pd.RangeIndex):
        return frame
    for row in frame.iloc[:, -frame.index.nlevels :].to_numpy():
        for cell in filter(str.strip, row):
            raise ValueError(
                f"the cell {cell!r} has no column; put quotes around cells that hold "
                f"commas"
            )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.ParserWarning)  # of what is empty
        return pd.read_csv(path, index_col=False, **params)


def _labels(column):
    """Numbers where all labels are, NaN where there is none, (n_samples,)."""
    is_given = (column != "").to_numpy()
    labels = np.where(is_given, column.to_numpy(dtype=object), np.nan)
    given = labels[is_given].tolist()
    for kind in (np.int64, np.float64):
        try:
            numbers = np.array(list(map(kind, given)), dtype=kind)
        except (OverflowError, ValueError):
            continue
        # Others that are written alike, such as 01 and 1, or nan, are no numbers.
        if list(map(str, numbers.tolist())) == given and np.isfinite(numbers).all():
            labels[is_given] = numbers
            return numbers if is_given.all() else labels
    return labels
