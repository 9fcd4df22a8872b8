"""``skdygen clean``: find and correct the wrong labels of a table."""

import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ._columns import (
    check_new_columns,
    choose_label,
    choose_text,
    read_labels,
    read_texts,
)
from ._device import check_device
from ._errors import explained
from ._model import save_model
from ._outputs import as_path, check_outputs, default_out, raise_failures, write_all
from ._tables import check_writable, read_table, write_table

_NEW_COLUMNS = ("label_suggested", "label_quality", "is_issue", "label_corrected")
_MOST_SHOWN = 8  # classes


class Job(NamedTuple):
    """What is to be done, checked."""

    path: Path
    out: Path
    report: Path | None
    model_out: Path | None
    table: object
    text: str
    label: str
    texts: list
    labels: list
    classes: np.ndarray
    codes: np.ndarray


def run(options):
    """Clean a table."""
    start = time.perf_counter()
    job = _prepare(options)
    clf = _make_classifier(options)
    if options.dry_run:
        _show(_describe(job) + _plan(job, clf.dynamics, options))
        return
    if not options.quiet:
        print(f"{job.path}: texts in {job.text!r}, labels in {job.label!r}", flush=True)
    with explained():
        clf.fit(job.texts, job.labels)
    written, failures = write_all(_outputs(job, clf, options.force))
    if not options.quiet:
        _show(_describe(job) + _find(job, clf) + written)
        _show([("time", _duration(time.perf_counter() - start))])
    raise_failures(failures)


def _prepare(options):
    """Read the table and check everything that can be wrong before the training."""
    from ..utils._validation import encode_labels

    path = Path(options.table)
    out = as_path(options.out) or default_out(path, "cleaned")
    report, model_out = as_path(options.report), as_path(options.model_out)
    table = read_table(path)
    check_outputs(options, path, table=out, report=report, model=model_out)
    label = choose_label(table, options.label, path)
    text = choose_text(table, options.text, label, path)
    check_new_columns(table, _NEW_COLUMNS, path)
    check_writable(table, out)
    texts = read_texts(table, text)
    labels = read_labels(table, label, options.missing_label)
    with explained():
        classes, codes = encode_labels(
            labels, missing_label=np.nan, name=f"column {label!r}"
        )
    check_device(options.device)
    return Job(
        path, out, report, model_out, table, text, label, texts, labels, classes, codes
    )


def _make_classifier(options):
    from .. import DyGenClassifier
    from ..dynamics import LanguageModelDynamics
    from ..dynamics._models import find_model

    dynamics = LanguageModelDynamics(device=options.device)
    if options.model is not None:
        dynamics.set_params(model=options.model)
    if options.epochs is not None:
        dynamics.set_params(n_epochs=options.epochs)
    if options.fast:
        dynamics.set_params(trainable_layers=0)
    with explained():
        find_model(dynamics.model)
    return DyGenClassifier(
        dynamics,
        missing_label=np.nan,
        random_state=options.seed,
        verbose=int(not options.quiet),
    )


def _outputs(job, clf, force):
    outputs = [("table", job.out, partial(write_table, _cleaned(job, clf)))]
    if job.model_out is not None:
        columns = {"text": job.text, "label": job.label}
        save = partial(save_model, clf, columns=columns, overwrite=force)
        outputs.append(("model", job.model_out, save))
    if job.report is not None:
        outputs.append(("report", job.report, partial(_report, clf, job.texts, force)))
    return outputs


def _report(clf, texts, force, path):
    from ..inspection import write_report

    write_report(clf, path, texts, overwrite=force)


def _cleaned(job, clf):
    import pandas as pd

    from .._correction import judge_labels

    suggested, _, quality, is_issue = judge_labels(clf.label_distributions_, job.codes)
    columns = (
        clf.classes_[suggested],
        pd.array(np.where(job.codes < 0, None, quality), dtype="Float64"),
        is_issue,
        clf.transduction_,
    )
    return job.table.assign(**dict(zip(_NEW_COLUMNS, columns, strict=True)))


def _describe(job):
    n_without, n_empty = (job.codes < 0).sum(), sum(not text for text in job.texts)
    counts = np.bincount(job.codes[job.codes >= 0], minlength=len(job.classes))
    order = np.argsort(-counts, kind="stable")
    most = ", ".join(f"{job.classes[k]} {counts[k]:,}" for k in order[:_MOST_SHOWN])
    more = ", ..." if len(order) > _MOST_SHOWN else ""
    return [
        (
            "rows",
            f"{len(job.texts):,} ({n_without:,} without a label, {n_empty:,} with an "
            f"empty text)",
        ),
        ("classes", f"{len(job.classes)}: {most}{more}"),
    ]


def _plan(job, dynamics, options):
    layers = dynamics.trainable_layers
    trained = f"{layers} layers trained" if layers else "frozen"
    return [
        ("texts", f"column {job.text!r} of {job.path}"),
        ("labels", f"column {job.label!r}"),
        ("language model", f"{dynamics.model}, {trained}"),
        ("training", f"{dynamics.n_epochs} epochs on {options.device}"),
        ("table", job.out),
        ("model", job.model_out or "not saved"),
        ("report", job.report or "not written"),
        ("dry run", "nothing was trained or written"),
    ]


def _find(job, clf):
    """Say what the classifier has found."""
    issues = clf.label_issues()
    labelled = job.codes >= 0
    n_changed = (clf.transduction_ != clf.classes_[job.codes])[labelled].sum()
    return [
        ("labels estimated wrong", f"{clf.noise_rate_:.1%}"),
        ("labels that look wrong", f"{len(issues):,} of {labelled.sum():,}"),
        ("labels corrected", f"{n_changed:,}"),
        ("most doubtful classes", _doubtful_classes(job, issues)),
        ("most frequent mistake", _most_frequent_mistake(issues)),
    ]


def _doubtful_classes(job, issues):
    counts = np.bincount(job.codes[job.codes >= 0], minlength=len(job.classes))
    doubted = issues["given"].value_counts().reindex(job.classes, fill_value=0)
    shares = doubted.to_numpy() / counts
    worst = [k for k in np.argsort(-shares, kind="stable")[:3] if shares[k]]
    return ", ".join(f"{job.classes[k]} {shares[k]:.0%}" for k in worst) or "none"


def _most_frequent_mistake(issues):
    if not len(issues):
        return "none"
    counts = issues.groupby(["given", "suggested"]).size()
    given, suggested = counts.idxmax()
    return f"labelled {given}, looks like {suggested}: {counts.max():,} texts"


def _show(found):
    for name, value in found:
        print(f"{name:<24}{value}", flush=True)


def _duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
