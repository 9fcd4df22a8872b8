"""What is printed: names in it come from files, and may be anybody's."""

import re

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
