"""Which columns of a table hold texts and labels, and what is in them."""

import shlex
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from .._encoding import check_texts
from ._annotation_tools import read_checked
from ._inspect import LIKE_MISSING, key_of
from ._tables import form_of, is_null, neutralize, spell, split_suffix

_TEXT_NAMES = ("text", "body", "message", "content", "title", "sentence", "document")
_LABEL_NAMES = ("label", "labels", "class", "category", "target", "tag", "y")


def choose_labels(table, path, wanted):
    """Choose the columns of these names or patterns, or the only one so named."""
    own = form_of(table).get("own_names", {})  # before those there twice were changed
    found = [n for n in table.columns if str(own.get(n, n)).lower() in _LABEL_NAMES]
    if wanted or len(found) == 1:
        names = [n for each in wanted or found for n in _match(table.columns, each)]
        return [_check(table, path, "--label", name) for name in dict.fromkeys(names)]
    several = f"several columns may hold labels, {found}"
    none = f"no column is named {', '.join(_LABEL_NAMES)}"
    raise ValueError(
        f"{path}: {several if found else none}; name one with --label. It has "
        f"{table.columns.tolist()}."
    )


def choose_text(table, path, wanted, labels=(), fitted=None):
    """Choose the column that is wanted, of the model, so named, or of long texts."""
    if wanted in labels:
        raise ValueError(f"--text and --label are both {wanted!r}; name two columns.")
    if wanted is None and fitted is not None:
        return _check(table, path, "--text defaults to the model's column, but", fitted)
    others = [name for name in table.columns if name not in labels]
    named = [n for usual in _TEXT_NAMES for n in others if str(n).lower() == usual]
    if wanted is not None or named:
        return _check(table, path, "--text", named[0] if wanted is None else wanted)
    lengths = {name: _mean_length(table[name]) for name in others}
    longest = max(lengths, key=lengths.get, default=None)
    if not lengths.get(longest):
        raise ValueError(
            f"{path}: no column seems to hold texts; name one with --text. It has "
            f"{table.columns.tolist()}."
        )
    return longest


def read_texts(table, column):
    """Give the texts of a column, with an empty string where there is none."""
    texts = ["" if is_null(cell) else _spell(cell) for cell in table[column].tolist()]
    return check_texts(texts, name=f"column {column!r}")


def read_labels(table, column, missing_labels=()):
    """Give the labels of a column, with None for an empty cell and `missing_labels`."""
    return [
        None if is_null(cell) or spell(cell) in ("", *missing_labels) else cell
        for cell in table[column].tolist()
    ]


def choose_shown(table, path, options):
    """Give what the report shows of each row, as parameters of `write_report`."""
    # As a spreadsheet counts, the header is row 1.
    has_header = split_suffix(path)[1].lower().startswith((".csv", ".tsv", ".xlsx"))
    params = {"first_row": 2 * has_header}
    if options.id is not None:
        params["ids"] = table[_check(table, path, "--id", options.id)]
    if options.show:
        names = [n for each in options.show for n in _match(table.columns, each)]
        names = [_check(table, path, "--show", name) for name in dict.fromkeys(names)]
        params["columns"] = table[names]
    return params


def read_verified(table, options, labels, texts, classes):
    """Give index, verified label and probability by columns and tables of `check`.

    A frame for each, in their order.
    """
    draws, known = [], set()
    for source in options.verified or ():
        if Path(source).is_file():
            # Written by us, as TABLE, or since then by a spreadsheet or a browser.
            usual = {"fallback": options.encoding} if options.encoding else {}
            found = read_checked(Path(source), **usual)
        elif source in labels:
            raise ValueError(f"--verified and --label are both {source!r}; name two.")
        else:
            _check(table, options.table, "--verified is no file, and", source)
            found = pd.DataFrame({"row": range(len(table)), "verified": table[source]})
        draws.append(_read_checked(found, source, texts, classes, options))
        for row in draws[-1].loc[draws[-1]["verified"].notna(), "index"]:
            if row in known:
                raise ValueError(f"--verified has two labels for row {row}; keep one.")
            known.add(row)
    return draws


