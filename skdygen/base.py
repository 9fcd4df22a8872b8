"""What each stage promises to the others, kept once for all of them.

A stage of one's own subclasses one of these three classes and fills in two or three
methods; labels, missing labels, class order and error messages are taken care of. The
public `fit` of the estimator that a user calls checks and encodes texts and labels;
from there on the stages hand `Targets` on through `_fit_targets`.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ._encoding import check_texts, find_copies, find_labels
from ._memmap import check_max_nbytes, check_temp_folder, parts
from ._progress import fit_task
from ._sklearn_compat import (
    CallbackSupportMixin,
    fit_context,
    get_output_config,
    num_samples,
    safe_indexing,
)
from ._storage import StorageMixin
from ._targets import make_targets
from ._trajectories import Trajectories, check_trajectories
from ._weights import read_weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["BaseDenoiser", "BaseDynamics", "BasePrior"]

_SMALLEST = 1e-12


@contextmanager
def fitting(estimator):
    """Make a fit all or nothing: forget the last one first, and a failed one after."""
    _forget(estimator)
    try:
        yield
    except BaseException:
        _forget(estimator)
        raise


def _forget(estimator):
    """Delete the fitted attributes, which end in an underscore."""
    for name in list(vars(estimator)):
        if name.endswith("_") and not name.startswith("_"):
            delattr(estimator, name)


def targets_for(
    X, y, sample_weight, missing_label, verified=None, votes=None, vote_confidence=None
):
    """Make the targets of texts, or of trajectories, whose classes they keep."""
    return make_targets(
        y,
        sample_weight,
        verified,
        votes,
        vote_confidence,
        missing_label=missing_label,
        classes=X.classes if isinstance(X, Trajectories) else None,
        n_samples=num_samples(X),
    )


class TextInputMixin:
    """Tells scikit-learn that `X` is a collection of texts, with a label each."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = True
        return tags


class BaseStage(CallbackSupportMixin, StorageMixin, BaseEstimator, metaclass=ABCMeta):
    """What the bases of the three stages have in common."""

    _parameter_constraints = {}

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Learn from texts, or from their trajectories, and labels.

        Parameters
        ----------
        X : sequence of str of length n_samples, or Trajectories of as many texts
            Texts for a dynamics stage, the output of the stage before for the others.
        y : array-like of shape (n_samples,)
            Labels, right or wrong.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each label counts; one of weight 0 is as if it were missing.

        Returns
        -------
        self : object
            The fitted stage.
        """
        self._fit_passed(X, y, sample_weight)
        return self

    def _fit_passed(self, X, y, sample_weight, verified=None, *, record=False):
        """Check and encode what a user has passed, and fit to it."""
        checked = self._check_fit(X, y, sample_weight, verified)
        with fit_task(self, self._n_tasks(), X, y, sample_weight):
            return self._fit_targets(*checked, record=record)

    @abstractmethod
    def _fit_targets(self, X, targets, *, record=False):
        """Fit to what is checked already; give trajectories if there is reason to."""

    @abstractmethod
    def _check_X(self, X):
        """Validate what is to be learnt from."""

    @abstractmethod
    def _check_seen(self, X):
        """Validate what is asked about after a fit."""

    def _n_tasks(self):
        """Say how many parts of a fit callbacks are told of, at most."""
        return 0

    def _check_fit(self, X, y, sample_weight, verified=None):
        """Check and encode what a user has passed to a fit."""
        X = self._check_X(X)
        return X, targets_for(X, y, sample_weight, self.missing_label, verified)


class TransformsMixin(TransformerMixin):
    """Gives stages that make trajectories their public methods."""

    @fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, y, sample_weight=None):
        """Learn from texts, or from their trajectories, and give their trajectories.

        Parameters
        ----------
        X : sequence of str of length n_samples, or Trajectories of as many texts
            Texts for a dynamics stage, the output of the stage before for the others.
        y : array-like of shape (n_samples,)
            Labels, right or wrong.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each label counts; one of weight 0 is as if it were missing.

        Returns
        -------
        trajectories : Trajectories of n_samples texts
            Of every text, with a label or without: from a dynamics stage those that
            were recorded while it was trained, from a prior those given, with `prior`.
        """
        return self._give(self._fit_passed(X, y, sample_weight, record=True))

    def transform(self, X):
        """Give the trajectories of texts that may be new.

        Parameters
        ----------
        X : sequence of str of length n_samples, or Trajectories of as many texts
            Texts for a dynamics stage, the output of the stage before for the others.

        Returns
        -------
        trajectories : Trajectories of n_samples texts
            From a dynamics stage those of a replay of its training, from a prior those
            given, with `prior`.
        """
        check_is_fitted(self)
        return self._give(self._transform(self._check_seen(X)))

    def get_feature_names_out(self, input_features=None):
        """Name the columns of the flattened embeddings.

        Parameters
        ----------
        input_features : None
            Not used.

        Returns
        -------
        names : ndarray of shape (n_branches * n_epochs * n_features,)
            Such as "branch0_epoch1_feature17", all counted from 0; epochs among those
            that are recorded.
        """
        check_is_fitted(self)
        names = [
            f"branch{branch}_epoch{epoch}_feature{feature}"
            for branch, epoch, feature in np.ndindex(self.trajectory_shape_)
        ]
        return np.array(names, dtype=object)

    def _give(self, trajectories):
        """Give what scikit-learn can make a frame of, if it is to make one."""
        wanted = get_output_config("transform", self)["dense"]
        return trajectories if wanted == "default" else np.asarray(trajectories)


class ScoresMixin(ClassifierMixin):
    """Gives classifiers a score that leaves out what has no label."""

    def score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Give the share of labels that are predicted.

        Parameters
        ----------
        X : sequence of str of length n_samples, or Trajectories of as many texts
            As for `predict`.
        y : array-like of shape (n_samples,)
            Labels; texts without one, as `missing_label` says, are left out.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each label counts.

        Returns
        -------
        score : float
            Mean accuracy.
        """
        y, rows = find_labels(y, self.missing_label, n_samples=num_samples(X))
        if sample_weight is not None:
            sample_weight = read_weights(sample_weight, num_samples(X))[rows]
        if len(rows) < num_samples(X):
            X = safe_indexing(X, rows)
        return super().score(X, y, sample_weight)


