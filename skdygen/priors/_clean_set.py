"""The texts whose labels look clean, from which priors are learnt."""

import logging
from abc import abstractmethod
from numbers import Integral, Real

import joblib
import numpy as np
from sklearn.mixture import GaussianMixture

from .._encoding import firsts_of
from .._memmap import parts
from .._sklearn_compat import Interval, StrOptions
from ..base import BasePrior
from ._scores import cut_scores, find_neighbors, noise_scores

logger = logging.getLogger(__name__)

# Texts of a class that are kept in any case: half of fewer would say too little.
_FLOOR = 30
_MOST_SCORES = 10_000  # a mixture of two needs no more
_MOST_COMPARED = 10_000  # that neighbours are looked for among, unless all are
_STARTS = (0.1, 0.3, 0.5)
_MOST_CONTAMINATION = 0.5  # as for scikit-learn's outlier detectors


class BaseCleanSetPrior(BasePrior):
    """Base of priors that learn from the texts whose dynamics look clean.

    Subclasses have the parameters below and define `_learn` and `_judge`.
    """

    _parameter_constraints = {
        "criterion": [StrOptions({"paper", "relative", "margin", "cut"})],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="left")],
        "selection": [StrOptions({"global", "class"})],
        "view": [Integral, str],
        "max_samples": [Interval(Integral, 2, None, closed="left"), None],
        "missing_label": "no_validation",
    }

    @abstractmethod
    def _learn(self, space, targets):
        """Learn `clean_codes_`, weighted by `clean_weights_`, from embeddings.

        Gives the prior of these texts without their own labels, or None if `_judge` is
        to say it.
        """

    @abstractmethod
    def _judge(self, space, own=None):
        """Prior of embedded texts; `own` is told where they were fitted on.

        It has two rows: their positions, and those of the first copy of each.
        """

    def _fit_prior(self, trajectories, targets, scores=None, limits=None):
        positions = np.arange(len(trajectories))
        groups = trajectories.groups
        firsts = positions if groups is None else firsts_of(groups)
        if self.criterion == "cut":
            neighbors = self._neighbors(trajectories, targets.labelled, firsts)
            scores = cut_scores(neighbors, targets, firsts)
        elif scores is None:
            scores = noise_scores(trajectories, targets, self.criterion)
        self.noise_scores_ = scores
        if self.contamination == "auto":
            labelled = targets.labelled
            self.contamination_ = estimate_contamination(
                scores[labelled], targets.weights[labelled]
            )
            logger.info("estimated share of wrong labels: %.3f", self.contamination_)
        else:
            self.contamination_ = float(self.contamination)
        self.clean_indices_ = self._select(targets, limits)
        is_checked = targets.verified >= 0
        codes = np.where(is_checked, targets.verified, targets.codes)
        full_weight = targets.weights[targets.labelled].mean()
        weights = np.where(is_checked, full_weight, targets.weights)
        self.clean_codes_ = codes[self.clean_indices_]
        self.clean_weights_ = weights[self.clean_indices_]
        self._is_checked = is_checked[self.clean_indices_]
        self._clean_firsts = firsts[self.clean_indices_]
        # Copies are read as the first of them, lest there be several of one text.
        left_out = self._learn(self._space(trajectories, self._clean_firsts), targets)
        prior = self._prior(trajectories, np.stack([positions, firsts]))
        if left_out is not None:
            prior[self.clean_indices_] = left_out
            self._copy_left_out(prior, firsts, is_checked)
        return prior

    def _copy_left_out(self, prior, firsts, is_checked):
        """Say of copies that are not learnt from what is said of one that is."""
        unread = ~self._is_checked
        source = np.full(len(firsts), -1)
        source[self._clean_firsts[unread]] = self.clean_indices_[unread]
        source = source[firsts]
        is_left = np.isin(np.arange(len(firsts)), self.clean_indices_, invert=True)
        copies = np.flatnonzero((source >= 0) & is_left & ~is_checked)
        prior[copies] = prior[source[copies]]

    def _neighbors(self, trajectories, rows, firsts):
        """Distances and positions of the nearest of some texts, of copies the first.

        They are found once for a fit and all its refits: only labels change.
        """
        known = trajectories._neighbors
        source = trajectories.views.get(self.view, trajectories.embeddings)
        # Time grows with their number, times that of all texts.
        most = self.max_samples and min(self.max_samples, _MOST_COMPARED)
        key = self.view, most, joblib.hash(rows)
        if key not in known or known[key][0] is not source:
            found = find_neighbors(
                lambda some: self._space(trajectories, firsts[some]),
                rows,
                np.unique(rows[firsts_of(firsts[rows])]),
                most,
            )
            known[key] = source, found
        return known[key][1]

    def _prior(self, trajectories, own=None):
        prior = np.empty((len(trajectories), len(self.classes_)))
        for part in parts(len(trajectories)):
            fitted_on = None if own is None else own[:, part]
            rows = part if own is None else fitted_on[1]
            prior[part] = self._judge(self._space(trajectories, rows), fitted_on)
        return prior

    def _select(self, targets, limits):
        """Positions of the texts with the lowest scores, or of some of them, sorted.

        Those with verified labels are among them, whatever the scores of the given.
        `limits` are shares of each class, (n_classes,), above which none is left out, 1
        for none; with them, a few of each class are kept in any case.
        """
        codes, scores = targets.codes, self.noise_scores_
        most = np.ones(len(targets.classes)) if limits is None else limits
        by_class = [
            (targets.given_as(code), min(self.contamination_, most[code]))
            for code in np.unique(codes[targets.labelled])
            if self.selection == "class" or most[code] < 1
        ]
        every = [(targets.labelled, self.contamination_)]
        groups = by_class + (every if self.selection == "global" else [])
        kept = [
            rows[lowest(scores[rows], targets.weights[rows], 1 - share)]
            for rows, share in groups
        ]
        if limits is not None:
            few = [targets.given_as(code) for code in range(len(targets.classes))]
            kept += [rows[np.argsort(scores[rows])[:_FLOOR]] for rows in few]
        kept = np.unique(np.concatenate(kept))
        if len(np.union1d(kept, targets.checked)) < 2:
            raise ValueError(
                f"contamination={self.contamination!r} leaves {len(kept)} of "
                f"{len(targets.labelled)} labelled texts as clean; at least 2 are "
                f"needed: use more texts, or a smaller contamination."
            )
        if self.max_samples is None or len(kept) <= self.max_samples:
            return np.union1d(kept, targets.checked)
        # Evenly along the scores of each class: the lowest would be the easy ones.
        kept = kept[np.lexsort((scores[kept], codes[kept]))]
        _, firsts = np.unique(codes[kept], return_index=True)  # no class is lost
        n_others = max(0, self.max_samples - len(firsts))
        others = np.linspace(0, len(kept) - 1, n_others).astype(int)
        return np.union1d(kept[np.union1d(firsts, others)], targets.checked)

    def _check_view(self, n_epochs, views):
        """Raise an error if the view is none of so many epochs and named views."""
        if isinstance(self.view, str):
            if views is not None and self.view not in {"initial", *views}:
                raise ValueError(
                    f"view={self.view!r} of a prior is not among the views "
                    f"{sorted(views)}; name one of these, or an epoch by its number."
                )
        elif not -n_epochs <= self.view < n_epochs:
            raise ValueError(
                f"view={self.view} of a prior is not among the {n_epochs} epochs "
                f"that are recorded, counted from 0; use a smaller one, -1 for the "
                f"last, or record more with n_recorded_epochs."
            )

    def _epochs_read(self):
        return set() if self.view in self._like.views else {self._epoch()}

    def _space(self, trajectories, rows):
        """Features of a view, or an epoch's branches, as (n_rows, n_features)."""
        self._check_view(trajectories.n_epochs, trajectories.views)
        if self.view in trajectories.views:
            return np.asarray(trajectories.views[self.view][rows], dtype=np.float32)
        embeddings = trajectories.embeddings[rows, :, self._epoch()]
        return embeddings.reshape(len(embeddings), -1).astype(np.float32)

    def _epoch(self):
        """Position of the epoch that is read; the first if no "initial" was kept."""
        return 0 if self.view == "initial" else self.view


