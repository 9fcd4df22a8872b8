"""A prior from ridge regression, whose own labels are left out exactly."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.metrics.pairwise import rbf_kernel

from .._memmap import parts
from ._clean_set import BaseCleanSetPrior

# Strengths of the penalty that are tried, times the number of features.
_PENALTIES = (0.1, 0.3, 1, 3, 10, 30)
_LOG_SHARPNESS = (-2, 5)
# More texts say more than a linear map can learn of them.
_MOST_LINEAR, _N_CENTERS = 10_000, 1_000


class RidgePrior(BaseCleanSetPrior):
    """Prior by ridge regression on texts that look clean, each left out of its own.

    A linear map from a view to the labels as 0 and 1, less the shares of the classes,
    is fitted by least squares with a penalty; the prior is the softmax of its output
    times a sharpness of each class, plus the logarithm of the shares. Least squares
    keeps what it says of a rare class near 0, which is why classes differ in sharpness.
    Penalty and sharpness are those that predict each text's label best from the others,
    which takes one decomposition [1]_; what a text that was learnt from gets as its
    prior comes from the others, too.

    Where more than 10,000 texts are learnt from, the map also reads how near a text is
    to 1,000 of them, by Gaussian functions as wide as the view is [2]_. What it says
    then comes near enough to the shares of the classes at a text to be taken as such:
    the prior is the softmax of these shares times one sharpness. So the class that most
    such texts have wins, even where many of its labels have gone to a rarer one.

    Parameters
    ----------
    criterion : {"relative", "paper", "margin", "cut"}, default="relative"
        The noise score, see `TrajectoryKNNPrior`.
    contamination : "auto" or float in [0, 1), default=0.0
        Share of labels that are left out; "auto" estimates the share of wrong ones.
    selection : {"global", "class"}, default="global"
        Whether the clean texts are those with the lowest scores of all, or of each
        given class.
    view : str or int, default="initial"
        What is read: a view by its name, such as "initial", the embedding from before
        the training (of the first epoch where it was not recorded), or the embeddings
        after a recorded epoch, -1 being the last.
    max_samples : int or None, default=30_000
        Number of clean texts that are learnt from, at most, see `TrajectoryKNNPrior`.
        Neighbours, for "cut", are looked for among 10,000 at most, unless it is None.
    missing_label : object, default=None
        The value in `y` that means "no label"; NaN stands for all null values.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    noise_scores_ : ndarray of shape (n_samples,)
        Score of each given label, larger if it looks wrong; NaN where none is given.
    contamination_ : float
        The share of labels that was left out.
    clean_indices_ : ndarray of shape (n_clean,)
        Positions of the texts that are learnt from, sorted.
    clean_codes_ : ndarray of shape (n_clean,)
        Their classes, as positions in the classes.
    centers_ : ndarray of shape (n_centers, n_features)
        Texts that others are compared with; none, where few are learnt from.
    gamma_ : float
        Of the Gaussian functions, ``exp(-gamma * d**2)`` at distance d.
    coef_ : ndarray of shape (n_features + n_centers, n_classes)
        The map, times the sharpness.
    intercept_ : ndarray of shape (n_classes,)
        What is added to its output.

    References
    ----------
    .. [1] D. M. Allen, "The Relationship Between Variable Selection and Data
       Augmentation and a Method for Prediction", Technometrics 1974.
    .. [2] D. S. Broomhead, D. Lowe, "Multivariable Functional Interpolation and
       Adaptive Networks", Complex Systems 1988.

    Examples
    --------
    >>> from skdygen.datasets import make_label_noise, make_texts
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> from skdygen.priors import RidgePrior
    >>> texts, labels = make_texts(300, random_state=0)
    >>> noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    >>> trajectories = IncrementalDynamics(random_state=0).fit_transform(texts, noisy)
    >>> prior = RidgePrior(view="lexical").fit_transform(trajectories, noisy).prior
    >>> found = trajectories.classes[prior.argmax(axis=1)]
    >>> bool((found == labels).mean() > (noisy == labels).mean())
    True
    """

    def __init__(
        self,
        criterion: Literal["cut", "margin", "paper", "relative"] = "relative",
        *,
        contamination: Literal["auto"] | float = 0.0,
        selection: Literal["class", "global"] = "global",
        view: Any = "initial",
        max_samples: int | None = 30_000,
        missing_label: Any = None,
    ):
        self.criterion = criterion
        self.contamination = contamination
        self.selection = selection
        self.view = view
        self.max_samples = max_samples
        self.missing_label = missing_label

    def _learn(self, space, targets):
        weights, learnt = self.clean_weights_, np.eye(len(self.classes_))
        learnt = learnt[self.clean_codes_]
        if targets.votes is not None:  # more than one class, as much as they are split
            unread = targets.verified[self.clean_indices_] < 0
            learnt[unread] = targets.distributions[self.clean_indices_][unread]
        shares = np.average(learnt, axis=0, weights=weights)
        are_many = len(space) > _MOST_LINEAR
        n_centers = _N_CENTERS if are_many else 0
        self.centers_ = space[np.linspace(0, len(space) - 1, n_centers).astype(int)]
        self.gamma_ = 1 / (space.var(axis=0).sum() or 1.0)
        if are_many:  # what is said comes near the shares at a text
            known, offset = 0, 0
        else:
            known, offset = shares, np.log(shares + 1 / len(learnt))
        left_out, coef, intercept = fit_ridge(
            lambda part: self._widen(space[part]),
            learnt - known,
            weights,
            self._clean_firsts,
            self._is_checked,
        )
        sharpness = fit_sharpness(
            left_out, offset, learnt, weights, by_class=not are_many
        )
        self.coef_ = sharpness * coef
        self.intercept_ = sharpness * intercept + offset
        return softmax(sharpness * left_out + offset, axis=1)

    def _judge(self, space, own=None):
        return softmax(self._widen(space) @ self.coef_ + self.intercept_, axis=1)

    def _widen(self, space):
        """Put beside embeddings how near they are to the centers, if there are any."""
        if not len(self.centers_):
            return space
        near = rbf_kernel(space, self.centers_, self.gamma_)
        return np.hstack([np.sqrt(self.gamma_) * space, near])


def fit_sharpness(outputs, offset, learnt, weights, *, by_class=True):
    """Find the factors of outputs that foretell labels best, (n_classes,) or (1,).

    ``softmax(factors * outputs + offset)``; outputs and learnt, shares of classes, are
    (n_samples, n_classes). Classes of few texts keep to the others: the distance of the
    logarithms from their mean is penalised like one text.
    """
    weights = weights / weights.sum()
    one_text = (weights**2).sum()

    def loss(log_sharpness):
        sharpness = np.exp(log_sharpness)
        log_p = log_softmax(sharpness * outputs + offset, axis=1)
        apart = log_sharpness - log_sharpness.mean()
        value = one_text * (apart**2).sum() - weights @ (log_p * learnt).sum(axis=1)
        slopes = weights @ ((np.exp(log_p) - learnt) * outputs)
        slopes = slopes if by_class else slopes.sum()
        return value, slopes * sharpness + 2 * one_text * apart

    n_factors = outputs.shape[1] if by_class else 1
    start, bounds = np.full(n_factors, np.mean(_LOG_SHARPNESS)), [_LOG_SHARPNESS]
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds * n_factors
    )
    return np.exp(found.x)


def fit_ridge(read, targets, weights, groups, is_known):
    """Fit with the penalty whose error is least where each row is left out.

    read gives the features of a slice of the samples, (n_rows, n_features), since all
    can be too many; targets are (n_samples, n_targets), weights (n_samples,). Rows of
    one of the groups, (n_samples,), have the same features, and are left out together,
    but those of others that are known, (n_samples,) of bool, stay. Returns the
    predictions of each row by the rest, (n_samples, n_targets), and the map fitted on
    all, (n_features, n_targets) and (n_targets,).
    """
    total, mean = weights.sum(), np.average(targets, axis=0, weights=weights)
    targets = targets - mean
    slices = [*parts(len(targets))]
    center = sum(weights[part] @ read(part) for part in slices) / total
    products = moments = 0.0
    for part in slices:
        rows = read(part) - center  # in double precision
        weighted = weights[part, None] * rows
        products = products + rows.T @ weighted
        moments = moments + weighted.T @ targets[part]
    # One scale for all features, so that penalties mean the same in every view.
    scale = np.sqrt(products.diagonal() / total).mean() or 1.0
    variances, axes = np.linalg.eigh(products / scale**2)
    axes /= scale
    penalties = len(center) * np.array(_PENALTIES)
    shrunk = 1 / (variances.clip(min=0)[:, None] + penalties)
    maps = [axes @ (factors[:, None] * (axes.T @ moments)) for factors in shrunk.T]
    # What is said of a row is the sum of all targets, each times its weight and what
    # the two rows have in common, which for copies is the same.
    _, numbers = np.unique(groups, return_inverse=True)

    def own(values):
        """Sum up what is left out with each row."""
        return np.bincount(numbers, values * ~is_known)[numbers] + values * is_known

    own_weights = own(weights)
    own_targets = np.stack([own(weights * target) for target in targets.T], axis=1)

    def leave_out(said, part, levers):
        """Take from what is said of rows what they say themselves."""
        said = said - levers[:, None] * own_targets[part]
        return said / np.maximum(1 - levers * own_weights[part], 1e-6)[:, None]

    errors, levers = np.zeros(len(maps)), np.empty((len(targets), len(maps)))
    for part in slices:
        rows = read(part) - center
        levers[part] = (rows @ axes) ** 2 @ shrunk + 1 / total
        for which, coef in enumerate(maps):
            said = leave_out(rows @ coef, part, levers[part, which])
            errors[which] += (weights[part] @ (targets[part] - said) ** 2).sum()
    best = errors.argmin()
    coef, left_out = maps[best], np.empty_like(targets)
    for part in slices:  # once more: of all penalties they would be too many
        said = (read(part) - center) @ coef
        left_out[part] = leave_out(said, part, levers[part, best]) + mean
    return left_out, coef, mean - center @ coef
