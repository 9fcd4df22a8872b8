"""Single votes: of which text, by whom, for what."""

import logging
from dataclasses import dataclass, replace
from itertools import pairwise, repeat

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype
from scipy import sparse

from ._encoding import (
    as_frame,
    check_unicode,
    check_whole,
    hold,
    is_marker,
    shown,
    unmask,
)

logger = logging.getLogger(__name__)

# What pandas calls labels, and the type they get; holes make floats of integers.
_TYPES = {
    "string": str,
    "boolean": bool,
    "integer": np.int64,
    "floating": np.int64,
    "mixed-integer-float": np.int64,
}


@dataclass(frozen=True)
class Votes:
    """Votes, one after the other, in the order of the texts.

    Parameters
    ----------
    names : ndarray of shape (n_annotators,)
        Names of the annotators, as users write them.
    rows, annotators, codes : ndarray of shape (n_votes,) and dtype int64
        Positions of the text, of the annotator in `names`, and of what it is taken for
        among the classes.
    confidence : ndarray of shape (n_votes,) or None
        How sure the annotator said to be, between 0 and 1; NaN where it did not. None
        if that is so everywhere.
    n_samples : int
        Number of texts.
    """

    names: np.ndarray
    rows: np.ndarray
    annotators: np.ndarray
    codes: np.ndarray
    confidence: np.ndarray
    n_samples: int

    @property
    def trust(self):
        """How much each vote counts, (n_votes,): 1 if its confidence is usual.

        That is the mean of what the annotator states; where nothing is stated, it is 1.
        """
        if self.confidence is None:
            return np.ones(len(self.rows))
        is_stated = ~np.isnan(self.confidence)
        stated = self.annotators[is_stated], self.confidence[is_stated]
        n_each = np.bincount(self.annotators[is_stated], minlength=len(self.names))
        usual = np.bincount(*stated, minlength=len(self.names)) / n_each.clip(min=1)
        usual, found = usual[self.annotators], np.ones(len(self.rows))
        return np.divide(
            self.confidence, usual, out=found, where=is_stated & (usual > 0)
        )

    def shares(self, n_classes):
        """Distribution of the votes on each text, (n_samples, n_classes); 0 of none."""
        counts = np.zeros((self.n_samples, n_classes))
        np.add.at(counts, (self.rows, self.codes), self.trust.clip(min=1e-6))
        totals = counts.sum(axis=1, keepdims=True)
        return counts / np.where(totals > 0, totals, 1)

    def majority(self, n_classes):
        """Class with most votes on each text, (n_samples,); -1 where there is none.

        A tie goes to the class with fewer votes in all, which are the more specific,
        then to the first one.
        """
        shares = self.shares(n_classes)
        totals = np.bincount(self.codes, minlength=n_classes)
        order = np.argsort(totals, kind="stable")
        codes = order[shares[:, order].argmax(axis=1)]
        return np.where(shares.any(axis=1), codes, -1)

    def recode(self, moved):
        """Return the same for other classes, given the new position of each old one."""
        return replace(self, codes=moved[self.codes])

    def keep(self, is_kept):
        """Return some of the votes, (n_votes,) of bool, and those who gave them."""
        found, annotators = np.unique(self.annotators[is_kept], return_inverse=True)
        return replace(
            self,
            names=self.names[found],
            rows=self.rows[is_kept],
            annotators=annotators,
            codes=self.codes[is_kept],
            confidence=None if self.confidence is None else self.confidence[is_kept],
        )


def encode_votes(votes, *, missing_label=None, n_samples=None, confidence=None):
    """Turn votes into classes, sorted, and `Votes`.

    They come as a frame, an array, nested lists or a sparse matrix, a row for each text
    and a column for each annotator; null or `missing_label` is no vote, nor is what a
    sparse matrix does not store. `confidence` has the same shape. Annotators without a
    vote are left out. Only one column at a time becomes dense.

    A TypeError says that votes are of several types; a ValueError that there is none,
    that they are no classes, or that a shape, a name or a confidence is wrong.
    """
    names, columns = _read_columns(votes, "votes", n_samples)
    stated = repeat(None)
    if confidence is not None:
        others, stated = _read_columns(confidence, "vote_confidence", n_samples)
        are_named = hasattr(votes, "columns") and hasattr(confidence, "columns")
        if len(others) != len(names) or (are_named and (others != names).any()):
            raise ValueError(
                f"vote_confidence has {len(others)} columns and votes has "
                f"{len(names)}, or they are named differently; pass the same columns "
                f"in the same order."
            )
    parts, first = [], None
    for j, (column, sure) in enumerate(zip(columns, stated, strict=False)):
        column = column.dropna()
        where = f"votes, in column {shown(names, j)},"
        is_none = is_marker(column.to_numpy(), missing_label, column.index, where)
        column = column[~is_none]
        sure = _read_confidence(sure, shown(names, j)).reindex(column.index)
        if len(column):
            first = column.iloc[:1].tolist()[0] if first is None else first
            labels = _to_labels(column, shown(names, j), first)
            parts.append((column.index, np.full(len(column), j), labels, sure))
    if not parts:
        raise ValueError(
            "votes has no vote at all: every value is missing; pass the label that "
            "each annotator gave, missing where one gave none."
        )
    rows, annotators, labels, sure = map(np.concatenate, zip(*parts, strict=True))
    order = np.argsort(rows, kind="stable")
    classes, codes = np.unique(labels, return_inverse=True)
    check_unicode(classes, labels, rows, "votes")
    encoded = Votes(
        names,
        rows[order].astype(np.int64),
        annotators[order],
        codes[order],
        None if np.isnan(sure).all() else sure[order],
        votes.shape[0] if hasattr(votes, "shape") else len(votes),
    )
    if len(parts) < len(names):
        logger.info(
            "%d of %d annotators have no vote and are left out",
            len(names) - len(parts), len(names),
        )  # fmt: skip
        encoded = encoded.keep(rows >= 0)
    return classes, encoded


