"""A prior that knows nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import BasePrior


class UniformPrior(BasePrior):
    """Believe in every class alike: the ablation of the second stage.

    With it nothing tells `DirichletVAE` which of its classes is which, and its
    posterior is as good as chance. `TransitionMatrixDenoiser` needs no prior.

    Parameters
    ----------
    missing_label : object, default=None
        The value in `y` that means "no label"; NaN stands for all null values.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.

    Examples
    --------
    >>> import numpy as np
    >>> from skdygen import Trajectories
    >>> from skdygen.priors import UniformPrior
    >>> trajectories = Trajectories(np.zeros((3, 1, 1, 2)), np.full((3, 1, 1, 4), 0.25))
    >>> UniformPrior().fit_transform(trajectories, [0, 1, 2]).prior[0]
    array([0.25, 0.25, 0.25, 0.25])
    """

    _parameter_constraints = {"missing_label": "no_validation"}

    def __init__(self, *, missing_label: Any = None):
        self.missing_label = missing_label

    def _fit_prior(self, trajectories, targets):
        return self._prior(trajectories)

    def _epochs_read(self):
        return set()

    def _prior(self, trajectories):
        shape = (len(trajectories), trajectories.n_classes)
        return np.full(shape, 1 / trajectories.n_classes)
