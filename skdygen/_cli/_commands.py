"""What the commands do, with their options as attributes of one object.

All that can be wrong is checked before the training, when there is nothing to lose yet,
and torch is imported after the table has been read.
"""

import copy
import os
import sys
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from textwrap import shorten

import numpy as np
import pandas as pd
import typer

import skdygen
from skdygen import datasets, dynamics

from .._decisions import judge_labels
from .._encoding import encode_labels, encode_verified, name_codes
from .._storage import is_saved_model, read_card
from .._targets import make_targets
from ..inspection import write_report
from ._advice import why_none_corrected
from ._annotation_tools import TOOLS, write_tasks, write_text
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
from ._tables import check_writable, form_of, read_table, split_suffix, write_table
from ._terminal import COUNTING, progress, say

_WORTH_AN_ESTIMATE = 1000  # texts: it takes as long as some two hundred in an epoch
_LONG = 600  # seconds: --fast is worth a word
_NEW_COLUMNS = ("label_suggested", "label_quality", "is_issue", "label_corrected")
_ROW = "spreadsheet_row"  # where rows are not in the order of the table


def inspect(options):
    """Say what is odd about a table."""
    table, text, cells = _open(options)
    texts = ["" if pd.isna(cell) else str(cell) for cell in table[text].astype(object)]
    found = _describe(options.table, table, text, texts, cells)
    for finding in found:
        _show({finding.name: finding.count, "": finding.example})
        _show({"": finding.remedy})
    note = {"rows are counted": COUNTING}
    _show(note if found else {"findings": "nothing odd"})


def clean(options):
    """Find and correct the wrong labels of a table."""
    start = time.perf_counter()
    if (options.id or options.show) and not options.report:
        raise ValueError("--id and --show are for the report; name it with --report.")
    outputs = {"table": _name_out(options, "cleaned"), "report": options.report}
    outputs |= {"annotators": options.annotators}
    outputs |= {"fit": options.fit_out, "model": options.model_out}
    outputs = {name: path for name, path in outputs.items() if path is not None}
    new_columns = _NEW_COLUMNS + (_ROW,) * (options.sort or options.only_issues)
    clf, table, texts = _fit(options, outputs, new_columns)
    write_safely = partial(write_table, excel_safe=options.excel_safe)
    write = {
        "table": lambda path: write_safely(_clean_table(table, clf, options), path),
        "report": lambda path: _report(clf, path, texts, table, options),
        "annotators": lambda path: write_safely(_rate_annotators(clf, table), path),
        "fit": lambda path: _save(clf, path, options.force),
        "model": lambda path: _save(_without_dynamics(clf), path, options.force),
    }
    if not options.quiet:
        _show(_summarize(clf, options.table))
    errors = _write_each(outputs, write, are_named=not options.quiet)
    if not options.quiet:
        _show({"time": timedelta(seconds=round(time.perf_counter() - start))})
    _raise_all(outputs, errors)


def check(options):
    """Write what somebody can fill in verified labels with: a table, or tasks."""
    tool = TOOLS.get(options.format.value)
    outputs = {"table": _name_out(options, "check", ".json" if tool else None)}
    outputs |= {"config": tool.name_config(outputs["table"])} if tool else {}
    outputs |= {"fit": options.fit_out} if options.fit_out else {}
    clf, table, texts = _fit(options, outputs)
    n = min(options.n, int((clf._targets.verified < 0).sum()))
    found = clf.labels_to_check(n, options.strategy.value, options.seed, X=texts)
    found = found.drop(columns="quality").rename(columns={"index": "row"})
    found.insert(1, "text", found.pop("text"))
    found = found.round({"confidence": 3})
    found.attrs = table.attrs  # semicolons where the table has them
    write = {
        "table": lambda path: write_table(found, path, excel_safe=options.excel_safe),
        "fit": lambda path: _save(clf, path, options.force),
    }
    if tool:
        write["table"] = lambda path: write_tasks(tool.make_tasks(found), path)
        write["config"] = lambda path: write_text(tool.make_config(clf.classes_), path)
    errors = _write_each(outputs, write)
    if not options.quiet and "table" not in errors:
        what_now = tool.what_now if tool else "fill in the column 'verified' of {table}"
        say(f"{n:,} labels to check: {what_now.format(**outputs)}")
    _raise_all(outputs, errors)


