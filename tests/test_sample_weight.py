import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from skdygen.denoisers import DirichletVAE, TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.priors import (
    ClassifierPrior,
    ConsensusPrior,
    TrajectoryKNNPrior,
    UniformPrior,
)
from tests.conftest import make_word_texts
from tests.test_classifier import make_fast


def make_tiny_dynamics(tiny_model, **params):
    settings = {
        "n_epochs": 2, "batch_size": 16, "learning_rate": 5e-3, "precision": "fp32",
        "trainable_layers": 0, "random_state": 0,
    }  # fmt: skip
    return LanguageModelDynamics(tiny_model, **(settings | params))


@pytest.fixture
def half_weighted(word_texts):
    """Texts and labels, weights that are 0 for some, and labels missing for these."""
    texts, _, noisy = word_texts
    weights = np.random.RandomState(0).choice([0.0, 0.5, 2.0], size=len(texts))
    return texts, noisy, weights, np.where(weights > 0, noisy, "none")


def assert_same_results(found, expected, texts):
    for name in (
        "label_distributions_", "label_quality_", "transduction_", "noise_rate_",
        "noise_transition_matrix_", "class_weight_",
    ):  # fmt: skip
        assert_array_equal(getattr(found, name), getattr(expected, name), name)
    assert found.label_issues().equals(expected.label_issues())
    assert_array_equal(found.predict_proba(texts), expected.predict_proba(texts))


@pytest.mark.parametrize(
    "params",
    [
        {"class_weight": "balanced"},
        {"prior": TrajectoryKNNPrior(), "correction_threshold": 0.5},
        {"prior": UniformPrior(), "denoiser": TransitionMatrixDenoiser()},
        {"final_estimator": make_pipeline(TfidfVectorizer(), LogisticRegression())},
    ],
)
def test_a_weight_of_zero_is_no_label(half_weighted, params):
    texts, noisy, weights, partly = half_weighted
    by_weight = make_fast(**params).fit(texts, noisy, sample_weight=weights)
    without = make_fast(**params, missing_label="none")
    without.fit(texts, partly, sample_weight=np.where(weights > 0, weights, 7.0))
    assert_same_results(by_weight, without, texts)


@pytest.mark.parametrize("trainable_layers", [0, 1])
def test_a_weight_of_zero_is_no_label_for_a_language_model(
    tiny_model, half_weighted, trainable_layers
):
    texts, noisy, weights, partly = half_weighted
    dynamics = make_tiny_dynamics(tiny_model, trainable_layers=trainable_layers)
    by_weight = clone(dynamics).fit_transform(texts, noisy, sample_weight=weights)
    dynamics.set_params(missing_label="none")
    without = dynamics.fit_transform(texts, partly, sample_weight=weights)
    assert_array_equal(by_weight.embeddings, without.embeddings)
    plain = dynamics.fit_transform(texts, partly)
    assert not np.array_equal(plain.embeddings, without.embeddings)


@pytest.mark.parametrize("factor", [0.1, 5])
def test_a_training_in_steps_depends_on_proportions_only(
    tiny_model, half_weighted, factor
):
    texts, noisy, weights, _ = half_weighted
    stages = make_pipeline(
        make_tiny_dynamics(tiny_model), UniformPrior(),
        DirichletVAE(n_epochs=5, random_state=0),
    )  # fmt: skip
    found = []
    for scaled in (weights, factor * weights, np.ones(len(texts))):
        given = {
            "languagemodeldynamics__sample_weight": scaled,
            "dirichletvae__sample_weight": scaled,
        }
        found.append(clone(stages).fit(texts, noisy, **given).predict_proba(texts))
    assert_allclose(found[0], found[1], atol=1e-3)
    assert not np.allclose(found[0], found[2], atol=1e-3)


def test_equal_weights_change_nothing(word_texts):
    texts, _, noisy = word_texts
    plain = make_fast().fit(texts, noisy)
    weighted = make_fast().fit(texts, noisy, sample_weight=np.ones(len(texts)))
    assert_same_results(weighted, plain, texts)


def twice(texts, labels):
    """Give texts and labels of which every third is there twice, and weights."""
    weights = np.where(np.arange(len(texts)) % 3 == 0, 2, 1)
    rows = np.repeat(np.arange(len(texts)), weights)
    return [texts[i] for i in rows], labels[rows], weights


