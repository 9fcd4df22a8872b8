"""The prior label of a text from its neighbours among the texts that look clean."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.neighbors import KNeighborsTransformer

from .._sklearn_compat import HasMethods, Interval, StrOptions
from ._clean_set import BaseCleanSetPrior


class TrajectoryKNNPrior(BaseCleanSetPrior):
    """Prior labels by nearest neighbours among texts whose dynamics look clean.

    Each given label gets a noise score from the training dynamics; the texts with the
    lowest scores are taken for clean; and every text gets its prior from its nearest
    neighbours among those, weighted by inverse distance.

    Parameters
    ----------
    criterion : {"paper", "relative", "margin", "cut"}, default="relative"
        The noise score. "paper": mean plus standard deviation, over the epochs, of
        the distance to the centroid of the given class [1]_. "relative": mean of that
        distance less the distance to the nearest other centroid; the same in the
        embedding before the training, if it was recorded, counts as much as all
        epochs. "margin": mean of the largest other class probability less that of
        the given class [2]_. "cut": how many of the nearest 20 texts, in the view that
        is read, have another label, against what chance would give [3]_.
    contamination : "auto" or float in [0, 1), default="auto"
        Share of wrong labels. "auto" estimates it from a mixture of two Gaussians
        fitted to the scores.
    selection : {"global", "class"}, default="global"
        Whether the clean texts are those with the lowest scores of all, or of each
        given class.
    n_neighbors : int, default=10
        Number of neighbours.
    leave_one_out : bool, default=False
        Whether a clean text is left out of its own neighbours, and copies of it that
        nobody has verified, as they always are where some are verified. If not, it is
        one at distance 0 and so keeps the label it has, as in the paper.
    voting : {"hard", "soft"}, default="hard"
        Whether the prior is all on the class with most votes, or shared out as the
        votes are.
    view : int or str, default=-1
        The recorded epoch in whose embeddings neighbours are looked for, -1 being the
        last. The paper's is 0, the first; "initial" is before it, or the first where
        nothing from before was recorded.
    neighbors : transformer, default=None
        How neighbours are found; None compares every text with every clean one. A
        transformer gives a sparse matrix of distances, such as
        `sklearn.neighbors.RadiusNeighborsTransformer(mode="distance")` or, where clean
        texts are very many, `pynndescent.PyNNDescentTransformer()`; of the neighbours
        it finds the nearest `n_neighbors` vote.
    max_samples : int or None, default=10_000
        Number of clean texts that are asked; of more, some of each class are, evenly
        along their scores. None asks all, in time quadratic in their number.
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
        Positions of the clean texts that are asked, sorted.
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
    .. [3] F. Muhlenbach, S. Lallich, D. A. Zighed, "Identifying and Handling
       Mislabelled Instances", Journal of Intelligent Information Systems 2004.

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
        "leave_one_out": ["boolean"],
        "voting": [StrOptions({"hard", "soft"})],
        "neighbors": [HasMethods(["fit", "transform"]), None],
    }

    def __init__(
        self,
        criterion: Literal["cut", "margin", "paper", "relative"] = "relative",
        contamination: Literal["auto"] | float = "auto",
        *,
        selection: Literal["class", "global"] = "global",
        n_neighbors: int = 10,
        leave_one_out: bool = False,
        voting: Literal["hard", "soft"] = "hard",
        view: Any = -1,
        neighbors: Any = None,
        max_samples: int | None = 10_000,
        missing_label: Any = None,
    ):
        self.criterion = criterion
        self.contamination = contamination
        self.selection = selection
        self.n_neighbors = n_neighbors
        self.leave_one_out = leave_one_out
        self.voting = voting
        self.view = view
        self.neighbors = neighbors
        self.max_samples = max_samples
        self.missing_label = missing_label

    def _learn(self, space, targets):
        if self.neighbors is None:
            n_copies = np.unique(self._clean_firsts, return_counts=True)[1].max()
            n_neighbors = min(self.n_neighbors + n_copies - 1, len(space) - 1)
            self.neighbors_ = KNeighborsTransformer(  # gives one more by itself
                mode="distance", n_neighbors=n_neighbors, algorithm="brute"
            )
        else:
            self.neighbors_ = clone(self.neighbors)
        if hasattr(self.neighbors_, "set_output"):  # a graph, whatever is configured
            self.neighbors_.set_output(transform="default")
        self.neighbors_.fit(space)

    def _judge(self, space, own=None):
        n_classes = len(self.classes_)
        # Distances to near clean texts, (n_rows, n_clean), one entry for each pair.
        graph = sparse.coo_array(self.neighbors_.transform(space))
        row, col, distance = graph.row, graph.col, graph.data
        if own is not None:
            positions, firsts = own
            is_own = self._clean_firsts[col] == firsts[row]
            is_own &= ~self._is_checked[col]
            is_own |= self.clean_indices_[col] == positions[row]
            # What is verified is judged by that, and may not know it: nor may others
            # know their own labels, or they would look better beside it.
            if self.leave_one_out or self._is_checked.any():
                distance[is_own] = np.inf
        order = np.lexsort((distance, row))
        rank = np.arange(len(order)) - np.searchsorted(row[order], row[order])
        order = order[rank < self.n_neighbors]
        row, col, distance = row[order], col[order], distance[order]
        # Neighbours at distance 0 share the whole vote, as in KNeighborsClassifier.
        has_zero = np.bincount(row[distance == 0], minlength=len(space)) > 0
        with np.errstate(divide="ignore"):
            weights = np.where(has_zero[row], distance == 0, 1 / distance)
        weights = weights * self.clean_weights_[col]
        votes = np.zeros((len(space), n_classes))
        np.add.at(votes, (row, self.clean_codes_[col]), weights)
        totals = votes.sum(axis=1, keepdims=True)
        if self.voting == "hard":
            prior = np.eye(n_classes)[votes.argmax(axis=1)]
        else:
            prior = votes / np.where(totals > 0, totals, 1)
        return np.where(totals > 0, prior, 1 / n_classes)  # where nobody votes