def predict(options):
    """Classify the texts of a table with a saved model."""
    out = _name_out(options, "predicted")
    clf, table, text = _read(options, table=out)
    if not hasattr(clf, "predict_proba"):
        raise ValueError(f"{options.model}: its final estimator has no predict_proba.")
    check_writable(table, out, ("label_predicted", "confidence"))
    names = pd.DataFrame({"name": [*map(str, clf.classes_)]})
    names.attrs = table.attrs  # its encoding
    check_writable(names, out, ())
    texts = read_texts(table, text)
    with progress(is_quiet=options.quiet):
        found = clf.predict_proba(texts)
    predicted, confidence = (
        clf.classes_[found.argmax(axis=1)],
        found.max(axis=1).round(3),
    )
    table = table.assign(label_predicted=predicted, confidence=confidence)
    write_table(table, out, excel_safe=options.excel_safe)
    if not options.quiet:
        _show(name_encoding(form_of(table)))
        say(f"{len(texts):,} texts of column {text!r} classified: {out}")


def report(options):
    """Write a report on the labels of a table that was cleaned before."""
    clf, table, text = _read(options, report=options.out)
    texts = read_texts(table, text)
    _report(clf, options.out, texts, table, options)
    if not options.quiet:
        _show(name_encoding(form_of(table)))
        say(f"report on {len(texts):,} texts of column {text!r}: {options.out}")


def info(options):
    """Print what a saved model says of itself."""
    card = read_card(options.model)
    where = "in the file" if card["bundled"] else "not in the file"
    names = ", ".join(card.get("language model", ()))
    _show({"estimator": card.get("estimator", "unknown"), "saved": card.get("saved")})
    _show({"language model": f"{names} ({where})" if names else "needs none"})
    if "texts" in card:
        classes = ", ".join(f"{name} ({n:,})" for name, n in card["classes"].items())
        rate = np.nan if card["noise rate"] is None else card["noise rate"]
        _show(
            {
                "texts": f"{card['texts']:,} ({card['labels']:,} with a label)",
                "classes": f"{len(card['classes'])}: {classes}",
                "labels verified": f"{card['verified']:,}",
                "labels estimated wrong": _name_rate(rate, card["interval"]),
            }
        )
    _show(card["versions"] | {"settings": card.get("settings", "unknown")})


@progress(is_quiet=False)
def demo(options, **params):
    """Compare plain fine-tuning with DyGen, list suspicious labels, and check fifty."""
    seed, train, test = options.seed, slice(500), slice(500, None)
    _check_outputs(options, report=options.report)
    texts, right = datasets.make_texts(700, random_state=seed)
    given = datasets.make_label_noise(right[train], "symmetric", 0.3, random_state=seed)
    typer.echo(
        "Fine-tuning MiniLM on 500 messages, 30% of them labelled wrongly: a minute or "
        "two on two cores ..."
    )
    clf = skdygen.DyGenClassifier(random_state=seed, verbose=1)
    clf.set_params(store_trajectories=True, **params).fit(texts[train], given)
    plain, dygen = clf.dynamics_.predict(texts[test]), clf.predict(texts[test])
    shares = {
        "accuracy, plain training": (plain == right[test]).mean(),
        "accuracy, DyGen": (dygen == right[test]).mean(),
        "right labels, given": (given == right[train]).mean(),
        "right labels, corrected": (clf.transduction_ == right[train]).mean(),
    }
    _show({name: f"{share:.3f}" for name, share in shares.items()})
    worst = clf.label_issues().head(10)
    worst.insert(3, "true", right[worst.index])
    worst["text"] = [shorten(text, 60, placeholder=" ...") for text in worst["text"]]
    typer.echo("\nThe ten most suspicious labels ('true' is known here only):\n")
    typer.echo(worst.round(3).to_string(index=False))
    if options.report is not None:
        write_report(clf, options.report, texts[train], overwrite=options.force)
        say(options.report, head="\nA report to look at: ")
    to_check = clf.labels_to_check(50, random_state=seed)
    clf.refit(to_check.assign(verified=right[to_check.index]))
    typer.echo("\nOnce somebody has checked fifty labels, those of labels_to_check:\n")
    checked = {
        "accuracy, DyGen": (clf.predict(texts[test]) == right[test]).mean(),
        "right labels, corrected": (clf.transduction_ == right[train]).mean(),
    }
    _show({name: f"{share:.3f}" for name, share in checked.items()})
    rate = _name_rate(clf.noise_rate_, clf.noise_rate_interval_)
    _show({"labels estimated wrong": f"{rate}; 30% are"})
    typer.echo(
        "\nWith a table of yours:\n\n"
        "  skdygen check tickets.csv --n 50 --fit-out tickets.skops\n"
        "  skdygen clean tickets.csv --refit tickets.skops "
        "--verified tickets.check.csv"
    )


