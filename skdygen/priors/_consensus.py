"""A prior that several others agree on, by views and by what they take for clean."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.base import clone

from .._pool import geometric_mean
from .._sklearn_compat import BaseComposition
from ..base import BasePrior
from ._clean_set import BaseCleanSetPrior
from ._ridge import RidgePrior
from ._scores import noise_scores

# Of the labels of a class, at most so many times as many are left out as are not
# foretold: where nearly all are, those of the texts between classes would be missing.
_UNFORETOLD = 2
# A class with more of all labels would be thinned out for being large, and others would
# win its texts.
_LARGE = 2 / 3
# Labels from which on what a trained encoder has learnt counts more than what was there
# before, and how much more at most.
_MANY, _MOST_WEIGHT = 5_000, 4


class ConsensusPrior(BaseComposition, BasePrior):
    """Geometric mean of priors that differ in what they read and take for clean.

    Which texts look clean, and in which features right labels spread, depends on how
    the labels went wrong. Where whole classes are wrong, as with rules, the clean
    texts have to be sought among all; where all classes suffer alike, within each
    class. Words show what a rule went by, an embedding what a text means. Fine-tuning
    brings texts of one class together, but also those that share a mistake. None of
    this is known, so the default asks these, each without the label of the text that
    it is asked about:

    =============  ============  ================================
    name           view          labels
    =============  ============  ================================
    initial-all    "initial"     all
    initial-clean  "initial"     the cleaner ones of each class
    initial-cut    "initial"     half by the cut statistic
    lexical-all    "lexical"     and two more, as above
    last-clean     last epoch    the cleaner ones of each class
    last-cut       last epoch    half by the cut statistic
    =============  ============  ================================

    All are of the kind `RidgePrior`. Those of a view that the trajectories do not have
    are left out, and "initial" is the first recorded epoch where nothing from before
    the training was recorded. All of them are handed on as `Trajectories.opinions`, for
    `LogLinearPool` to weigh.

    All count alike, but an encoder that was itself trained (`Trajectories.fine_tuned`)
    learns more from more labels: priors that read an epoch, or do not say what they
    read, then count n / 5,000 times as much as the others by n labels, once at least
    and four times at most.

    Parameters
    ----------
    priors : list of (str, prior) tuples, default=None
        The priors and their names; None takes those above.
    criterion : {"paper", "relative", "margin", "cut"}, default="relative"
        Noise score of the priors above that learn from the cleaner ones of each class,
        see `TrajectoryKNNPrior`.
    contamination : "auto" or float in [0, 1), default=0.5
        Share of the labels that the priors above leave out, but for those that learn
        from all. It may well be larger than that of the wrong labels: what is left need
        not be much, but clean. "auto" estimates the share of wrong labels. Of each
        class, though, no more are left out than twice those that the priors of all
        labels do not foretell, where the cleaner ones of each class are sought; none of
        a class with over two thirds of all labels; and never the 30 cleanest ones.
    max_samples : int or None, default=30_000
        Number of clean texts that each of the priors above learns from, at most, see
        `RidgePrior`.
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
    untouched_distributions_ : ndarray of shape (n_samples, n_untouched, n_classes)
        Those of the priors that learn from all labels by a view that no label has
        touched, so that a text's own has no part in what they say of it (but for the
        epoch that stands for "initial" where that is missing); all of them, if there
        are none.
    names_ : list of str
        Names of the priors that were asked, in the order of `Trajectories.opinions`.
    weights_ : ndarray of shape (n_opinions,)
        How much each of them counts in the mean; they sum to 1.

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
            name: RidgePrior._parameter_constraints[name]
            for name in ("criterion", "contamination", "max_samples")
        },
        "priors": [list, None],
        "missing_label": "no_validation",
    }

    def __init__(
        self,
        priors: list[Any] | None = None,
        *,
        criterion: Literal["cut", "margin", "paper", "relative"] = "relative",
        contamination: Literal["auto"] | float = 0.5,
        max_samples: int | None = 30_000,
        missing_label: Any = None,
    ):
        self.priors = priors
        self.criterion = criterion
        self.contamination = contamination
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
                case (str(), BasePrior() as prior) if not isinstance(
                    prior, ConsensusPrior
                ):
                    prior._validate_params()
                case _:
                    raise TypeError(
                        f"priors[{position}] must be a (name, prior) tuple such as "
                        f"('near', TrajectoryKNNPrior()), of a prior that is no "
                        f"ConsensusPrior, but is {named!r}."
                    )
        self._validate_names([name for name, _ in self.priors])

    def _fit_prior(self, trajectories, targets):
        named = self.priors
        if named is None:
            named = self._default_priors(trajectories.views)
        self.names_, self.priors_ = [name for name, _ in named], []
        shape = (len(named), len(targets.classes))
        scores, limits = {}, None
        opinions = trajectories._allocate(shape, np.float32)
        for position, (_, prior) in enumerate(named):
            fitted = clone(prior)
            fitted._remember(trajectories, targets.classes)
            shared = {}
            if isinstance(fitted, BaseCleanSetPrior) and fitted.criterion != "cut":
                criterion = fitted.criterion
                if criterion not in scores:  # made once for all priors with the same
                    scores[criterion] = noise_scores(trajectories, targets, criterion)
                shared["scores"] = scores[criterion]
            if self.priors is None and fitted.contamination != 0:
                if limits is None:  # by those before, which learn from all labels
                    limits = _limits(opinions[:, :position], targets)
                shared["limits"] = limits[fitted.selection]
            opinions[:, position] = fitted._fit_prior(trajectories, targets, **shared)
            self.priors_.append(fitted)
        n_learnt = len(targets.labelled) if trajectories.fine_tuned else 0
        self.weights_ = self._weights(n_learnt)
        untouched = np.flatnonzero([_is_untouched(prior) for prior in self.priors_])
        untouched = untouched if len(untouched) else slice(None)
        self.untouched_distributions_ = np.array(opinions[:, untouched])
        return opinions

    def _epochs_read(self):
        found = [prior._epochs_read() for prior in self.priors_]
        return None if None in found else set().union(*found)

    def _fit_targets(self, X, targets, *, record=False):
        found = super()._fit_targets(X, targets, record=record)
        self.label_distributions_ = found.prior
        return found

    def _prior(self, trajectories):
        shape = (len(self.priors_), len(self.classes_))
        opinions = trajectories._allocate(shape, np.float32)
        for position, prior in enumerate(self.priors_):
            opinions[:, position] = prior._prior(trajectories)
        return opinions

    def _attach(self, trajectories, opinions):
        pooled = geometric_mean(opinions, self.weights_)
        return trajectories.with_prior(pooled, opinions, self.weights_)

    def _weights(self, n_learnt):
        """How much each prior counts where an encoder has learnt so many labels."""
        reads_epochs = [prior._epochs_read() != set() for prior in self.priors_]
        weights = np.where(reads_epochs, np.clip(n_learnt / _MANY, 1, _MOST_WEIGHT), 1)
        return weights / weights.sum()

    def _default_priors(self, views):
        """Name the priors that are asked where none are given."""
        every = {"max_samples": self.max_samples}
        half = every | {"contamination": self.contamination}
        clean = half | {"criterion": self.criterion, "selection": "class"}
        untouched = [name for name in ("initial", "lexical") if name in views]
        untouched = untouched or ["initial"]
        named = [(f"{v}-all", RidgePrior(view=v, **every)) for v in untouched]
        for name, view in [*zip(untouched, untouched, strict=True), ("last", -1)]:
            named += [
                (f"{name}-clean", RidgePrior(view=view, **clean)),
                (f"{name}-cut", RidgePrior("cut", view=view, **half)),
            ]
        return named


def _limits(opinions, targets):
    """Share of each class that is left out at most, by the way of selection."""
    sizes = _class_sizes(targets, targets.labelled)
    is_small = sizes <= _LARGE * sizes.sum()
    by_class = _UNFORETOLD * not_foretold(opinions, targets)
    return {"class": is_small * by_class, "global": is_small * 1.0}


def _is_untouched(prior):
    """Tell whether a prior reads a view, and labels chose none of its texts."""
    is_view = isinstance(getattr(prior, "view", None), str)
    return is_view and getattr(prior, "contamination_", None) == 0


def not_foretold(opinions, targets):
    """Share of each class's labels that the opinions do not foretell, (n_classes,)."""
    labelled = targets.labelled
    found = geometric_mean(opinions).argmax(axis=1)
    sizes = _class_sizes(targets, labelled)
    missed = labelled[found[labelled] != targets.codes[labelled]]
    missed = _class_sizes(targets, missed)
    return missed / np.where(sizes > 0, sizes, 1)


def _class_sizes(targets, rows):
    """Weight of the labels of some texts by class, (n_classes,)."""
    n_classes = len(targets.classes)
    return np.bincount(targets.codes[rows], targets.weights[rows], minlength=n_classes)
