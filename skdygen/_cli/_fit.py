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

from ._annotation_tools import TOOLS
from ._columns import choose_shown
from ._data import describe_data, open_table, read_data
from ._outputs import check_outputs
from ._tables import check_writable
from ._terminal import progress, say, show

_WORTH_AN_ESTIMATE = 1000  # texts: it takes as long as some two hundred in an epoch
_LONG = 600  # seconds: --fast is worth a word


def fit(options, outputs, new_columns=()):
    """Check everything, say what is there, and fit, or exit if that is all."""
    clf = _load_fit(options) if options.refit else None
    opened = open_table(options, getattr(clf, "_text_column", None))
    check_outputs(options, **outputs)
    _check_cache(options.cache)
    data = read_data(*opened, options, clf)
    _check_contents(data, options, outputs, new_columns)
    if not options.quiet or options.dry_run:
        describe_data(options, data)
    if clf is None:
        clf = make_classifier(options)  # imports torch, which takes seconds
    kept = _set_up(clf, options, outputs)
    if options.dry_run:
        show({"training": " ".join(repr(clf.dynamics).split())})
        show(_estimate(clf, data.texts, options) | outputs)
        show({"dry run": "nothing was done"})
        raise typer.Exit
    if not options.quiet and len(data.texts) >= _WORTH_AN_ESTIMATE:
        show(_estimate(clf, data.texts, options))
    try:
        with progress(is_quiet=options.quiet):
            if options.refit:
                clf.refit(data.verified)
            else:
                clf.fit(data.texts, data.y, verified=data.verified, votes=data.votes)
    finally:
        with suppress(OSError):  # it is not there, or has what can be resumed
            kept and kept.rmdir()
    clf._text_column = data.text  # which `predict` and `report` read
    return clf, data.table, data.texts


def _check_contents(data, options, outputs, new_columns):
    """Raise an error if what is to be written of the data cannot be."""
    if "annotators" in outputs and not data.are_several:
        raise ValueError("--annotators needs labels in several columns; see --label.")
    if data.n_verified == len(data.texts) and not new_columns:
        raise ValueError(f"{options.table}: all labels are verified already.")
    classes = [*data.classes, *data.new_classes]
    if "config" in outputs:
        TOOLS[options.format.value].make_config(classes)  # raises errors
    else:
        if new_columns:
            new_columns += ("is_accepted",) * bool(data.n_verified)
            new_columns += ("label_given",) * (data.votes is not None)
        check_writable(data.table, outputs["table"], new_columns)
        names = pd.DataFrame({"name": [*map(str, (*data.cells, *classes))]})
        names.attrs = data.table.attrs  # its encoding
        for file in filter(None, (outputs["table"], outputs.get("annotators"))):
            check_writable(names, file, ())  # among them are new ones
    if "report" in outputs:
        choose_shown(data.table, options.table, options)  # raises errors


def _set_up(clf, options, outputs):
    """Set what the command needs; give the folder where epochs are kept, or None."""
    if {"report", "fit"} & outputs.keys():
        clf.store_trajectories = True  # so that no text is encoded again
    threshold = getattr(options, "threshold", None)  # `check` has none
    if threshold is not None:
        clf.set_params(correction_threshold=threshold)
    if not options.resume:
        return None
    folder = options.cache / "epochs" if options.cache else None
    folder = folder or outputs["table"].with_suffix(".epochs")
    clf.set_params(dynamics__checkpoint_dir=folder)
    return folder


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