def with_rows_of_1(probabilities):
    """Divide rows by their sum, in the precision that numpy asks of probabilities."""
    probabilities = np.asarray(probabilities, dtype=np.float64)
    return probabilities / probabilities.sum(axis=1, keepdims=True)


class PredictsMixin(ScoresMixin):
    """Gives stages that are classifiers their public methods."""

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Give class probabilities.

        Parameters
        ----------
        X : sequence of str of length n_samples, or Trajectories of as many texts
            Texts for a dynamics stage, the output of the stages before for a denoiser.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            From a dynamics stage those of the plain model after its last epoch, mean
            over the branches; from a denoiser the posterior of the true label where
            the given one is not known. Columns in the order of `classes_`.
        """
        check_is_fitted(self)
        return with_rows_of_1(self._predict_proba(self._check_seen(X)))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Give the most probable classes.

        Parameters
        ----------
        X : sequence of str of length n_samples, or Trajectories of as many texts
            As for `predict_proba`.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            The class of each text, as it stands in `y`.
        """
        check_is_fitted(self)
        found = self._predict_proba(self._check_seen(X))
        return self.classes_[found.argmax(axis=1)]


class BaseDynamics(
    TextInputMixin, PredictsMixin, TransformsMixin, BaseStage, metaclass=ABCMeta
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
    ...     def _fit(self, X, targets, *, record):
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

    @abstractmethod
    def _fit(self, X, targets, *, record):
        """Train on texts and their `Targets`; give the dynamics.

        With ``record=False`` nobody will read them, and they may be None. Sets
        `trajectory_shape_`, (n_branches, n_epochs, n_features).
        """

    @abstractmethod
    def _replay(self, X):
        """Trajectories of texts that were not trained on."""

    @abstractmethod
    def _predict_proba(self, X):
        """Class probabilities after the last epoch, (n_samples, n_classes)."""

    def _identify_files(self):
        """Identify what is in the files that parameters name, for caches."""
        return None

    def _n_recorded_epochs(self):
        """Say how many epochs a fit would record; None if that is not known before."""
        return None

    def _view_names(self):
        """Name the views that a fit would keep; None if that is not known before."""
        return None

    def _fit_targets(self, X, targets, *, record=False):
        with fitting(self):
            self.classes_ = targets.classes
            found = self._fit(X, targets, record=record)
            are_texts = isinstance(X, list) and isinstance(X[0], str)
            is_untold = isinstance(found, Trajectories) and found.groups is None
            if record and are_texts and is_untold and len(found) == len(X):
                return found.with_groups(find_copies(X))
            return found

    def _transform(self, X):
        """Give the dynamics of texts that were not trained on."""
        return self._replay(X)

    def _transform_some(self, X, epochs):
        """Give the dynamics at some epochs at least, by their positions; None: all."""
        return self.transform(X)

    def _check_X(self, X):
        return check_texts(X)

    def _check_seen(self, X):
        return self._check_X(X)

    def _validate_params(self):
        super()._validate_params()
        check_max_nbytes(getattr(self, "max_nbytes", None))
        check_temp_folder(getattr(self, "temp_folder", None))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


class ReadsTrajectoriesMixin:
    """Checks the trajectories that later stages read, and takes verified labels."""

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, verified=None):
        """Learn from trajectories and labels.

        Parameters
        ----------
        X : Trajectories of n_samples texts
            The output of the stage before.
        y : array-like of shape (n_samples,)
            Labels, right or wrong.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each label counts; one of weight 0 is as if it were missing.
        verified : array-like of shape (n_samples,), dict, Series, DataFrame, or \
                list of these, default=None
            Labels that are known to be right, see `DyGenClassifier.fit`.

        Returns
        -------
        self : object
            The fitted stage.
        """
        self._fit_passed(X, y, sample_weight, verified)
        return self

    def _check_X(self, X):
        return check_trajectories(X)

    def _epochs_read(self):
        """Positions of the epochs that are read of new texts; None: maybe all."""
        return None

    def _remember(self, trajectories, classes):
        """Keep what `_check_seen` compares with; give trajectories of these classes."""
        self._learnt_classes, self.classes_ = trajectories.classes, classes
        self._like = trajectories._changed(  # for made ones, of the same kind
            lambda array: np.empty((0, *array.shape[1:]), array.dtype)
        )
        self.trajectory_shape_ = trajectories.embeddings.shape[1:]
        return trajectories.with_classes(classes)

    def _check_seen(self, X):
        trajectories = check_trajectories(X)
        shape = trajectories.embeddings.shape[1:]
        if shape != self.trajectory_shape_:
            raise ValueError(
                f"X has trajectories of (n_branches, n_epochs, n_features) = {shape}, "
                f"but those fitted on have {self.trajectory_shape_}; use the transform "
                f"of the dynamics stage that made them."
            )
        known = (self._learnt_classes, self.classes_)
        if not any(np.array_equal(trajectories.classes, c) for c in known):
            raise ValueError(
                f"X has trajectories for the classes {trajectories.classes.tolist()}, "
                f"but those fitted on are for {self._learnt_classes.tolist()}."
            )
        return trajectories.with_classes(self.classes_)


