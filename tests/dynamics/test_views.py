import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdygen import _memmap
from skdygen._memmap import folder_of_mapped
from skdygen.dynamics import IncrementalDynamics, LexicalView, _views
from tests.conftest import make_word_texts

TEXTS, LABELS = make_word_texts(60)


def count_letters(texts):
    """Tell how long texts are, and how many letters "a" they have."""
    return sparse.csr_matrix([[len(text), text.count("a")] for text in texts])


def make_tiny(counts):
    """Make numbers so small that half precision has none of them."""
    return counts * 1e-9


VIEWS = [("words", CountVectorizer()), ("letters", FunctionTransformer(count_letters))]


def test_lexical_view():
    view = LexicalView(n_components=7, random_state=0)
    found = view.fit_transform(TEXTS)
    assert found.shape == (60, 7)
    assert found.dtype == np.float32
    assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert_array_equal(view.transform(TEXTS), found)
    assert_array_equal(view.fit(TEXTS).transform(TEXTS[:9]), found[:9])
    assert_array_equal(view.transform(["no such words"]), np.zeros((1, 7)))
    assert len(view.get_feature_names_out()) == 7
    few = LexicalView(max_features=9, random_state=0).fit(TEXTS)
    assert len(few.vectorizer_.vocabulary_) == 9
    # Texts of one class are more alike than others.
    alike = found @ found.T
    is_same = LABELS[:, None] == LABELS
    assert alike[is_same].mean() > alike[~is_same].mean() + 0.1


def test_lexical_view_of_very_many_texts(monkeypatch):
    """As many as are learnt from, of the beginning, the middle and the end."""
    monkeypatch.setattr(_views, "_MOST_LEARNT", 30)
    monkeypatch.setattr(_memmap, "_ROWS_AT_ONCE", 7)
    texts = [*TEXTS, *TEXTS[:57], "rare words"]
    view = LexicalView(n_components=7, random_state=0)
    found = view.fit_transform(texts)
    assert_array_equal(view.transform(texts), found)
    learnt = [texts[i] for i in np.linspace(0, len(texts) - 1, 30).astype(int)]
    few = LexicalView(n_components=7, random_state=0).fit(learnt)
    assert_array_equal(few.transform(texts), found)


@pytest.mark.parametrize(
    "texts",
    [
        ["", ""],
        ["a"],
        ["?!", "..."],
        ["same"] * 5,
        ["one", "two", "three"],
        ["a a"] * 2,
    ],
)
def test_lexical_view_of_odd_texts(texts):
    view = LexicalView(random_state=0)
    found = view.fit_transform(texts)
    assert len(found) == len(texts)
    assert np.isfinite(found).all()
    assert_array_equal(view.transform(texts), found)
    assert found.shape[1] == len(view.get_feature_names_out())
    assert view.transform([*texts, "else"]).shape == (len(texts) + 1, found.shape[1])


def test_views_are_kept_and_replayed():
    dynamics = IncrementalDynamics(views=VIEWS, max_nbytes=0, random_state=0)
    recorded = dynamics.fit_transform(TEXTS, LABELS)
    assert list(recorded.views) == ["words", "letters"]
    expected = count_letters(TEXTS).toarray()
    assert_array_equal(recorded.views["letters"], expected)
    assert folder_of_mapped(recorded.views["letters"]) is not None
    new, _ = make_word_texts(9, seed=1)
    replayed = dynamics.transform(new)
    assert_array_equal(replayed.views["letters"], count_letters(new).toarray())
    assert dynamics.views[0][1] is VIEWS[0][1]
    assert not hasattr(VIEWS[0][1], "vocabulary_")  # copies are fitted
    assert (
        IncrementalDynamics(views=[], random_state=0).fit_transform(TEXTS, LABELS).views
        == {}
    )
    matrix = np.random.RandomState(0).randn(60, 3)
    dynamics = IncrementalDynamics(vectorizer="passthrough", random_state=0)
    assert dynamics.fit_transform(matrix, LABELS).views == {}


