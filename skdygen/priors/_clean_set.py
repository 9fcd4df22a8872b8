"""The texts whose labels look clean, from which priors are learnt."""

import logging
from abc import abstractmethod
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from ..base import BasePrior
from ..utils._storage import batches
from ..utils._weights import lowest
from ._contamination import estimate_contamination
from ._scores import SCORES, noise_scores

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 4096


class BaseCleanSetPrior(BasePrior):
    """Base of priors that learn from the texts whose dynamics look clean.

    Subclasses have the parameters below and define `_learn` and `_judge`.
    """

    _parameter_constraints = {
        "criterion": [StrOptions(set(SCORES))],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="left")],
        "selection": [StrOptions({"global", "class"})],
        "epoch": [Integral, StrOptions({"initial"})],
        "max_samples": [Interval(Integral, 2, None, closed="left"), None],
        "missing_label": "no_validation",
    }

    @abstractmethod
    def _learn(self, space):
        """Learn `clean_codes_`, weighted by `clean_weights_`, from embeddings."""

    @abstractmethod
    def _judge(self, space, rows=None):
        """Prior of embedded texts, (n_rows, n_classes).

        Of those that were fitted on, `rows` gives the positions.
        """

    def _fit_prior(self, trajectories, codes, weights, scores=None):
        if scores is None:
            scores = noise_scores(trajectories, codes, weights, self.criterion)
        self.noise_scores_ = scores
        labelled = np.flatnonzero(codes >= 0)
        if self.contamination == "auto":
            self.contamination_ = estimate_contamination(
                scores[labelled], weights[labelled]
            )
            logger.info("estimated share of wrong labels: %.3f", self.contamination_)
        else:
            self.contamination_ = float(self.contamination)
        self.clean_indices_ = self._select(codes, weights, labelled)
        self.clean_codes_ = codes[self.clean_indices_]
        self.clean_weights_ = weights[self.clean_indices_]
        self._learn(self._space(trajectories, self.clean_indices_))
        return self._judge_all(trajectories, are_fitted=True)

    def _prior(self, trajectories):
        return self._judge_all(trajectories, are_fitted=False)

    def _judge_all(self, trajectories, *, are_fitted):
        prior = np.empty((len(trajectories), len(self.classes_)))
        for part in batches(len(trajectories), _ROWS_AT_ONCE):
            rows = np.arange(part.start, part.stop) if are_fitted else None
            prior[part] = self._judge(self._space(trajectories, part), rows)
        return prior

    def _select(self, codes, weights, labelled):
        """Return the positions of the texts with the lowest scores, or of some of them.

        Of more than `max_samples` some of each class are taken, evenly along the
        scores, since those with the lowest would be the easy ones.
        """
        groups = [labelled]
        if self.selection == "class":
            groups = [np.flatnonzero(codes == code) for code in set(codes[labelled])]
        kept = []
        for group in groups:
            scores = self.noise_scores_[group]
            share = 1 - self.contamination_
            kept.append(group[lowest(scores, weights[group], share)])
        kept = np.sort(np.concatenate(kept))
        if len(kept) < 2:
            raise ValueError(
                f"contamination={self.contamination!r} leaves {len(kept)} of "
                f"{len(labelled)} labelled texts as clean; at least 2 are needed: "
                f"use more texts, or a smaller contamination."
            )
        if self.max_samples is None or len(kept) <= self.max_samples:
            return kept
        kept = kept[np.lexsort((self.noise_scores_[kept], codes[kept]))]
        _, firsts = np.unique(codes[kept], return_index=True)  # no class is lost
        n_others = max(0, self.max_samples - len(firsts))
        others = np.linspace(0, len(kept) - 1, n_others).astype(int)
        return np.sort(kept[np.union1d(firsts, others)])

    def _check_epoch(self, n_epochs):
        """Raise an error if the epoch is not among so many recorded ones."""
        if self.epoch != "initial" and not -n_epochs <= self.epoch < n_epochs:
            raise ValueError(
                f"epoch={self.epoch} of a prior is not among the {n_epochs} epochs "
                f"that are recorded, counted from 0; use a smaller one, -1 for the "
                f"last, or record more with trajectory_epochs."
            )

    def _space(self, trajectories, rows):
        """Embeddings of one epoch, all branches side by side, (n_rows, n_features).

        Where no embedding from before the training was recorded, the first epoch
        stands for it.
        """
        epoch = self.epoch
        if epoch == "initial":
            if trajectories.initial is not None:
                return np.asarray(trajectories.initial[rows], dtype=np.float32)
            epoch = 0
        self._check_epoch(trajectories.n_epochs)
        embeddings = trajectories.embeddings[rows, :, epoch]
        return embeddings.reshape(len(embeddings), -1).astype(np.float32)
