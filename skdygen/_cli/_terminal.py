"""What is printed: names in it come from files, and may be anybody's."""

import os
import re
import sys

import typer

# Control characters, which terminals obey; those that change the direction of what
# follows; ends of lines; and halves of characters, which cannot be printed.
_OBEYED = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text):
    """Write a text in one line that no terminal obeys."""
    return _OBEYED.sub(lambda found: repr(found[0])[1:-1], str(text))


def say(text, *, head="", color=None, err=False):
    """Print one line, whose head is ours and coloured, whatever is in the text."""
    echo(typer.style(head, fg=color) + plain(text), err=err)


def echo(text, err=False):
    """Print a text of ours; nothing, if nobody reads it any more: `| head -1`."""
    try:
        typer.echo(text, err=err)
    except BrokenPipeError:
        stream = sys.stderr if err else sys.stdout
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # what is left in its buffer goes there
        os.close(nowhere)
