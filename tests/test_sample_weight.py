import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import Perceptron
from sklearn.pipeline import make_pipeline

from skdygen.denoisers import DirichletVAE
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.priors import (
    ClassifierPrior,
    ConsensusPrior,
    TrajectoryKNNPrior,
    UniformPrior,
)
from tests.conftest import make_word_texts
from tests.test_classifier import FINAL, NOISY, TEXTS, make_fast

WEIGHTS = np.random.RandomState(0).choice([0.0, 0.5, 2.0], size=len(TEXTS))


def make_tiny_dynamics(tiny_model, **params):
    settings = {
        "n_epochs": 2, "batch_size": 16, "learning_rate": 5e-3, "precision": "fp32",
        "trainable_layers": 0, "random_state": 0,
    }  # fmt: skip
    return LanguageModelDynamics(tiny_model, **(settings | params))


@pytest.mark.parametrize(
    "params",
    [
        {"class_weight": "balanced"},
        {"prior": TrajectoryKNNPrior(), "correction_threshold": 0.5},
        {"final_estimator": FINAL},
    ],
)
def test_a_weight_of_zero_is_no_label(params):
    """Whatever the label; other weights count, and ones are as none."""
    clf = make_fast(**params, missing_label="none")
    partly = np.where(WEIGHTS > 0, NOISY, "none")
    found = []
    for labels, weights in (
        (NOISY, WEIGHTS), (partly, np.where(WEIGHTS > 0, WEIGHTS, 7.0)),
        (partly, np.ones(len(TEXTS))), (partly, None),
    ):  # fmt: skip
        clf.fit(TEXTS, labels, sample_weight=weights)
        found.append(np.stack([clf.predict_proba(TEXTS), clf.label_distributions_]))
    assert_array_equal(found[0], found[1])
    assert_array_equal(found[2], found[3])
    assert not np.allclose(found[0], found[3])


@pytest.mark.parametrize("factor", [0.1, 5])
def test_a_training_in_steps_depends_on_proportions_only(tiny_model, factor):
    stages = make_pipeline(
        make_tiny_dynamics(tiny_model), UniformPrior(),
        DirichletVAE(n_epochs=5, random_state=0),
    )  # fmt: skip
    found = []
    for scaled in (WEIGHTS, factor * WEIGHTS, np.ones(len(TEXTS))):
        given = {
            "languagemodeldynamics__sample_weight": scaled,
            "dirichletvae__sample_weight": scaled,
        }
        found.append(clone(stages).fit(TEXTS, NOISY, **given).predict_proba(TEXTS))
    assert_allclose(found[0], found[1], atol=1e-3)
    assert not np.allclose(found[0], found[2], atol=1e-3)


@pytest.mark.parametrize("factor", [1 / 120, 100])
def test_a_classifier_in_steps_depends_on_proportions_only(factor):
    dynamics = IncrementalDynamics(random_state=0)
    for weights in (np.ones(len(TEXTS)), WEIGHTS):
        expected, found = (
            clone(dynamics).fit(TEXTS, NOISY, w).predict_proba(TEXTS)
            for w in (weights, factor * weights)
        )
        assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("largest", [1 / len(TEXTS), 5e-324])
def test_weights_that_sum_up_to_1_are_as_good(largest):
    clf = make_fast(correction_threshold=0.5)
    expected = clone(clf).fit(TEXTS, NOISY)
    found = clf.fit(TEXTS, NOISY, np.full(len(TEXTS), largest))
    assert_allclose(found.label_quality_, expected.label_quality_, rtol=1e-6)
    assert_allclose(found.noise_rate_, expected.noise_rate_, rtol=1e-6)


def twice(texts, labels):
    """Give texts and labels of which every third is there twice, and weights."""
    weights = np.where(np.arange(len(texts)) % 3 == 0, 2, 1)
    rows = np.repeat(np.arange(len(texts)), weights)
    return [texts[i] for i in rows], labels[rows], weights


def test_a_weight_of_two_is_the_text_twice_for_a_language_model(tiny_model):
    """With one batch and no dropout nothing depends on the order."""
    texts, labels = make_word_texts(60)
    *repeated, weights = twice(texts, labels)
    dynamics = make_tiny_dynamics(tiny_model, batch_size=100, n_epochs=4, dropout=0.0)
    weighted = dynamics.fit(texts, labels, weights).predict_proba(texts)
    expected = dynamics.fit(*repeated).predict_proba(texts)
    plain = dynamics.fit(texts, labels).predict_proba(texts)
    assert_allclose(weighted, expected, atol=1e-4)
    assert not np.allclose(plain, expected, atol=1e-4)


@pytest.mark.parametrize(
    "params", [{"contamination": 0.2}, {"contamination": 0.0, "selection": "class"}]
)
def test_a_weight_of_two_is_the_text_twice_for_a_classifier_prior(params):
    texts, noisy, weights = twice(TEXTS, NOISY)
    dynamics = IncrementalDynamics(
        vectorizer=HashingVectorizer(n_features=64), random_state=0
    ).fit(TEXTS, NOISY)
    trajectories = dynamics.transform(TEXTS)
    weighted = ClassifierPrior(**params).fit(trajectories, NOISY, weights)
    expected = ClassifierPrior(**params).fit(dynamics.transform(texts), noisy)
    found = [stage.transform(trajectories).prior for stage in (weighted, expected)]
    assert_allclose(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "stages",
    [
        {"prior": ConsensusPrior()},
        {"prior": TrajectoryKNNPrior(contamination=0.0)},
        {"prior": ConsensusPrior(), "denoiser__prior_weight": 0.0},
    ],
)
def test_wrong_labels_of_little_weight_do_little_harm(stages):
    texts, labels = make_word_texts(300)
    # Most of one class is called the other: too many to be told without weights.
    is_wrong = (labels == "animal") & (np.random.RandomState(0).rand(300) < 0.7)
    noisy = np.where(is_wrong, "fruit", labels)
    clf = make_fast(**stages, denoiser__n_epochs=30)
    new_texts, new_labels = make_word_texts(200, seed=1)
    plain = clone(clf).fit(texts, noisy).score(new_texts, new_labels)
    clf.fit(texts, noisy, sample_weight=np.where(is_wrong, 0.01, 1.0))
    assert clf.score(new_texts, new_labels) > max(0.9, plain)


def test_a_classifier_that_takes_no_weights_is_named():

    class Unweighted(Perceptron):
        def partial_fit(self, X, y, classes=None):
            return super().partial_fit(X, y, classes)

    dynamics = IncrementalDynamics(Unweighted(), random_state=0)
    with pytest.raises(ValueError, match="Unweighted takes none"):
        dynamics.fit(TEXTS, NOISY, sample_weight=WEIGHTS)
    dynamics.fit(TEXTS, NOISY, sample_weight=np.full(len(TEXTS), 0.1))  # are none