def test_a_weight_of_two_is_the_text_twice_for_a_language_model(tiny_model):
    """With one batch and no dropout nothing depends on the order."""
    texts, labels = make_word_texts(60)
    repeated, labels_repeated, weights = twice(texts, labels)
    dynamics = make_tiny_dynamics(tiny_model, batch_size=100, n_epochs=4, dropout=0.0)
    weighted, expected, plain = (
        clone(dynamics).fit(*fitted_on).predict_proba(texts)
        for fitted_on in (
            (texts, labels, weights), (repeated, labels_repeated), (texts, labels),
        )
    )  # fmt: skip
    assert_allclose(weighted, expected, atol=1e-4)
    assert not np.allclose(plain, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("stage", "rtol"),
    [
        (ClassifierPrior(contamination=0.2), 1e-4),
        (ClassifierPrior(contamination=0.0, selection="class"), 1e-4),
        (TransitionMatrixDenoiser(), 1e-6),
    ],
)
def test_a_weight_of_two_is_the_text_twice_for_other_stages(word_texts, stage, rtol):
    texts, _, noisy = word_texts
    repeated, noisy_repeated, weights = twice(texts, noisy)
    dynamics = IncrementalDynamics(
        vectorizer=HashingVectorizer(n_features=64), random_state=0
    ).fit(texts, noisy)
    trajectories = dynamics.transform(texts)
    weighted = clone(stage).fit(trajectories, noisy, sample_weight=weights)
    expected = clone(stage).fit(dynamics.transform(repeated), noisy_repeated)
    if hasattr(stage, "predict_proba"):
        found = [s.predict_proba(trajectories) for s in (weighted, expected)]
    else:
        found = [s.transform(trajectories).prior for s in (weighted, expected)]
    assert_allclose(*found, rtol=rtol, atol=rtol)


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
    # Half of one class is called the other: too many to be told without weights.
    is_wrong = (labels == "animal") & (np.random.RandomState(0).rand(300) < 0.6)
    noisy = np.where(is_wrong, "fruit", labels)
    clf = make_fast(**stages, denoiser__n_epochs=30)
    new_texts, new_labels = make_word_texts(200, seed=1)
    plain = clone(clf).fit(texts, noisy).score(new_texts, new_labels)
    clf.fit(texts, noisy, sample_weight=np.where(is_wrong, 0.01, 1.0))
    assert clf.score(new_texts, new_labels) > max(0.95, plain)


def test_the_final_estimator_has_them_too(half_weighted):
    texts, noisy, _, _ = half_weighted
    final = make_pipeline(HashingVectorizer(n_features=64), LogisticRegression())
    few = np.where(np.arange(len(texts)) % 4 == 0, 1.0, 1e-6)
    clf = make_fast(final_estimator=final).fit(texts, noisy, sample_weight=few)
    columns = np.searchsorted(clf.classes_, clf.transduction_)
    confidence = clf.label_distributions_[np.arange(len(texts)), columns]
    final.fit(
        texts, clf.transduction_, logisticregression__sample_weight=confidence * few
    )
    assert_allclose(clf.predict_proba(texts), final.predict_proba(texts), rtol=1e-3)


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ([1.0, 2.0], r"sample_weight\.shape"),
        (np.full(120, -1.0), "[Nn]egative values"),
        (np.full(120, np.nan), "contains NaN"),
        (np.zeros(120), "sample_weight|zero"),
        (np.r_[np.ones(1), np.zeros(119)], r"sample_weight is positive for .*1 class"),
    ],
)
def test_weights_that_are_refused(word_texts, weights, match):
    texts, _, noisy = word_texts
    clf = make_fast().fit(texts, noisy)
    expected = clf.label_distributions_
    with pytest.raises(ValueError, match=match):
        clf.fit(texts, noisy, sample_weight=weights)
    assert clf.label_distributions_ is expected  # nothing is lost


def test_a_classifier_that_takes_no_weights_is_named(half_weighted):
    texts, noisy, weights, _ = half_weighted

    class Unweighted(Perceptron):
        def partial_fit(self, X, y, classes=None):
            return super().partial_fit(X, y, classes=classes)

        def fit(self, X, y):
            return super().fit(X, y)

    dynamics = IncrementalDynamics(Unweighted(), random_state=0)
    with pytest.raises(ValueError, match="Unweighted takes none"):
        dynamics.fit(texts, noisy, sample_weight=weights)


def test_searches_and_cross_validation(half_weighted):
    texts, noisy, weights, _ = half_weighted
    grid = {"denoiser__prior_weight": [0.0, 0.5]}
    search = GridSearchCV(make_fast(), grid, cv=2)
    search.fit(texts, noisy, sample_weight=weights)
    alone = clone(search.best_estimator_).fit(texts, noisy, sample_weight=weights)
    assert_array_equal(search.predict_proba(texts), alone.predict_proba(texts))
    with config_context(enable_metadata_routing=True):
        asking = make_fast().set_fit_request(sample_weight=True)
        asking.set_score_request(sample_weight=False)
        params = {"sample_weight": weights}
        found = cross_validate(asking, texts, noisy, cv=3, params=params)
        plain = cross_validate(make_fast(), texts, noisy, cv=3)
        assert np.isfinite(found["test_score"]).all()
        assert not np.array_equal(found["test_score"], plain["test_score"])
        weighted = LogisticRegression().set_fit_request(sample_weight=True)
        for last in (weighted, KNeighborsClassifier()):
            final = make_pipeline(TfidfVectorizer(), last)
            make_fast(final_estimator=final).fit(texts, noisy, sample_weight=weights)
