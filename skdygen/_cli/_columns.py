"""Which columns hold texts and labels, and what is in them."""

from ._errors import CommandError

_TEXT_NAMES = ("text", "body", "message", "content", "title", "sentence", "document")
_LABEL_NAMES = ("label", "labels", "class", "category", "target", "tag", "y")


def choose_label(table, wanted, path, *, fitted=None, required=True):
    """Choose the column of the labels.

    Parameters
    ----------
    table : DataFrame
        The table.
    wanted : str or None
        Its name; None takes the only column that has one of the usual names.
    path : Path
        Of the table, for error messages.
    fitted : str, default=None
        The column that a model was fitted on, taken first if it is there.
    required : bool, default=True
        Whether it is an error that it cannot be told.

    Returns
    -------
    name : str or None
        None if it cannot be told.
    """
    if wanted is not None:
        return _check_column(table, wanted, "--label", path)
    if fitted in table.columns:
        return _check_column(table, fitted, "--label", path)
    if fitted is not None and not required:
        return None
    found = [name for name in table.columns if str(name).lower() in _LABEL_NAMES]
    if len(found) == 1:
        return found[0]
    if not required:
        return None
    several = f"Several columns of {path} may hold labels, {_show(found)}"
    none = f"No column of {path} is named {', '.join(_LABEL_NAMES)}"
    raise CommandError(
        f"{several if found else none}; name one with --label. It has the columns "
        f"{_show(table.columns)}."
    )


def choose_text(table, wanted, label, path, *, fitted=None):
    """Choose the column of the texts.

    Parameters
    ----------
    table : DataFrame
        The table.
    wanted : str or None
        Its name; None takes one that has a usual name, or the longest texts.
    label : str or None
        The column of the labels, which is another one.
    path : Path
        Of the table, for error messages.
    fitted : str, default=None
        The column that a model was fitted on, taken unless another is wanted.

    Returns
    -------
    name : str
    """
    if wanted is None and fitted is not None:
        if fitted not in table.columns:
            raise CommandError(
                f"{path} has no column {fitted!r}, on which the model was fitted; name "
                f"the one that holds the texts with --text. It has the columns "
                f"{_show(table.columns)}."
            )
        return _check_column(table, fitted, "--text", path)
    if wanted is not None:
        if wanted == label:
            raise CommandError(
                f"--text and --label are both {wanted!r}; name two columns."
            )
        return _check_column(table, wanted, "--text", path)
    for usual in _TEXT_NAMES:
        for name in table.columns:
            if str(name).lower() == usual and name != label:
                return _check_column(table, name, "--text", path)
    lengths = {
        name: _mean_length(table[name].tolist())
        for name in table.columns
        if name != label and (table.columns == name).sum() == 1
    }
    longest = max(lengths, key=lengths.get, default=None)
    if longest is None or not lengths[longest]:
        raise CommandError(
            f"No column of {path} seems to hold texts; name one with --text. It has "
            f"the columns {_show(table.columns)}."
        )
    return longest


def check_new_columns(table, names, path):
    """Raise an error if a table has a column that is to be added."""
    for name in names:
        if name in table.columns:
            raise CommandError(
                f"{path} already has a column {name!r}, which is to be written; "
                f"rename or drop it."
            )


def read_texts(table, column):
    """Give the texts of a table, with an empty string where there is none.

    Parameters
    ----------
    table : DataFrame of n_rows rows
        The table.
    column : str
        Name of the column.

    Returns
    -------
    texts : list of str of length n_rows
    """
    texts = ["" if _is_null(cell) else cell for cell in table[column].tolist()]
    for row, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise CommandError(
                f"Column {column!r} must hold texts, but row {row} is {text!r} "
                f"({type(text).__name__}); name another column with --text."
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise CommandError(
                f"Column {column!r} has a text that is no valid Unicode in row {row}: "
                f"{error.reason}; repair it."
            ) from error
    return texts


def read_labels(table, column, missing_label=None):
    """Give the labels of a table, with None where there is none.

    Parameters
    ----------
    table : DataFrame of n_rows rows
        The table.
    column : str
        Name of the column.
    missing_label : str, default=None
        As what a label is written that means "none", besides an empty cell.

    Returns
    -------
    labels : list of length n_rows
    """
    return [
        None if _is_null(cell) or str(cell) in ("", missing_label) else cell
        for cell in table[column].tolist()
    ]


def _check_column(table, name, option, path):
    times = (table.columns == name).sum()
    if times == 1:
        return name
    found = f"stands {times} times in" if times else "is no column of"
    raise CommandError(
        f"{option} {name!r} {found} {path}; it has {_show(table.columns)}."
    )


def _show(names):
    return ", ".join(map(repr, names))


def _is_null(cell):
    import pandas as pd

    return cell is None or cell is pd.NA or (isinstance(cell, float) and cell != cell)


def _mean_length(cells):
    """Mean length of the strings of a column; 0 if it holds anything else."""
    strings = [cell for cell in cells if isinstance(cell, str)]
    n_others = sum(not _is_null(cell) for cell in cells) - len(strings)
    if n_others or all(map(_is_number, strings)):
        return 0
    return sum(map(len, strings)) / len(cells)


def _is_number(string):
    try:
        float(string)
    except ValueError:
        return string == ""
    return True
