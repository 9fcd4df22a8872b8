"""What the default makes of votes, and what it would be otherwise."""

from contextlib import nullcontext
from unittest.mock import patch

import numpy as np
import scipy.sparse as sp

from skdygen import _classifier, _targets
from skdygen._annotators import Annotators

_FEW = 20  # texts that two annotators have in common, by which little is known


class Weighted(Annotators):
    """Annotators whose votes count less where others have voted, too."""

    def fit(self, votes, distributions, known):
        """Fit; the weights of votes are told what the texts say."""
        self._said = distributions
        return super().fit(votes, distributions, known)

    def _weigh(self, votes, n_samples):
        ratios = np.log(self.true_given_vote / self.shares)
        weights = votes.trust * self._weights(votes)
        evidence = np.zeros((n_samples, len(self.shares)))
        of_votes = ratios[votes.annotators, votes.codes] * weights[:, None]
        np.add.at(evidence, votes.rows, of_votes)
        return evidence


class Tempered(Weighted):
    """The n votes on a text count as the root of n."""

    def _weights(self, votes):
        return 1 / np.sqrt(np.bincount(votes.rows)[votes.rows])


class Correlated(Weighted):
    """Annotators that err on the same texts count as fewer.

    The weight of a vote is 1 / (1 + r), r being the sum of correlations, at least 0, of
    its annotator's errors with those of the others who voted on the text. An error is
    how little the texts believe a vote, less the annotator's mean.
    """

    def _weights(self, votes):
        errors = 1 - self._said[votes.rows, votes.codes]
        means = np.bincount(votes.annotators, errors) / np.bincount(votes.annotators)
        errors -= means[votes.annotators]
        shape = votes.n_samples, len(votes.names)
        cells = votes.rows, votes.annotators
        off = sp.csr_array((errors, cells), shape=shape)
        voted = sp.csr_array((np.ones(len(errors)), cells), shape=shape)
        both = (voted.T @ voted).toarray()
        squares = (off.multiply(off).T @ voted).toarray()  # where the other voted
        alike = (off.T @ off).toarray() / np.sqrt(squares * squares.T).clip(1e-12)
        alike = (alike * both / (both + _FEW)).clip(0)
        np.fill_diagonal(alike, 0)
        return 1 / (1 + (voted @ alike)[cells])


# By name: what is replaced, as `unittest.mock.patch.object` takes it.
PARTS = {
    "ours on votes, one round": (_classifier, "_MOST_ROUNDS", 0),
    "ours on votes, tempered": (_targets, "Annotators", Tempered),
    "ours on votes, correlated": (_targets, "Annotators", Correlated),
}


def changed(method):
    """Have classifiers fitted as the name of a method says, in a block."""
    return patch.object(*PARTS[method]) if method in PARTS else nullcontext()