class BasePrior(ReadsTrajectoriesMixin, TransformsMixin, BaseStage, metaclass=ABCMeta):
    """Base of the second stage: `Trajectories` to `Trajectories` with a prior.

    Subclasses define `_fit_prior` and `_prior`, and have a parameter `missing_label`.
    What `_fit_prior` says of a verified text must not come from the verified label of
    this text: it is by these labels that corrections are judged and proved. Nor should
    it come from labels of its copies (`Trajectories.groups`), but for verified ones.

    Examples
    --------
    >>> from skdygen import DyGenClassifier
    >>> from skdygen.base import BasePrior
    >>> class LastEpochPrior(BasePrior):
    ...     def __init__(self, *, missing_label=None):
    ...         self.missing_label = missing_label
    ...
    ...     def _fit_prior(self, trajectories, targets):
    ...         return self._prior(trajectories)
    ...
    ...     def _prior(self, trajectories):
    ...         return trajectories.probabilities[:, :, -1].mean(axis=1)
    >>> clf = DyGenClassifier(prior=LastEpochPrior())
    """

    @fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, y, sample_weight=None, verified=None):
        """Learn from trajectories and labels, and give the trajectories their prior.

        Parameters
        ----------
        X : Trajectories of n_samples texts
            The output of the stage before.
        y : array-like of shape (n_samples,)
            Labels, right or wrong.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each label counts; one of weight 0 is as if it were missing.
        verified : array-like of shape (n_samples,), dict, Series, DataFrame, or \
                list of these, default=None
            Labels that are known to be right, see `DyGenClassifier.fit`.

        Returns
        -------
        trajectories : Trajectories of n_samples texts
            Those given, with a prior for every text, with a label or without.
        """
        return self._give(self._fit_passed(X, y, sample_weight, verified, record=True))

    @abstractmethod
    def _fit_prior(self, trajectories, targets):
        """Learn from `Targets`; give the texts their prior, (n_samples, n_classes)."""

    @abstractmethod
    def _prior(self, trajectories):
        """Prior of texts that were not learnt from, (n_samples, n_classes)."""

    def _fit_targets(self, X, targets, *, record=False):
        with fitting(self):
            X = self._remember(X, targets.classes)
            return self._attach(X, self._fit_prior(X, targets))

    def _transform(self, X):
        """Give trajectories their prior."""
        return self._attach(X, self._prior(X))

    def _attach(self, trajectories, prior):
        """Give trajectories what `_fit_prior` or `_prior` has given."""
        return trajectories.with_prior(prior)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


