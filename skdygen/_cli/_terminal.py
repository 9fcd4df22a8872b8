"""What is printed: names in it come from files, and may be anybody's."""

import io
import logging
import os
import re
import sys
from contextlib import ExitStack, contextmanager

import typer

COUNTING = "from 0, below the header: row 0 is row 2 of a spreadsheet"

# Control characters, which terminals obey; those that change the direction of what
# follows; ends of lines; and halves of characters, which cannot be printed.
_OBEYED = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text):
    """Write a text in one line that no terminal obeys."""
    return _OBEYED.sub(lambda found: repr(found[0])[1:-1], str(text))


def say(text, *, head="", color=None, err=False):
    """Print one line, whose head is ours and coloured, whatever is in the text."""
    typer.echo(typer.style(head, fg=color) + plain(text), err=err)


def show(found):
    """Print names and what belongs to them."""
    for name, value in found.items():
        say(value, head=f"{name:<26}", color="cyan")


class _Lines(logging.Handler):
    """Print what is logged in lines, on stderr."""

    def emit(self, record):
        say(record.getMessage(), head="skdygen: ", err=True)


@contextmanager
def progress(*, is_quiet):
    """Show how far a fit is: by bars in a terminal, elsewhere by a line an epoch."""
    from .._progress import hidden_bars  # for which --help cannot wait

    names = ["skdygen.dynamics._checkpoint"]  # which says where a fit goes on
    is_terminal = sys.stderr.isatty()
    if not is_terminal:
        names.append("skdygen.dynamics._engine")
    with ExitStack() as stack:
        for name in names if not is_quiet else ():
            stack.enter_context(_lines_of(logging.getLogger(name)))
        if not is_terminal:
            stack.enter_context(hidden_bars())
        yield


@contextmanager
def _lines_of(logger):
    """Have what a logger tells be printed in here, and go nowhere else."""
    handler, before = _Lines(), (logger.level, logger.propagate)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def patient(stream):
    """Return a stream that stops nothing, whatever is printed and whoever reads it."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="backslashreplace")  # not every terminal has all signs
    return _Patient(stream)


class _Patient:
    """A stream that is silent from when nobody reads it any more, as by `| head -1`."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        if name == "buffer":  # by which typer would write past this
            raise AttributeError(name)
        return getattr(self._stream, name)

    def write(self, text):
        with self._silent_from_now_on():
            self._stream.write(text)
        return len(text)

    def flush(self):
        with self._silent_from_now_on():
            self._stream.flush()

    @contextmanager
    def _silent_from_now_on(self):
        """Have all that follows go nowhere, if what is done in here fails."""
        try:
            yield
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
