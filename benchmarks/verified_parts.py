"""Parts of the default that verified labels act on, and what it is without each."""

from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from skdygen import _pool
from skdygen._targets import Targets
from skdygen.denoisers import _log_linear
from skdygen.priors import ConsensusPrior

_fit_prior = ConsensusPrior._fit_prior


def _fit_prior_unverified(prior, trajectories, targets):
    """Fit a prior that knows the given labels only."""
    given = Targets.unverified(targets.classes, targets.codes, targets.weights)
    return _fit_prior(prior, trajectories, given)


# Standard deviation of what is to stay: one much smaller is too steep for the fit.
_STAYS = 0.01
_WEIGHTS = (_pool, "_SD_WEIGHT", _STAYS)
_SHARPNESS = (_pool, "_SD_SHARPNESS", _STAYS)
_GIVEN = (_pool, "_SD_GIVEN", _STAYS)
_CLASS, _PAIR, _VIEW = [
    (_log_linear, name, 0.0) for name in ("_SD_CLASS", "_SD_PAIR", "_SD_VIEW")
]
_PRIORS = (ConsensusPrior, "_fit_prior", _fit_prior_unverified)
# By name: what is replaced, as `unittest.mock.patch.object` takes it.
PARTS = {
    "default without weights of opinions": [_WEIGHTS, _SHARPNESS],
    "default without weight of the given label": [_GIVEN],
    "default without class terms": [_CLASS, _PAIR],
    "default without what texts teach": [_VIEW],
    "default without verified labels in priors": [_PRIORS],
    "default without a fitted pool": [(_pool.Pool, "fit", lambda pool, *_: pool)],
    "default without all but calibration": [_WEIGHTS, _GIVEN, _PAIR, _VIEW, _PRIORS],
}


@contextmanager
def without(part):
    """Have classifiers fitted and asked without a part, in a block."""
    with ExitStack() as stack:
        for replaced in PARTS[part]:
            stack.enter_context(patch.object(*replaced))
        yield
