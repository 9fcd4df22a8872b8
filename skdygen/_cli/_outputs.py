"""Files to be written: all are checked before there is anything to lose."""

import os
from pathlib import Path

from .._storage import is_saved_model
from ._errors import EXPLAINED, CommandError
from ._tables import split_suffix


def default_out(source, word):
    """Name a table after the one it comes from: tickets.csv, tickets.cleaned.csv."""
    stem, suffix = split_suffix(source)
    return source.with_name(f"{stem}.{word}{suffix}")


def check_outputs(options, source, *, table=None, report=None, model=None):
    """Check that files can be written.

    Parameters
    ----------
    options : Namespace
        `force` says whether files that exist are replaced.
    source : Path
        The file that is read, which is never replaced.
    table, report, model : Path or None
        What is to be written.

    Raises
    ------
    CommandError
        About the first that cannot be written.
    """
    paths = [path for path in (table, report, model) if path is not None]
    for i, path in enumerate(paths):
        _check_place(path, options.force or path == model)
        if path != model and path.is_dir():
            raise CommandError(f"{path} is a folder; choose another name.")
        if any(_is_same(path, other) for other in (source, *paths[:i])):
            raise CommandError(
                f"{path} is read or written already; choose another name."
            )
    if table is not None:
        split_suffix(table)
    if report is not None and report.suffix.lower() not in (".html", ".htm"):
        raise CommandError(f"{report}: the report is HTML; use a name in .html.")
    if model is not None and model.exists():
        if not is_saved_model(model):
            raise CommandError(f"{model} is no saved model; choose another folder.")
        if not options.force:
            raise CommandError(_EXISTS.format(model))


_EXISTS = "{} exists; pass --force to replace it, or choose another name."


def _check_place(path, may_exist):
    folder = path.parent
    if not folder.is_dir():
        raise CommandError(f"{path}: there is no folder {folder}; make it first.")
    if not os.access(folder, os.W_OK):
        raise CommandError(f"{path}: the folder {folder} cannot be written to.")
    if path.exists() and not may_exist:
        raise CommandError(_EXISTS.format(path))


def _is_same(path, other):
    return path.resolve() == other.resolve()


def as_path(name):
    """Return the path that an option names, or None."""
    return None if name is None else Path(name)


def write_all(outputs):
    """Write what can be written; an error does not keep the others from it.

    Parameters
    ----------
    outputs : list of (str, Path, callable)
        What each is, where it goes, and what writes it there.

    Returns
    -------
    written : list of (str, Path)
        What was written, and where.
    failures : list of (Path, Exception)
        What was not, and why.
    """
    written, failures = [], []
    for name, path, write in outputs:
        try:
            write(path)
        except Exception as error:
            failures.append((path, error))
        else:
            written.append((name, path))
    return written, failures


def raise_failures(failures):
    """Raise one error about all that `write_all` could not write, if anything."""
    for _, error in failures:
        if not isinstance(error, (*EXPLAINED, CommandError)):
            raise error
    if failures:
        each = "; ".join(f"{path} was not written: {error}" for path, error in failures)
        raise CommandError(each) from failures[0][1]
