"""One transition matrix for all texts: the classical denoiser."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import BaseDenoiser


class TransitionMatrixDenoiser(BaseDenoiser):
    """Correct labels with one matrix of how true classes turn into given ones.

    The matrix is estimated from confident texts, as in confident learning [1]_: a
    text counts for class j if its probability of j, averaged over branches and
    epochs, is at least the mean such probability among the texts given class j; of
    several such classes the most probable counts. Unlike that of `DirichletVAE`, the
    posterior does not depend on each text's own dynamics. Pairs of verified and given
    labels are added to the counts.

    Parameters
    ----------
    missing_label : object, default=None
        The value in `y` that means "no label"; NaN stands for all null values.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    transition_matrix_ : ndarray of shape (n_classes, n_classes)
        Probability of each given class (columns) given the true one (rows).
    class_prior_ : ndarray of shape (n_classes,)
        Estimated share of each true class.
    label_distributions_ : ndarray of shape (n_samples, n_classes)
        Posterior over the true label of the training texts, given their labels.
    marginal_distributions_ : ndarray of shape (n_samples, n_classes)
        The same without regard to each text's own given label.

    References
    ----------
    .. [1] C. Northcutt, L. Jiang, I. Chuang, "Confident Learning: Estimating
       Uncertainty in Dataset Labels", JAIR 2021.

    Examples
    --------
    >>> from skdygen.datasets import make_label_noise, make_texts
    >>> from skdygen.denoisers import TransitionMatrixDenoiser
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> texts, labels = make_texts(300, random_state=0)
    >>> noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    >>> trajectories = IncrementalDynamics(random_state=0).fit_transform(texts, noisy)
    >>> denoiser = TransitionMatrixDenoiser().fit(trajectories, noisy)
    >>> denoiser.transition_matrix_.shape
    (6, 6)
    """

    _parameter_constraints = {"missing_label": "no_validation"}

    def __init__(self, *, missing_label: Any = None):
        self.missing_label = missing_label

    def _fit(self, trajectories, targets):
        labelled = targets.labelled
        codes, weights = targets.codes[labelled], targets.weights[labelled]
        probabilities = _mean_probabilities(trajectories)[labelled]
        counts = confident_joint(probabilities, codes, weights, trajectories.n_classes)
        # A class that no confident text stands for is taken to be given rightly.
        totals = counts.sum(axis=1, keepdims=True)
        self.transition_matrix_ = np.where(
            totals > 0, counts / np.where(totals > 0, totals, 1), np.eye(len(counts))
        )
        given_share = np.bincount(codes, weights, minlength=len(counts)) / weights.sum()
        # The counts, their columns scaled to the shares of the given classes.
        totals = counts.sum(axis=0)
        shares = counts / np.where(totals > 0, totals, 1)
        joint = np.where(totals > 0, shares * given_share, np.diag(given_share))
        self.class_prior_ = joint.sum(axis=1)
        if len(targets.checked):
            joint = self._learn_pairs(targets)
        # p(y | y~), (given, true); a class never given says nothing.
        self._true_given_noisy = np.where(
            given_share[:, None] > 0,
            joint.T / given_share[:, None].clip(min=1e-12),
            self.class_prior_,
        )

    def _learn_pairs(self, targets):
        """Count pairs of verified and given labels; give the joint distribution.

        What confident texts have shown is the mean of a Dirichlet distribution for each
        row of the matrix, of as many texts as there are classes.
        """
        rows = targets.checked[targets.codes[targets.checked] >= 0]
        counts = len(targets.classes) * self.transition_matrix_
        np.add.at(counts, (targets.verified[rows], targets.codes[rows]), 1)
        self.transition_matrix_ = counts / counts.sum(axis=1, keepdims=True)
        joint = self.class_prior_[:, None] * self.transition_matrix_
        given = joint.sum(axis=0)
        codes, weights = targets.codes[targets.labelled], targets.weights
        shares = np.bincount(codes, weights[targets.labelled], minlength=len(given))
        return joint * np.divide(
            shares / shares.sum(), given, out=np.zeros_like(given), where=given > 0
        )

    def _marginal(self, trajectories):
        return _mean_probabilities(trajectories) @ self._true_given_noisy

    def _conditional(self, trajectories, codes):
        # Bayes: p(y | y~, x) ~ p(y | x) p(y~ | y).
        found = self._marginal(trajectories) * self.transition_matrix_[:, codes].T
        totals = found.sum(axis=1, keepdims=True)
        given = np.eye(trajectories.n_classes)[codes]
        return np.where(totals > 0, found / totals.clip(min=1e-300), given)


def confident_joint(probabilities, codes, weights, n_classes):
    """Count confident texts by their likely true (rows) and given class (columns)."""
    thresholds = np.full(n_classes, np.inf)
    for code in np.unique(codes):
        given = codes == code
        p = probabilities[given, code]
        thresholds[code] = np.average(p, weights=weights[given])
    is_confident = probabilities >= thresholds
    likely = np.where(is_confident, probabilities, -1).argmax(axis=1)
    counted = is_confident.any(axis=1)
    cells = likely[counted] * n_classes + codes[counted]
    counts = np.bincount(cells, weights[counted], minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes)


def _mean_probabilities(trajectories):
    """Mean over branches and epochs, (n_samples, n_classes)."""
    return trajectories.probabilities.mean(axis=(1, 2), dtype=np.float64)
