"""What is odd about a table, found before anything is trained."""

import re
import shlex
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from textwrap import shorten

import pandas as pd

from .._encoding import find_copies
from ._tables import form_of, is_null, spell

LIKE_MISSING = {
    "", "n/a", "n.a.", "na", "#n/a", "<na>", "nan", "nil", "null", "none", "missing",
    "unknown", "undefined", "unlabeled", "unlabelled", "tbd", "-", "--", "?",
}  # fmt: skip
# A class of fewer labels is hardly learnt; one of more classes is hardly a label.
_FEWEST_LABELS, _MOST_CLASSES = 5, 1000
# Not between two digits: 1-2 is not 12. At the end, a minus or a plus may be a grade.
_SEPARATORS = r"[\s\-\u2010-\u2015_.,;:/'\u2019\"()\[\]]+"
_BETWEEN = re.compile(
    rf"(?<=\w){_SEPARATORS}(?=[^\W\d])|(?<=[^\W\d]){_SEPARATORS}(?=\w)"
)
_AROUND = " \t\r\n_.,;:'\u2019\"()[]"
_SCALARS = (str, int, float, type(None))
_WHOLE = re.compile(r"([-+]?\d+)(?:[.,]0{0,2})?")


@dataclass(frozen=True)
class Finding:
    """Something odd: its name, how much of it, an example, and what to do about it."""

    name: str
    count: str
    example: str
    remedy: str


def inspect_table(table, text, texts, cells):
    """List what is odd about a table.

    `texts` are those of the column `text`, and `cells` the labels of each label column,
    None where there is none.
    """
    labels = _as_scalars(cells)
    counts = _count(labels)
    first = _first_rows(labels)
    # Annotators of one text may well differ.
    repeated = _repeated(texts, labels[0]) if len(labels) == 1 else []
    found = [
        _find_alike(counts, first),
        _find_like_missing(counts, first),
        _find_no_scalars(cells),
        _find_types(counts, first),
        _find_rare(counts, first),
        *_find_no_labels(table, text, cells, labels, counts, first),
        _find_no_texts(table, text, texts, cells),
        _find_conflicts(repeated, texts, labels[0]),
        _find_twice(repeated, texts, labels[0]),
        _find_empty_rows(table),
        _find_lonely_labels(texts, labels),
        _find_separator(table),
        _find_names(table),
    ]
    return [finding for finding in found if finding is not None]


def merge_spellings(cells):
    """Give a function that writes labels alike, and what it changes, to how often.

    Labels that differ by case, space, punctuation or number format only become the most
    frequent of them; where there are strings and numbers, all become strings.
    """
    counts = _count(_as_scalars(cells))
    best = {}
    for label, _ in counts.most_common():
        best.setdefault(key_of(label), label)
    are_mixed = len({isinstance(label, str) for label in best.values()}) > 1

    def write(label):
        if label is None:
            return None
        found = best.get(key_of(label), label)
        return spell(found) if are_mixed else found

    merged = {old: (write(old), n) for old, n in counts.items()}
    return write, {k: v for k, v in merged.items() if spell(k) != spell(v[0])}


def name_merged(merged):
    """Say what has become what."""
    into = defaultdict(list)
    for label, (best, n) in merged.items():
        into[best].append(f"{label!r} ({n:,})")
    said = [f"{', '.join(old)} to {best!r}" for best, old in into.items()]
    return shorten("; ".join(said) or "none", 200, placeholder=" ...")


def refuse_types(cells):
    """Raise an error about labels that are partly strings and partly not."""
    labels = _as_scalars(cells)
    counts = _count(labels)
    found = _find_types(counts, _first_rows(labels))
    if found is not None:
        raise TypeError(
            f"{_name_columns(cells)}: labels of two types, {found.example}; "
            f"{found.remedy}."
        )


def describe(path, text, texts, cells):
    """Say which columns were chosen, and how much is in them."""
    labels = _as_scalars(cells)
    n_missing = sum(row.count(None) == len(row) for row in zip(*labels, strict=True))
    missing = f"{n_missing:,} without a label, {texts.count(''):,} without text"
    counts = _count(labels)
    largest = ", ".join(f"{_shown(x)} ({n:,})" for x, n in counts.most_common(8))
    return {
        "texts": f"column {text!r} of {path}",
        "labels": shorten(_name_columns(cells), 200, placeholder=" ..."),
        "rows": f"{len(texts):,} ({missing})",
        "classes": f"{len(counts)}: {largest}",
    }


def key_of(label):
    """Give what labels have in common that differ by how they are written only."""
    text = unicodedata.normalize("NFKC", spell(label)).casefold().strip()
    number = _WHOLE.fullmatch(text)
    if number:
        return int(number[1])
    return _BETWEEN.sub("", text.strip(_AROUND)) or text


