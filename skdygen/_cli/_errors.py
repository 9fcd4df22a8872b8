"""Errors that are said in one line, since whoever typed the command can act on them."""

from contextlib import contextmanager

# What the package raises when data, parameters or files are at fault.
EXPLAINED = (FloatingPointError, OSError, TypeError, ValueError)


class CommandError(Exception):
    """What is wrong with the data or the files; anything else is a bug."""

    def __init__(self, message):
        super().__init__(" ".join(str(message).split()))


@contextmanager
def explained(what=None):
    """Turn the errors that the package explains into `CommandError`.

    Parameters
    ----------
    what : str, default=None
        Put in front of the message.
    """
    try:
        yield
    except EXPLAINED as error:
        raise CommandError(f"{what}: {error}" if what else error) from error
