"""The command line: tables in, tables with better labels out."""

import logging
import re
import signal
import sys
import threading
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import typer

from .. import __version__
from ._terminal import COUNTING, patient, say

app = typer.Typer(
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


def main(arguments=None):
    """Run the command line and return its exit code; see the help for its meaning."""
    logging.basicConfig(level=logging.WARNING)
    out, err = (
        redirect_stdout(patient(sys.stdout)),
        redirect_stderr(patient(sys.stderr)),
    )
    try:
        with _signals_are_ctrl_c(), out, err:
            typer.main.get_command(app)(arguments, prog_name="skdygen")
    except SystemExit as end:
        return end.code


def _run(name, options):
    """Run a command; end with one line about what the user can do something about."""
    try:
        from . import _commands  # needs torch and pandas, for which --help cannot wait

        with warnings.catch_warnings():
            # Tables are told of these: classes written alike, and those that are new.
            warnings.filterwarnings("ignore", ".* differ by blanks or case alone")
            getattr(_commands, name)(SimpleNamespace(**options))
    except (FloatingPointError, OSError, TypeError, ValueError) as error:  # not bugs
        if options["debug"]:
            raise
        line = " ".join(str(error).split())
        if re.search(r"\brow \d", line):  # as `check` counts, too
            line += f" (Rows are counted {COUNTING}.)"
        say(line, head="skdygen: error: ", color="red", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        next_time = "; the same command goes on after the last whole epoch"
        next_time *= options.get("resume", False)
        typer.echo(f"\nskdygen: interrupted{next_time}", err=True)
        number = error.args[0] if error.args else signal.SIGINT
        raise typer.Exit(128 + number) from error


@contextmanager
def _signals_are_ctrl_c():
    """Have what ends a process by default do so as Ctrl-C does, which cleans up."""
    numbers = {getattr(signal, n, None) for n in ("SIGTERM", "SIGHUP")} - {None}
    if threading.current_thread() is not threading.main_thread():  # others may not
        numbers = set()
    changed = [n for n in numbers if signal.getsignal(n) == signal.SIG_DFL]
    for number in changed:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number, frame):
    """Raise what Ctrl-C raises, with the signal that it was."""
    raise KeyboardInterrupt(number)


def _option(kind, metavar, help, **params):
    return Annotated[kind, typer.Option(metavar=metavar, help=help, **params)]


def _flag(name, help, **params):
    return Annotated[bool, typer.Option(name, help=help, **params)]


def _show_version(is_wanted):
    """Print the version, if it is asked for."""
    if is_wanted:
        typer.echo(f"skdygen {__version__}")
        raise typer.Exit


Table = Annotated[Path, typer.Argument(metavar="TABLE", help="The table to read.")]
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="What `clean --model-out` has written.")
]
Text = _option(
    str | None, "COLUMN",
    "Column of the texts. Without it: that of the model, or what is named text, body, "
    "message, content, title, sentence or document, or the one with the longest texts.",
)  # fmt: skip
Label = _option(
    list[str] | None, "COLUMN|PATTERN",
    "Column of the labels; repeated, or a pattern such as 'rule_*', where several "
    "annotators or rules have given one each. Without it: the only one named label, "
    "labels, class, category, target, tag or y.",
)  # fmt: skip
MissingLabel = _option(
    list[str] | None, "VALUE",
    "Label that means 'no label', as an empty cell does: say, -1; can be given several "
    "times.",
)  # fmt: skip
Encoding = _option(
    str | None, "NAME",
    "Encoding of text files without a byte-order mark: say, latin-1. Without it: "
    "UTF-8, or cp1252 if a CSV or TSV file is not that.",
)  # fmt: skip
NormalizeLabels = _flag(
    "--normalize-labels",
    "Merge classes that differ by case, space, punctuation or number format only into "
    "the one that is there most often; say what was merged.",
)
Verified = _option(
    list[str] | None, "COLUMN|FILE",
    "Column of labels that somebody has verified, empty where nobody has looked, or a "
    "table of `check`, filled in, or what the tool of `check --format` has exported, "
    "or the decisions that were downloaded from a report; can be given several times.",
)  # fmt: skip
Format = Enum("Format", [(x, x) for x in ("table", "label-studio", "argilla")])
CheckFormat = _option(
    Format, "NAME",
    "table, to fill in; label-studio or argilla: a JSON file of tasks for that, and, "
    "beside it, what sets up a project for them. Its export is for --verified.",
)  # fmt: skip
FitOut = _option(
    Path | None, "FILE",
    "Save the model with what was recorded of each text, too, some 4 kB each, for "
    "--refit.",
)  # fmt: skip
Refit = _option(
    Path | None, "FILE",
    "Train nothing: take what --fit-out has written for this table and its labels, and "
    "add what --verified says, in seconds.",
)  # fmt: skip
NToCheck = _option(int, "N", "How many labels to check.", min=1)
_STRATEGIES = ("auto", "random", "suspicious", "uncertain")
Strategy = Enum("Strategy", [(name, name) for name in _STRATEGIES])
StrategyToCheck = _option(
    Strategy, "NAME",
    "auto or random: drawn, so that they say something of the others, too; suspicious: "
    "of the lowest quality; uncertain: between two classes.",
)  # fmt: skip
Cache = _option(
    Path | None, "FOLDER",
    "Keep the trained model here, so that `clean` after `check` trains nothing if all "
    "other options are the same. It holds pickles: the folder must be your own.",
)  # fmt: skip
Threshold = _option(
    float | None, "P",
    "Correct wherever another class has this probability, not where there is reason to "
    "be sure; 0 takes the most probable class everywhere.",
    min=0, max=1,
)  # fmt: skip
Sort = _flag("--sort", "Write the issues first, those of the lowest quality on top.")
OnlyIssues = _flag(
    "--only-issues", "Write rows whose `is_issue` is true, and no others."
)
Resume = _flag(
    "--resume",
    "Keep what there is after each epoch, in the folder of --cache or beside the table "
    "that is written; the same command goes on from there if it was interrupted.",
)
Out = _option(Path | None, "FILE", "The table to write. Without it: beside TABLE.")
ReportOut = _option(Path, "FILE", "The report, one HTML file.")
Report = _option(
    Path | None, "FILE",
    "Write a report, too, one HTML file, to read and to decide in: what is downloaded "
    "there is for --verified.",
)  # fmt: skip
Id = _option(str | None, "COLUMN", "What rows are called elsewhere, for the report.")
Show = _option(
    list[str] | None, "COLUMN|PATTERN",
    "What the report shows with each text, too; can be given several times.",
)  # fmt: skip
AnnotatorsOut = _option(
    Path | None, "FILE",
    "Write how often each of several label columns is right, too, a table.",
)  # fmt: skip
ModelOut = _option(Path | None, "FILE", "Save the model, say, as model.skops.")
LanguageModel = _option(str | None, "NAME", "Another language model: folder or name.")
Fast = _flag("--fast", "Leave the language model frozen: faster, often less accurate.")
Epochs = _option(int | None, "N", "Passes over the texts. Without it: 5.", min=1)
Seed = _option(int, "N", "Random seed: the same seed, the same result.", min=0)
Device = _option(str, "NAME", "Say, cpu or cuda:1; auto takes a GPU if there is one.")
DryRun = _flag("--dry-run", "Check everything, say what would be done, do nothing.")
ExcelSafe = _flag(
    "--excel-safe",
    "In CSV and TSV, put an apostrophe in front of cells that begin with = + - @ or a "
    "tab, which spreadsheets compute, and are no numbers; of every column.",
)
Force = _flag("--force", "Replace files that exist.")
Quiet = _flag("--quiet", "No progress bars and no summary.")
Debug = _flag("--debug", "Show the traceback of every error.")
Version = _flag("--version", "Show the version.", callback=_show_version, is_eager=True)


