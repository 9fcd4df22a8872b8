"""What a table says: texts, their labels, and what somebody has verified of them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .._checked import encode_verified
from .._encoding import encode_labels, fingerprint, name_codes
from .._targets import make_targets
from ._columns import choose_labels, choose_text, read_labels, read_texts, read_verified
from ._encodings import name_encoding
from ._inspect import (
    describe,
    inspect_table,
    merge_spellings,
    name_merged,
    refuse_types,
)
from ._tables import form_of, read_table, spell
from ._terminal import show


@dataclass(frozen=True)
class Data:
    """What is learnt from: a table, what it says, and what is known besides.

    `cells` are the labels of each label column, None where there is none, and `merged`
    says which were spelled otherwise. Labels of several columns are `votes`;
    `are_several` is whether more than one annotator has voted. `verified` has a frame
    for each draw, and `new_classes` are those that only these have; of `n_verified`
    labels some may have been verified before.
    """

    table: pd.DataFrame
    text: str
    texts: list
    cells: dict
    merged: dict
    votes: pd.DataFrame | None
    are_several: bool
    classes: np.ndarray
    new_classes: np.ndarray
    verified: list
    n_verified: int

    @property
    def y(self):
        """The labels of the only column, or None."""
        return next(iter(self.cells.values())) if self.votes is None else None


def open_table(options, fitted=None):
    """Read a table; give it, its column of texts, and the labels of each column."""
    path = options.table
    table = read_table(path, options.encoding)
    columns = choose_labels(table, path, options.label)
    text = choose_text(table, path, options.text, columns, fitted)
    missing = options.missing_label or ()
    return table, text, {name: read_labels(table, name, missing) for name in columns}


def read_data(table, text, cells, options, clf=None):
    """Check what `open_table` gives, and read what is verified.

    `clf` is one that was fitted on the same rows before, or None.
    """
    texts = read_texts(table, text)
    merged = {}
    if options.normalize_labels:
        write, changed = merge_spellings(cells)
        cells = {name: list(map(write, column)) for name, column in cells.items()}
        merged = {"labels merged": name_merged(changed)}
    refuse_types(cells)
    votes = pd.DataFrame(cells, dtype=object) if len(cells) > 1 else None
    classes, codes, are_several = _encode(cells, votes)
    known = set()
    if clf is not None:
        check_rows(clf, texts, options.table, options.refit)
        _check_labels(clf, classes, codes, options)
        classes, known = clf.classes_, {*clf._targets.checked.tolist()}
    verified = read_verified(table, options, [*cells], texts, classes)
    if options.normalize_labels:
        verified = [x.assign(verified=x["verified"].map(write)) for x in verified]
    found = classes
    for draw in verified:
        found = encode_verified(draw, found, len(texts))[0]
        known.update(draw["index"][draw["verified"].notna()])
    return Data(
        table=table, text=text, texts=texts, cells=cells, merged=merged,
        votes=votes, are_several=are_several, classes=classes,
        new_classes=np.setdiff1d(found, classes),
        verified=verified, n_verified=len(known),
    )  # fmt: skip


def describe_table(options, table, text, texts, cells):
    """Say which columns were chosen, and what is in them; give what is odd."""
    show(describe(options.table, text, texts, cells))
    show(name_encoding(form_of(table)))
    if options.missing_label:
        written = {spell(cell) for name in cells for cell in table[name].tolist()}
        unseen = [label for label in options.missing_label if label not in written]
        said = f"no label is {' or '.join(map(repr, unseen))}"
        show({"--missing-label": said} if unseen else {})
    return inspect_table(table, text, texts, cells)


def describe_data(options, data):
    """Say what is there to learn from, and what is odd about it."""
    found = describe_table(options, data.table, data.text, data.texts, data.cells)
    show(data.merged)
    for finding in found:
        show({finding.name: f"{finding.count}; {finding.remedy}"})
    examples = f"skdygen inspect {options.table}, with the same columns"
    show({"examples of these": examples} if found else {})
    new = ", ".join(map(str, data.new_classes))
    extra = f" (classes not among those: {new})" if new else ""
    said = {"labels verified": f"{data.n_verified:,}{extra}"}
    show(said if data.n_verified else {})


def _encode(cells, votes):
    """Give classes, codes of labels or majorities, and whether several voted."""
    if votes is not None:
        targets = make_targets(None, votes=votes, missing_label=np.nan)
        return targets.classes, targets.codes, targets.votes is not None
    ((name, labels),) = cells.items()
    name = f"column {name!r}"
    return *encode_labels(labels, missing_label=np.nan, name=name), False


def check_rows(clf, texts, path, source):
    """Raise an error if a table has other rows than a fit."""
    n_fitted = len(clf.label_distributions_)
    if len(texts) != n_fitted:
        raise ValueError(
            f"{path} has {len(texts):,} rows, but {source} was fitted on {n_fitted:,}; "
            f"pass the same table."
        )
    if clf._fingerprint not in (None, fingerprint(texts)):
        raise ValueError(
            f"{path} has other texts than {source} was fitted on, or its rows are in "
            f"another order; pass the same table."
        )


def _check_labels(clf, classes, codes, options):
    """Raise an error if a table has other labels than a fit."""
    path, source = options.table, options.refit
    before = name_codes(clf._targets.codes, clf.classes_).tolist()
    here = name_codes(codes, classes).tolist()
    for row, (label, its) in enumerate(zip(here, before, strict=True)):
        if label != its:
            raise ValueError(
                f"{path} has the label {label!r} in row {row}, but {source} was fitted "
                f"with {its!r}; pass the same table, --label, --missing-label and "
                f"--normalize-labels."
            )
