"""Tables in files; the name of a file says which kind it is.

Cells stay what they are in the file: strings in CSV and TSV, so that 007 stays 007 and
an empty cell stays empty; the types of JSON, parquet and Excel.
"""

import csv
import gzip
import io
import json
import math
import re
import warnings
from contextlib import suppress
from decimal import Decimal
from itertools import count, islice
from operator import itemgetter

import pandas as pd

from .._storage import replacing
from ._encodings import decode, encode

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_TEXT_KINDS = (*_SEPARATORS, ".jsonl", ".ndjson")
_FORM = "skdygen_form"  # in `attrs`, which may be a user's own
_INSTALL_PYARROW = "pyarrow: python -m pip install pyarrow"
_FIRST = 2**20  # characters in which a header and a row are looked for
# What is no number; the last four are =, +, - and @ of full width.
_FORMULA = re.compile(r"(?![-+]?[\d.,]+\Z)[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
SUFFIXES = (*_TEXT_KINDS, *(f"{kind}.gz" for kind in _TEXT_KINDS), ".parquet", ".xlsx")


def split_suffix(path):
    """Split the name of a table into stem and suffix, such as ".csv.gz"."""
    lower = path.name.lower()
    found = [s for s in SUFFIXES if lower.endswith(s) and len(lower) > len(s)]
    if not found:
        ends = ", ".join(SUFFIXES)
        raise ValueError(f"{path} is no table by its name; use one in {ends}.")
    return path.name[: -len(found[0])], path.name[-len(found[0]) :]


def read_table(path, encoding=None, *, fallback="cp1252"):
    """Read a table that has rows; what is wrong with the file is a ValueError.

    What it takes to write one as it came is kept, see `form_of`. `encoding` is that
    of text files without a byte-order mark; None: UTF-8, or, if a CSV or TSV file is
    not that, `fallback`: what spreadsheets save in Western Europe and America.
    """
    suffix = split_suffix(path)[1].lower()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file.")
    try:
        table = _read(path, suffix, encoding, fallback)
    except UnicodeDecodeError as error:
        wanted = encoding or "UTF-8"
        raise ValueError(
            f"{path} is not in {wanted}: {error}; name another with --encoding."
        ) from error
    except ImportError as error:  # all but parquet comes with what skdygen needs
        raise ValueError(f"{path} needs {_INSTALL_PYARROW}.") from error
    except Exception as error:  # zip, gzip and Arrow have errors of their own
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not len(table):
        raise ValueError(f"{path} has no rows.")
    return table


def form_of(table):
    """Return what it takes to write a table as it came, which can be added to."""
    return table.attrs.setdefault(_FORM, {})


def check_writable(table, path, new_columns):
    """Raise an error if a file cannot hold a table of another kind, or new columns."""
    for name in table.columns.intersection(new_columns):
        raise ValueError(f"The table already has a column {name!r}; rename or drop it.")
    try:
        _encode(table, path)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{path} cannot hold {error.object[error.start]!r} in "
            f"{form_of(table)['encoding']}; save TABLE in UTF-8, or --out in .xlsx."
        ) from error
    except ImportError as error:  # as above
        raise ValueError(f"{path} needs {_INSTALL_PYARROW}.") from error
    except Exception as error:  # as above
        raise ValueError(f"{path} cannot hold the table: {error}") from error


def write_table(table, path, *, excel_safe=False):
    """Write a table to a temporary file and rename it.

    With `excel_safe`, nothing in CSV or TSV is a formula; other files have types.
    """
    if excel_safe and split_suffix(path)[1].lower().startswith((".csv", ".tsv")):
        table = _with_own_names(table).map(neutralize).rename(columns=neutralize)
    with replacing(path) as temporary:
        temporary.write_bytes(_encode(table, path))


def neutralize(cell):
    """Put an apostrophe in front of what a spreadsheet would compute."""
    is_formula = isinstance(cell, str) and _FORMULA.match(cell)
    return f"'{cell}" if is_formula else cell


def spell(cell):
    """Write a cell as people do: a whole number, such as one beside gaps, is one."""
    is_whole = isinstance(cell, float) and cell.is_integer()
    return str(int(cell) if is_whole else cell)


def is_null(cell):
    """Whether a cell holds nothing."""
    return cell is None or cell is pd.NA or (isinstance(cell, float) and cell != cell)


