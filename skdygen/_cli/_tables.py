"""Tables in files; the name of a file says which kind it is.

Cells stay what they are in the file: strings in CSV and TSV, so that 007 stays 007 and
an empty cell stays empty; the types of JSON and parquet. CSV may be separated by
semicolons, as spreadsheets write it where the comma is the decimal sign; so is then the
CSV that is made of it.
"""

import csv
import gzip
import io
import json
import zlib
from importlib.util import find_spec

from .._storage import replacing
from ._errors import CommandError, explained

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_KINDS = (*_SEPARATORS, *_JSON_LINES)
SUFFIXES = (*_KINDS, *(f"{kind}.gz" for kind in _KINDS), ".parquet")


def split_suffix(path):
    """Split the name of a table into stem and suffix, such as ".csv.gz".

    Parameters
    ----------
    path : Path
        The file, which need not exist.

    Returns
    -------
    stem, suffix : str
        The suffix is as it is written in the name.

    Raises
    ------
    CommandError
        If it is none that can be read or written.
    """
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            break
    else:
        raise CommandError(
            f"{path} is no table by its name; use one that ends in "
            f"{', '.join(SUFFIXES)}."
        )
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        raise CommandError(
            f"{path}: parquet needs pyarrow, which is not installed: "
            f"pip install pyarrow."
        )
    return path.name[: -len(suffix)], path.name[-len(suffix) :]


def read_table(path):
    """Read a table.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    table : DataFrame of n_rows rows
        Rows numbered from 0, unless a parquet file has an index of its own.

    Raises
    ------
    CommandError
        If there is no such file, it is not what its name says, or it has no rows.
    """
    suffix = split_suffix(path)[1].lower()
    if not path.is_file():
        raise CommandError(f"{path} is no file.")
    try:
        table = _read(path, suffix)
    except UnicodeDecodeError as error:
        line = _first_line_not_in_utf8(path)
        raise CommandError(
            f"{path} is not encoded in UTF-8: line {line} has the byte "
            f"0x{error.object[error.start]:02x}; save it as UTF-8."
        ) from error
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    if not len(table):
        raise CommandError(f"{path} has no rows.")
    return table


def check_writable(table, path):
    """Raise an error if a kind of file cannot hold a table that was read from another.

    Parameters
    ----------
    table : DataFrame
        The table.
    path : Path
        The file; it is not written.
    """
    suffix = split_suffix(path)[1].lower()
    if suffix.startswith(tuple(_SEPARATORS)):
        return
    repeated = table.columns[table.columns.duplicated()]
    if len(repeated):
        raise CommandError(
            f"{path} cannot hold two columns {repeated[0]!r}; rename one."
        )
    if suffix == ".parquet":
        with explained(f"{path} cannot hold the table"):
            table.to_parquet(io.BytesIO())


def write_table(table, path):
    """Write a table beside and rename it.

    Parameters
    ----------
    table : DataFrame
        The table.
    path : Path
        The file.
    """
    suffix = split_suffix(path)[1].lower()
    with replacing(path) as beside:
        if suffix == ".parquet":
            table.to_parquet(beside)
            return
        # A lone surrogate, which UTF-8 cannot hold, becomes its escape in JSON.
        with _open(beside, "wt", suffix, errors="backslashreplace") as file:
            if suffix.startswith(_JSON_LINES):
                _write_json_lines(table, file)
            else:
                _write_csv(table, file, suffix)


def _read(path, suffix):
    import pandas as pd

    if suffix == ".parquet":
        # Other types would turn whole numbers with gaps into floats.
        return pd.read_parquet(path, dtype_backend="pyarrow")
    with _open(path, "rt", suffix) as file:
        if suffix.startswith(_JSON_LINES):
            return _read_json_lines(file)
        return _read_csv(file, suffix)


def _open(path, mode, suffix, **params):
    opener = gzip.open if suffix.endswith(".gz") else open
    encoding = "utf-8-sig" if mode == "rt" else "utf-8"
    return opener(path, mode, encoding=encoding, newline="", **params)


def _read_csv(file, suffix):
    import pandas as pd

    separator = _SEPARATORS[suffix.removesuffix(".gz")]
    header = file.readline()
    file.seek(0)
    if ";" in header and separator not in header:
        separator = ";"
    try:
        # As data, the names of columns are left alone, also twice the same.
        # A blank line is a row only where it can be an empty cell.
        table = pd.read_csv(
            file, sep=separator, header=None, dtype=str, keep_default_na=False,
            skip_blank_lines=separator in header,
        )  # fmt: skip
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    names = table.iloc[0].tolist()
    table = table.iloc[1:].reset_index(drop=True).set_axis(names, axis=1)
    table.attrs["separator"] = separator
    return table


def _write_csv(table, file, suffix):
    # Python before 3.13 does not quote a cell because of a lone carriage return.
    cells = table.to_numpy(dtype=object).flat
    has_lone_return = any(
        isinstance(cell, str) and "\r" in cell and "\n" not in cell for cell in cells
    )
    separator = _SEPARATORS[suffix.removesuffix(".gz")]
    if separator == "," and table.attrs.get("separator") == ";":
        separator = ";"
    table.to_csv(
        file,
        sep=separator,
        index=False,
        lineterminator="\n",
        quoting=csv.QUOTE_ALL if has_lone_return else csv.QUOTE_MINIMAL,
    )


def _read_json_lines(file):
    import pandas as pd

    rows = []
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        with explained(f"{file.name} cannot be read: line {number}"):
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("it is no JSON object.")
        rows.append(row)
    return pd.DataFrame(rows, dtype=object)  # NaN where a row lacks a key


def _write_json_lines(table, file):
    import pandas as pd

    names = table.columns.tolist()
    columns = [table.iloc[:, i].tolist() for i in range(len(names))]
    for cells in zip(*columns, strict=True):
        row = {
            name: None if cell is pd.NA else cell
            for name, cell in zip(names, cells, strict=True)
            if not (isinstance(cell, float) and cell != cell)
        }
        file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _first_line_not_in_utf8(path):
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
