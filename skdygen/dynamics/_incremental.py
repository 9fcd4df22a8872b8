"""Training dynamics of any classifier that learns in steps."""

from __future__ import annotations

import os
from copy import deepcopy
from inspect import signature
from numbers import Integral
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import validate_data

from .._memmap import allocate_together
from .._progress import tasks
from .._sklearn_compat import HasMethods, Interval, StrOptions
from .._trajectories import Trajectories
from ..base import BaseDynamics
from ._views import ViewsMixin


class IncrementalDynamics(ViewsMixin, BaseDynamics):
    """Record the training dynamics of any classifier with `partial_fit`.

    The embedding of a text after an epoch is the vector of its class scores (the
    classifier's `decision_function`, or its log-probabilities). No torch is involved.

    Parameters
    ----------
    estimator : classifier with `partial_fit`, default=None
        Classifier to be trained; None takes averaged logistic regression by gradient
        descent, ``SGDClassifier(loss="log_loss", alpha=1e-3, average=True)``.
    vectorizer : transformer or "passthrough", default=None
        Turns texts into features; None takes `TfidfVectorizer`. With "passthrough"
        `X` is a matrix of features already.
    n_branches : int, default=2
        Number of classifiers; each sees the samples in an order of its own.
    n_epochs : int, default=5
        Number of passes over the samples.
    bootstrap : bool, default=False
        Whether each branch is trained on a sample drawn with replacement.
    views : list of (str, transformer) tuples, default=None
        Features of the texts, untouched by labels, that are kept beside the dynamics,
        each by a transformer of texts (a `sentence_transformers` model in a pipeline,
        a vectoriser); None takes a `LexicalView` called "lexical", if `X` are texts.
    max_nbytes : int, str or None, default="256M"
        Size above which trajectories, all their arrays together, are memory-mapped from
        temporary files, in bytes or as "100M". None keeps them in memory.
    temp_folder : str, path or None, default=None
        Folder for this file; None takes the system's.
    missing_label : object, default=None
        The value in `y` that means "no label"; such samples have dynamics but are not
        trained on. NaN stands for all null values; None: every sample has a label.
    random_state : int, RandomState instance or None, default=None
        Determines the order of the samples and the classifiers' own randomness.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes seen in `y`.
    estimators_ : list of n_branches lists of n_epochs classifiers
        The classifiers as they were after each epoch.
    vectorizer_ : transformer or None
        The fitted vectorizer.

    See Also
    --------
    LanguageModelDynamics : The dynamics of a language model.

    Examples
    --------
    >>> from skdygen.datasets import make_texts
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> texts, labels = make_texts(60, random_state=0)
    >>> IncrementalDynamics(n_epochs=3, random_state=0).fit_transform(texts, labels)
    Trajectories(n_samples=60, n_branches=2, n_epochs=3, n_features=6, n_classes=6, \
prior=False)
    """

    _parameter_constraints = {
        **ViewsMixin._parameter_constraints,
        "estimator": [HasMethods(["fit", "partial_fit"]), None],
        "vectorizer": [
            HasMethods(["fit_transform", "transform"]),
            StrOptions({"passthrough"}),
            None,
        ],
        "n_branches": [Interval(Integral, 1, None, closed="left")],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "bootstrap": ["boolean"],
        "max_nbytes": [Interval(Integral, 0, None, closed="left"), str, None],
        "temp_folder": [str, os.PathLike, None],
        "missing_label": "no_validation",
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        vectorizer: Any = None,
        *,
        n_branches: int = 2,
        n_epochs: int = 5,
        bootstrap: bool = False,
        views: list[Any] | None = None,
        max_nbytes: int | str | None = "256M",
        temp_folder: str | None = None,
        missing_label: Any = None,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.estimator = estimator
        self.vectorizer = vectorizer
        self.n_branches = n_branches
        self.n_epochs = n_epochs
        self.bootstrap = bootstrap
        self.views = views
        self.max_nbytes = max_nbytes
        self.temp_folder = temp_folder
        self.missing_label = missing_label
        self.random_state = random_state

    def _check_X(self, X):
        if not self._reads_features():
            return super()._check_X(X)
        check_array(X, accept_sparse="csr", estimator=self, input_name="X")
        return X  # with the names of its columns, if it has any

    def _check_seen(self, X):
        if not self._reads_features():
            return super()._check_seen(X)
        validate_data(self, X, accept_sparse="csr", reset=False)
        return X  # views may know columns by their names

    def _reads_features(self):
        """Tell whether `X` is a matrix and not texts."""
        return isinstance(self.vectorizer, str)  # "passthrough"

    def _fit(self, X, targets, *, record):
        rng = check_random_state(self.random_state)
        features = self._fit_vectorizer(X)
        self.estimators_ = [
            self._train_branch(features, targets, rng) for _ in range(self.n_branches)
        ]
        self.trajectory_shape_ = (self.n_branches, self.n_epochs, len(self.classes_))
        return self._trajectories(features) if record else None

    def _n_tasks(self):
        return self.n_branches * self.n_epochs

    def _n_recorded_epochs(self):
        return self.n_epochs

    def _named_views(self):
        is_default = self.views is None
        return [] if is_default and self._reads_features() else super()._named_views()

    def _fit_vectorizer(self, X):
        """Turn the training texts into features."""
        if self._reads_features():
            self.vectorizer_ = None
            return validate_data(self, X, accept_sparse="csr")
        self.vectorizer_ = (
            TfidfVectorizer() if self.vectorizer is None else clone(self.vectorizer)
        )
        try:
            found = self.vectorizer_.fit_transform(X)
        except ValueError as error:
            if self.vectorizer is not None or "empty vocabulary" not in str(error):
                raise
            raise ValueError(
                "no text in X has a word of two letters or more; pass another "
                "vectorizer, such as TfidfVectorizer(analyzer='char')."
            ) from error
        return self._check_features(found)

    def _train_branch(self, features, targets, rng):
        """Return one classifier as it was after each epoch."""
        codes, weights, labelled = targets.codes, targets.weights, targets.labelled
        if self.estimator is None:
            estimator = SGDClassifier(loss="log_loss", alpha=1e-3, average=True)
        else:
            estimator = clone(self.estimator)
        seeds = {
            name: rng.randint(np.iinfo(np.int32).max)
            for name in sorted(estimator.get_params())
            if name.rpartition("__")[2] == "random_state"
        }
        estimator.set_params(**seeds)
        if self.bootstrap:
            labelled = rng.choice(labelled, size=len(labelled))
        every_class = np.arange(len(self.classes_))
        is_weighted = (weights[labelled] != weights[labelled[0]]).any()
        weights = weights / weights[targets.labelled].mean()  # or steps are too small
        takes_weights = "sample_weight" in signature(estimator.partial_fit).parameters
        if is_weighted and not takes_weights:
            raise ValueError(
                f"sample_weight was given, but {type(estimator).__name__} takes none; "
                f"use another estimator, or no weights."
            )
        snapshots = []
        for _ in tasks("epoch", range(self.n_epochs)):
            rows = rng.permutation(labelled)
            params = {"sample_weight": weights[rows]} if is_weighted else {}
            estimator.partial_fit(
                features[rows], codes[rows], classes=every_class, **params
            )
            snapshots.append(deepcopy(estimator))
        return snapshots

    def _replay(self, X):
        return self._trajectories(self._vectorize(X))

    def _predict_proba(self, X):
        features = self._vectorize(X)
        last = [branch[-1] for branch in self.estimators_]
        return np.mean([_outputs(e, features)[1] for e in last], axis=0)

    def _vectorize(self, X):
        """Turn texts into features as in the fit."""
        if self.vectorizer_ is not None:
            X = self.vectorizer_.transform(X)
        return self._check_features(X)

    def _check_features(self, features):
        """Make rows of what a vectorizer gives, be it a frame or sparse in any way."""
        return check_array(
            features, accept_sparse="csr", estimator=self, input_name="features"
        )

    def _trajectories(self, features):
        """Record what every classifier says of the features."""
        n_samples, n_classes = features.shape[0], len(self.classes_)
        shape = n_samples, len(self.estimators_), len(self.estimators_[0]), n_classes
        embeddings, probabilities = allocate_together(
            [(shape, np.float32)] * 2,
            max_nbytes=self.max_nbytes,
            temp_folder=self.temp_folder,
        )
        for branch, snapshots in enumerate(self.estimators_):
            for epoch, estimator in enumerate(snapshots):
                scores, p = _outputs(estimator, features)
                embeddings[:, branch, epoch] = scores
                probabilities[:, branch, epoch] = p
        return Trajectories(embeddings, probabilities, self.classes_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        reads_features = self._reads_features()
        tags.input_tags.string = not reads_features
        tags.input_tags.two_d_array = reads_features
        tags.input_tags.sparse = reads_features
        return tags


def _outputs(estimator, features):
    """Class scores and class probabilities, each (n_samples, n_classes)."""
    scores = None
    if hasattr(estimator, "decision_function"):
        scores = estimator.decision_function(features)
        if scores.ndim == 1:
            scores = np.column_stack([-scores, scores]) / 2
    if hasattr(estimator, "predict_proba"):
        probabilities = estimator.predict_proba(features)
        if scores is None:
            scores = np.log(probabilities.clip(min=np.finfo(np.float32).tiny))
    elif scores is None:
        raise TypeError(
            f"estimator={estimator!r} has neither decision_function nor predict_proba; "
            f"one of them is needed."
        )
    else:
        probabilities = softmax(scores, axis=1)
    return scores, probabilities