def _read(path, suffix, encoding, fallback):
    """Read a DataFrame."""
    if suffix == ".parquet":
        return _read_parquet(path)
    if suffix == ".xlsx":
        table = pd.read_excel(path, header=None, dtype=object, na_filter=False)
        return _name_columns(table).replace({"": None})
    content = path.read_bytes()
    if suffix.endswith(".gz"):
        content = gzip.decompress(content)
    separator = _SEPARATORS.get(suffix.removesuffix(".gz"))
    text, found = decode(content, encoding, fallback if separator else None)
    table = _read_csv(text, separator) if separator else _read_json_lines(text)
    form_of(table).update(found)
    return table


def _encode(table, path):
    """Return the bytes of the file."""
    suffix = split_suffix(path)[1].lower()
    if suffix in (".parquet", ".xlsx"):
        file = io.BytesIO()
        (_write_excel if suffix == ".xlsx" else _write_parquet)(table, file)
        return file.getvalue()
    separator = _SEPARATORS.get(suffix.removesuffix(".gz"))
    if separator:
        content = encode(_to_csv(table, separator), form_of(table))
    else:  # a lone surrogate, which UTF-8 cannot hold, becomes its escape
        text = _to_json_lines(table).replace("\n", form_of(table).get("line_end", "\n"))
        content = text.encode(errors="backslashreplace")
    return gzip.compress(content) if suffix.endswith(".gz") else content


def _name_columns(table):
    """Make the first row the names; those that stand twice are told apart.

    Pandas would do the same, but give empty names others, too.
    """
    own, names = table.head(1).astype(str).to_numpy().ravel().tolist(), []
    for name in own:
        others = (f"{name}.{n}" for n in count(1))
        is_new = name not in names
        names.append(
            name if is_new else next(x for x in others if x not in {*own, *names})
        )
    table = table.iloc[1:].reset_index(drop=True).set_axis(names, axis=1)
    changed = {n: o for n, o in zip(names, own, strict=True) if n != o}
    form_of(table).update({"own_names": changed} if changed else {})
    return table


def _with_own_names(table):
    """Return the table with the names that it came with, some of them twice."""
    own = form_of(table).get("own_names", {})
    return table.set_axis([own.get(name, name) for name in table.columns], axis=1)


def _read_csv(text, separator):
    if not text.strip():
        return pd.DataFrame()
    found, n_columns = _find_separator(text, separator)
    # A blank line is a row only where it can be an empty cell.
    try:
        table = pd.read_csv(
            io.StringIO(text, newline=""), sep=found, header=None, dtype=str,
            keep_default_na=False, skip_blank_lines=n_columns > 1,
        )  # fmt: skip
    except pd.errors.ParserError as error:
        problem = str(error).strip()
        if "Expected" in problem:  # fewer cells than a row has
            problem += "; put quotes around cells that hold the separator"
        raise ValueError(problem) from error
    table = _name_columns(table)
    if found != separator:
        form_of(table)["separator"] = found
    # With a quote for each cell that is quoted, all rows are alike if all cells are.
    rows = re.sub(r'(?:"[^"]*")+', '"', text).splitlines()
    if {*rows} == {found.join('"' * n_columns)}:
        form_of(table)["quoting"] = csv.QUOTE_ALL
    if _has_decimal_comma(table, found):
        form_of(table)["decimal"] = ","
    return table


def _has_decimal_comma(table, separator):
    """Whether numbers are to be written with a comma, as others in the table."""
    if separator == ",":
        return False
    cells = table.head(1000).to_numpy().ravel()
    # Three digits behind a comma may as well be thousands.
    n_commas = sum(bool(re.fullmatch(r"[-+]?\d+,(?!\d{3}\Z)\d+", x)) for x in cells)
    n_points = sum(bool(re.fullmatch(r"[-+]?\d+\.\d+", x)) for x in cells)
    # Spreadsheets write semicolons where the comma is the decimal sign.
    return n_commas >= n_points if separator == ";" else n_commas > n_points


def _find_separator(text, usual):
    """Separator by which header and first row have most cells, and how many."""
    best = usual, (False, 0)
    for separator in dict.fromkeys([usual, ";", "\t"]):
        first = io.StringIO(text[:_FIRST], newline="")
        rows = csv.reader(first, delimiter=separator)
        n_cells = []
        with suppress(csv.Error):  # of a very long cell
            n_cells += map(len, islice(filter(None, rows), 1))
            n_cells += map(len, islice(filter(None, rows), 1))
        if n_cells:
            n_columns = n_cells[0]
            are_equal = n_columns > 1 and len(set(n_cells)) == 1
            best = max(best, (separator, (are_equal, n_columns)), key=itemgetter(1))
    return best[0], best[1][1]


