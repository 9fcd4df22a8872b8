"""Distances of texts to the centroids of the classes, along the training."""

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances

from ..utils._storage import batches

_ROWS_AT_ONCE = 4096


def class_centroids(embeddings, codes, weights, n_classes):
    """Weighted mean embedding of the texts of each given class, per branch and epoch.

    Parameters
    ----------
    embeddings : ndarray of shape (n_samples, n_branches, n_epochs, n_features)
        Read in batches; may be memory-mapped.
    codes : ndarray of shape (n_samples,)
        Given class of each text as 0..n_classes-1; -1 where there is none.
    weights : ndarray of shape (n_samples,)
        How much each text counts.
    n_classes : int
        Number of classes.

    Returns
    -------
    centroids : ndarray of shape (n_branches, n_epochs, n_classes, n_features)
        The paper's c_{m,e,k}; NaN for a class without texts.
    """
    n_samples, *inner_shape = embeddings.shape
    sums = np.zeros((n_classes, int(np.prod(inner_shape))))
    for part in batches(n_samples, _ROWS_AT_ONCE):
        members = codes[part] == np.arange(n_classes)[:, None]
        rows = embeddings[part].reshape(len(codes[part]), -1).astype(np.float32)
        sums += (members * weights[part]).astype(np.float32) @ rows
    given = codes >= 0
    totals = np.bincount(codes[given], weights[given], minlength=n_classes)
    with np.errstate(invalid="ignore"):
        means = sums / totals[:, None]
    return np.moveaxis(means.reshape(n_classes, *inner_shape), 0, 2)


def centroid_distances(embeddings, centroids):
    """Euclidean distance of each text to each class centroid.

    One matrix product per branch and epoch; no array of n_samples times n_classes times
    n_features is ever made.

    Parameters
    ----------
    embeddings : ndarray of shape (n_samples, n_branches, n_epochs, n_features)
        Embeddings.
    centroids : ndarray of shape (n_branches, n_epochs, n_classes, n_features)
        Output of `class_centroids`.

    Returns
    -------
    distances : ndarray of shape (n_samples, n_branches, n_epochs, n_classes)
        The paper's d_{m,e,i,k}, float32; infinite to a class without texts.
    """
    n_samples, n_branches, n_epochs, _ = embeddings.shape
    n_classes = centroids.shape[2]
    shape = (n_samples, n_branches, n_epochs, n_classes)
    distances = np.full(shape, np.inf, dtype=np.float32)
    present = np.flatnonzero(~np.isnan(centroids[0, 0, :, 0]))
    for branch in range(n_branches):
        for epoch in range(n_epochs):
            distances[:, branch, epoch, present] = euclidean_distances(
                embeddings[:, branch, epoch].astype(np.float64),
                centroids[branch, epoch, present],
            )
    return distances