def test_views_have_nested_parameters():
    dynamics = IncrementalDynamics(
        views=[("few", LexicalView(random_state=0))], random_state=0
    )
    dynamics.set_params(few__n_components=3)
    recorded = clone(dynamics).fit_transform(TEXTS, LABELS)
    assert recorded.views["few"].shape == (60, 3)
    dynamics.set_params(few=CountVectorizer(max_features=4))
    assert dynamics.fit_transform(TEXTS, LABELS).views["few"].shape == (60, 4)


@pytest.mark.parametrize(
    ("views", "error", "message"),
    [
        ([LexicalView()], TypeError, r"views\[0\] must be a \(name, transformer\)"),
        ([("a", LexicalView()), ("b", None)], TypeError, r"views\[1\].*'b'"),
        ([("a__b", LexicalView())], ValueError, "'a__b'"),
        ([("a", LexicalView()), ("a", LexicalView())], ValueError, "unique"),
        ([("a", LexicalView(n_components=0))], ValueError, "'n_components'"),
        (
            [("a", FunctionTransformer(lambda texts: np.full((len(texts), 2), 1e6)))],
            ValueError,
            r"views\['a'\] has inf in row 0, .* below 65504 as float16",
        ),
        (
            [("a", FunctionTransformer(lambda texts: np.zeros(len(texts))))],
            ValueError,
            r"views\['a'\] has the shape \(60,\), but \(60, n_features\)",
        ),
        (
            [("a", FunctionTransformer(lambda texts: np.zeros((len(texts) - 1, 2))))],
            ValueError,
            r"views\['a'\] has the shape \(59, 2\), but \(60, n_features\)",
        ),
        (
            [("a", FunctionTransformer(lambda texts: np.zeros((len(texts), 0))))],
            ValueError,
            r"views\['a'\] has the shape \(60, 0\), but \(60, n_features\)",
        ),
        (
            [("a", FunctionTransformer(lambda texts: [[text] for text in texts]))],
            ValueError,
            r"views\['a'\] holds something that is no number: .* to float",
        ),
        (
            [("a", make_pipeline(CountVectorizer(), FunctionTransformer(make_tiny)))],
            ValueError,
            r"views\['a'\] .* too small for half precision, .*StandardScaler",
        ),
        (
            [("a", FunctionTransformer(lambda texts: [[6e4 + len(t)] for t in texts]))],
            ValueError,
            r"views\['a'\] .* too near to each other; put",
        ),
    ],
)
def test_bad_views_are_refused_before_any_training(views, error, message, monkeypatch):
    monkeypatch.setattr(IncrementalDynamics, "_fit", None)
    with pytest.raises(error, match=message):
        IncrementalDynamics(views=views).fit(TEXTS, LABELS)


def test_a_fit_whose_view_fails_leaves_none_behind():
    dynamics = IncrementalDynamics(random_state=0).fit(TEXTS, LABELS)
    dynamics.set_params(
        views=[("a", FunctionTransformer(lambda texts: [[np.nan]] * 60))]
    )
    with pytest.raises(ValueError, match="nan in row 0"):
        dynamics.fit(TEXTS, LABELS)
    with pytest.raises(NotFittedError):
        dynamics.transform(TEXTS)


def test_a_sparse_view_is_never_dense_as_a_whole():
    wide = HashingVectorizer(n_features=2**12)
    texts = TEXTS * 300
    dynamics = IncrementalDynamics(
        views=[("words", wide)], n_branches=1, n_epochs=1, max_nbytes=0, random_state=0
    )
    tracemalloc.start()
    try:
        found = dynamics.fit_transform(texts, list(LABELS) * 300).views["words"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < found.size * 8 / 2  # it is of double precision
    assert_allclose(found[:9], wide.transform(texts[:9]).toarray(), atol=1e-3)