def _to_csv(table, separator):
    form = form_of(table)
    if separator == ",":
        separator = form.get("separator", separator)
    end = form.get("line_end", "\n")
    table = _with_own_names(table)
    params = {"sep": separator, "index": False, "lineterminator": end}
    params["decimal"] = form.get("decimal", ".")
    params["quoting"] = form.get("quoting", csv.QUOTE_MINIMAL)
    text = table.to_csv(**params)
    # Python before 3.13 does not quote a cell because of a lone carriage return.
    has_lone_return = end == "\n" and re.search("\r(?!\n)", text)
    if has_lone_return:
        text = table.to_csv(**params | {"quoting": csv.QUOTE_ALL})
    return text


def _read_json_lines(text):
    """Read an object per line, by Python: pandas would change dates and numbers."""
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(_JSON.decode(line))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if not isinstance(rows[-1], dict):
            raise ValueError(f"line {number}: it is no JSON object.")
    return pd.DataFrame(rows, dtype=object)  # NaN where a row lacks a key


def _read_number(text):
    """Read a number that will be written as the same one."""
    number = float(text)
    if math.isinf(number) or Decimal(text) != Decimal(repr(number)):
        raise ValueError(f"the number {text} cannot be kept; write it as a string.")
    return number


def _refuse(name):
    """Raise an error about NaN or infinity."""
    raise ValueError(f"{name} is no JSON; write null.")


def _read_object(pairs):
    """Make a dict of an object whose keys are all different."""
    found = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice; rename one.")
        found[key] = value
    return found


_JSON = json.JSONDecoder(
    parse_float=_read_number, parse_constant=_refuse, object_pairs_hook=_read_object
)


def _to_json_lines(table):
    """Write an object per row, without the keys whose cells are NaN."""
    for name in table.columns[table.columns.duplicated()]:
        raise ValueError(f"it has two columns {name!r}; rename one.")
    text = ""
    for row in table.to_dict("records"):
        row = {k: v for k, v in row.items() if not isinstance(v, float) or v == v}
        row = {k: None if v is pd.NA else v for k, v in row.items()}
        params = {"ensure_ascii": False, "allow_nan": False, "default": str}
        text += json.dumps(row, **params) + "\n"
    return text


def _read_parquet(path):
    from pyarrow import parquet  # takes a second

    # Other types would turn whole numbers with gaps into floats.
    table = pd.read_parquet(path, dtype_backend="pyarrow")
    # Other files would lose an index with names, of ids, say.
    names = [*table.index.names]
    if not {None, *table.columns} & {*names}:
        table = table.reset_index(names)
        form_of(table)["index"] = names
    columns = (parquet.read_schema(path).pandas_metadata or {}).get("columns", ())
    form_of(table)["types"] = {c["name"]: c["numpy_type"] for c in columns}
    return table


def _write_parquet(table, file):
    """Write what pandas reads in the types that it would have read before."""
    import pyarrow
    from pyarrow import parquet

    names = form_of(table).get("index")
    if names and {*names} <= {*table.columns}:  # not so in what `check` writes
        table = table.set_index(names)
    found = pyarrow.Table.from_pandas(table)
    known, before = found.schema.pandas_metadata, form_of(table).get("types", {})
    for column in known["columns"]:
        # Pandas cannot read the names that it gives to all types of Arrow.
        its_own = re.sub(r".*\[pyarrow\]", "object", column["numpy_type"])
        column["numpy_type"] = before.get(column["name"], its_own)
    known.get("attributes", {}).pop(_FORM, None)
    metadata = found.schema.metadata | {b"pandas": json.dumps(known).encode()}
    parquet.write_table(found.replace_schema_metadata(metadata), file)


def _write_excel(table, file):
    """Write a sheet, in which what looks like a formula or an error stays a text."""
    with warnings.catch_warnings(), pd.ExcelWriter(file, engine="openpyxl") as writer:
        warnings.simplefilter("error")  # of cells that are too long
        _with_own_names(table).to_excel(writer, index=False)
        for row in writer.book.active.iter_rows():
            for cell in row:
                if cell.data_type in "fe":
                    cell.data_type = "s"  # "=> see below"
