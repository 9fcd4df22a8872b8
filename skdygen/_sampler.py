"""Correction of labels as a step of an imbalanced-learn pipeline."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from ._classifier import DyGenClassifier
from ._sklearn_compat import Interval, fit_context, safe_indexing
from ._storage import StorageMixin
from .base import TextInputMixin, fitting

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class DyGenCorrector(TextInputMixin, StorageMixin, BaseEstimator):
    """Give back texts with corrected labels, for any classifier to be trained on.

    A step of `imblearn.pipeline.Pipeline`: when the pipeline is fitted the classifier
    behind learns from the corrected labels, and when it predicts nothing is done.

    Parameters
    ----------
    classifier : DyGenClassifier, default=None
        What corrects the labels. None takes ``DyGenClassifier()``.
    min_quality : float in [0, 1], default=0.0
        Texts are left out whose label, corrected or not, has a smaller posterior
        probability.

    Attributes
    ----------
    classifier_ : DyGenClassifier
        The fitted classifier.
    sample_indices_ : ndarray of shape (n_kept,)
        Positions of the texts that are given back.

    Examples
    --------
    >>> from skdygen import DyGenClassifier, DyGenCorrector
    >>> from skdygen.datasets import make_label_noise, make_texts
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> texts, labels = make_texts(300, random_state=0)
    >>> noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    >>> classifier = DyGenClassifier(dynamics=IncrementalDynamics(), random_state=0)
    >>> corrector = DyGenCorrector(classifier, min_quality=0.5)
    >>> kept, corrected = corrector.fit_resample(texts, noisy)
    >>> before = (noisy == labels).mean()
    >>> after = (corrected == labels[corrector.sample_indices_]).mean()
    >>> bool(after > before), len(kept) < len(texts)
    (True, True)
    """

    _parameter_constraints = {
        "classifier": [DyGenClassifier, None],
        "min_quality": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, classifier: Any = None, *, min_quality: float = 0.0):
        self.classifier = classifier
        self.min_quality = min_quality

    def set_params(self, **params):
        # A classifier that is None is the default one.
        is_nested = any(name.startswith("classifier__") for name in params)
        if is_nested and params.get("classifier", self.classifier) is None:
            params["classifier"] = DyGenClassifier()
        return super().set_params(**params)

    @fit_context(prefer_skip_nested_validation=False)
    def fit_resample(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        verified: Any = None,
        votes: Any = None,
        vote_confidence: Any = None,
    ) -> tuple[Any, np.ndarray]:
        """Correct the labels.

        Parameters
        ----------
        X : sequence of str of length n_samples
            Texts.
        y : array-like of shape (n_samples,), default=None
            Labels that may be wrong. None takes the majority of `votes`.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each label counts.
        verified : array-like of shape (n_samples,), dict, Series, DataFrame, or \
                list of these, default=None
            Labels that are known to be right, see `DyGenClassifier.fit`.
        votes, vote_confidence : array-like, DataFrame or sparse matrix of shape \
                (n_samples, n_annotators), default=None
            What each annotator gave, and how sure, see `DyGenClassifier.fit`.

        Returns
        -------
        X_resampled : sequence of str of length n_kept
            The texts that are kept, in a container of the same kind.
        y_resampled : ndarray of shape (n_kept,)
            Their corrected labels.

        Raises
        ------
        ValueError
            If labels of fewer than two classes are left.
        """
        classifier = DyGenClassifier() if self.classifier is None else self.classifier
        with fitting(self):
            self.classifier_ = clone(classifier).fit(
                X, y, sample_weight, verified, votes, vote_confidence
            )
            labels = self.classifier_.transduction_
            columns = np.searchsorted(self.classifier_.classes_, labels)
            found = self.classifier_.label_distributions_
            kept = np.flatnonzero(
                found[np.arange(len(labels)), columns] >= self.min_quality
            )
            if len(np.unique(labels[kept])) < 2:
                raise ValueError(
                    f"min_quality={self.min_quality} leaves {len(kept)} of "
                    f"{len(labels)} texts, with labels of fewer than two classes; use "
                    f"a smaller value."
                )
            self.sample_indices_ = kept
        return safe_indexing(X, kept), labels[kept]
