"""Every way in which scikit-learn's users put estimators together, on a tiny model."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn import model_selection as selection
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdygen import DyGenClassifier
from skdygen.datasets import make_label_noise
from skdygen.denoisers import DirichletVAE, TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.priors import ClassifierPrior, UniformPrior
from tests.conftest import make_word_texts

NEW_TEXTS, NEW_LABELS = make_word_texts(60, seed=1)
WORDS = ("words", make_pipeline(TfidfVectorizer(), LogisticRegression()))
WRAPPERS = {
    "randomized search": lambda clf: selection.RandomizedSearchCV(
        clf, {"dynamics__head_learning_rate": [1e-2, 3e-2]}, n_iter=2, cv=2,
        random_state=0,
    ),
    "halving search": lambda clf: selection.HalvingGridSearchCV(
        clf, {"denoiser__prior_weight": [0.0, 0.5, 0.9]}, cv=2, random_state=0,
        resource="dynamics__n_epochs", min_resources=1, max_resources=3,
    ),
    "threshold": lambda clf: selection.TunedThresholdClassifierCV(clf, cv=2),
    "calibration": lambda clf: CalibratedClassifierCV(clf, cv=2),
    "stacking": lambda clf: StackingClassifier(
        [("ours", clf), WORDS], LogisticRegression(), cv=2
    ),
    "voting": lambda clf: VotingClassifier([("ours", clf), WORDS], voting="soft"),
}  # fmt: skip


@pytest.fixture
def dynamics(tiny_model):
    return LanguageModelDynamics(
        tiny_model, n_epochs=3, batch_size=16, trainable_layers=0, precision="fp32",
        head_learning_rate=3e-2, random_state=0,
    )  # fmt: skip


@pytest.fixture
def clf(dynamics):
    return DyGenClassifier(dynamics, denoiser=DirichletVAE(n_epochs=10), random_state=0)


def score(fitted):
    return (fitted.predict(NEW_TEXTS) == NEW_LABELS).mean()


def test_a_column_that_is_cleaned_in_front(clf, word_texts):
    texts, _, noisy = word_texts
    frame = pd.DataFrame({"id": np.arange(len(texts)), "body": texts})
    frame["body"] = frame["body"].str.upper()
    column = FunctionTransformer(lambda frame: frame["body"].str.lower())
    found = make_pipeline(column, clf).fit(frame, noisy)
    expected = clone(clf).fit(texts, noisy)
    assert_array_equal(found.predict_proba(frame), expected.predict_proba(texts))


def test_grid_search_over_parameters_and_whole_stages(clf, word_texts):
    texts, _, noisy = word_texts
    grid = [
        {"dynamics__n_epochs": [1, 3], "prior": [UniformPrior(), ClassifierPrior()]},
        {"dynamics": [IncrementalDynamics()], "denoiser": [TransitionMatrixDenoiser()]},
    ]
    search = selection.GridSearchCV(clf, grid, cv=2).fit(texts, noisy)
    assert len(search.cv_results_["params"]) == 5
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    alone = clone(clf).set_params(**search.best_params_).fit(texts, noisy)
    assert_array_equal(search.predict_proba(NEW_TEXTS), alone.predict_proba(NEW_TEXTS))


@pytest.mark.parametrize("name", WRAPPERS)
def test_whatever_takes_a_classifier(name, clf, word_texts):
    texts, _, noisy = word_texts
    wrapped = WRAPPERS[name](clf).fit(texts, noisy)
    found = wrapped.predict_proba(NEW_TEXTS)
    assert found.shape == (60, 2)
    assert_allclose(found.sum(axis=1), 1)
    assert score(wrapped) > 0.9


def test_held_out_texts(clf, word_texts):
    texts, labels, noisy = word_texts
    found = selection.cross_val_predict(clf, texts, noisy, cv=2)
    assert (found == labels).mean() > 0.85
    sizes, _, scores = selection.learning_curve(
        clf, texts, labels, train_sizes=[1.0], cv=2
    )
    assert sizes.tolist() == [60]
    assert scores.mean() > 0.9
    found, permuted, _ = selection.permutation_test_score(
        clf, texts, labels, cv=2, n_permutations=1, random_state=0
    )
    assert found > 0.9 > permuted.max()


def test_one_class_against_the_rest(clf):
    classes = ("animal", "fruit", "tool")
    texts, labels = make_word_texts(120, classes)
    new_texts, new_labels = make_word_texts(60, classes, seed=1)
    noisy = make_label_noise(labels, "symmetric", 0.2, random_state=0)
    found = OneVsRestClassifier(clf).fit(texts, noisy)
    assert found.predict_proba(new_texts).shape == (60, 3)
    assert found.score(new_texts, new_labels) > 0.8


def test_a_column_of_a_frame(dynamics, word_texts):
    texts, labels, _ = word_texts
    frame, new = (
        pd.DataFrame({"body": bodies, "length": [len(text) for text in bodies]})
        for bodies in (texts, NEW_TEXTS)
    )
    columns = ColumnTransformer(
        [("text", dynamics, "body"), ("number", "passthrough", ["length"])]
    )
    both = make_pipeline(columns, PCA(10, random_state=0), LogisticRegression())
    assert (both.fit(frame, labels).predict(new) == NEW_LABELS).mean() > 0.95
    names = both[0].get_feature_names_out()
    assert names[0] == "text__branch0_epoch0_feature0"
    assert names[-1] == "number__length"
    assert both[0].transform(new).shape == (60, len(names))


def test_cleanlab_reads_our_posterior_and_trains_our_classifier(clf, word_texts):
    filters = pytest.importorskip("cleanlab.filter")
    classification = pytest.importorskip("cleanlab.classification")
    texts, labels, noisy = word_texts
    classes, codes = np.unique(noisy, return_inverse=True)
    issues = filters.find_label_issues(
        codes, clf.fit(texts, noisy).label_distributions_, n_jobs=1
    )
    assert (noisy != labels)[issues].mean() > 0.8 > (noisy != labels).mean()
    state = np.random.get_state()  # which cleanlab seeds
    learning = classification.CleanLearning(
        clf, cv_n_folds=2, find_label_issues_kwargs={"n_jobs": 1}, seed=0
    )
    learning.fit(np.array(texts, dtype=object), codes)
    np.random.set_state(state)
    assert (classes[learning.predict(NEW_TEXTS)] == NEW_LABELS).mean() > 0.9
    issues = learning.get_label_issues()["is_label_issue"].to_numpy()
    assert (noisy != labels)[issues].mean() > 0.8


def test_lime_explains_a_prediction(clf, word_texts):
    lime_text = pytest.importorskip("lime.lime_text")
    texts, _, noisy = word_texts
    clf.fit(texts, noisy)
    explainer = lime_text.LimeTextExplainer(
        class_names=clf.classes_.tolist(), random_state=0
    )
    explained = explainer.explain_instance(
        "the old cat with some new horse", clf.predict_proba, num_samples=200
    )
    weights = dict(explained.as_list())  # for "fruit"
    assert min(weights, key=weights.get) in ("cat", "horse")


def test_groups_and_weights_are_routed(clf, word_texts):
    texts, _, noisy = word_texts
    groups = np.arange(len(texts)) % 4
    weights = np.where(groups == 0, 0.1, 1.0)
    with config_context(enable_metadata_routing=True):
        clf.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        found = selection.cross_validate(
            clf, texts, noisy, cv=selection.GroupKFold(2), return_estimator=True,
            return_indices=True, params={"sample_weight": weights, "groups": groups},
        )  # fmt: skip
    for fitted, rows in zip(found["estimator"], found["indices"]["train"], strict=True):
        assert len(np.unique(groups[rows])) == 2
        alone = clone(clf).fit([texts[i] for i in rows], noisy[rows], weights[rows])
        assert_array_equal(fitted.predict_proba(texts), alone.predict_proba(texts))


def test_the_pipeline_routes_weights_to_every_stage(clf, word_texts):
    texts, _, noisy = word_texts
    weights = np.random.RandomState(0).choice([0.0, 1.0, 2.0], size=len(texts))
    expected = clone(clf).fit(texts, noisy, weights)
    steps = clone(expected.pipeline_).steps
    with config_context(enable_metadata_routing=True):
        stages = Pipeline(
            [(n, s.set_fit_request(sample_weight=True)) for n, s in steps]
        )
        stages.fit(texts, noisy, sample_weight=weights)
    assert_array_equal(
        stages.predict_proba(NEW_TEXTS), expected.predict_proba(NEW_TEXTS)
    )


def test_the_diagram_shows_the_stages(clf):
    html = clf._repr_html_()
    for name in ("DyGenClassifier", "LanguageModelDynamics", "DirichletVAE"):
        assert name in html


class Weights(bytes):
    """Weights that must not be written into a page."""

    def __repr__(self):
        raise AssertionError("the weights are written out")


def test_fitted_weights_are_shown_by_their_size(clf, word_texts):
    texts, _, noisy = word_texts
    clf = clone(clf).fit(texts, noisy)
    clf.dynamics_.snapshots_ = [Weights(2_100_000)]
    for shown in (clf.dynamics_, clf.pipeline_):
        html = shown._repr_html_()
        if hasattr(BaseEstimator, "_get_fitted_attr_html"):  # scikit-learn >= 1.9
            assert "2.1 MB" in html
