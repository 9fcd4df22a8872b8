"""How suspicious a given label looks: the higher, the more likely it is wrong."""

import numpy as np

from ..utils._storage import batches
from ._distances import centroid_distances, class_centroids

_ROWS_AT_ONCE = 4096

SCORES = ("paper", "relative", "margin")


def noise_scores(trajectories, codes, weights, criterion):
    """Score the given labels of a set of texts.

    Parameters
    ----------
    trajectories : Trajectories of n_samples texts
        Their training dynamics.
    codes : ndarray of shape (n_samples,)
        Given classes as 0..n_classes-1; -1 where there is none.
    weights : ndarray of shape (n_samples,)
        How much each text counts; 0 where there is no class.
    criterion : {"paper", "relative", "margin"}
        See `paper_score`, `relative_score` and `margin_score`.

    Returns
    -------
    scores : ndarray of shape (n_samples,)
        Mean over the branches; NaN where no label is given. To "relative" the same
        score in the embedding before the training is added, if it was recorded, both
        in units of their standard deviations.
    """
    scores = np.full(len(codes), np.nan)
    labelled = np.flatnonzero(codes >= 0)
    if criterion == "margin":
        scores[labelled] = _score_rows(
            margin_score, lambda rows: trajectories.probabilities[rows], codes
        )
        return scores
    function = {"paper": paper_score, "relative": relative_score}[criterion]
    scores[labelled] = _score_distances(
        function, trajectories.embeddings, codes, weights
    )
    if criterion == "relative" and trajectories.initial is not None:
        initial = trajectories.initial[:, None, None]
        before = _score_distances(function, initial, codes, weights)
        after, weights = scores[labelled], weights[labelled]
        scores[labelled] = _scaled(after, weights) + _scaled(before, weights)
    return scores


def paper_score(distances, codes):
    """Mean plus standard deviation, over epochs, of the distance to the own centroid.

    The selection criterion of DyGen (Zhuang et al., KDD 2023, section 4.2).

    Parameters
    ----------
    distances : ndarray of shape (n_samples, n_branches, n_epochs, n_classes)
        Distances to the class centroids.
    codes : ndarray of shape (n_samples,)
        Given classes.

    Returns
    -------
    scores : ndarray of shape (n_samples, n_branches)
        Larger for labels that look wrong.
    """
    own = _own(distances, codes)
    return own.mean(axis=2) + own.std(axis=2)


def relative_score(distances, codes):
    """Mean over epochs of the distance to the own less that to the nearest other class.

    Parameters
    ----------
    distances : ndarray of shape (n_samples, n_branches, n_epochs, n_classes)
        Distances to the class centroids.
    codes : ndarray of shape (n_samples,)
        Given classes.

    Returns
    -------
    scores : ndarray of shape (n_samples, n_branches)
        Larger for labels that look wrong; positive where another class is nearer.
    """
    own = _own(distances, codes)
    nearest_other = _others(distances, codes, np.inf).min(axis=3)
    return (own - nearest_other).mean(axis=2)


def margin_score(probabilities, codes):
    """Mean over epochs of the largest other probability less that of the given class.

    The area under the margin of Pleiss et al. (NeurIPS 2020), on probabilities and
    with its sign turned.

    Parameters
    ----------
    probabilities : ndarray of shape (n_samples, n_branches, n_epochs, n_classes)
        Class probabilities.
    codes : ndarray of shape (n_samples,)
        Given classes.

    Returns
    -------
    scores : ndarray of shape (n_samples, n_branches)
        Larger for labels that look wrong; between -1 and 1.
    """
    own = _own(probabilities, codes)
    largest_other = _others(probabilities, codes, -np.inf).max(axis=3)
    return (largest_other - own).mean(axis=2)


def _score_distances(function, embeddings, codes, weights):
    """Score the texts with a label by their distances to the class centroids."""
    centroids = class_centroids(embeddings, codes, weights, codes.max() + 1)
    return _score_rows(
        function, lambda rows: centroid_distances(embeddings[rows], centroids), codes
    )


def _score_rows(function, values_of, codes):
    """Mean score over the branches of the texts with a label, batch by batch."""
    labelled = np.flatnonzero(codes >= 0)
    scores = np.empty(len(labelled))
    for part in batches(len(labelled), _ROWS_AT_ONCE):
        rows = labelled[part]
        scores[part] = function(values_of(rows), codes[rows]).mean(axis=1)
    return scores


def _scaled(scores, weights):
    mean = np.average(scores, weights=weights)
    spread = np.sqrt(np.average((scores - mean) ** 2, weights=weights))
    return scores / spread if spread > 0 else scores


def _own(values, codes):
    """Pick the entry of the given class: (n_samples, n_branches, n_epochs)."""
    return np.take_along_axis(values, codes[:, None, None, None], axis=3)[..., 0]


def _others(values, codes, fill):
    """Cover the entry of the given class with `fill`."""
    others = np.array(values)
    np.put_along_axis(others, codes[:, None, None, None], fill, axis=3)
    return others
