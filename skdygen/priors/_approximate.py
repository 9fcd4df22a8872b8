"""Nearest neighbours among very many points, nearly all of which are found."""

import threading

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

# Larger than pynndescent's own 0.1: more neighbours are found, in more time.
_SEARCH_EPSILON = 0.2
_N_PROBES = 200
_TOLERANCE = 1e-3  # of distances in single precision
# An index holds what it is working on: two threads must not ask it at once.
_asking = threading.RLock()


class ApproximateNeighbors(TransformerMixin, BaseEstimator):
    """Nearest neighbours by pynndescent, and how many of them are found.

    An index of pynndescent cannot be stored without pickle and is no smaller than the
    points: these are stored, and where it is missing it is built anew from them.

    Parameters
    ----------
    n_neighbors : int
        Number of neighbours, a point itself included; at least 2.

    Attributes
    ----------
    points_ : ndarray of shape (n_points, n_features)
        The points among which neighbours are looked for.
    recall_ : float
        Share of the nearest neighbours of some of the points that are found.
    """

    def __init__(self, n_neighbors):
        self.n_neighbors = n_neighbors

    def fit(self, X, y=None):
        """Index some points.

        Parameters
        ----------
        X : ndarray of shape (n_points, n_features)
            The points.
        y : None
            Not used.

        Returns
        -------
        self : object
            This transformer.

        Raises
        ------
        ImportError
            If pynndescent is not installed.
        """
        self.points_ = X
        with _asking:  # nor may two be made at once
            self._index = _make_index(X, self.n_neighbors)
        some = np.linspace(0, len(X) - 1, min(_N_PROBES, len(X))).astype(int)
        self.recall_ = self._measure_recall(X[some])
        return self

    def transform(self, X):
        """Distances to the nearest of the points.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Any points.

        Returns
        -------
        distances : sparse matrix of shape (n_samples, n_points)
            To the neighbours that were found.
        """
        with _asking:
            if self._index is None:
                self._index = _make_index(self.points_, self.n_neighbors)
            return self._index.transform(X)

    def _measure_recall(self, X):
        """Share of the neighbours found, as near as the nearest, of points in X."""
        exact = NearestNeighbors(n_neighbors=self.n_neighbors, algorithm="brute")
        distances, _ = exact.fit(self.points_).kneighbors(X)
        farthest = distances[:, -1] * (1 + _TOLERANCE)
        found = self.transform(X).tocoo()
        n_near = (found.data <= farthest[found.row]).sum()
        # A point finds itself, which is no merit.
        return float((n_near - len(X)) / (len(X) * (self.n_neighbors - 1)))

    def __getstate__(self):
        return {**super().__getstate__(), "_index": None}


def _make_index(points, n_neighbors):
    from pynndescent import PyNNDescentTransformer

    index = PyNNDescentTransformer(
        n_neighbors=n_neighbors, search_epsilon=_SEARCH_EPSILON, random_state=0
    )
    # When numba starts its threads it changes how many torch takes; this puts it back.
    with threadpool_limits(None):
        return index.fit(points)