@app.callback()
def _skdygen(version: Version = False):
    """Find and correct wrong labels of texts, and classify new texts.

    Tables are CSV, TSV, JSON lines (.jsonl, .ndjson), each also with .gz, Excel (.xlsx,
    the first sheet) and parquet (which needs pyarrow); the name says which. A CSV file
    may have semicolons or tabs instead of commas, and another encoding than UTF-8; it
    is written as it came. Of two columns of the name text the second is text.1 here.
    JSON that would not come back as it is, such as NaN, 1e400 or a key that stands
    twice, is refused.

    Examples:

        skdygen demo
        skdygen inspect tickets.csv
        skdygen clean tickets.csv --dry-run
        skdygen clean tickets.csv --report report.html --fit-out fit.skops
        skdygen clean tickets.csv --refit fit.skops --verified decisions.csv --force
        skdygen clean tickets.csv --model-out model.skops
        skdygen check tickets.csv --n 50 --fit-out fit.skops
        skdygen clean tickets.csv --refit fit.skops --verified tickets.check.csv
        skdygen check tickets.csv --format label-studio
        skdygen clean tickets.csv --label 'rule_*' --annotators rules.csv
        skdygen predict model.skops new.csv
        skdygen report model.skops tickets.csv --out report.html
        skdygen info model.skops

    Exit codes: 0 all went well; 1 something is wrong with the data or the files, and a
    line on stderr says what; 2 wrong arguments; 130 interrupted by Ctrl-C, 143 by
    SIGTERM.
    """


