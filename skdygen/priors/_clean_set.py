"""The texts whose labels look clean, from which priors are learnt."""

import logging
from abc import abstractmethod
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from ..base import BasePrior
from ._contamination import estimate_contamination
from ._scores import SCORES, noise_scores

logger = logging.getLogger(__name__)


class BaseCleanSetPrior(BasePrior):
    """Base of priors that learn from the texts whose dynamics look clean.

    Subclasses have the parameters `score`, `contamination`, `selection`, `epoch` and
    `missing_label`, and define `_learn` and `_prior`.
    """

    _parameter_constraints = {
        "score": [StrOptions(set(SCORES))],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="left")],
        "selection": [StrOptions({"global", "class"})],
        "epoch": [Integral, StrOptions({"initial"})],
        "missing_label": "no_validation",
    }

    @abstractmethod
    def _learn(self, space):
        """Learn from the rows `clean_indices_` of the embeddings of all texts.

        Returns the prior of all, (n_samples, n_classes).
        """

    def _fit_prior(self, trajectories, codes):
        self.noise_scores_ = noise_scores(trajectories, codes, self.score)
        labelled = np.flatnonzero(codes >= 0)
        if self.contamination == "auto":
            self.contamination_ = estimate_contamination(self.noise_scores_[labelled])
            logger.info("estimated share of wrong labels: %.3f", self.contamination_)
        else:
            self.contamination_ = float(self.contamination)
        self.clean_indices_ = self._select(codes, labelled)
        self.clean_codes_ = codes[self.clean_indices_]
        return self._learn(self._space(trajectories))

    def _select(self, codes, labelled):
        """Return the positions of the texts with the lowest scores."""
        groups = [labelled]
        if self.selection == "class":
            groups = [np.flatnonzero(codes == code) for code in set(codes[labelled])]
        kept = []
        for group in groups:
            n_kept = max(1, round((1 - self.contamination_) * len(group)))
            order = np.argsort(self.noise_scores_[group], kind="stable")
            kept.append(group[order[:n_kept]])
        kept = np.sort(np.concatenate(kept))
        if len(kept) < 2:
            raise ValueError(
                f"contamination={self.contamination!r} leaves {len(kept)} of "
                f"{len(labelled)} labelled texts as clean; at least 2 are needed."
            )
        return kept

    def _space(self, trajectories):
        """Embeddings of one epoch, all branches side by side, (n_samples, n_features).

        Where no embedding from before the training was recorded, the first epoch
        stands for it.
        """
        epoch = self.epoch
        if epoch == "initial":
            if trajectories.initial is not None:
                return np.asarray(trajectories.initial, dtype=np.float32)
            epoch = 0
        if not -trajectories.n_epochs <= epoch < trajectories.n_epochs:
            raise ValueError(
                f"epoch={epoch}, but the trajectories have {trajectories.n_epochs} "
                f"epochs."
            )
        embeddings = trajectories.embeddings[:, :, epoch]
        return embeddings.reshape(len(trajectories), -1).astype(np.float32)
