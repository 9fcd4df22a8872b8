"""How suspicious a given label looks: the higher, the more likely it is wrong."""

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import NearestNeighbors

from .._memmap import parts


def noise_scores(trajectories, targets, criterion):
    """Mean score over the branches, (n_samples,); NaN where there is no label."""
    scores = np.full(len(trajectories), np.nan)
    labelled = targets.labelled
    if criterion == "margin":
        scores[labelled] = _score(margin_score, trajectories.probabilities, targets)
        return scores
    function = {"paper": paper_score, "relative": relative_score}[criterion]
    scores[labelled] = _score(function, trajectories.embeddings, targets, True)
    if criterion == "relative" and "initial" in trajectories.views:
        # The embedding before the training counts as much as all epochs together.
        initial = trajectories.views["initial"][:, None, None]
        before = _score(function, initial, targets, True)
        after, weights = scores[labelled], targets.weights[labelled]
        scores[labelled] = _scaled(after, weights) + _scaled(before, weights)
    return scores


# The scores of labels: from distances or probabilities of the shape (n_samples,
# n_branches, n_epochs, n_classes) and the given classes to (n_samples, n_branches).


def cut_scores(neighbors, targets, firsts):
    """Disagreement with the labels of near texts, (n_samples,); NaN without a label.

    The cut statistic of Muhlenbach et al. (2004): the weights 1 / (1 + distance) of
    those of the nearest neighbours that have another label, less what the shares of the
    classes lead to expect, in standard deviations. `neighbors` are those that
    `find_neighbors` gives of the texts with a label; copies of a text, which have the
    same position in `firsts`, (n_samples,), are none of its own.
    """
    labelled, codes = targets.labelled, targets.codes
    shares = np.bincount(codes[labelled], targets.weights[labelled])
    expected = 1 - (shares / shares.sum())[codes]
    scores = np.full(len(codes), np.nan)
    for part in parts(len(labelled)):
        rows = labelled[part]
        distances, found = (array[part] for array in neighbors)
        weights = targets.weights[found] / (1 + distances)
        weights[firsts[found] == firsts[rows, None]] = 0
        differs = codes[found] != codes[rows, None]
        excess = (weights * differs).sum(1) - expected[rows] * weights.sum(1)
        variance = (weights**2).sum(1) * expected[rows] * (1 - expected[rows])
        scores[rows] = excess / np.sqrt(variance.clip(min=1e-12))
    return scores


def find_neighbors(space_of, rows, asked, max_samples=None, n_neighbors=20):
    """Find the nearest of the texts that are asked to each of some, itself among them.

    `space_of` gives the features of some rows; of more than `max_samples` some are
    asked. Distances and positions, (n_rows, n_neighbors + 1), or fewer.
    """
    n_asked = len(asked) if max_samples is None else min(max_samples, len(asked))
    asked = asked[np.linspace(0, len(asked) - 1, n_asked).astype(int)]
    n_found = min(n_neighbors + 1, n_asked)
    index = NearestNeighbors(n_neighbors=n_found, algorithm="brute")
    index.fit(space_of(asked))
    distances = np.empty((len(rows), n_found), dtype=np.float32)
    positions = np.empty((len(rows), n_found), dtype=np.int32)  # half the memory
    for part in parts(len(rows)):
        distances[part], found = index.kneighbors(space_of(rows[part]))
        positions[part] = asked[found]
    return distances, positions


def paper_score(distances, codes):
    """Mean plus standard deviation, over epochs, of the distance to the own centroid.

    The selection criterion of DyGen (Zhuang et al., KDD 2023, section 4.2).
    """
    own = _own(distances, codes)
    return own.mean(axis=2) + own.std(axis=2)


def relative_score(distances, codes):
    """Mean over epochs of the distance to the own less that to the nearest other."""
    nearest_other = _others(distances, codes, np.inf).min(axis=3)
    return (_own(distances, codes) - nearest_other).mean(axis=2)


def margin_score(probabilities, codes):
    """Mean over epochs of the largest other probability less that of the given class.

    The area under the margin of Pleiss et al. (NeurIPS 2020), on probabilities and
    with its sign turned.
    """
    largest_other = _others(probabilities, codes, -np.inf).max(axis=3)
    return (largest_other - _own(probabilities, codes)).mean(axis=2)


def class_centroids(embeddings, codes, weights, n_classes):
    """Weighted mean of each given class, the paper's c_{m,e,k}; NaN without texts."""
    n_samples, *inner_shape = embeddings.shape  # n_branches, n_epochs, n_features
    sums = np.zeros((n_classes, int(np.prod(inner_shape))))
    for part in parts(n_samples):
        members = codes[part] == np.arange(n_classes)[:, None]
        rows = embeddings[part].reshape(len(codes[part]), -1).astype(np.float32)
        sums += (members * weights[part]).astype(np.float32) @ rows
    given = codes >= 0
    totals = np.bincount(codes[given], weights[given], minlength=n_classes)
    with np.errstate(invalid="ignore"):
        means = sums / totals[:, None]
    # (n_branches, n_epochs, n_classes, n_features)
    return np.moveaxis(means.reshape(n_classes, *inner_shape), 0, 2)


def centroid_distances(embeddings, centroids):
    """Euclidean d_{m,e,i,k} to each centroid; infinite to a class without texts."""
    n_branches, n_epochs, n_classes, _ = centroids.shape
    shape = (len(embeddings), n_branches, n_epochs, n_classes)
    distances = np.full(shape, np.inf, dtype=np.float32)
    present = np.flatnonzero(~np.isnan(centroids[0, 0, :, 0]))
    # No array of n_samples times n_classes times n_features is ever made.
    for branch, epoch in np.ndindex(n_branches, n_epochs):
        distances[:, branch, epoch, present] = euclidean_distances(
            embeddings[:, branch, epoch].astype(np.float64),
            centroids[branch, epoch, present],
        )
    return distances


def _score(function, values, targets, by_distance=False):
    """Score labels by values, or by their distances to centroids, (n_labelled,)."""
    labelled, codes = targets.labelled, targets.codes
    if by_distance:
        n_classes = len(targets.classes)
        centroids = class_centroids(values, codes, targets.weights, n_classes)
    scores = np.empty(len(labelled))
    for part in parts(len(labelled)):
        rows = labelled[part]
        batch = (
            centroid_distances(values[rows], centroids) if by_distance else values[rows]
        )
        scores[part] = function(batch, codes[rows]).mean(axis=1)
    return scores


def _scaled(scores, weights):
    """Scores in units of their weighted standard deviation."""
    spread = np.sqrt(np.cov(scores, aweights=weights, ddof=0))
    return scores / spread if spread > 0 else scores


def _own(values, codes):
    """Pick the entry of the given class: (n_samples, n_branches, n_epochs)."""
    return np.take_along_axis(values, codes[:, None, None, None], axis=3)[..., 0]


def _others(values, codes, fill):
    """Cover the entry of the given class with `fill`."""
    others = np.array(values)
    np.put_along_axis(others, codes[:, None, None, None], fill, axis=3)
    return others
