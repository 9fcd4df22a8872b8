"""Several labels for a text: tables of votes from other forms, and majorities."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from ._encoding import name_codes
from ._votes import encode_votes

__all__ = ["majority_vote", "votes_from_lists", "votes_from_long"]


def majority_vote(votes: Any, missing_label: Any = None) -> np.ndarray:
    """Give the label of each text that most annotators gave.

    It is what `DyGenClassifier.fit` takes for `y` if that is None, and what splitters
    and scores can be given. A tie goes to the class that has fewer votes in all: what
    is said of few texts is the more specific. Then it goes to the first one in the
    order of the classes.

    Parameters
    ----------
    votes : array-like, DataFrame or sparse matrix of shape (n_samples, n_annotators)
        As for `DyGenClassifier.fit`.
    missing_label : object, default=None
        The value that means "no vote", besides nulls, and the label of a text that has
        none. None is null; with such a text, estimators take ``missing_label=np.nan``.

    Returns
    -------
    y : ndarray of shape (n_samples,)
        The labels; of dtype object if some are missing and of another type.

    Raises
    ------
    ValueError, TypeError
        If votes are no table of classes of one type, or nobody voted.

    Examples
    --------
    >>> from skdygen.votes import majority_vote
    >>> votes = [["ham", "ham", "spam"], [None, "spam", None], [None, None, None]]
    >>> majority_vote(votes, missing_label="")
    array(['ham', 'spam', ''], dtype='<U4')
    """
    classes, votes = encode_votes(votes, missing_label=missing_label)
    return name_codes(votes.majority(len(classes)), classes, missing_label)


def votes_from_long(
    table: Any,
    *,
    text: Any = "text",
    annotator: Any = "annotator",
    label: Any = "label",
) -> pd.DataFrame:
    """Make a table of votes from one that has a row for each vote.

    Parameters
    ----------
    table : DataFrame
        A vote in each row.
    text : str, default="text"
        Column of the texts, or of what identifies them.
    annotator : str, default="annotator"
        Column of who voted.
    label : str, default="label"
        Column of the labels; null is no vote.

    Returns
    -------
    votes : DataFrame of shape (n_texts, n_annotators)
        The labels, null where somebody did not vote; texts as its index, annotators as
        its columns, both in the order in which they come.

    Raises
    ------
    ValueError
        If a column is missing, a text or an annotator is null, or somebody voted twice
        on one text.

    Examples
    --------
    >>> import pandas as pd
    >>> from skdygen.votes import votes_from_long
    >>> table = pd.DataFrame(
    ...     [
    ...         ["you won a prize", "ann", "spam"],
    ...         ["see you at six", "ann", "ham"],
    ...         ["you won a prize", "bob", "spam"],
    ...     ],
    ...     columns=["text", "annotator", "label"],
    ... )
    >>> votes = votes_from_long(table)
    >>> votes.index.tolist(), votes.columns.tolist()
    (['you won a prize', 'see you at six'], ['ann', 'bob'])
    >>> votes.loc["you won a prize"].tolist()
    ['spam', 'spam']

    ``DyGenClassifier().fit(votes.index, votes=votes)`` takes it as it is. Searches and
    cross-validation want a list: ``list(votes.index)``.
    """
    for argument, column in (
        ("text", text),
        ("annotator", annotator),
        ("label", label),
    ):
        if column not in table:
            raise ValueError(
                f"{argument}={column!r} is no column of the table; it has "
                f"{', '.join(map(repr, table.columns))}."
            )
    for column in (text, annotator):
        if (is_null := table[column].isna().to_numpy()).any():
            raise ValueError(
                f"column {column!r} is null in row {is_null.argmax()}; drop such rows."
            )
    votes = table[table[label].notna()]
    if (is_twice := votes.duplicated([text, annotator])).any():
        who, what = votes.loc[is_twice, [annotator, text]].astype(object).iloc[0]
        raise ValueError(
            f"annotator {who!r} has two labels for text {what!r}; keep one of them."
        )
    votes = votes.astype({label: object})  # integers would be floats beside holes
    votes = votes.pivot(index=text, columns=annotator, values=label)
    return votes.reindex(index=table[text].unique(), columns=table[annotator].unique())


def votes_from_lists(rows: Any) -> pd.DataFrame:
    """Make a table of votes from the list of votes on each text.

    Parameters
    ----------
    rows : sequence of length n_texts
        For each text a list of pairs, (annotator, label), or the same as JSON text;
        empty where nobody voted.

    Returns
    -------
    votes : DataFrame of shape (n_texts, n_annotators)
        The labels, null where somebody did not vote; a column for each annotator, in
        the order in which they come.

    Raises
    ------
    ValueError
        If a row is no list of pairs, or somebody voted twice on one text.

    Examples
    --------
    >>> from skdygen.votes import votes_from_lists
    >>> votes = votes_from_lists(['[["ann", 1], ["bob", 0]]', "[]", [("bob", 1)]])
    >>> votes.shape, votes["bob"].tolist()
    ((3, 2), [0, nan, 1])
    """
    votes = []
    for i, row in enumerate(rows):
        try:
            pairs = json.loads(row) if isinstance(row, str) else row
            if any(isinstance(each, (str, dict)) for each in (pairs, *pairs)):
                raise TypeError("two letters are no pair")
            votes += [(i, annotator, label) for annotator, label in pairs]
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"row {i} is {row!r}, but a list of pairs, (annotator, label), is "
                f"expected, or the same as JSON text."
            ) from error
    table = pd.DataFrame(votes, columns=["text", "annotator", "label"], dtype=object)
    found = votes_from_long(table).reindex(range(len(rows)))
    return found.rename_axis(index=None, columns=None)