def lowest(scores, weights, share):
    """Positions of the lowest scores that make up a share of the weight, at least 1."""
    order = np.argsort(scores, kind="stable")
    if share >= 1:
        return order
    middle = np.cumsum(weights[order]) - weights[order] / 2
    return order[: max(1, int((middle < share * weights.sum()).sum()))]


def estimate_contamination(scores, weights):
    """Share of wrong labels: mass of the higher of two Gaussians fitted to scores."""
    n_scores = min(len(scores), _MOST_SCORES)
    order = np.argsort(scores)
    reached = np.cumsum(weights[order]) / weights.sum()
    # Evenly along their weighted distribution: with equal weights, all of them once.
    middles = (np.arange(n_scores) + 0.5) / n_scores
    scores = scores[order[np.searchsorted(reached, middles).clip(max=len(order) - 1)]]
    spread = scores.std()
    if n_scores < 4 or not spread > 0:
        return 0.0
    standardized = ((scores - scores.mean()) / spread)[:, None]
    mixtures = [_fit_mixture(standardized, share) for share in _STARTS]
    mixture = max(mixtures, key=lambda fitted: fitted.lower_bound_)
    low, high = np.argsort(mixture.means_[:, 0])
    posterior = mixture.predict_proba(standardized)[:, high]
    # A wide component can reach over both ends of the other.
    posterior[standardized[:, 0] < mixture.means_[low, 0]] = 0.0
    return min(float(posterior.mean()), _MOST_CONTAMINATION)


def _fit_mixture(sorted_scores, share):
    """Fit two components, the higher one starting from a share of the scores."""
    cut = len(sorted_scores) - max(1, int(share * len(sorted_scores)))
    return GaussianMixture(
        n_components=2,
        weights_init=[1 - share, share],
        means_init=[sorted_scores[:cut].mean(axis=0), sorted_scores[cut:].mean(axis=0)],
        # The default stops far from the optimum where components overlap.
        tol=1e-6,
        max_iter=5000,
        random_state=0,
    ).fit(sorted_scores)