def _name_columns(cells):
    """Name the columns of labels."""
    return f"column{'s' * (len(cells) > 1)} {', '.join(map(repr, cells))}"


def _count(labels):
    """Count the labels of all columns."""
    counts = Counter(label for column in labels for label in column)
    counts.pop(None, None)
    return counts


def _as_scalars(cells):
    """Columns of labels, those that are none, such as lists, as strings."""
    return [
        [cell if isinstance(cell, _SCALARS) else str(cell) for cell in column]
        for column in cells.values()
    ]


def _first_rows(labels):
    """Find the first row of each label."""
    first = {}
    for column in labels:
        for row, label in enumerate(column):
            first[label] = min(row, first.get(label, row))
    return first


def _list(labels, counts, first):
    """Write labels with their numbers, and where the last of them is."""
    shown = labels[:5]
    listed = [f"{_shown(label)} ({counts[label]:,})" for label in shown]
    listed[-1] = f"{listed[-1][:-1]}, row {first[shown[-1]]})"
    rest = f" and {len(labels) - 5:,} more" * (len(labels) > 5)
    return f"{', '.join(listed)}{rest}"


def _shown(value, width=40):
    """Write a value in few characters, as Python does."""
    written = repr(value)
    return written if len(written) <= width else f"{written[: width - 4]} ..."


def _find_alike(counts, first):
    groups = defaultdict(list)
    for label, _ in counts.most_common():
        groups[key_of(label)].append(label)
    groups = [group for group in groups.values() if len(group) > 1]
    if groups:
        n = sum(map(len, groups))
        return Finding(
            "classes written alike", f"{n:,}, of what may be {len(groups):,}",
            _list(groups[0], counts, first), "--normalize-labels merges them",
        )  # fmt: skip


def _find_like_missing(counts, first):
    found = [
        label
        for label in counts
        if isinstance(label, str) and label.strip().casefold() in LIKE_MISSING
    ]
    if found:
        options = " ".join(f"--missing-label {shlex.quote(x)}" for x in found)
        n = sum(counts[label] for label in found)
        return Finding(
            "labels like none", f"{n:,}", _list(found, counts, first),
            f"{options}, if they mean no label",
        )  # fmt: skip


def _find_no_scalars(cells):
    found = [
        (cell, row)
        for column in cells.values()
        for row, cell in enumerate(column)
        if not isinstance(cell, _SCALARS)
    ]
    if found:
        cell, row = found[0]
        return Finding(
            "labels that are none", f"{len(found):,}, such as a {type(cell).__name__}",
            f"{_shown(cell)} (row {row})", "write one string or whole number each",
        )  # fmt: skip


def _find_types(counts, first):
    texts = [label for label in counts if isinstance(label, str)]
    others = [label for label in counts if not isinstance(label, str)]
    if texts and others:
        few, many = sorted((texts, others), key=len)
        return Finding(
            "labels of two types", f"{len(few):,} of {len(counts):,} classes",
            f"beside {_shown(many[0])}: {_list(few, counts, first)}",
            "--normalize-labels makes all of them strings",
        )  # fmt: skip


def _find_rare(counts, first):
    found = [label for label, n in counts.items() if n < _FEWEST_LABELS]
    n_rare = sum(counts[label] for label in found)
    if found and n_rare < sum(counts.values()) / 2:  # else it is no column of labels
        return Finding(
            "rare classes",
            f"{len(found):,} of {len(counts):,} have less than {_FEWEST_LABELS} labels",
            _list(found, counts, first),
            "read these by hand: what is rare looks like a mistake",
        )


def _find_no_labels(table, text, cells, labels, counts, first):
    """Find columns that can hardly be labels, each for itself."""
    for name, column in zip(cells, labels, strict=True):
        given = [label for label in column if label is not None]
        classes = dict.fromkeys(given)
        words = [str(label) for label in classes]
        problem = None
        if len(classes) < 2:
            problem = "one class only" if classes else "no label at all"
            problem = problem if len(labels) == 1 else None  # a rule may well be so
        elif any(isinstance(x, float) and not x.is_integer() for x in classes) or (
            len(classes) > 20 and _are_fractions(words)
        ):
            problem = f"{len(classes):,} numbers with decimals, which are no classes"
        elif len(classes) > _MOST_CLASSES or len(classes) > max(len(given) / 2, 20):
            problem = f"{len(classes):,} classes in {len(given):,} labels, as ids have"
        if problem:
            example = f"{_shown(next(iter(classes), ''))} (row {_row(column)})"
            other = _other_columns(table, {text, *cells})
            yield Finding(
                "column of labels", f"{name!r} has {problem}", example,
                f"--label names another: {other}" if other else "--label names another",
            )  # fmt: skip


