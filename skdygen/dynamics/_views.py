"""Views: features of the texts, untouched by labels, kept beside the dynamics."""

from __future__ import annotations

from contextlib import suppress
from numbers import Integral

import numpy as np
from scipy import sparse
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
)
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_is_fitted

from .._encoding import check_texts
from .._memmap import allocate, parts
from .._sklearn_compat import (
    BaseComposition,
    HasMethods,
    Interval,
    fit_context,
    num_samples,
)
from .._trajectories import check_numbers
from ..base import TextInputMixin, fitting

_MOST_COMPARED = 500  # texts
_MOST_LEARNT = 100_000  # texts; words that are in none of so many are rare
_WORDS = r"(?u)\b\w+\b"  # those of one letter, too


class LexicalView(
    ClassNamePrefixFeaturesOutMixin, TextInputMixin, TransformerMixin, BaseEstimator
):
    """Words and pairs of words: TF-IDF, brought down to few dimensions.

    What keyword rules and people in a hurry go by; a language model's embedding knows
    it less well. Of more than 100,000 texts so many, evenly spread, are learnt from.

    Parameters
    ----------
    n_components : int, default=256
        Number of dimensions, of `sklearn.decomposition.TruncatedSVD`; fewer where there
        are not so many texts or words.
    max_features : int or None, default=20_000
        Number of words and pairs that are counted, the most frequent ones, at most. A
        saved model grows by their number times that of the dimensions, times 4 bytes.
    random_state : int, RandomState instance or None, default=None
        Of the decomposition.

    Attributes
    ----------
    vectorizer_ : TfidfVectorizer
        Of words and pairs that are in at least two texts.
    svd_ : TruncatedSVD or None
        What brings its output down; None if there is only one text or word.

    Examples
    --------
    >>> from skdygen.datasets import make_texts
    >>> from skdygen.dynamics import LexicalView
    >>> texts, _ = make_texts(60, random_state=0)
    >>> LexicalView(n_components=20, random_state=0).fit_transform(texts).shape
    (60, 20)
    """

    _parameter_constraints = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "max_features": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components: int = 256,
        *,
        max_features: int | None = 20_000,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.n_components = n_components
        self.max_features = max_features
        self.random_state = random_state

    def fit(self, X, y=None):
        """Learn words, and the directions in which texts differ.

        Parameters
        ----------
        X : sequence of str of length n_samples
            Texts.
        y : None
            Not used.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        self.fit_transform(X)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, y=None):
        """Learn from texts, and give their features.

        Parameters
        ----------
        X : sequence of str of length n_samples
            Texts.
        y : None
            Not used.

        Returns
        -------
        features : ndarray of shape (n_samples, n_components) and dtype float32
            Rows of length 1, or 0 for a text without known words.
        """
        texts = check_texts(X)
        n_learnt = min(len(texts), _MOST_LEARNT)
        some = np.linspace(0, len(texts) - 1, n_learnt).astype(int)
        weights = self._weigh([texts[i] for i in some])
        self.svd_ = None
        n_components = min(self.n_components, min(weights.shape) - 1)
        if n_components >= 1:
            self.svd_ = TruncatedSVD(n_components, random_state=self.random_state)
            with np.errstate(divide="ignore", invalid="ignore"):  # all texts are alike
                self.svd_.fit(weights)
            # Part of a larger array is neither small nor hashed as what is read of it.
            self.svd_.components_ = np.ascontiguousarray(self.svd_.components_)
        if n_learnt == len(texts):
            return self._reduce(weights)
        del weights
        return self._transform(texts)

    def _weigh(self, texts):
        """Fit the vectorizer; any word counts where none is in two texts."""
        for min_df, vocabulary in ((2, None), (1, None), (1, [""])):
            self.vectorizer_ = TfidfVectorizer(
                ngram_range=(1, 2), min_df=min_df, vocabulary=vocabulary,
                max_features=self.max_features,
                sublinear_tf=True, token_pattern=_WORDS, dtype=np.float32,
            )  # fmt: skip
            with suppress(ValueError):  # no word is left
                return self.vectorizer_.fit_transform(texts)

    def transform(self, X):
        """Give the features of texts that may be new.

        Parameters
        ----------
        X : sequence of str of length n_samples
            Texts.

        Returns
        -------
        features : ndarray of shape (n_samples, n_components) and dtype float32
            Rows of length 1, or 0 for a text without known words.
        """
        check_is_fitted(self)
        return self._transform(check_texts(X))

    def _transform(self, texts):
        """Give the features of texts, of not too many at once."""
        found = np.empty((len(texts), self._n_features_out), dtype=np.float32)
        for part in parts(len(texts)):
            found[part] = self._reduce(self.vectorizer_.transform(texts[part]))
        return found

    def _reduce(self, weights):
        """Bring down what the vectorizer gives, and rows to length 1."""
        weights.sort_indices()  # a fit leaves another order: not the same to the bit
        found = self.svd_.transform(weights) if self.svd_ else weights.toarray()
        return normalize(found, copy=False)

    @property
    def _n_features_out(self):
        return len(self.svd_.components_ if self.svd_ else self.vectorizer_.vocabulary_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags


class ViewsMixin(BaseComposition):
    """Gives dynamics the parameter `views`."""

    _parameter_constraints = {"views": [list, None]}

    def get_params(self, deep=True):
        return self._get_params("views", deep=deep)

    def set_params(self, **params):
        return self._set_params("views", **params)

    def _validate_params(self):
        super()._validate_params()
        transforms = HasMethods(["fit_transform", "transform"])
        for position, named in enumerate(self.views or ()):
            match named:
                case (str(), view) if transforms.is_satisfied_by(view):
                    if isinstance(view, BaseEstimator):
                        view._validate_params()
                    continue
            raise TypeError(
                f"views[{position}] must be a (name, transformer) tuple such as "
                f"('lexical', LexicalView()), but is {named!r}."
            )
        self._validate_names([name for name, _ in self.views or ()])

    def _view_names(self):
        """Names of the views that a fit will keep."""
        names = [name for name, _ in self._named_views()]
        return {"initial", *names}

    def _named_views(self):
        """Views that are to be fitted, by name."""
        if self.views is not None:
            return self.views
        return [("lexical", LexicalView(random_state=0))]

    def _fit_targets(self, X, targets, *, record=False):
        fitted = {name: clone(view) for name, view in self._named_views()}
        views = {}
        with fitting(self):
            for name, view in fitted.items():
                found = view.fit_transform(X)
                views[name] = self._keep(name, found, num_samples(X))
                _check_precision(name, found, views[name])
            trajectories = super()._fit_targets(X, targets, record=record)
            self.views_ = fitted
        return trajectories.with_views(views) if record else trajectories

    def _transform(self, X):
        return self._add_views(X, super()._transform(X))

    def _add_views(self, X, trajectories):
        """Add what the fitted views make of texts to their trajectories."""
        n_samples = len(trajectories)
        views = {
            name: self._keep(name, view.transform(X), n_samples)
            for name, view in self.views_.items()
        }
        return trajectories.with_views(views)

    def _keep(self, name, features, n_samples):
        """Put what a transformer gives of texts into an array of half precision."""
        features = _as_rows(features)
        is_table = len(features.shape) == 2 and features.shape[1]
        if not is_table or features.shape[0] != n_samples:
            raise ValueError(
                f"views[{name!r}] has the shape {features.shape}, but ({n_samples}, "
                f"n_features) is needed: its transformer must give a row of numbers "
                f"for each text."
            )
        storage = {"max_nbytes": self.max_nbytes, "temp_folder": self.temp_folder}
        kept = allocate(features.shape, np.float16, **storage)
        for part in parts(n_samples):
            try:
                with np.errstate(over="ignore"):
                    kept[part] = _dense(features[part])
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"views[{name!r}] holds something that is no number: {error}"
                ) from error
        check_numbers(kept, f"views[{name!r}]")  # before the training
        return kept


def _as_rows(features):
    """What a transformer gives, as an array or a sparse matrix that has rows."""
    return features.tocsr() if sparse.issparse(features) else np.asarray(features)


def _dense(rows):
    """Rows as an array, sparse or not."""
    return rows.toarray() if sparse.issparse(rows) else rows


def _check_precision(name, features, kept):
    """Raise an error if what tells texts apart was lost in half precision."""
    some = np.linspace(0, len(kept) - 1, min(len(kept), _MOST_COMPARED)).astype(int)
    before = _dense(_as_rows(features)[some]).astype(np.float64).var(axis=0).sum()
    after = kept[some].astype(np.float64).var(axis=0).sum()
    if after < before / 2:
        raise ValueError(
            f"views[{name!r}] has numbers that are too small for half precision, or "
            f"too near to each other; put a sklearn.preprocessing.StandardScaler "
            f"behind its transformer."
        )
