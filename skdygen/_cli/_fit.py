"""From a table to a classifier that is fitted on it, or takes what is verified in it.

All that can be wrong is checked before the training, when there is nothing to lose yet,
and torch is imported after the table has been read.
"""

import os
import sys
from contextlib import suppress

import numpy as np
import pandas as pd
import typer

import skdygen
from skdygen import dynamics

from .._encoding import encode_labels, encode_verified, name_codes
from .._targets import make_targets
from ._annotation_tools import TOOLS
from ._columns import (
    choose_labels,
    choose_shown,
    choose_text,
    read_labels,
    read_texts,
    read_verified,
)
from ._encodings import name_encoding
from ._inspect import (
    describe,
    inspect_table,
    merge_spellings,
    name_merged,
    refuse_types,
)
from ._outputs import check_outputs
from ._tables import check_writable, form_of, read_table, split_suffix
from ._terminal import progress, say, show

_WORTH_AN_ESTIMATE = 1000  # texts: it takes as long as some two hundred in an epoch
_LONG = 600  # seconds: --fast is worth a word


def open_table(options, fitted=None):
    """Read a table; give it, its column of texts, and the labels of each column."""
    path = options.table
    table = read_table(path, options.encoding)
    columns = choose_labels(table, path, options.label)
    text = choose_text(table, path, options.text, columns, fitted)
    missing = options.missing_label or ()
    return table, text, {name: read_labels(table, name, missing) for name in columns}


def describe_table(path, table, text, texts, cells):
    """Say which columns were chosen, and what is in them; give what is odd."""
    show(describe(path, text, texts, cells))
    show(name_encoding(form_of(table)))
    return inspect_table(table, text, texts, cells)


def fit(options, outputs, new_columns=()):
    """Check everything, say what is there, and fit, or exit if that is all."""
    path, out = options.table, outputs["table"]
    clf = _load_fit(options) if options.refit else None
    table, text, cells = open_table(options, getattr(clf, "_text_column", None))
    check_outputs(options, **outputs)
    _check_cache(options.cache)
    texts = read_texts(table, text)
    merged = {}
    if options.normalize_labels:
        write, changed = merge_spellings(cells)
        cells = {name: list(map(write, column)) for name, column in cells.items()}
        merged = {"labels merged": name_merged(changed)}
    refuse_types(cells)
    are_several = len(cells) > 1
    if are_several:
        labels, votes = None, pd.DataFrame(cells, dtype=object)
        targets = make_targets(None, votes=votes, missing_label=np.nan)
        classes, codes = targets.classes, targets.codes
    else:
        ((name, labels),), votes = cells.items(), None
        name = f"column {name!r}"
        classes, codes = encode_labels(labels, missing_label=np.nan, name=name)
    if "annotators" in outputs and not (are_several and targets.votes):
        raise ValueError("--annotators needs labels in several columns; see --label.")
    known = []
    if clf is not None:
        _check_rows(clf, classes, codes, options)
        classes, known = clf.classes_, clf._targets.checked.tolist()
    verified = read_verified(table, options, [*cells], texts, classes)
    if options.normalize_labels:
        verified["verified"] = verified["verified"].map(write)
    new = np.setdiff1d(encode_verified(verified, classes, len(texts))[0], classes)
    n_verified = len({*known, *verified["index"]})
    if n_verified == len(texts) and not new_columns:
        raise ValueError(f"{path}: all labels are verified already.")
    if "config" in outputs:
        TOOLS[options.format.value].make_config([*classes, *new])  # raises errors
    else:
        if new_columns:
            new_columns += ("is_accepted",) * bool(n_verified)
            new_columns += ("label_given",) * are_several
        check_writable(table, out, new_columns)
        names = pd.DataFrame({"name": [*map(str, (*cells, *classes, *new))]})
        names.attrs = table.attrs  # its encoding
        for file in filter(None, (out, outputs.get("annotators"))):
            check_writable(names, file, ())  # among them are new ones
    if "report" in outputs:
        choose_shown(table, path, options)  # raises errors
    if not options.quiet or options.dry_run:
        found = describe_table(path, table, text, texts, cells)
        show(merged)
        for finding in found:
            show({finding.name: f"{finding.count}; {finding.remedy}"})
        examples = f"skdygen inspect {path}, with the same columns"
        show({"examples of these": examples} if found else {})
        extra = f" (classes not among those: {', '.join(map(str, new))})"
        said = f"{n_verified:,}{extra * bool(len(new))}"
        show({"labels verified": said} if n_verified else {})
    if clf is None:
        clf = make_classifier(options)  # imports torch, which takes seconds
    if {"report", "fit"} & outputs.keys():
        clf.store_trajectories = True  # so that no text is encoded again
    threshold = getattr(options, "threshold", None)  # `check` has none
    if threshold is not None:
        clf.set_params(correction_threshold=threshold)
    kept = _keep_epochs(clf, options, out)
    if options.dry_run:
        show({"training": " ".join(repr(clf.dynamics).split())})
        show(_estimate(clf, texts, options) | outputs)
        show({"dry run": "nothing was done"})
        raise typer.Exit
    if not options.quiet and len(texts) >= _WORTH_AN_ESTIMATE:
        show(_estimate(clf, texts, options))
    try:
        with progress(is_quiet=options.quiet):
            if options.refit:
                clf.refit(verified)
            else:
                clf.fit(texts, labels, verified=verified, votes=votes)
    finally:
        with suppress(OSError):  # it is not there, or has what can be resumed
            kept and kept.rmdir()
    clf._text_column = text  # which `predict` and `report` read
    return clf, table, texts


