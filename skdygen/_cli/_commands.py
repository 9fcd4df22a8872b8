"""What the commands do, with their options as attributes of one object."""

import time
from datetime import timedelta
from functools import partial
from textwrap import shorten

import numpy as np
import pandas as pd
import typer

import skdygen
from skdygen import datasets, dynamics

from .._decisions import judge_labels
from .._encoding import name_codes
from .._storage import read_card
from ..inspection import write_report
from ._advice import why_none_corrected
from ._annotation_tools import TOOLS, write_tasks, write_text
from ._columns import choose_shown, choose_text, read_texts
from ._data import check_rows, describe_table, open_table
from ._encodings import name_encoding
from ._fit import check_device, fit, load_classifier
from ._outputs import (
    check_outputs,
    name_out,
    raise_all,
    save_model,
    without_dynamics,
    write_each,
)
from ._tables import check_writable, form_of, read_table, write_table
from ._terminal import COUNTING, progress, say, show

_NEW_COLUMNS = ("label_suggested", "label_quality", "is_issue", "label_corrected")
_ROW = "spreadsheet_row"  # where rows are not in the order of the table


def inspect(options):
    """Say what is odd about a table."""
    table, text, cells = open_table(options)
    texts = read_texts(table, text)
    found = describe_table(options, table, text, texts, cells)
    for finding in found:
        show({finding.name: finding.count, "": finding.example})
        show({"": finding.remedy})
    note = {"rows are counted": COUNTING}
    show(note if found else {"findings": "nothing odd"})


def clean(options):
    """Find and correct the wrong labels of a table."""
    start = time.perf_counter()
    if (options.id or options.show) and not options.report:
        raise ValueError("--id and --show are for the report; name it with --report.")
    outputs = {"table": name_out(options, "cleaned"), "report": options.report}
    outputs |= {"annotators": options.annotators}
    outputs |= {"fit": options.fit_out, "model": options.model_out}
    outputs = {name: path for name, path in outputs.items() if path is not None}
    new_columns = _NEW_COLUMNS + (_ROW,) * (options.sort or options.only_issues)
    clf, table, texts = fit(options, outputs, new_columns)
    write_safely = partial(write_table, excel_safe=options.excel_safe)
    write = {
        "table": lambda path: write_safely(_clean_table(table, clf, options), path),
        "report": lambda path: _report(clf, path, texts, table, options),
        "annotators": lambda path: write_safely(_rate_annotators(clf, table), path),
        "fit": lambda path: save_model(clf, path, options.force),
        "model": lambda path: save_model(without_dynamics(clf), path, options.force),
    }
    if not options.quiet:
        show(_summarize(clf, options.table))
    errors = write_each(outputs, write, are_named=not options.quiet)
    if not options.quiet:
        show({"time": timedelta(seconds=round(time.perf_counter() - start))})
    raise_all(outputs, errors)


def check(options):
    """Write what somebody can fill in verified labels with: a table, or tasks."""
    tool = TOOLS.get(options.format.value)
    outputs = {"table": name_out(options, "check", ".json" if tool else None)}
    outputs |= {"config": tool.name_config(outputs["table"])} if tool else {}
    outputs |= {"fit": options.fit_out} if options.fit_out else {}
    clf, table, texts = fit(options, outputs)
    n = min(options.n, int((clf._targets.verified < 0).sum()))
    found = clf.labels_to_check(n, options.strategy.value, options.seed, X=texts)
    found = found.drop(columns="quality").rename(columns={"index": "row"})
    found.insert(1, "text", found.pop("text"))
    found = found.round({"confidence": 3})
    found.attrs = table.attrs  # semicolons where the table has them
    write = {
        "table": lambda path: write_table(found, path, excel_safe=options.excel_safe),
        "fit": lambda path: save_model(clf, path, options.force),
    }
    if tool:
        write["table"] = lambda path: write_tasks(tool.make_tasks(found), path)
        write["config"] = lambda path: write_text(tool.make_config(clf.classes_), path)
    errors = write_each(outputs, write)
    if not options.quiet and "table" not in errors:
        what_now = tool.what_now if tool else "fill in the column 'verified' of {table}"
        say(f"{n:,} labels to check: {what_now.format(**outputs)}")
    raise_all(outputs, errors)


def predict(options):
    """Classify the texts of a table with a saved model."""
    out = name_out(options, "predicted")
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
        show(name_encoding(form_of(table)))
        say(f"{len(texts):,} texts of column {text!r} classified: {out}")


def report(options):
    """Write a report on the labels of a table that was cleaned before."""
    clf, table, text = _read(options, report=options.out)
    texts = read_texts(table, text)
    check_rows(clf, texts, options.table, options.model)
    _report(clf, options.out, texts, table, options)
    if not options.quiet:
        show(name_encoding(form_of(table)))
        say(f"report on {len(texts):,} texts of column {text!r}: {options.out}")


def info(options):
    """Print what a saved model says of itself."""
    card = read_card(options.model)
    where = "in the file" if card["bundled"] else "not in the file"
    names = ", ".join(card.get("language model", ()))
    show({"estimator": card.get("estimator", "unknown"), "saved": card.get("saved")})
    show({"language model": f"{names} ({where})" if names else "needs none"})
    if "texts" in card:
        classes = ", ".join(f"{name} ({n:,})" for name, n in card["classes"].items())
        rate = np.nan if card["noise rate"] is None else card["noise rate"]
        show(
            {
                "texts": f"{card['texts']:,} ({card['labels']:,} with a label)",
                "classes": f"{len(card['classes'])}: {classes}",
                "labels verified": f"{card['verified']:,}",
                "labels estimated wrong": _name_rate(rate, card["interval"]),
            }
        )
    show(card["versions"] | {"settings": card.get("settings", "unknown")})


@progress(is_quiet=False)
def demo(options, **params):
    """Compare plain fine-tuning with DyGen, list suspicious labels, and check fifty."""
    seed, train, test = options.seed, slice(500), slice(500, None)
    check_outputs(options, report=options.report)
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
    show({name: f"{share:.3f}" for name, share in shares.items()})
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
    show({name: f"{share:.3f}" for name, share in checked.items()})
    rate = _name_rate(clf.noise_rate_, clf.noise_rate_interval_)
    show({"labels estimated wrong": f"{rate}; 30% are"})
    typer.echo(
        "\nWith a table of yours:\n\n"
        "  skdygen check tickets.csv --n 50 --fit-out tickets.skops\n"
        "  skdygen clean tickets.csv --refit tickets.skops "
        "--verified tickets.check.csv"
    )


def _report(clf, path, texts, table, options):
    """Write a report, with what is to be shown of each row."""
    shown = choose_shown(table, options.table, options)
    shown["title"] = f"Label report: {options.table.name}"
    write_report(clf, path, texts, overwrite=options.force, **shown)


def _read(options, **outputs):
    """Read a table and a fitted classifier, and choose the columns."""
    path, model = options.table, options.model
    table = read_table(path, options.encoding)
    check_outputs(options, **outputs)
    device = getattr(options, "device", "auto")
    check_device(device)
    clf = load_classifier(model, options, check_model="report" not in outputs)
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
