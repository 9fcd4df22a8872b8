"""The default denoiser: opinions and the given label, weighed by what is verified."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.model_selection import KFold
from sklearn.preprocessing import normalize

from .._memmap import parts
from .._pool import Pool, log_opinions
from .._sklearn_compat import Interval
from .._trajectories import check_prior
from ..base import BaseDenoiser

# Texts that teach what to say where no label is given, and how much those of them that
# nobody has verified count together, in verified ones: what is said of them comes from
# these, but they keep who verifies only what looks wrong from being misled.
_MOST_LEARNT, _WORTH = 2000, 2
# How far verified labels may move what is said: of a class, of a class where another
# is given, and of texts that are alike in a view, whose rows have length 1.
_SD_CLASS, _SD_PAIR, _SD_VIEW = 2.0, 1.0, 1.5
# All classes together move as far as so many do: of more, some are rare, and that none
# of them is among a few verified labels says little.
_FREE_CLASSES = 6


class LogLinearPool(BaseDenoiser):
    """Infer true labels by a logarithmic pool of opinions and the given label.

    The opinions are the distributions that the prior was made of, such as those of
    `ConsensusPrior`, each from other features or another choice of clean texts [1]_::

        p(y | x, y~) ~ prod_v p_v(y | x)^w_v exp(g [y = y~] + b_y + A_y~y + x B_y)

    Where a text has votes, what they say of y, see `DyGenClassifier.fit`, stands in the
    place of [y = y~], and g is 1 at first.

    Nothing in the labels alone says whose opinion to trust, nor who made the mistakes.
    So each counts as in the prior at first (`Trajectories.opinion_weights`), the given
    label as `given_weight` says, and b, A and B are 0. Verified labels say it: all of
    these are then fitted to them, by maximum a posteriori with Gaussian priors around
    these values. A (from pairs of given and verified labels) learns which classes are
    confused, B (features of the views) what the verified texts teach by themselves; b,
    how frequent classes are, stays 0 if all of these are of one class.
    Where no label is given, g and A are left out, and the rest is fitted to the
    verified texts and to what is then said of the others, which count at most twice as
    much as these, all together.

    Parameters
    ----------
    given_weight : float, default=2.0
        Trust in the given labels as long as none is verified: a label is not the most
        probable one where the opinions' mean of log-odds against it is larger.
    n_folds : int, default=5
        Number of parts of the verified texts, for what is said of each part without
        having seen its verified labels.
    missing_label : object, default=None
        The value in `y` that means "no label"; NaN stands for all null values.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    label_distributions_ : ndarray of shape (n_samples, n_classes)
        Posterior over the true label of the training texts, given their labels; that
        of a verified text is its verified label.
    marginal_distributions_ : ndarray of shape (n_samples, n_classes)
        The same without regard to each text's own labels.
    held_out_distributions_ : ndarray of shape (n_samples, n_classes)
        As `label_distributions_`, but what is said of verified texts comes from the
        other parts of them.
    weights_ : ndarray of shape (n_opinions,)
        Weight of each opinion, w, where a label is given.
    given_weight_ : float
        Weight of the given label, g.

    References
    ----------
    .. [1] C. Genest, J. V. Zidek, "Combining Probability Distributions: A Critique and
       an Annotated Bibliography", Statistical Science 1986.

    Examples
    --------
    >>> from skdygen.datasets import make_label_noise, make_texts
    >>> from skdygen.denoisers import LogLinearPool
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> from skdygen.priors import ConsensusPrior
    >>> texts, labels = make_texts(300, random_state=0)
    >>> noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    >>> trajectories = IncrementalDynamics(random_state=0).fit_transform(texts, noisy)
    >>> trajectories = ConsensusPrior().fit_transform(trajectories, noisy)
    >>> verified = dict(enumerate(labels[:50]))
    >>> denoiser = LogLinearPool().fit(trajectories, noisy, verified=verified)
    >>> found = denoiser.classes_[denoiser.label_distributions_.argmax(axis=1)]
    >>> bool((found == labels).mean() > (noisy == labels).mean())
    True
    """

    _parameter_constraints = {
        "given_weight": [Interval(Real, 0, None, closed="left")],
        "n_folds": [Interval(Integral, 2, None, closed="left")],
        "missing_label": "no_validation",
    }

    def __init__(
        self, given_weight: float = 2.0, *, n_folds: int = 5, missing_label: Any = None
    ):
        self.given_weight = given_weight
        self.n_folds = n_folds
        self.missing_label = missing_label

    def _fit(self, trajectories, targets):
        rows = targets.checked
        self._centers = {}  # of the views that are read: none, where nothing teaches
        if len(rows):
            for name, view in trajectories.views.items():
                sums = [_unit(view[part]).sum(axis=0) for part in parts(len(view))]
                self._centers[name] = np.sum(sums, axis=0) / len(view)
        # Votes say themselves how much they count; a given label is worth its weight.
        self._trust = self.given_weight if targets.evidence is None else 1.0
        # One class alone says nothing of how frequent the classes are.
        self._are_several = len(np.unique(targets.verified[rows])) > 1
        known = trajectories[rows], self._right(targets, rows), targets.codes[rows]
        n_checked, evidence = len(rows), self._evidence(targets, rows)
        self._with_given = self._fit_pool(*known, evidence, np.ones(n_checked))
        self.weights_ = self._with_given.weights
        self.given_weight_ = self._with_given.given_weight
        # Which labels are verified may depend on the given ones: people read what looks
        # wrong. A text whose label nobody gave is like all texts, not like these.
        if len(rows):
            rows = np.union1d(rows, _some(targets.labelled))
        some, evidence = trajectories[rows], self._evidence(targets, rows)
        learnt = self._judge(self._with_given, some, targets.codes[rows], evidence)
        is_checked = targets.verified[rows] >= 0
        learnt[is_checked] = self._right(targets, rows[is_checked])
        nothing = np.full(len(rows), -1), np.zeros_like(evidence)
        counts = np.ones(len(rows))
        counts[~is_checked] = min(1, _WORTH * n_checked / max((~is_checked).sum(), 1))
        self._without = self._fit_pool(some, learnt, *nothing, counts)

    def _right(self, targets, rows):
        """Verified labels of some texts, (n_rows, n_classes) of 0 and 1."""
        return np.eye(len(self.classes_))[targets.verified[rows]]

    def _fit_pool(self, trajectories, learnt, given, evidence, counts):
        """Fit to what is known of texts; a pool as it is by default, if to none."""
        log_p = log_opinions(_opinions(trajectories))
        features = self._features(trajectories, given)
        n_features, n_classes = features.shape[1], log_p.shape[2]
        is_one = trajectories.opinions is None  # the prior itself
        weights = np.ones(1) if is_one else trajectories.opinion_weights
        pool = Pool(weights, n_features, n_classes, self._trust)
        known = log_p, features, learnt, evidence, counts
        return pool.fit(*known) if len(learnt) else pool

    def _hold_out(self, trajectories, targets):
        rows = targets.checked
        right, given = self._right(targets, rows), targets.codes[rows]
        evidence = self._evidence(targets, rows)
        held_out = self._judge(self._with_given, trajectories, given, evidence)
        n_folds = min(self.n_folds, len(held_out))
        if n_folds < 2:
            return held_out
        for fit, left in KFold(n_folds, shuffle=True, random_state=0).split(rows):
            few = trajectories[fit], right[fit], given[fit], evidence[fit]
            pool = self._fit_pool(*few, np.ones(len(fit)))
            asked = trajectories[left], given[left], evidence[left]
            held_out[left] = self._judge(pool, *asked)
        return held_out

    def _conditional(self, trajectories, codes):
        return self._conditional_on_votes(trajectories, codes, self._of_labels(codes))

    def _conditional_on_votes(self, trajectories, codes, evidence):
        return self._judge(self._with_given, trajectories, codes, evidence)

    def _marginal(self, trajectories):
        found = np.empty((len(trajectories), len(self.classes_)))
        for part in parts(len(found)):
            unknown = np.full(len(found[part]), -1)
            nothing = np.zeros_like(found[part])
            few = trajectories[part]
            found[part] = self._judge(self._without, few, unknown, nothing)
        return found

    def _epochs_read(self):
        return set()  # opinions and views

    def _evidence(self, targets, rows):
        """What labels or votes of some texts say of the classes, log, (n_rows, K)."""
        evidence = self._of_labels(targets.codes[rows])
        if targets.evidence is not None:
            has_votes = targets.voted[rows]
            evidence[has_votes] = targets.evidence[rows][has_votes]
        return evidence

    def _of_labels(self, codes):
        """What labels say in units of their weight in the pool, zeros for none."""
        unit = self.given_weight / self._trust if self._trust else 1.0
        return unit * np.eye(len(self.classes_) + 1)[codes][:, :-1]

    def _judge(self, pool, trajectories, given, evidence):
        """Ask a pool."""
        log_p = log_opinions(_opinions(trajectories))
        features = self._features(trajectories, given)
        return pool.predict_proba(log_p, features, evidence)

    def _features(self, trajectories, given):
        """What verified labels teach by, (n_samples, n_features)."""
        pairs = np.eye(len(self.classes_) + 1)[given][:, :-1]  # zeros for none
        views = [_unit(trajectories.views[n]) - c for n, c in self._centers.items()]
        sd = _SD_CLASS * min(1, _FREE_CLASSES / len(self.classes_)) ** 0.5
        constant = np.full((len(trajectories), 1), sd * self._are_several)
        return np.hstack([constant, _SD_PAIR * pairs, *(_SD_VIEW * v for v in views)])


def _some(rows):
    """Not too many of some rows, evenly."""
    n_kept = min(len(rows), _MOST_LEARNT)
    return rows[np.linspace(0, len(rows) - 1, n_kept).astype(int)]


def _opinions(trajectories):
    """Distributions that the prior was made of, or the prior itself."""
    if trajectories.opinions is not None:
        return trajectories.opinions
    check_prior(trajectories)
    return trajectories.prior[:, None]


def _unit(view):
    """Rows of a view, brought to length 1, in double precision."""
    return normalize(np.asarray(view, dtype=np.float64))
