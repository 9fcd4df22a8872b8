"""Progress bars, which whoever runs the stages can hide all at once."""

from contextlib import contextmanager
from contextvars import ContextVar

from tqdm.auto import tqdm

_are_hidden = ContextVar("bars_are_hidden", default=False)


def bar(*args, verbose, **params):
    """Return a progress bar, shown if `verbose` says so and bars are not hidden."""
    return tqdm(*args, disable=not verbose or _are_hidden.get(), **params)


@contextmanager
def hidden_bars():
    """Hide all bars in here, whatever `verbose` is, which caches would ask for."""
    token = _are_hidden.set(True)
    try:
        yield
    finally:
        _are_hidden.reset(token)
