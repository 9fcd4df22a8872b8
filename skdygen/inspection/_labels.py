"""What the pictures show: given and suggested labels of training texts, and paths."""

from typing import NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._classifier import DyGenClassifier
from .._decisions import judge_labels
from .._encoding import encode_labels
from .._trajectories import Trajectories, check_numbers, check_trajectories


class Labels(NamedTuple):
    """Labels of the training texts, as positions in `classes`, and how they look."""

    classes: np.ndarray  # (n_classes,)
    given: np.ndarray  # (n_samples,); -1 where there is none
    suggested: np.ndarray  # (n_samples,), the most probable classes
    confidence: np.ndarray  # (n_samples,), their probabilities
    quality: np.ndarray  # (n_samples,), those of the given classes; NaN without one
    is_issue: np.ndarray  # (n_samples,), another class than the given is suggested
    rival: np.ndarray  # (n_samples,), the most probable class besides the given one

    @classmethod
    def of_estimator(cls, estimator):
        """Labels that a classifier was fitted on, and what it thinks of them."""
        _check_classifier(estimator)
        return cls.of_codes(
            estimator.classes_, estimator._targets.codes, estimator.label_distributions_
        )

    @classmethod
    def of_predictions(cls, y, label_distributions, classes, missing_label):
        """Labels as users give them, and class probabilities of each text."""
        found = np.asarray(label_distributions, dtype=float)
        if classes is not None and np.unique(classes).tolist() != classes.tolist():
            raise ValueError(
                f"classes must be sorted, and each there once, but is "
                f"{classes.tolist()}; sort the columns of label_distributions alike."
            )
        classes, codes = encode_labels(
            y, missing_label=missing_label, classes=classes, min_classes=1
        )
        if found.shape != (len(codes), len(classes)):
            raise ValueError(
                f"label_distributions must have a row for each of the {len(codes)} "
                f"labels in y and a column for each of the {len(classes)} classes, but "
                f"has shape {found.shape}; if y lacks a class, name all with classes."
            )
        check_numbers(found, "label_distributions")
        return cls.of_codes(classes, codes, found)

    @classmethod
    def of_codes(cls, classes, codes, distributions):
        """Labels as positions in `classes`, and class probabilities of each text."""
        others = distributions.copy()
        labelled = np.flatnonzero(codes >= 0)
        others[labelled, codes[labelled]] = -1
        judged = judge_labels(distributions, codes)
        return cls(classes, codes, *judged, others.argmax(axis=1))

    @property
    def pairs(self):
        """Number of texts of each suggested (rows) and given class (columns)."""
        counts = np.zeros((len(self.classes), len(self.classes) + 1), dtype=int)
        np.add.at(counts, (self.suggested, self.given), 1)
        return counts[:, :-1]  # the last column is of texts without a label


def _check_classifier(estimator):
    """Raise an error if it is no fitted classifier, which says what to pass instead."""
    if not isinstance(estimator, DyGenClassifier):
        hint = "the fitted DyGenClassifier"
        if isinstance(estimator, Pipeline):
            hint = "its last step, pipeline[-1], and what that step gets of X"
        elif hasattr(estimator, "best_estimator_"):
            hint = "what a fit has found, search.best_estimator_"
        raise TypeError(
            f"estimator is a {type(estimator).__name__}, but a DyGenClassifier is "
            f"expected; pass {hint}."
        )
    check_is_fitted(estimator, "label_distributions_")


def training_trajectories(estimator, X):
    """Trajectories of the training texts: X, or those stored, or replayed from X."""
    if X is not None:
        estimator._check_same_X(X)
    if isinstance(X, Trajectories):
        return X
    if hasattr(estimator, "trajectories_"):
        return estimator.trajectories_
    stage = _last_dynamics(estimator)
    if X is None or stage is None or not getattr(stage, "snapshots_", True):
        raise ValueError(
            "the training dynamics are missing: fit with store_trajectories=True, pass "
            "the training texts, or, where these cannot be replayed (with "
            "dynamics='precomputed' or store_weights=False), their trajectories."
        )
    return check_trajectories(estimator.dynamics_.transform(X))


def training_dynamics(estimator, X):
    """`Labels`, trajectories and names of the moments that a classifier has seen."""
    labels = Labels.of_estimator(estimator)
    trajectories = training_trajectories(estimator, X)
    return labels, trajectories, moment_names(estimator, trajectories)


def moment_names(estimator, trajectories):
    """Name the recorded epochs, from 1, and "before" them what was before training."""
    every = range(trajectories.n_epochs)
    epochs = getattr(_last_dynamics(estimator), "recorded_epochs_", every)
    before = ["before"] if "initial" in trajectories.views else []
    return before + [f"epoch {epoch + 1}" for epoch in epochs]


def _last_dynamics(estimator):
    """Give the fitted first stage, or its last step; None if there is none."""
    dynamics = getattr(estimator, "dynamics_", None)
    return dynamics[-1] if isinstance(dynamics, Pipeline) else dynamics