@app.command()
def inspect(
    table: Table, text: Text = None, label: Label = None,
    missing_label: MissingLabel = None, encoding: Encoding = None,
    debug: Debug = False,
):  # fmt: skip
    """Say what is odd about a table, before anything is trained.

    Classes that are written in two ways, labels that look like none, the same text
    twice, empty rows, rare classes, columns that can hardly be texts or labels: each
    with its number, an example and what helps. Rows are counted from 0, below the
    header. `clean` and `check` say the same in short.
    """
    _run("inspect", locals())


@app.command()
def clean(
    table: Table, text: Text = None, label: Label = None,
    missing_label: MissingLabel = None, encoding: Encoding = None,
    normalize_labels: NormalizeLabels = False,
    verified: Verified = None, out: Out = None,
    report: Report = None, annotators: AnnotatorsOut = None,
    id: Id = None, show: Show = None,
    model_out: ModelOut = None, sort: Sort = False, only_issues: OnlyIssues = False,
    threshold: Threshold = None, fit_out: FitOut = None, refit: Refit = None,
    cache: Cache = None, resume: Resume = False,
    model: LanguageModel = None,
    fast: Fast = False, epochs: Epochs = None, seed: Seed = 0, device: Device = "auto",
    excel_safe: ExcelSafe = False, dry_run: DryRun = False, force: Force = False,
    quiet: Quiet = False, debug: Debug = False,
):  # fmt: skip
    """Find and correct the wrong labels of a table.

    The table is written with four more columns:

    - `label_suggested`: the most probable class of the text, also where it has no label
    - `label_quality`: the probability that the given label is right, to three digits
    - `is_issue`: whether the given label is not the most probable class
    - `label_corrected`: the label, replaced only where there is reason to be sure
    - `is_accepted`, with `--verified` only: whether that is verified or can be taken
      unread: at most 5 % of all labels are taken so and wrong, at 95 % confidence
    - `label_given`, with several label columns only: the label that most of them give,
      which is the given one for all others
    - `spreadsheet_row`, with `--sort` or `--only-issues` only: the row of TABLE, as a
      spreadsheet counts, the header being row 1

    Every other column stays as it is. All files are checked before the training.
    """
    _run("clean", locals())


@app.command()
def check(
    table: Table, text: Text = None, label: Label = None,
    missing_label: MissingLabel = None, encoding: Encoding = None,
    normalize_labels: NormalizeLabels = False,
    verified: Verified = None,
    n: NToCheck = 50, strategy: StrategyToCheck = Strategy.auto,
    format: CheckFormat = Format.table, out: Out = None,
    fit_out: FitOut = None, refit: Refit = None,
    cache: Cache = None, resume: Resume = False,
    model: LanguageModel = None, fast: Fast = False,
    epochs: Epochs = None, seed: Seed = 0, device: Device = "auto",
    excel_safe: ExcelSafe = False, dry_run: DryRun = False, force: Force = False,
    quiet: Quiet = False, debug: Debug = False,
):  # fmt: skip
    """Choose labels that somebody should check, for `clean --verified`.

    They are written, as tickets.check.csv, say, with these columns:

    - `row`: the row of TABLE, counted from 0 below the header; leave it as it is
    - `text`, `given`: the text and its label
    - `suggested`, `confidence`: the most probable class, and its probability
    - `probability`: with which the row was drawn; leave it, too
    - `verified`: to be filled in with the right label, or left empty

    TABLE must keep its rows. What `--verified` holds already is not chosen again. With
    `--format`, the same goes to an annotation tool, and comes back from there; a text
    that several people have labelled gets the class that most of them chose.
    """
    _run("check", locals())


@app.command()
def predict(
    model: Model, table: Table, text: Text = None, encoding: Encoding = None,
    out: Out = None,
    device: Device = "auto", excel_safe: ExcelSafe = False, force: Force = False,
    quiet: Quiet = False, debug: Debug = False,
):  # fmt: skip
    """Classify the texts of a table with a saved model.

    The table is written with two more columns: `label_predicted`, the most probable
    class, and `confidence`, its probability.
    """
    _run("predict", locals())


@app.command()
def report(
    model: Model, table: Table, out: ReportOut, text: Text = None,
    encoding: Encoding = None, id: Id = None, show: Show = None,
    force: Force = False, quiet: Quiet = False, debug: Debug = False,
):  # fmt: skip
    """Write the report of `clean --report` later, on the table of the same rows."""
    _run("report", locals())


@app.command()
def info(model: Model, debug: Debug = False):
    """Say what is in a saved model: its card, read without making anything of it."""
    _run("info", locals())


@app.command()
def demo(
    seed: Seed = 0, report: Report = None, force: Force = False, debug: Debug = False
):
    """Try it on 500 made messages, and list the most suspicious labels."""
    _run("demo", locals())
