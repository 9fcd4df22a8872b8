"""A prior from a classifier that is fitted on the texts that look clean."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .._sklearn_compat import HasMethods
from .._weights import fit_weighted, takes_weights
from ._clean_set import BaseCleanSetPrior

_N_FOLDS = 5  # of clean texts, each of which is judged by what others teach


class ClassifierPrior(BaseCleanSetPrior):
    """Prior by a classifier fitted on texts whose dynamics look clean.

    Each given label gets a noise score from the training dynamics; a classifier is
    fitted on the embeddings of the texts with the lowest scores, and its probabilities
    are everybody's prior. Where some labels are verified, those of clean texts come
    from fits without them and their copies, in five parts.

    Parameters
    ----------
    estimator : classifier with `predict_proba`, default=None
        None takes logistic regression on standardised features, every class with the
        same weight whatever its share among the clean texts.
    criterion : {"paper", "relative", "margin", "cut"}, default="relative"
        The noise score, see `TrajectoryKNNPrior`.
    contamination : "auto" or float in [0, 1), default=0.5
        Share of labels that are left out; "auto" estimates the share of wrong ones.
    selection : {"global", "class"}, default="global"
        Whether the clean texts are those with the lowest scores of all, or of each
        given class.
    view : str or int, default="initial"
        What the classifier reads: a view by its name, such as "initial", the
        embedding from before the training (of the first epoch where it was not
        recorded), or the embeddings after a recorded epoch, -1 being the last.
    max_samples : int or None, default=10_000
        Number of clean texts that are learnt from, at most, see `TrajectoryKNNPrior`.
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
        Positions of the clean texts that are learnt from, sorted.
    clean_codes_ : ndarray of shape (n_clean,)
        Their given classes, as positions in the classes.
    estimator_ : classifier
        The fitted classifier; a dummy if all clean texts are of one class.

    Examples
    --------
    >>> from skdygen.datasets import make_label_noise, make_texts
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> from skdygen.priors import ClassifierPrior
    >>> texts, labels = make_texts(300, random_state=0)
    >>> noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    >>> trajectories = IncrementalDynamics(random_state=0).fit_transform(texts, noisy)
    >>> prior = ClassifierPrior().fit_transform(trajectories, noisy).prior
    >>> found = trajectories.classes[prior.argmax(axis=1)]
    >>> bool((found == labels).mean() > (noisy == labels).mean())
    True
    """

    _parameter_constraints = {
        **BaseCleanSetPrior._parameter_constraints,
        "estimator": [HasMethods(["fit", "predict_proba"]), None],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        criterion: Literal["cut", "margin", "paper", "relative"] = "relative",
        contamination: Literal["auto"] | float = 0.5,
        selection: Literal["class", "global"] = "global",
        view: Any = "initial",
        max_samples: int | None = 10_000,
        missing_label: Any = None,
    ):
        self.estimator = estimator
        self.criterion = criterion
        self.contamination = contamination
        self.selection = selection
        self.view = view
        self.max_samples = max_samples
        self.missing_label = missing_label

    def _learn(self, space, targets):
        codes, weights = self.clean_codes_, self.clean_weights_
        self.estimator_, self._found_codes = self._fit_classifier(space, codes, weights)
        _, texts = np.unique(self._clean_firsts, return_inverse=True)
        n_folds = min(_N_FOLDS, texts.max() + 1)
        if n_folds < 2 or not self._is_checked.any():
            return None
        # What is verified is judged by that, and may not know it: nor may others know
        # their own labels, or they would look better beside it.
        left_out = np.empty((len(space), len(self.classes_)))
        for first in range(n_folds):
            is_left = texts % n_folds == first
            some = space[~is_left], codes[~is_left], weights[~is_left]
            left_out[is_left] = self._ask(*self._fit_classifier(*some), space[is_left])
        return left_out

    def _judge(self, space, own=None):
        return self._ask(self.estimator_, self._found_codes, space)

    def _fit_classifier(self, space, codes, weights):
        """Fit a classifier; give it, and the codes that it knows."""
        # Numbered without gaps, as some classifiers want it.
        found, codes = np.unique(codes, return_inverse=True)
        if len(found) == 1:
            estimator = DummyClassifier()
        elif self.estimator is None:
            estimator = make_pipeline(
                StandardScaler(),
                LogisticRegression(class_weight="balanced", max_iter=1000),
            )
        else:
            estimator = clone(self.estimator)
        weights = weights if (weights != 1).any() else None
        if weights is not None and not takes_weights(estimator):
            raise ValueError(
                f"sample_weight was given, but {estimator!r} takes none; use another "
                f"estimator, or no weights."
            )
        with warnings.catch_warnings():
            # Few clean texts of many classes are classes all the same.
            warnings.filterwarnings("ignore", "The number of unique classes")
            fit_weighted(estimator, space, codes, weights)
        return estimator, found

    def _ask(self, estimator, codes, space):
        """Probabilities of all classes by a classifier that knows some."""
        prior = np.zeros((len(space), len(self.classes_)))
        prior[:, codes] = estimator.predict_proba(space)
        return prior