def _row(column):
    """Find the first row with a label; 0 if none has one."""
    return next((row for row, label in enumerate(column) if label is not None), 0)


def _are_fractions(words):
    """Whether all are numbers, and some of them no whole ones."""
    numbers = pd.to_numeric(pd.Series(words), errors="coerce")
    return bool(numbers.notna().all() and (numbers % 1 != 0).any())


def _other_columns(table, but):
    """Name columns that may be labels, with their numbers of classes."""
    found = []
    for position, name in enumerate(table.columns):
        cells = table.iloc[:, position].tolist()
        n_classes = len({spell(x) for x in cells if not is_null(x) and x != ""})
        if name not in but and 2 <= n_classes <= min(200, len(table) / 5):
            found.append(f"{name!r} ({n_classes} classes)")
    return ", ".join(found[:3])


def _find_no_texts(table, text, texts, cells):
    """Find out whether the column of texts can be one."""
    found = [each for each in texts if each.strip()]
    if not found:
        return None
    distinct, problem = set(found), None
    are_words = [
        each.isascii() and not re.search(r"\s", each.strip()) for each in found
    ]
    if pd.to_numeric(pd.Series(found), errors="coerce").notna().all():
        problem = "numbers only"
    elif len(distinct) < max(2, len(found) / 20):
        problem = f"{len(distinct):,} different texts only, as a column of labels has"
    elif sum(are_words) > 0.9 * len(found):  # there are scripts without spaces
        problem = "single words, as a column of ids has"
    if problem:
        row = texts.index(found[0])
        return Finding(
            "column of texts", f"{text!r} has {problem}",
            f"{_shown(found[0])} (row {row})", "--text names another",
        )  # fmt: skip


def _find_conflicts(repeated, texts, labels):
    differ = [r for r in repeated if len({labels[row] for row in r}) > 1]
    if differ:
        a = differ[0][0]
        b = next(row for row in differ[0] if labels[row] != labels[a])
        return Finding(
            "texts with other labels", _count_rows(differ),
            f"{_shown(labels[a])} (row {a}) and {_shown(labels[b])} (row {b}): "
            f"{_shown(texts[a], 60)}",
            "at most one label of each is right: read these first",
        )  # fmt: skip


def _find_twice(repeated, texts, labels):
    alike = [r for r in repeated if len({labels[row] for row in r}) == 1]
    if alike:
        a, b = alike[0][:2]
        return Finding(
            "texts that are there twice", _count_rows(alike),
            f"rows {a} and {b}: {_shown(texts[a], 60)}",
            "nothing to do: none speaks for the label of the other; if several people "
            "gave them, a column for each says more",
        )  # fmt: skip


def _repeated(texts, labels):
    """List the rows of each text that is there several times with a label."""
    rows_of = defaultdict(list)
    for row, first in enumerate(find_copies(texts).tolist()):
        if labels[row] is not None and texts[row].strip():
            rows_of[first].append(row)
    return [rows for rows in rows_of.values() if len(rows) > 1]


def _count_rows(groups):
    """Say how many rows there are in groups of texts that are the same."""
    return f"{sum(map(len, groups)):,} rows, of {len(groups):,} different texts"


def _find_empty_rows(table):
    rows = _empty(table)
    if rows:
        return Finding(
            "empty rows", f"{len(rows):,}", f"row {rows[0]}",
            "delete them: they are kept, and get labels without a reason",
        )  # fmt: skip


def _empty(table):
    """List the rows in which nothing is written."""
    is_empty = [True] * len(table)
    for position in range(table.shape[1]):
        cells = table.iloc[:, position].tolist()
        is_empty = [
            empty and (is_null(x) or (isinstance(x, str) and not x.strip()))
            for empty, x in zip(is_empty, cells, strict=True)
        ]
    return [row for row, empty in enumerate(is_empty) if empty]


def _find_lonely_labels(texts, labels):
    rows = [
        row
        for row, each in enumerate(texts)
        if not each.strip() and any(column[row] is not None for column in labels)
    ]
    if rows:
        return Finding(
            "labels without text", f"{len(rows):,}", f"row {rows[0]}",
            "delete them, or name another column with --text: they say nothing",
        )  # fmt: skip


def _find_separator(table):
    found = form_of(table).get("separator")
    if found is not None:
        return Finding(
            "separator", f"{found!r}, which is not what the name says",
            f"columns {shorten(', '.join(map(repr, table.columns)), 60)}",
            "nothing to do: it is read and written so",
        )  # fmt: skip


def _find_names(table):
    changed = form_of(table).get("own_names")
    if changed:
        new, own = next(iter(changed.items()))
        return Finding(
            "columns of one name", f"{len(changed):,}", f"{new!r} is another {own!r}",
            "say these names to --text and --label; the header is written as it was",
        )  # fmt: skip