def _read_columns(table, name, n_samples):
    """Names of columns, and these one by one: Series of what is at which row."""
    if hasattr(table, "to_pandas"):  # of polars or arrow
        table = as_frame(table)
    if not (isinstance(table, pd.DataFrame) or sparse.issparse(table)):
        if isinstance(table, (list, tuple)):
            table = [r.tolist() if np.ma.isMaskedArray(r) else r for r in table]
        table = unmask(table)
        # Strings would be made of numbers among them.
        table = np.asarray(table, dtype=getattr(table, "dtype", object))
        if table.dtype.kind not in "biuf":
            table = table.astype(object)
    if len(table.shape) != 2:
        raise ValueError(
            f"{name} has shape {table.shape}, but a row for each text and a column for "
            f"each annotator are expected; skdygen.votes has functions that make them."
        )
    if n_samples is not None and table.shape[0] != n_samples:
        raise ValueError(
            f"X has {n_samples} texts but {name} has {table.shape[0]} rows; pass one "
            f"row per text, in the same order."
        )
    if isinstance(table, pd.DataFrame):
        twice = table.columns[table.columns.duplicated()].tolist()
        if twice:
            raise ValueError(
                f"{name} has two columns named {twice[0]!r}; rename one of them."
            )
        columns = (table.iloc[:, j] for j in range(table.shape[1]))
        columns = (column.reset_index(drop=True) for column in columns)
        return table.columns.to_numpy(dtype=object), columns
    names = np.arange(table.shape[1])
    if not sparse.issparse(table):
        # By its dtype, since pandas would try to make strings of Unicode of its own.
        return names, (pd.Series(column, dtype=table.dtype) for column in table.T)
    stored = table.tocsc(copy=True)
    stored.sum_duplicates()
    if stored.nnz < table.nnz:
        raise ValueError(f"{name} stores two values at one place; keep one of them.")
    parts = (slice(*ends) for ends in pairwise(stored.indptr))
    return names, (pd.Series(stored.data[p], stored.indices[p]) for p in parts)


def _read_confidence(column, name):
    """Check how sure an annotator said to be; give what is stated."""
    if column is None:
        return pd.Series(dtype=float)
    stated = column.dropna()
    numbers = pd.to_numeric(stated, errors="coerce").astype(float)
    wrong = ~numbers.between(0, 1)
    if wrong.any():
        raise ValueError(
            f"vote_confidence has {stated[wrong].tolist()[0]!r} in row "
            f"{wrong.idxmax()} of column {name}; it must be between 0 and 1, or "
            f"missing."
        )
    return numbers


def _to_labels(column, name, first):
    """Labels of a column, (n_votes,), in the type that the first of all votes has."""
    values, of_type = column.to_numpy(), _type_of([first])
    if of_type is None or _type_of(values) != of_type:
        row, wrong = next(
            (row, label)
            for row, label in zip(column.index, column.tolist(), strict=True)
            if of_type is None or _type_of([label]) != of_type
        )
        before = f", and {first!r} ({type(first).__name__}) before" if of_type else ""
        raise TypeError(
            f"votes has {wrong!r} ({type(wrong).__name__}) in row {row} of column "
            f"{name}{before}; use strings, integers or booleans, one type throughout."
        )
    where = f"votes, in column {name},"
    if of_type is np.int64:
        is_float = [isinstance(v, (float, np.floating)) for v in values]
        check_whole(values[is_float].astype(float), column.index[is_float], where)
    return hold(values, of_type, column.index, where)


def _type_of(labels):
    """Type that labels have in common; None if there is none, or they are no labels."""
    return _TYPES.get(infer_dtype(labels, skipna=False))