class BaseDenoiser(ReadsTrajectoriesMixin, PredictsMixin, BaseStage, metaclass=ABCMeta):
    """Base of the third stage: `Trajectories` with a prior to the true labels.

    Subclasses define `_fit`, `_marginal` and `_conditional`, and have a parameter
    `missing_label`. A fit sets `label_distributions_`, the posterior of each training
    text given its label, and `marginal_distributions_`, without regard to it, both
    (n_samples, n_classes).

    Examples
    --------
    >>> from skdygen import DyGenClassifier
    >>> from skdygen.base import BaseDenoiser
    >>> class BelievePrior(BaseDenoiser):
    ...     def __init__(self, *, missing_label=None):
    ...         self.missing_label = missing_label
    ...
    ...     def _fit(self, trajectories, targets):
    ...         pass
    ...
    ...     def _marginal(self, trajectories):
    ...         return trajectories.prior
    ...
    ...     def _conditional(self, trajectories, codes):
    ...         return trajectories.prior
    >>> clf = DyGenClassifier(denoiser=BelievePrior())
    """

    @abstractmethod
    def _fit(self, trajectories, targets):
        """Learn how the labels of `Targets` came from the true ones."""

    @abstractmethod
    def _marginal(self, trajectories):
        """p(y | x) of texts whose given label is not known, (n_samples, n_classes)."""

    @abstractmethod
    def _conditional(self, trajectories, codes):
        """p(y | y~, x) of texts with a given label, (n_samples, n_classes)."""

    def _conditional_on_votes(self, trajectories, codes, evidence):
        """p(y | votes, x), (n_samples, n_classes); evidence is log p(votes | y)."""
        log_p = np.log(self._marginal(trajectories).clip(min=_SMALLEST))
        return softmax(log_p + evidence, axis=1)

    def _hold_out(self, trajectories, targets):
        """p(y | y~, x) of the verified texts, without the verified label of each.

        None if `_conditional`, which knows the given labels only, has said it.
        """

    def _fit_targets(self, X, targets, *, record=False):
        with fitting(self):
            X = self._remember(X, targets.classes)
            self._fit(X, targets)
            self.marginal_distributions_ = with_rows_of_1(self._marginal(X))
            self.label_distributions_ = self.marginal_distributions_.copy()
            for part in parts(len(targets.labelled)):
                rows = targets.labelled[part]
                self.label_distributions_[rows] = with_rows_of_1(
                    self._conditional(X[rows], targets.codes[rows])
                )
            if targets.evidence is not None:
                voted = np.flatnonzero(targets.voted)
                for part in parts(len(voted)):
                    rows = voted[part]
                    self.label_distributions_[rows] = self._conditional_on_votes(
                        X[rows], targets.codes[rows], targets.evidence[rows]
                    )
            self.held_out_distributions_ = self.label_distributions_
            if len(rows := targets.checked):
                known = np.eye(len(self.classes_))[targets.verified[rows]]
                self.label_distributions_ = self.label_distributions_.copy()
                self.label_distributions_[rows] = known
                held_out = self._hold_out(X[rows], targets)
                if held_out is not None:
                    self.held_out_distributions_[rows] = held_out

    def _predict_proba(self, X):
        """Posterior of texts whose given label is not known."""
        return self._marginal(X)