def _load_fit(options):
    """Load a fit that can take more verified labels, which trains nothing."""
    for name in ("model", "fast", "epochs", "cache", "resume"):
        if getattr(options, name):
            raise ValueError(
                f"--{name} is for the training, but --refit trains nothing; leave one "
                f"of them out."
            )
    clf = load_classifier(options.refit, options, check_model=False)
    if not hasattr(clf, "trajectories_"):
        raise ValueError(
            f"--refit {options.refit}: what was recorded of each text is not in there; "
            f"pass what --fit-out has written."
        )
    return clf


def _check_rows(clf, classes, codes, options):
    """Raise an error if a table has other rows or labels than a fit."""
    path, source = options.table, options.refit
    before = name_codes(clf._targets.codes, clf.classes_).tolist()
    if len(codes) != len(before):
        raise ValueError(
            f"{path} has {len(codes):,} rows, but {source} was fitted on "
            f"{len(before):,}; pass the same table."
        )
    here = name_codes(codes, classes).tolist()
    for row, (label, its) in enumerate(zip(here, before, strict=True)):
        if label != its:
            raise ValueError(
                f"{path} has the label {label!r} in row {row}, but {source} was fitted "
                f"with {its!r}; pass the same table, --label, --missing-label and "
                f"--normalize-labels."
            )


def _keep_epochs(clf, options, out):
    """Have the fit keep its epochs if that is wanted; give the folder, or None."""
    if not options.resume:
        return None
    folder = options.cache / "epochs" if options.cache else None
    folder = folder or out.with_name(f"{split_suffix(out)[0]}.epochs")
    clf.set_params(dynamics__checkpoint_dir=folder)
    return folder


def _estimate(clf, texts, options):
    """Say how long the fit will take, if that can be known."""
    if options.refit:
        return {"time needed": f"seconds, since {options.refit} has been trained"}
    say("trying on a few texts how long it will take ...", head="skdygen: ", err=True)
    seconds = _training().estimate_seconds(clf.dynamics, texts)
    if seconds is None:
        return {}
    needed = f"about {_training().name_seconds(seconds)}, as tried here"
    needed += ", if nothing is in --cache" if clf.memory else ""
    needed += "; --fast takes less" if seconds > _LONG and not options.fast else ""
    return {"time needed": needed}


def _training():
    """Import what needs torch, which takes seconds."""
    from . import _training

    return _training


def _check_cache(folder):
    """Raise an error if nothing can be kept in a folder."""
    cache = folder and folder.resolve()
    if cache is not None:
        there = next(path for path in (cache, *cache.parents) if path.exists())
        if not (there.is_dir() and os.access(there, os.W_OK)):
            raise OSError(f"--cache {folder}: {there} is no folder to write to.")


def check_device(device):
    """Raise an error if torch cannot compute there."""
    reason = None if device == "auto" else _training().what_is_wrong_with(device)
    if reason is not None:
        raise ValueError(f"--device {device} cannot be used: {reason}; use cpu.")


def make_classifier(options):
    """Make the classifier, once it is known that it can be fitted here."""
    check_device(options.device)
    params = {"model": options.model, "n_epochs": options.epochs}
    params["trainable_layers"] = 0 if options.fast else None
    params = {name: value for name, value in params.items() if value is not None}
    stage = dynamics.LanguageModelDynamics(device=options.device, **params)
    _training().find_model(stage.model)
    clf = skdygen.DyGenClassifier(stage, missing_label=np.nan, memory=options.cache)
    return clf.set_params(random_state=options.seed, verbose=int(not options.quiet))


def load_classifier(path, options, **params):
    """Load a classifier that is fitted, which takes seconds: torch is imported."""
    if sys.stderr.isatty() and not options.quiet:
        say(f"reading {path} ...", head="skdygen: ", err=True)
    clf = skdygen.load(path, **params)
    if not (isinstance(clf, skdygen.DyGenClassifier) and hasattr(clf, "classes_")):
        raise ValueError(f"{path} holds no DyGenClassifier that is fitted.")
    return clf
