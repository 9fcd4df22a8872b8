"""What the pictures show: given and suggested labels of training texts, and paths."""

from typing import NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import _num_samples, check_is_fitted

from .._correction import judge_labels
from .._trajectories import Trajectories, check_trajectories
from ..utils._validation import encode_labels


class Labels(NamedTuple):
    """Labels of the training texts, all as positions in `classes`.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The classes.
    given : ndarray of shape (n_samples,)
        Given classes; -1 where there is none.
    suggested : ndarray of shape (n_samples,)
        Most probable classes.
    confidence, quality : ndarray of shape (n_samples,)
        Probability of the suggested and of the given class; quality is NaN where no
        label is given.
    is_issue : ndarray of shape (n_samples,) of bool
        Where a label is given and another class is the most probable one.
    rival : ndarray of shape (n_samples,)
        The most probable class other than the given one: for an issue the suggested.
    """

    classes: np.ndarray
    given: np.ndarray
    suggested: np.ndarray
    confidence: np.ndarray
    quality: np.ndarray
    is_issue: np.ndarray
    rival: np.ndarray

    @classmethod
    def of_estimator(cls, estimator):
        """Labels that a classifier was fitted on, and what it thinks of them."""
        check_is_fitted(estimator, "label_distributions_")
        return cls._of(
            estimator.classes_, estimator._given_codes, estimator.label_distributions_
        )

    @classmethod
    def of_predictions(cls, y, label_distributions, classes, missing_label):
        """Labels as users give them, and class probabilities of each text."""
        found = np.asarray(label_distributions, dtype=float)
        n_columns = found.shape[1] if found.ndim == 2 else None
        classes, codes = encode_labels(
            y, missing_label=missing_label, classes=classes, min_classes=1
        )
        if found.shape != (len(codes), len(classes)):
            raise ValueError(
                f"label_distributions must have a row for each of the {len(codes)} "
                f"labels in y and a column for each of the {len(classes)} classes, but "
                f"has shape {found.shape}"
                + (
                    "; name the classes of the columns with classes."
                    if n_columns and n_columns != len(classes)
                    else "."
                )
            )
        return cls._of(classes, codes, found)

    @classmethod
    def _of(cls, classes, codes, distributions):
        judged = judge_labels(distributions, codes)
        others = distributions.copy()
        labelled = np.flatnonzero(codes >= 0)
        others[labelled, codes[labelled]] = -1
        return cls(classes, codes, *judged, others.argmax(axis=1))


def training_trajectories(estimator, X):
    """Trajectories of the texts that a classifier was fitted on.

    Parameters
    ----------
    estimator : DyGenClassifier
        Fitted.
    X : sequence of str of length n_samples, or Trajectories
        The training texts in the order they were fitted in, which are replayed, or
        their trajectories.

    Returns
    -------
    trajectories : Trajectories of n_samples texts
        Their training dynamics.
    """
    n_fitted = len(estimator.label_distributions_)
    if not isinstance(X, Trajectories) and _num_samples(X) != n_fitted:
        raise ValueError(
            f"X has {_num_samples(X)} texts, but the classifier was fitted on "
            f"{n_fitted}; pass the training texts, in the same order."
        )
    if not isinstance(X, Trajectories) and hasattr(estimator, "dynamics_"):
        X = estimator.dynamics_.transform(X)
    check_trajectories(X)
    if len(X) != n_fitted:
        raise ValueError(
            f"X has {len(X)} trajectories, but the classifier was fitted on {n_fitted} "
            f"texts; pass those of the training texts, in the same order."
        )
    return X


def dynamics_stage(estimator):
    """Give the fitted first stage, or its last step; None if there is none."""
    dynamics = getattr(estimator, "dynamics_", None)
    return dynamics[-1] if isinstance(dynamics, Pipeline) else dynamics


def moment_names(estimator, trajectories):
    """Name the recorded epochs, counted from 1, after the moment before the training.

    Parameters
    ----------
    estimator : DyGenClassifier or None
        Its first stage says which epochs are recorded; None numbers them.
    trajectories : Trajectories
        The dynamics.

    Returns
    -------
    names : list of str
        One for each recorded epoch, with "before" in front if that was recorded.
    """
    epochs = getattr(
        dynamics_stage(estimator), "trajectory_epochs_", range(trajectories.n_epochs)
    )
    before = [] if trajectories.initial is None else ["before"]
    return before + [f"epoch {epoch + 1}" for epoch in epochs]


def check_positions(index, n_samples):
    """Return positions of texts as an array, or raise an error that names the first."""
    index = np.atleast_1d(np.asarray([] if index is None else index))
    index = index.astype(int) if not len(index) else index
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise TypeError("index must hold positions of texts, whole numbers.")
    wrong = (index < -n_samples) | (index >= n_samples)
    if wrong.any():
        raise ValueError(
            f"index holds {index[wrong][0]}, but there are {n_samples} texts, counted "
            f"from 0."
        )
    return index % n_samples
