"""What is printed: names in it come from files, and may be anybody's."""

import io
import os
import re
from contextlib import contextmanager

import typer

# Control characters, which terminals obey; those that change the direction of what
# follows; ends of lines; and halves of characters, which cannot be printed.
_OBEYED = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text):
    """Write a text in one line that no terminal obeys."""
    return _OBEYED.sub(lambda found: repr(found[0])[1:-1], str(text))


def say(text, *, head="", color=None, err=False):
    """Print one line, whose head is ours and coloured, whatever is in the text."""
    typer.echo(typer.style(head, fg=color) + plain(text), err=err)


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