def _open(options, fitted=None):
    """Read a table; give it, its column of texts, and the labels of each column."""
    path = options.table
    table = read_table(path, options.encoding)
    columns = choose_labels(table, path, options.label)
    text = choose_text(table, path, options.text, columns, fitted)
    missing = options.missing_label or ()
    return table, text, {name: read_labels(table, name, missing) for name in columns}


def _describe(path, table, text, texts, cells):
    """Say which columns were chosen, and what is in them; give what is odd."""
    _show(describe(path, text, texts, cells))
    _show(name_encoding(form_of(table)))
    return inspect_table(table, text, texts, cells)


def _fit(options, outputs, new_columns=()):
    """Check everything, say what is there, and fit, or exit if that is all."""
    path, out = options.table, outputs["table"]
    clf = _load_fit(options) if options.refit else None
    table, text, cells = _open(options, getattr(clf, "_text_column", None))
    _check_outputs(options, **outputs)
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
        found = _describe(path, table, text, texts, cells)
        _show(merged)
        for finding in found:
            _show({finding.name: f"{finding.count}; {finding.remedy}"})
        examples = f"skdygen inspect {path}, with the same columns"
        _show({"examples of these": examples} if found else {})
        extra = f" (classes not among those: {', '.join(map(str, new))})"
        said = f"{n_verified:,}{extra * bool(len(new))}"
        _show({"labels verified": said} if n_verified else {})
    if clf is None:
        clf = _make_classifier(options)  # imports torch, which takes seconds
    if {"report", "fit"} & outputs.keys():
        clf.store_trajectories = True  # so that no text is encoded again
    threshold = getattr(options, "threshold", None)  # `check` has none
    if threshold is not None:
        clf.set_params(correction_threshold=threshold)
    kept = _keep_epochs(clf, options, out)
    if options.dry_run:
        _show({"training": " ".join(repr(clf.dynamics).split())})
        _show(_estimate(clf, texts, options) | outputs)
        _show({"dry run": "nothing was done"})
        raise typer.Exit
    if not options.quiet and len(texts) >= _WORTH_AN_ESTIMATE:
        _show(_estimate(clf, texts, options))
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
    clf = _load(options.refit, options, check_model=False)
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


def _name_out(options, word, wanted=None):
    """Name a table after the one it comes from: tickets.csv, tickets.cleaned.csv."""
    stem, suffix = split_suffix(options.table)
    if word == "check" and suffix.lower() not in (".csv", ".tsv", ".xlsx"):
        suffix = ".csv"  # people are to fill it in
    out = options.out or options.table.with_name(f"{stem}.{word}{wanted or suffix}")
    if wanted and out.suffix.lower() != wanted:
        raise ValueError(f"--out {out}: tasks are JSON; use a name in {wanted}.")
    return out


def _check_outputs(options, **outputs):
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


def _write_each(outputs, write, are_named=False):
    """Write all that can be, and name it then; give the errors of the others."""
    errors = {}
    for name, path in outputs.items():
        try:
            write[name](path)
        except Exception as error:  # the others are written nevertheless
            errors[name] = error
        else:
            _show({name: path} if are_named else {})
    return errors


def _raise_all(outputs, errors):
    """Raise one error about what was not written."""
    if errors:
        each = [f"{outputs[name]} was not written: {e}" for name, e in errors.items()]
        raise OSError("; ".join(each)) from next(iter(errors.values()))


def _check_cache(folder):
    """Raise an error if nothing can be kept in a folder."""
    cache = folder and folder.resolve()
    if cache is not None:
        there = next(path for path in (cache, *cache.parents) if path.exists())
        if not (there.is_dir() and os.access(there, os.W_OK)):
            raise OSError(f"--cache {folder}: {there} is no folder to write to.")


def _check_device(device):
    """Raise an error if torch cannot compute there."""
    reason = None if device == "auto" else _training().what_is_wrong_with(device)
    if reason is not None:
        raise ValueError(f"--device {device} cannot be used: {reason}; use cpu.")


def _make_classifier(options):
    """Make the classifier, once it is known that it can be fitted here."""
    _check_device(options.device)
    params = {"model": options.model, "n_epochs": options.epochs}
    params["trainable_layers"] = 0 if options.fast else None
    params = {name: value for name, value in params.items() if value is not None}
    stage = dynamics.LanguageModelDynamics(device=options.device, **params)
    _training().find_model(stage.model)
    clf = skdygen.DyGenClassifier(stage, missing_label=np.nan, memory=options.cache)
    return clf.set_params(random_state=options.seed, verbose=int(not options.quiet))


