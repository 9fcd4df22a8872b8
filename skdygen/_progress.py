"""Progress bars, and the tasks of a fit that callbacks of scikit-learn are told of.

Bars can be hidden by whoever runs the stages, all at once.
"""

from contextlib import contextmanager
from contextvars import ContextVar

from tqdm.auto import tqdm

_are_hidden = ContextVar("bars_are_hidden", default=False)
# The estimator whose callbacks are told, and its task that is under way. As attributes
# of a stage they would change what a cache knows it by.
_under_way = ContextVar("task_under_way", default=None)


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


@contextmanager
def fit_task(estimator, n_tasks, X, y, sample_weight):
    """Tell the callbacks of an estimator, if it has any, that its fit begins and ends.

    It consists of up to so many tasks, see `task`.
    """
    if not getattr(estimator, "_skl_callbacks", None):
        with _telling(None):  # what another estimator is told is not from here
            yield
        return
    data = {"X": X, "y": y, "metadata": {"sample_weight": sample_weight}}
    context = estimator._init_callback_context(max_subtasks=n_tasks)
    context.call_on_fit_task_begin(estimator=estimator, **data)
    with _telling((estimator, context)):
        yield
    context.call_on_fit_task_end(
        estimator=estimator, reconstruction_attributes={}, **data
    )


def tasks(name, items):
    """Go through items, each of which is a `task`."""
    for item in items:
        with task(name):
            yield item


@contextmanager
def task(name, n_tasks=0):
    """Tell the callbacks of what is being fitted that a part begins and ends.

    It consists of up to so many tasks; None: that is not known.
    """
    if _under_way.get() is None:
        yield
        return
    estimator, parent = _under_way.get()
    context = parent.subcontext(task_name=name, max_subtasks=n_tasks)
    context.call_on_fit_task_begin(estimator=estimator)
    with _telling((estimator, context)):
        yield
    context.call_on_fit_task_end(estimator=estimator)


@contextmanager
def _telling(whom):
    """Have tasks in here belong to another one."""
    token = _under_way.set(whom)
    try:
        yield
    finally:
        _under_way.reset(token)
