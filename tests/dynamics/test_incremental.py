import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.base import clone
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import Perceptron, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.neural_network import MLPClassifier

from skdygen._memmap import folder_of_mapped
from skdygen.dynamics import IncrementalDynamics
from tests.conftest import make_word_texts


@pytest.mark.parametrize("classes", [("animal", "fruit"), ("animal", "fruit", "tool")])
@pytest.mark.parametrize(
    "estimator",
    [
        None,
        SGDClassifier(loss="log_loss", alpha=1e-3),
        Perceptron(),
        MultinomialNB(),
        MLPClassifier(hidden_layer_sizes=(8,), learning_rate_init=0.05),
    ],
)
def test_any_classifier_with_partial_fit(estimator, classes):
    texts, labels = make_word_texts(90, classes)
    dynamics = IncrementalDynamics(estimator, n_epochs=4, random_state=0)
    recorded = dynamics.fit_transform(texts, labels)
    assert recorded.embeddings.shape == (90, 2, 4, len(classes))
    assert_allclose(recorded.probabilities.sum(axis=-1), 1, atol=1e-5)
    if isinstance(estimator, Perceptron):  # has no predict_proba
        expected = softmax(recorded.embeddings, axis=-1)
        assert_allclose(recorded.probabilities, expected, atol=1e-5)
    new_texts, new_labels = make_word_texts(60, classes, seed=1)
    assert dynamics.score(new_texts, new_labels) > 0.9
    assert_array_equal(dynamics.transform(texts).embeddings, recorded.embeddings)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_branches_differ(bootstrap, tmp_path):
    dynamics = IncrementalDynamics(
        bootstrap=bootstrap, n_branches=3, max_nbytes=0, temp_folder=tmp_path,
        random_state=0,
    )  # fmt: skip
    embeddings = dynamics.fit_transform(*make_word_texts(60)).embeddings
    assert folder_of_mapped(embeddings) == tmp_path
    assert not np.allclose(embeddings[:, 0], embeddings[:, 1])
    assert not np.allclose(embeddings[:, 1], embeddings[:, 2])


def test_every_seed_comes_from_the_random_state():
    texts, labels = make_word_texts(60)
    estimator = OneVsRestClassifier(SGDClassifier(loss="log_loss", alpha=1e-3))
    first, second = (
        IncrementalDynamics(clone(estimator), random_state=0).fit_transform(
            texts, labels
        )
        for _ in range(2)
    )
    assert_array_equal(first.embeddings, second.embeddings)
    assert (first.embeddings[:, 0] != first.embeddings[:, 1]).any()


class OnlyPartial(SGDClassifier):
    """A classifier of which only partial_fit takes weights."""

    def fit(self, X, y):
        return super().fit(X, y)


def test_weights_that_partial_fit_takes():
    texts, labels = make_word_texts(60)
    weights = np.linspace(0.1, 2, 60)
    found, plain = (
        IncrementalDynamics(kind(loss="log_loss"), random_state=0)
        .fit(texts, labels, weights)
        .predict_proba(texts)
        for kind in (OnlyPartial, SGDClassifier)
    )
    assert_array_equal(found, plain)


def test_texts_without_words():
    with pytest.raises(ValueError, match=r"no text in X .*\(analyzer='char'\)"):
        IncrementalDynamics(random_state=0).fit(list("abcd"), [0, 1, 0, 1])


def test_what_is_large_together_is_mapped_together():
    texts, labels = make_word_texts(60)
    dynamics = IncrementalDynamics(random_state=0)
    n_bytes = 2 * dynamics.fit_transform(texts, labels).embeddings.nbytes
    for max_nbytes in (n_bytes, n_bytes - 1):
        dynamics.set_params(max_nbytes=max_nbytes)
        found = dynamics.fit_transform(texts, labels)
        is_mapped = {
            folder_of_mapped(array) is not None
            for array in (found.embeddings, found.probabilities)
        }
        assert is_mapped == {max_nbytes < n_bytes}


def test_samples_without_label_have_no_influence():
    texts, labels = make_word_texts(60)
    codes = np.where(np.arange(60) < 20, -1, labels == "fruit")
    dynamics = IncrementalDynamics(
        vectorizer=HashingVectorizer(n_features=256), missing_label=-1, random_state=0
    )
    trajectories = dynamics.fit_transform(texts, codes)
    assert len(trajectories) == 60
    assert dynamics.classes_.tolist() == [0, 1]
    again = clone(dynamics).fit_transform(["other words"] * 20 + texts[20:], codes)
    assert_array_equal(trajectories.embeddings[20:], again.embeddings[20:])


def test_which_texts_are_copies():
    texts = ["a Cat", "a dog", " a cat ", "A CAT", "a dog"] * 2
    dynamics = IncrementalDynamics(random_state=0)
    found = dynamics.fit_transform(texts, [0, 1] * 5)
    assert found.groups.tolist() == [0, 1, 0, 0, 1] * 2
    assert dynamics.transform(texts).groups is None  # nothing is learnt of them

    class Knows(IncrementalDynamics):
        def _fit(self, X, targets, *, record):
            found = super()._fit(X, targets, record=record)
            return found.with_groups(np.zeros(len(X), dtype=int))

    assert not Knows(random_state=0).fit_transform(texts, [0, 1] * 5).groups.any()
