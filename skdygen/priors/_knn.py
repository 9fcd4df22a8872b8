"""The prior label of a text from its neighbours among the texts that look clean."""

import importlib.util
import logging
from numbers import Integral

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.neighbors import KNeighborsTransformer
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from ._approximate import ApproximateNeighbors
from ._clean_set import BaseCleanSetPrior

logger = logging.getLogger(__name__)

_EXACT_AMONG = 50_000  # clean texts; of more, neighbours are approximate


class TrajectoryKNNPrior(BaseCleanSetPrior):
    """Prior labels by nearest neighbours among texts whose dynamics look clean.

    Each given label gets a noise score from the training dynamics; the texts with the
    lowest scores are taken for clean; and every text gets its prior from its nearest
    neighbours among those, weighted by inverse distance.

    Parameters
    ----------
    criterion : {"paper", "relative", "margin"}, default="relative"
        The noise score. "paper": mean plus standard deviation, over the epochs, of
        the distance to the centroid of the given class [1]_. "relative": mean of that
        distance less the distance to the nearest other centroid; the same in the
        embedding before the training, if it was recorded, counts as much as all
        epochs. "margin": mean of the largest other class probability less that of
        the given class [2]_.
    contamination : "auto" or float in [0, 1), default="auto"
        Share of wrong labels. "auto" estimates it from a mixture of two Gaussians
        fitted to the scores.
    selection : {"global", "class"}, default="global"
        Whether the clean texts are those with the lowest scores of all, or of each
        given class.
    n_neighbors : int, default=10
        Number of neighbours.
    query : {"include-self", "leave-one-out"}, default="include-self"
        Whether a clean text is a neighbour of itself, at distance 0, and so keeps the
        label it has, as in the paper; or is left out.
    voting : {"hard", "soft"}, default="hard"
        Whether the prior is all on the class with most votes, or shared out as the
        votes are.
    epoch : int or "initial", default=-1
        The recorded epoch in whose embeddings neighbours are looked for; negative
        numbers count from the last. The paper's is 0, the first; "initial" is before
        it, or the first where nothing from before was recorded.
    neighbors : {"auto", "exact", "approximate"} or transformer, default="auto"
        How neighbours are found. "exact" compares every text with every clean one.
        "approximate" takes pynndescent (``pip install 'skdygen[ann]'``), which misses
        some: the log says how many. "auto" takes it among more than 50,000 clean texts
        if it is installed. A transformer gives a sparse matrix of distances, such as
        `sklearn.neighbors.RadiusNeighborsTransformer(mode="distance")`; of the
        neighbours it finds the nearest `n_neighbors` vote.
    max_samples : int or None, default=10_000
        Number of clean texts that are asked; of more, some of each class are, evenly
        along their scores, so that time grows no faster than the number of texts. None
        asks all.
    missing_label : object, default=None
        The value in `y` that means "no label"; NaN stands for all null values.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    noise_scores_ : ndarray of shape (n_samples,)
        Score of each given label, larger if it looks wrong; NaN where none is given.
    contamination_ : float
        The share of wrong labels that was estimated or given.
    clean_indices_ : ndarray of shape (n_clean,)
        Positions of the texts taken for clean, or of those of them that are asked,
        sorted.
    clean_codes_ : ndarray of shape (n_clean,)
        Their given classes, as positions in the classes.
    neighbors_ : transformer
        The fitted neighbours transformer.

    References
    ----------
    .. [1] Y. Zhuang, Y. Yu, L. Kong, X. Chen, C. Zhang, "DyGen: Learning from Noisy
       Labels via Dynamics-Enhanced Generative Modeling", KDD 2023.
    .. [2] G. Pleiss, T. Zhang, E. Elenberg, K. Weinberger, "Identifying Mislabeled
       Data using the Area Under the Margin Ranking", NeurIPS 2020.

    Examples
    --------
    >>> from skdygen.datasets import make_label_noise, make_texts
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> from skdygen.priors import TrajectoryKNNPrior
    >>> texts, labels = make_texts(300, random_state=0)
    >>> noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    >>> trajectories = IncrementalDynamics(random_state=0).fit_transform(texts, noisy)
    >>> prior = TrajectoryKNNPrior().fit(trajectories, noisy)
    >>> is_right = noisy == labels
    >>> print(f"{is_right.mean():.2f} {is_right[prior.clean_indices_].mean():.1f}")
    0.70 1.0
    """

    _parameter_constraints = {
        **BaseCleanSetPrior._parameter_constraints,
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "query": [StrOptions({"include-self", "leave-one-out"})],
        "voting": [StrOptions({"hard", "soft"})],
        "neighbors": [
            StrOptions({"auto", "exact", "approximate"}),
            HasMethods(["fit", "transform"]),
        ],
    }

    def __init__(
        self,
        criterion="relative",
        contamination="auto",
        *,
        selection="global",
        n_neighbors=10,
        query="include-self",
        voting="hard",
        epoch=-1,
        neighbors="auto",
        max_samples=10_000,
        missing_label=None,
    ):
        self.criterion = criterion
        self.contamination = contamination
        self.selection = selection
        self.n_neighbors = n_neighbors
        self.query = query
        self.voting = voting
        self.epoch = epoch
        self.neighbors = neighbors
        self.max_samples = max_samples
        self.missing_label = missing_label

    def _validate_params(self):
        super()._validate_params()
        if self.neighbors == "approximate" and not _has_pynndescent():
            raise ImportError(
                "neighbors='approximate' needs pynndescent: pip install "
                "'skdygen[ann]', or use neighbors='exact'."
            )

    def _learn(self, space):
        self.neighbors_ = self._make_neighbors()
        if hasattr(self.neighbors_, "set_output"):  # a graph, whatever is configured
            self.neighbors_.set_output(transform="default")
        self.neighbors_.fit(space)
        if isinstance(self.neighbors_, ApproximateNeighbors):
            logger.info(
                "approximate neighbours among %d clean texts: %.1f %% are found",
                len(space),
                100 * self.neighbors_.recall_,
            )

    def _judge(self, space, rows=None):
        # Distances to near clean texts, sparse, (n_rows, n_clean).
        distances = sparse.coo_array(self.neighbors_.transform(space))
        if rows is not None and self.query == "leave-one-out":
            distances = self._without_self(distances, rows)
        return self._vote(distances)

    def _make_neighbors(self):
        if not isinstance(self.neighbors, str):
            return clone(self.neighbors)
        n_clean = len(self.clean_indices_)
        n_neighbors = min(self.n_neighbors, n_clean - 1)
        if self._are_approximate(n_clean):
            return ApproximateNeighbors(n_neighbors + 1)  # one is the text itself
        # In distance mode it gives that one more by itself.
        return KNeighborsTransformer(
            mode="distance", n_neighbors=n_neighbors, algorithm="brute"
        )

    def _are_approximate(self, n_clean):
        if self.neighbors == "auto" and n_clean > _EXACT_AMONG:
            if _has_pynndescent():
                return True
            logger.warning(
                "neighbours among %d clean texts take long: install pynndescent for "
                "approximate ones (pip install 'skdygen[ann]'), or lower max_samples",
                n_clean,
            )
        return self.neighbors == "approximate"

    def _without_self(self, distances, rows):
        """Remove the entries of clean texts with themselves."""
        is_other = self.clean_indices_[distances.col] != rows[distances.row]
        entries = (distances.row[is_other], distances.col[is_other])
        return sparse.coo_array(
            (distances.data[is_other], entries), shape=distances.shape
        )

    def _vote(self, distances):
        """Prior from a sparse matrix of distances, (n_samples, n_classes)."""
        n_samples, n_classes = distances.shape[0], len(self.classes_)
        row, col, distance = _nearest(distances, self.n_neighbors)
        # Neighbours at distance 0 share the whole vote, as in KNeighborsClassifier.
        has_zero = np.bincount(row[distance == 0], minlength=n_samples) > 0
        with np.errstate(divide="ignore"):
            weights = np.where(has_zero[row], distance == 0, 1 / distance)
        weights = weights * self.clean_weights_[col]
        cells = row * n_classes + self.clean_codes_[col]
        votes = np.bincount(cells, weights, minlength=n_samples * n_classes)
        votes = votes.reshape(n_samples, n_classes)

        totals = votes.sum(axis=1)
        prior = np.full(votes.shape, 1 / n_classes)  # stays where nobody votes
        voted = totals > 0
        if self.voting == "hard":
            prior[voted] = np.eye(n_classes)[votes[voted].argmax(axis=1)]
        else:
            prior[voted] = votes[voted] / totals[voted, None]
        return prior


def _has_pynndescent():
    return importlib.util.find_spec("pynndescent") is not None


def _nearest(distances, n_neighbors):
    """Rows, columns and distances of the nearest entries of each row."""
    order = np.lexsort((distances.data, distances.row))
    row = distances.row[order].astype(np.int64)
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    order, row = order[rank < n_neighbors], row[rank < n_neighbors]
    return row, distances.col[order], distances.data[order]
