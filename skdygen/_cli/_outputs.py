"""The files that a command writes: checked before the training, written after it."""

import copy
import os
from pathlib import Path

from .._storage import is_saved_model
from ._tables import split_suffix
from ._terminal import show


def name_out(options, word, wanted=None):
    """Name a table after the one it comes from: tickets.csv, tickets.cleaned.csv."""
    stem, suffix = split_suffix(options.table)
    if word == "check" and suffix.lower() not in (".csv", ".tsv", ".xlsx"):
        suffix = ".csv"  # people are to fill it in
    out = options.out or options.table.with_name(f"{stem}.{word}{wanted or suffix}")
    if wanted and out.suffix.lower() != wanted:
        raise ValueError(f"--out {out}: tasks are JSON; use a name in {wanted}.")
    if not wanted:
        split_suffix(out)  # raises errors
    return out


def check_outputs(options, **outputs):
    """Raise an error about the first file that cannot be written or replaced."""
    sources = (getattr(options, name, None) for name in ("table", "refit"))
    sources = [*sources, *(getattr(options, "verified", None) or ())]
    taken = [Path(path).resolve() for path in filter(None, sources)]
    for name, path in outputs.items():
        if path is None:
            continue
        folder, is_taken = path.parent, path.resolve() in taken
        if path.is_symlink():  # what it leads to is replaced
            folder = path.resolve().parent
        is_model = name in ("model", "fit")
        is_other = is_model and path.is_file() and not is_saved_model(path)
        exists = path.exists() and not options.force
        for is_so, problem in (
            (not folder.is_dir(), f"there is no folder {folder}; make it first"),
            (not os.access(folder, os.W_OK), f"{folder} cannot be written to"),
            (is_taken, "it is read or written already; choose another name"),
            (path.is_dir(), "it is a folder; choose another name"),
            (
                path.exists() and not path.is_file(),
                "it is no file; choose another name",
            ),
            (is_other, "it is no saved model; choose another name"),
            (exists, "it exists; pass --force to replace it, or choose another name"),
        ):
            if is_so:
                raise OSError(f"{path}: {problem}.")
        taken.append(path.resolve())
    report, annotators = outputs.get("report"), outputs.get("annotators")
    if report is not None and report.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{report}: the report is HTML; use a name in .html.")
    if annotators is not None:
        split_suffix(annotators)  # raises errors


def write_each(outputs, write, are_named=False):
    """Write all that can be, and name it then; give the errors of the others."""
    errors = {}
    for name, path in outputs.items():
        try:
            write[name](path)
        except Exception as error:  # the others are written nevertheless
            errors[name] = error
        else:
            show({name: path} if are_named else {})
    return errors


def raise_all(outputs, errors):
    """Raise one error about what was not written."""
    if errors:
        each = [f"{outputs[name]} was not written: {e}" for name, e in errors.items()]
        raise OSError("; ".join(each)) from next(iter(errors.values()))


def save_model(clf, path, force):
    """Save a model that shows no progress."""
    for stage in (clf, *clf.pipeline_.named_steps.values()):
        if hasattr(stage, "verbose"):
            stage.verbose = 0
    clf.save(path, overwrite=force)


def without_dynamics(clf):
    """Give a model that holds nothing of the texts that predictions do not need."""
    clf = copy.copy(clf)
    clf.store_trajectories = False
    vars(clf).pop("trajectories_", None)
    return clf