def _report(clf, path, texts, table, options):
    """Write a report, with what is to be shown of each row."""
    shown = choose_shown(table, options.table, options)
    shown["title"] = f"Label report: {options.table.name}"
    write_report(clf, path, texts, overwrite=options.force, **shown)


def _save(clf, path, force):
    """Save a model that shows no progress."""
    for stage in (clf, *clf.pipeline_.named_steps.values()):
        if hasattr(stage, "verbose"):
            stage.verbose = 0
    clf.save(path, overwrite=force)


def _without_dynamics(clf):
    """Give a model that holds nothing of the texts that predictions do not need."""
    clf = copy.copy(clf)
    clf.store_trajectories = False
    vars(clf).pop("trajectories_", None)
    return clf


def _load(path, options, **params):
    """Load a classifier that is fitted, which takes seconds: torch is imported."""
    if sys.stderr.isatty() and not options.quiet:
        say(f"reading {path} ...", head="skdygen: ", err=True)
    clf = skdygen.load(path, **params)
    if not (isinstance(clf, skdygen.DyGenClassifier) and hasattr(clf, "classes_")):
        raise ValueError(f"{path} holds no DyGenClassifier that is fitted.")
    return clf


def _read(options, **outputs):
    """Read a table and a fitted classifier, and choose the columns."""
    path, model = options.table, options.model
    table = read_table(path, options.encoding)
    _check_outputs(options, **outputs)
    device = getattr(options, "device", "auto")
    _check_device(device)
    clf = _load(model, options, check_model="report" not in outputs)
    if isinstance(getattr(clf, "dynamics_", None), dynamics.LanguageModelDynamics):
        clf.dynamics_.set_params(device=device, verbose=int(not options.quiet))
    fitted = getattr(clf, "_text_column", None)
    return clf, table, choose_text(table, path, options.text, fitted=fitted)


def _clean_table(table, clf, options):
    """Add what the classifier says of the labels, and sort or choose rows."""
    codes = clf._targets.codes
    if clf._targets.votes is not None:
        table = table.assign(label_given=name_codes(codes, clf.classes_))
    suggested, _, _, is_issue = judge_labels(clf.label_distributions_, codes)
    table = table.assign(
        label_suggested=clf.classes_[suggested],
        label_quality=pd.array(clf.label_quality_.round(3), dtype="Float64"),
        is_issue=is_issue,
        label_corrected=clf.transduction_,
    )
    if hasattr(clf, "correction_guarantee_"):
        table = table.assign(is_accepted=clf.accept_labels())
    rows = np.arange(len(table))
    if options.sort or options.only_issues:
        table = table.assign(**{_ROW: rows + 2})  # the header is row 1
    if options.sort:  # rows without a label, whose quality is NaN, come last
        rows = np.lexsort((clf.label_quality_, ~is_issue))
    return table.iloc[rows[is_issue[rows]] if options.only_issues else rows]


def _rate_annotators(clf, table):
    """Make a table of how often each label column is right."""
    found = clf.annotator_quality().reset_index().round(3)
    found.attrs = table.attrs  # semicolons where the table has them
    return found


def _show(found):
    """Print names and what belongs to them."""
    for name, value in found.items():
        say(value, head=f"{name:<26}", color="cyan")


def _name_rate(rate, interval):
    """Call the share of wrong labels what it is: a guess, if it has no interval."""
    if len(interval):
        return "{:.1%} (95% interval: {:.1%} to {:.1%})".format(rate, *interval)
    return "unknown" if np.isnan(rate) else f"{rate:.1%} (a guess, see skdygen check)"


def _summarize(clf, path):
    """Say what the classifier has found."""
    codes, unread = clf._targets.codes, clf._targets.verified < 0
    issues, given, labelled = clf.label_issues(), clf.classes_[codes], codes >= 0
    n_changed = (clf.transduction_ != given)[labelled].sum()
    interval = getattr(clf, "noise_rate_interval_", ())
    found = {
        "labels estimated wrong": _name_rate(clf.noise_rate_, interval),
        "labels that look wrong": f"{len(issues):,} of {labelled.sum():,}",
        "labels corrected": f"{n_changed:,}",
    }
    if not n_changed:
        found["why none"] = why_none_corrected(clf, len(issues), path)
    if hasattr(clf, "correction_guarantee_"):
        accepted = f"{(clf.accept_labels() & unread).sum():,} of {unread.sum():,}"
        n_more = clf.correction_guarantee_["n_more"]
        if 0 < n_more < unread.sum():
            accepted += f" (for the surer half, verify about {n_more:,} more)"
        found["labels to take unread"] = accepted
    return found
