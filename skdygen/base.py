"""What each stage promises to the others, kept once for all of them.

A stage of one's own subclasses one of these three classes and fills in one or two
methods; labels, missing labels, class order and error messages are taken care of.
"""

from abc import ABCMeta, abstractmethod

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils.validation import _num_samples, check_is_fitted

from ._storage import StorageMixin
from ._trajectories import check_trajectories
from .utils._mixins import FrameOutputMixin, TextInputMixin
from .utils._storage import batches, check_max_nbytes
from .utils._validation import check_texts, encode_labels, fitting
from .utils._weights import weigh

__all__ = ["BaseDenoiser", "BaseDynamics", "BasePrior"]

_ROWS_AT_ONCE = 4096


class BaseDynamics(
    FrameOutputMixin,
    TextInputMixin,
    ClassifierMixin,
    TransformerMixin,
    StorageMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """Base of the first stage: texts to `Trajectories`, and a classifier by itself.

    As in `sklearn.preprocessing.TargetEncoder`, ``fit(X, y).transform(X)`` is not
    ``fit_transform(X, y)`` by construction: the latter gives the dynamics recorded
    while training, the former those of a replay, which a text takes part in as if it
    were new.

    Subclasses define `_fit`, `_replay` and `_predict_proba`, and have a parameter
    `missing_label`.

    Examples
    --------
    The dynamics of a thing that never moves:

    >>> import numpy as np
    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> from skdygen import Trajectories
    >>> from skdygen.base import BaseDynamics
    >>> class WordCounts(BaseDynamics):
    ...     def __init__(self, *, missing_label=None):
    ...         self.missing_label = missing_label
    ...
    ...     def _fit(self, X, codes, weights, *, record):
    ...         self.counter_ = CountVectorizer().fit(X)
    ...         self.trajectory_shape_ = (1, 1, len(self.counter_.vocabulary_))
    ...         return self._replay(X)
    ...
    ...     def _replay(self, X):
    ...         counts = self.counter_.transform(X).toarray()
    ...         probabilities = self._predict_proba(X)
    ...         return Trajectories(
    ...             counts[:, None, None], probabilities[:, None, None], self.classes_
    ...         )
    ...
    ...     def _predict_proba(self, X):
    ...         return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))
    >>> texts = ["good", "very good", "bad"]
    >>> WordCounts().fit_transform(texts, ["yes", "yes", "no"]).shape
    (3, 3)
    """

    _parameter_constraints = {}

    @abstractmethod
    def _fit(self, X, codes, weights, *, record):
        """Train on labels coded 0..n_classes-1 (-1: none); give the dynamics.

        The weights are 0 where there is no label, and 1 elsewhere if none are given.
        With ``record=False`` nobody will read them, and they may be None. Sets
        `trajectory_shape_`, (n_branches, n_epochs, n_features).
        """

    @abstractmethod
    def _replay(self, X):
        """Trajectories of texts that were not trained on."""

    def _n_recorded_epochs(self):
        """Say how many epochs a fit would record; None if that is not known before."""
        return None

    @abstractmethod
    def _predict_proba(self, X):
        """Class probabilities after the last epoch, (n_samples, n_classes)."""

    def _check_X(self, X):
        """Validate `X` by itself."""
        return check_texts(X)

    def _remember_X(self, X):
        """Remember of a valid `X` what `_check_seen` compares with."""

    def _check_seen(self, X):
        """Validate `X` after a fit."""
        return self._check_X(X)

    def _validate_params(self):
        super()._validate_params()
        check_max_nbytes(getattr(self, "max_nbytes", None))

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train on texts and their labels.

        Parameters
        ----------
        X : sequence of str of length n_samples
            Texts.
        y : array-like of shape (n_samples,)
            Labels, right or wrong.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each label counts; one of weight 0 is as if it were missing.

        Returns
        -------
        self : object
            The fitted stage.
        """
        self._validate_and_fit(X, y, sample_weight, record=False)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, y, sample_weight=None):
        """Train on texts and their labels, and give the dynamics recorded meanwhile.

        Parameters
        ----------
        X : sequence of str of length n_samples
            Texts.
        y : array-like of shape (n_samples,)
            Labels, right or wrong.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each label counts; one of weight 0 is as if it were missing.

        Returns
        -------
        trajectories : Trajectories of n_samples texts
            Embedding and class probabilities at every recorded epoch, for every text,
            with a label or without.
        """
        return self._give(self._validate_and_fit(X, y, sample_weight, record=True))

    def _validate_and_fit(self, X, y, sample_weight, *, record):
        checked = self._check_X(X)
        classes, codes = encode_labels(
            y, missing_label=self.missing_label, n_samples=_num_samples(checked)
        )
        codes, weights = weigh(sample_weight, codes)
        with fitting(self):
            self._remember_X(X)
            self.classes_ = classes
            return self._fit(checked, codes, weights, record=record)

    def transform(self, X):
        """Replay the training for texts that may be new.

        Parameters
        ----------
        X : sequence of str of length n_samples
            Texts.

        Returns
        -------
        trajectories : Trajectories of n_samples texts
            Embedding and class probabilities by the model of every recorded epoch.
        """
        check_is_fitted(self)
        return self._give(self._replay(self._check_seen(X)))

    def predict_proba(self, X):
        """Give the class probabilities of the plain model after its last epoch.

        Parameters
        ----------
        X : sequence of str of length n_samples
            Texts.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Mean over the branches; columns in the order of `classes_`.
        """
        check_is_fitted(self)
        return self._predict_proba(self._check_seen(X))

    def predict(self, X):
        """Give the classes that the plain model predicts after its last epoch.

        Parameters
        ----------
        X : sequence of str of length n_samples
            Texts.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            The most probable class of each text.
        """
        check_is_fitted(self)
        found = self._predict_proba(self._check_seen(X))
        return self.classes_[found.argmax(axis=1)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


class BasePrior(
    FrameOutputMixin,
    TransformerMixin,
    StorageMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """Base of the second stage: `Trajectories` to `Trajectories` with a prior.

    Subclasses define `_fit_prior` and `_prior`, and have a parameter `missing_label`.

    Examples
    --------
    >>> from skdygen import DyGenClassifier
    >>> from skdygen.base import BasePrior
    >>> class LastEpochPrior(BasePrior):
    ...     def __init__(self, *, missing_label=None):
    ...         self.missing_label = missing_label
    ...
    ...     def _fit_prior(self, trajectories, codes, weights):
    ...         return self._prior(trajectories)
    ...
    ...     def _prior(self, trajectories):
    ...         return trajectories.probabilities[:, :, -1].mean(axis=1)
    >>> clf = DyGenClassifier(prior=LastEpochPrior())
    """

    _parameter_constraints = {}

    @abstractmethod
    def _fit_prior(self, trajectories, codes, weights):
        """Learn from labels coded 0..n_classes-1 (-1: none), and their weights.

        Returns the prior of the training texts, (n_samples, n_classes).
        """

    @abstractmethod
    def _prior(self, trajectories):
        """Prior of texts that were not learnt from, (n_samples, n_classes)."""

    def fit(self, X, y, sample_weight=None):
        """Learn from trajectories and labels.

        Parameters
        ----------
        X : Trajectories of n_samples texts
            Output of a dynamics stage.
        y : array-like of shape (n_samples,)
            The labels that the dynamics were trained with.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each label counts; one of weight 0 is as if it were missing.

        Returns
        -------
        self : object
            The fitted stage.
        """
        self.fit_transform(X, y, sample_weight)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, y, sample_weight=None):
        """Learn from trajectories and labels, and give these texts their prior.

        Parameters
        ----------
        X : Trajectories of n_samples texts
            Output of a dynamics stage.
        y : array-like of shape (n_samples,)
            The labels that the dynamics were trained with.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each label counts; one of weight 0 is as if it were missing.

        Returns
        -------
        trajectories : Trajectories of n_samples texts
            Those given, with `prior`.
        """
        trajectories, codes, weights = _check_fit(self, X, y, sample_weight)
        with fitting(self):
            _remember_trajectories(self, trajectories)
            prior = self._fit_prior(trajectories, codes, weights)
        return self._give(trajectories.with_prior(prior))

    def transform(self, X):
        """Give texts that may be new their prior.

        Parameters
        ----------
        X : Trajectories of n_samples texts
            Output of a dynamics stage.

        Returns
        -------
        trajectories : Trajectories of n_samples texts
            Those given, with `prior`.
        """
        trajectories = _check_seen(self, X)
        return self._give(trajectories.with_prior(self._prior(trajectories)))


class BaseDenoiser(ClassifierMixin, StorageMixin, BaseEstimator, metaclass=ABCMeta):
    """Base of the third stage: `Trajectories` with a prior to the true labels.

    Subclasses define `_fit`, `_marginal` and `_conditional`, and have a parameter
    `missing_label`.

    Examples
    --------
    >>> from skdygen import DyGenClassifier
    >>> from skdygen.base import BaseDenoiser
    >>> class BelievePrior(BaseDenoiser):
    ...     def __init__(self, *, missing_label=None):
    ...         self.missing_label = missing_label
    ...
    ...     def _fit(self, trajectories, codes, weights):
    ...         pass
    ...
    ...     def _marginal(self, trajectories):
    ...         return trajectories.prior
    ...
    ...     def _conditional(self, trajectories, codes):
    ...         return trajectories.prior
    >>> clf = DyGenClassifier(denoiser=BelievePrior())
    """

    _parameter_constraints = {}

    @abstractmethod
    def _fit(self, trajectories, codes, weights):
        """Learn from labels coded 0..n_classes-1 (-1: none), and their weights."""

    @abstractmethod
    def _marginal(self, trajectories):
        """p(y | x) of texts whose given label is not known, (n_samples, n_classes)."""

    @abstractmethod
    def _conditional(self, trajectories, codes):
        """p(y | y~, x) of texts with a given label, (n_samples, n_classes)."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Learn how the given labels came from the true ones.

        Parameters
        ----------
        X : Trajectories of n_samples texts
            With a prior.
        y : array-like of shape (n_samples,)
            The labels that the dynamics were trained with.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each label counts; one of weight 0 is as if it were missing.

        Returns
        -------
        self : object
            The fitted stage, with `label_distributions_`, the posterior of each
            training text given its label, and `marginal_distributions_`, without
            regard to it, both (n_samples, n_classes).
        """
        trajectories, codes, weights = _check_fit(self, X, y, sample_weight)
        with fitting(self):
            _remember_trajectories(self, trajectories)
            self._fit(trajectories, codes, weights)
            self.marginal_distributions_ = self._marginal(trajectories)
            self.label_distributions_ = self.marginal_distributions_.copy()
            labelled = np.flatnonzero(codes >= 0)
            for part in batches(len(labelled), _ROWS_AT_ONCE):
                rows = labelled[part]
                self.label_distributions_[rows] = self._conditional(
                    trajectories[rows], codes[rows]
                )
        return self

    def predict_proba(self, X):
        """Give the posterior over the true label where the given one is not known.

        Parameters
        ----------
        X : Trajectories of n_samples texts
            Output of the stages before.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Rows sum to 1; columns in the order of `classes_`.
        """
        return self._marginal(_check_seen(self, X))

    def predict(self, X):
        """Give the most probable true label.

        Parameters
        ----------
        X : Trajectories of n_samples texts
            Output of the stages before.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            The most probable class of each text.
        """
        found = self._marginal(_check_seen(self, X))
        return self.classes_[found.argmax(axis=1)]


def _check_fit(estimator, X, y, sample_weight):
    trajectories = check_trajectories(X)
    _, codes = encode_labels(
        y,
        missing_label=estimator.missing_label,
        classes=trajectories.classes,
        n_samples=len(trajectories),
    )
    return trajectories, *weigh(sample_weight, codes)


def _remember_trajectories(estimator, trajectories):
    estimator.classes_ = trajectories.classes
    estimator.trajectory_shape_ = trajectories.embeddings.shape[1:]


def _check_seen(estimator, X):
    """Return trajectories that are of the kind that an estimator was fitted on."""
    check_is_fitted(estimator)
    trajectories = check_trajectories(X)
    shape = trajectories.embeddings.shape[1:]
    if shape != estimator.trajectory_shape_:
        raise ValueError(
            f"X has trajectories of (n_branches, n_epochs, n_features) = {shape}, but "
            f"those fitted on have {estimator.trajectory_shape_}; use the transform of "
            f"the dynamics stage that made them."
        )
    if not np.array_equal(trajectories.classes, estimator.classes_):
        raise ValueError(
            f"X has trajectories for the classes {trajectories.classes.tolist()}, but "
            f"those fitted on are for {estimator.classes_.tolist()}."
        )
    return trajectories
