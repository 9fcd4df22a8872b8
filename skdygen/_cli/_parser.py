"""What can be typed, and the help that says so."""

import argparse
from functools import partial
from importlib import import_module

_DESCRIPTION = """\
Find and correct wrong labels of texts, and classify new texts.

A language model is fine-tuned on the labels as they are; how the texts move while it
learns tells which labels are wrong. No clean labels and no error rate are needed.
"""

_EPILOG = """\
examples:
  skdygen demo
  skdygen clean tickets.csv --dry-run
  skdygen clean tickets.csv --text body --label tag --report report.html
  skdygen clean tickets.csv --model-out model
  skdygen predict model new.csv
  skdygen report model tickets.csv --out report.html

Tables are CSV, TSV, JSON lines (.jsonl, .ndjson), each also with .gz, and parquet; the
name says which. Text files are UTF-8; a CSV file may have semicolons instead of commas.
`skdygen COMMAND --help` says more.

exit codes: 0 all went well; 1 something is wrong with the data or the files, and a line
on stderr says what; 2 wrong arguments; 130 interrupted by Ctrl-C.
"""

_CLEAN = """\
Find the labels of a table that look wrong, and write the table with four more columns:

  label_suggested  the most probable class of the text, also where it has no label
  label_quality    the probability that the given label is right
  is_issue         whether the given label is not the most probable class
  label_corrected  the label, replaced only where there is reason to be sure

Every other column stays as it is. Rows without a label get a suggestion; an empty text
counts as a text. All files are checked before the training begins.
"""

_PREDICT = """\
Classify the texts of a table with a model that `skdygen clean --model-out` has written.
The table is written with two more columns:

  label_predicted  the most probable class
  confidence       its probability
"""

_REPORT = """\
Write a report on the labels of a table, as `skdygen clean --report` does, from the
model that `skdygen clean --model-out` has written. The table has to be the one that was
cleaned then.
"""


_USUAL = (
    "one named text, body, message, content, title, sentence or document; else the one "
    "with the longest texts"
)
_OF_THE_MODEL = "the one that the model was fitted on"


def make_parser():
    """Return the parser; `run` of what it parses takes the options."""
    from .. import __version__

    parser = _formatted(argparse.ArgumentParser)(
        prog="skdygen", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("--version", action="version", version=f"skdygen {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = partial(_add_command, commands)
    _add_clean(add("clean", _CLEAN, "find and correct wrong labels of a table"))
    _add_predict(add("predict", _PREDICT, "classify the texts of a table"))
    _add_report(add("report", _REPORT, "write an HTML report on cleaned labels"))
    _add_demo(
        add(
            "demo",
            "The main job on a corpus made at run time.",
            "fine-tune on 500 made messages, 30 %% of them labelled wrongly, and list "
            "the most suspicious labels",
        )
    )
    return parser


def _formatted(make):
    return partial(make, formatter_class=argparse.RawDescriptionHelpFormatter)


def _add_command(commands, name, description, summary):
    command = _formatted(commands.add_parser)(
        name, description=description, help=summary
    )
    command.set_defaults(run=partial(_run, name))
    command.add_argument(
        "--debug", action="store_true", help="show the traceback of every error"
    )
    return command


def _run(name, options):
    import_module(f"{__package__}._{name}").run(options)


def _add_clean(command):
    _add_table(command)
    command.add_argument(
        "--label",
        metavar="COLUMN",
        help="column of the labels (default: the only one named label, labels, class, "
        "category, target, tag or y)",
    )
    command.add_argument(
        "--missing-label",
        metavar="VALUE",
        help="label that means 'no label', besides an empty cell; such as -1",
    )
    _add_out(command, "cleaned")
    command.add_argument(
        "--report", metavar="FILE", help="write an HTML report here, too"
    )
    command.add_argument(
        "--model-out",
        metavar="FOLDER",
        help="save the fitted model here, for `skdygen predict`",
    )
    command.add_argument(
        "--model",
        metavar="NAME",
        help="language model: a folder, or a name on the Hugging Face hub (default: "
        "all-MiniLM-L6-v2)",
    )
    command.add_argument(
        "--fast",
        action="store_true",
        help="leave the language model frozen and train a small network on its "
        "embeddings: seconds instead of minutes, and often less accurate",
    )
    command.add_argument(
        "--epochs",
        type=partial(_whole, 1),
        metavar="N",
        help="number of passes over the texts (default: 5)",
    )
    command.add_argument(
        "--seed",
        type=partial(_whole, 0),
        default=0,
        metavar="N",
        help="random state: the same seed, the same result (default: 0)",
    )
    _add_device(command)
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="read and check everything, say what would be done, and do nothing",
    )
    _add_habits(command)


def _add_predict(command):
    _add_model(command)
    _add_table(command, _OF_THE_MODEL)
    _add_out(command, "predicted")
    _add_device(command)
    _add_habits(command)


def _add_report(command):
    _add_model(command)
    _add_table(command, _OF_THE_MODEL)
    command.add_argument(
        "--label",
        metavar="COLUMN",
        help="column of the labels, to check that they are those of the model "
        "(default: the one it was fitted on; unchecked if it is not there)",
    )
    command.add_argument(
        "--out", metavar="FILE", required=True, help="the report, an HTML file"
    )
    _add_habits(command)


def _add_demo(command):
    command.add_argument(
        "--seed", type=int, default=0, help="random state (default: 0)"
    )
    command.add_argument(
        "--noise", type=float, default=0.3, help="share of wrong labels (default: 0.3)"
    )
    command.add_argument(
        "--report", metavar="FILE", help="write an HTML report on them, too"
    )
    _add_force(command)


def _add_model(command):
    command.add_argument(
        "model", metavar="MODEL", help="folder that `clean --model-out` has written"
    )


def _add_table(command, default=_USUAL):
    command.add_argument("table", metavar="TABLE", help="the file to read")
    command.add_argument(
        "--text", metavar="COLUMN", help=f"column of the texts (default: {default})"
    )


def _add_out(command, word):
    command.add_argument(
        "--out",
        metavar="FILE",
        help=f"where the table is written (default: TABLE.{word}.SUFFIX beside it)",
    )


def _add_device(command):
    command.add_argument(
        "--device",
        default="auto",
        help="where to compute, such as cpu or cuda:1 (default: a GPU if there is one)",
    )


def _add_force(command):
    command.add_argument(
        "--force", action="store_true", help="replace files that exist"
    )


def _add_habits(command):
    _add_force(command)
    command.add_argument(
        "--quiet", action="store_true", help="no progress bars and no summary"
    )


def _whole(least, text):
    number = int(text) if text.lstrip("-").isdecimal() else least - 1
    if not least <= number < 2**32:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no whole number from {least} to {2**32 - 1}"
        )
    return number
