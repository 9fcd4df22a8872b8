"""A prior that several others agree on."""

import numpy as np
from sklearn.base import clone

from .._sklearn_compat import BaseComposition
from ..base import BasePrior
from ._clean_set import BaseCleanSetPrior
from ._knn import TrajectoryKNNPrior
from ._linear import ClassifierPrior
from ._scores import noise_scores


class ConsensusPrior(BaseComposition, BasePrior):
    """Mean of several priors that differ in what they take for clean and near.

    Which texts look clean, and in which embedding right labels spread, depends on how
    the labels went wrong. Where whole classes are wrong, as with rules, the clean
    texts have to be sought among all; where all classes suffer alike, within each
    class. Fine-tuning brings texts of one class together, but also those that share
    a mistake. None of this is known, so the default asks four priors, each of which
    learns from the half of the labels that look clean, neighbours with leave-one-out:

    =================  ===============  ============  ====================
    name               clean texts of   embedding     prior
    =================  ===============  ============  ====================
    initial-linear     all              pre-trained   `ClassifierPrior`
    initial-neighbors  each class       pre-trained   `TrajectoryKNNPrior`
    last-linear        all              last epoch    `ClassifierPrior`
    last-neighbors     each class       last epoch    `TrajectoryKNNPrior`
    =================  ===============  ============  ====================

    Parameters
    ----------
    priors : list of (str, prior) tuples, default=None
        The priors and their names; None takes those above.
    criterion : {"paper", "relative", "margin"}, default="relative"
        Noise score of the priors above, see `TrajectoryKNNPrior`.
    contamination : "auto" or float in [0, 1), default=0.5
        Share of the labels that the priors above leave out. It may well be larger than
        that of the wrong labels: what is left need not be much, but clean. "auto"
        estimates the share of wrong labels.
    n_neighbors : int, default=10
        Number of neighbours for the priors above that ask them.
    max_samples : int or None, default=10_000
        Number of clean texts that each of the priors above learns from, at most.
    missing_label : object, default=None
        The value in `y` that means "no label"; NaN stands for all null values.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    priors_ : list of priors
        The fitted priors.
    label_distributions_ : ndarray of shape (n_samples, n_classes)
        The mean for the training texts.
    untouched_distributions_ : ndarray of shape (n_samples, n_classes)
        The mean of those priors that read the embedding from before the training, in
        which a text's own label hardly has a say (of all, if none does).

    Examples
    --------
    >>> from skdygen.datasets import make_label_noise, make_texts
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> from skdygen.priors import ConsensusPrior
    >>> texts, labels = make_texts(300, random_state=0)
    >>> noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    >>> trajectories = IncrementalDynamics(random_state=0).fit_transform(texts, noisy)
    >>> prior = ConsensusPrior().fit_transform(trajectories, noisy).prior
    >>> found = trajectories.classes[prior.argmax(axis=1)]
    >>> bool((found == labels).mean() > (noisy == labels).mean())
    True
    """

    _parameter_constraints = {
        **{
            name: TrajectoryKNNPrior._parameter_constraints[name]
            for name in ("criterion", "contamination", "n_neighbors", "max_samples")
        },
        "priors": [list, None],
        "missing_label": "no_validation",
    }

    def __init__(
        self,
        priors=None,
        *,
        criterion="relative",
        contamination=0.5,
        n_neighbors=10,
        max_samples=10_000,
        missing_label=None,
    ):
        self.priors = priors
        self.criterion = criterion
        self.contamination = contamination
        self.n_neighbors = n_neighbors
        self.max_samples = max_samples
        self.missing_label = missing_label

    def get_params(self, deep=True):
        return self._get_params("priors", deep=deep)

    def set_params(self, **params):
        return self._set_params("priors", **params)

    def _validate_params(self):
        super()._validate_params()
        if self.priors is None:
            return
        if not self.priors:
            raise ValueError("priors is empty; give at least one (name, prior) tuple.")
        for position, named in enumerate(self.priors):
            match named:
                case (str(), BasePrior() as prior):
                    prior._validate_params()
                case _:
                    raise TypeError(
                        f"priors[{position}] must be a (name, prior) tuple such as "
                        f"('near', TrajectoryKNNPrior()), but is {named!r}."
                    )
        self._validate_names([name for name, _ in self.priors])

    def _fit_prior(self, trajectories, targets):
        named = self._default_priors() if self.priors is None else self.priors
        self.priors_ = []
        scores, every, untouched = {}, [], []
        for _, prior in named:
            fitted = clone(prior)
            fitted._remember(trajectories)
            shared = ()
            if isinstance(fitted, BaseCleanSetPrior):
                criterion = fitted.criterion
                if criterion not in scores:  # made once for all priors with the same
                    scores[criterion] = noise_scores(trajectories, targets, criterion)
                shared = (scores[criterion],)
            every.append(fitted._fit_prior(trajectories, targets, *shared))
            if getattr(fitted, "epoch", None) == "initial":
                untouched.append(every[-1])
            self.priors_.append(fitted)
        self.label_distributions_ = np.mean(every, axis=0)
        self.untouched_distributions_ = np.mean(untouched or every, axis=0)
        return self.label_distributions_

    def _prior(self, trajectories):
        found = [prior._prior(trajectories) for prior in self.priors_]
        return np.mean(found, axis=0)

    def _default_priors(self):
        """Name the priors that are asked where none are given."""
        linear = {
            name: getattr(self, name)
            for name in ("criterion", "contamination", "max_samples")
        }
        near = linear | {"selection": "class", "voting": "soft", "leave_one_out": True}
        near["n_neighbors"] = self.n_neighbors
        return [
            ("initial-linear", ClassifierPrior(epoch="initial", **linear)),
            ("initial-neighbors", TrajectoryKNNPrior(epoch="initial", **near)),
            ("last-linear", ClassifierPrior(epoch=-1, **linear)),
            ("last-neighbors", TrajectoryKNNPrior(epoch=-1, **near)),
        ]
