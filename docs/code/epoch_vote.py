"""A second stage of one's own: every network has a vote after every epoch."""

from numbers import Real

import numpy as np
from sklearn.utils._param_validation import Interval

from skdygen.base import BasePrior


class EpochVotePrior(BasePrior):
    """Believe what the plain model has predicted most often while it was trained.

    Parameters
    ----------
    smoothing : float, default=1.0
        Votes that every class has from the start.
    missing_label : object, default=None
        The value in `y` that means "no label".
    """

    _parameter_constraints = {
        "smoothing": [Interval(Real, 0, None, closed="neither")],
        "missing_label": "no_validation",
    }

    def __init__(self, smoothing=1.0, *, missing_label=None):
        self.smoothing = smoothing
        self.missing_label = missing_label

    def _fit_prior(self, trajectories, targets):
        return self._prior(trajectories)  # nothing to learn

    def _prior(self, trajectories):
        predicted = trajectories.probabilities.argmax(axis=3)
        votes = np.eye(trajectories.n_classes)[predicted].sum(axis=(1, 2))
        votes += self.smoothing
        return votes / votes.sum(axis=1, keepdims=True)