def _read_checked(found, path, texts, classes, options):
    """Read what somebody has filled in, in a table as `check` has written it."""
    for name in ("row", "verified"):
        _check(found, path, "--verified needs a column, but", name)
    labels = read_labels(found, "verified", options.missing_label or ())
    try:
        labels = _find_classes(labels, classes.tolist(), found["row"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if all(label is None for label in labels):
        raise ValueError(f"--verified {path}: nothing is verified there.")
    drawn = [None] * len(found)
    if "probability" in found:
        drawn = read_labels(found, "probability")
    found = found.reset_index(drop=True)
    found["verified"] = pd.Series(labels, dtype=object)
    found["probability"] = pd.Series(drawn, dtype=object)
    # Rows that were drawn and passed over tell how many were.
    found = found[found["verified"].notna() | found["probability"].notna()]
    rows = pd.to_numeric(found["row"], errors="coerce")
    for cell in found["row"][~rows.isin(range(len(texts)))]:
        raise ValueError(f"{path}: {cell!r} is no row of {options.table}.")
    rows, cells = rows.astype(int).tolist(), found["probability"]
    drawn = pd.to_numeric(cells.replace(",", ".", regex=True), errors="coerce")
    for cell in cells[cells.notna() & ~drawn.between(0, 1, inclusive="right")]:
        raise ValueError(f"{path}: {cell!r} is no probability of being drawn.")
    # Spreadsheets change blanks, and may cut what is long; a report may lack the text.
    for row, text in zip(rows, found.get("text", ()), strict=False):
        if is_null(text) or text == "":
            continue
        known = [t.split()[:20] for t in (texts[row], neutralize(texts[row]))]
        if str(text).split()[:20] not in known:
            raise ValueError(f"{path}: row {row} has another text now; check again.")
    labels = found["verified"].tolist()
    return pd.DataFrame({"index": rows, "verified": labels, "probability": [*drawn]})


def _find_classes(labels, classes, rows):
    """Give the classes that are meant, None where no label is.

    Typed in, and maybe in a file of another kind: "1.0" or "1 " is the class 1, and
    "FALSE" is False, if no other class is spelled so. What is like none is new.
    """
    spelled = {spell(label): label for label in classes}
    spelled = {neutralize(name): x for name, x in spelled.items()} | spelled
    alike, found = defaultdict(list), []
    for label in classes:
        alike[key_of(label)].append(label)
    for row, label in zip(rows, labels, strict=True):
        name = "" if label is None else spell(label)
        if not name.strip():
            found.append(None)
            continue
        exact = [spelled[x] for x in (name, name.strip()) if x in spelled]
        near = exact[:1] or alike.get(key_of(name), ())
        if len(near) > 1:
            raise ValueError(
                f"{label!r} in row {row} may be each of {near}; write one of them."
            )
        if not near and name.strip().casefold() in LIKE_MISSING:
            raise ValueError(
                f"{label!r} in row {row} is no class, but looks like no label; leave "
                f"the cell empty, or pass --missing-label {shlex.quote(name)}."
            )
        found.append(near[0] if near else label)
    return found


def _spell(cell):
    """Spell a number, which a spreadsheet makes of a text such as 2024."""
    return spell(cell) if type(cell) in (int, float) else cell


def _match(columns, wanted):
    """Names that fit a pattern, or what is wanted itself if there are none."""
    is_name = wanted in columns  # which may have brackets
    found = [n for n in columns if not is_name and fnmatchcase(str(n), wanted)]
    return found or [wanted]


def _check(table, path, option, name):
    """Return the name of a column, if a table has it."""
    columns = table.columns.tolist()
    if name not in columns:
        raise ValueError(f"{option} {name!r} is no column of {path}; it has {columns}.")
    return name


def _mean_length(column):
    """Mean length of the texts of a column; 0 if it holds numbers or other things."""
    cells = [_spell(x) for x in column.tolist() if not is_null(x) and x != ""]
    are_texts = all(isinstance(cell, str) for cell in cells)
    if not are_texts or pd.to_numeric(pd.Series(cells), errors="coerce").notna().all():
        return 0
    return sum(map(len, cells)) / len(column)
