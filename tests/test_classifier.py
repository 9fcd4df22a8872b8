import copy
import importlib
import linecache
import os
import re
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock, create_autospec

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import TruncatedSVD
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.validation import check_is_fitted

from skdygen import (
    DyGenClassifier,
    Trajectories,
    _targets,
    base,
    make_paper_classifier,
)
from skdygen.datasets import make_label_noise
from skdygen.denoisers import DirichletVAE, TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.dynamics._networks import Branches
from skdygen.priors import (
    ClassifierPrior,
    ConsensusPrior,
    RidgePrior,
    TrajectoryKNNPrior,
    UniformPrior,
)
from tests.conftest import make_word_texts, save_tiny_model

TEXTS, LABELS = make_word_texts(120)
NOISY = make_label_noise(LABELS, "symmetric", 0.3, random_state=0)
FINAL = make_pipeline(TfidfVectorizer(), LogisticRegression())


def make_fast(dynamics=None, **params):
    """Make a classifier of short stages, whose first needs no torch."""
    dynamics = IncrementalDynamics() if dynamics is None else dynamics
    clf = DyGenClassifier(dynamics, denoiser=DirichletVAE(n_epochs=5), random_state=0)
    return clf.set_params(**params)


def make_tiny(tiny_model, **params):
    """Make a classifier that fine-tunes a tiny language model."""
    dynamics = LanguageModelDynamics(
        tiny_model, n_epochs=3, batch_size=16, learning_rate=5e-3,
        head_learning_rate=1e-2, precision="fp32",
    )  # fmt: skip
    return make_fast(dynamics, **params)


@pytest.fixture(scope="module")
def fast():
    """Fit one for all tests that only look at it."""
    return make_fast().fit(TEXTS, NOISY)


@pytest.fixture
def no_training(monkeypatch):
    """Have every fit of a first stage fail."""
    fit = Mock(side_effect=AssertionError("training began"))
    for cls in (IncrementalDynamics, LanguageModelDynamics):
        monkeypatch.setattr(cls, "_fit", fit)


def count_calls(monkeypatch, owner, name):
    """Have a function replaced by a mock that calls it."""
    function = getattr(owner, name)
    mock = create_autospec(function, side_effect=function)
    monkeypatch.setattr(owner, name, mock)
    return mock


@pytest.mark.parametrize(("make", "n_samples"), [(make_fast, 400), (make_tiny, 120)])
def test_planted_truth(make, n_samples, tiny_model, capfd):
    texts, labels = make_word_texts(n_samples)
    noisy = make_label_noise(labels, "symmetric", 0.3, random_state=0)
    clf = make(tiny_model) if make is make_tiny else make()
    clf.set_params(correction_threshold=0.5).fit(texts, noisy)
    assert (clf.transduction_ == labels).mean() > 0.95
    assert clf.score(*make_word_texts(60, seed=1)) > 0.9
    expected = np.array([[0.7, 0.3], [0.3, 0.7]])
    assert_allclose(clf.noise_transition_matrix_, expected, atol=0.1)
    assert clf.noise_rate_ == pytest.approx(0.3, abs=0.05)
    careful = clf.set_params(correction_threshold="auto").fit(texts, noisy)
    changed = careful.transduction_ != noisy
    assert (careful.transduction_ == labels).mean() > 0.72  # 0.7 are given
    assert (careful.transduction_[changed] == labels[changed]).mean() > 0.95
    assert_array_equal(careful.fit(texts, labels).transduction_, labels)
    assert capfd.readouterr() == ("", "")  # silent by default


@pytest.mark.parametrize("with_memory", [False, True])
@pytest.mark.parametrize("is_tuned", [False, True])
def test_labels_are_encoded_and_texts_scanned_once(
    is_tuned, with_memory, tiny_model, tmp_path, monkeypatch
):
    clf = make_tiny(tiny_model) if is_tuned else make_fast()
    clf.set_params(final_estimator=FINAL, memory=tmp_path if with_memory else None)
    encode = count_calls(monkeypatch, _targets, "encode_labels")
    check = count_calls(monkeypatch, base, "check_texts")
    clf.fit(TEXTS, NOISY)
    assert (encode.call_count, check.call_count) == (1, 1)


def test_precomputed_dynamics():
    stage = IncrementalDynamics(random_state=1)
    recorded = stage.fit_transform(TEXTS, NOISY)
    clf = make_fast("precomputed", store_trajectories=True).fit(recorded, NOISY)
    assert clf.trajectories_.embeddings is recorded.embeddings
    whole = make_fast(stage, store_trajectories=True).fit(TEXTS, NOISY)
    assert_array_equal(clf.label_distributions_, whole.label_distributions_)
    assert_array_equal(clf.predict(stage.transform(TEXTS)), whole.predict(TEXTS))
    assert_array_equal(whole.trajectories_.embeddings, recorded.embeddings)
    prior = whole.prior_.fit_transform(recorded, NOISY).prior
    assert_array_equal(whole.trajectories_.prior, prior)
    assert not hasattr(clf, "dynamics_")
    assert cross_val_score(clf, recorded, LABELS, cv=3).min() > 0.9
    for method, *y in ((clf.predict,), (clf.fit, NOISY)):
        with pytest.raises(TypeError, match="X must be Trajectories"):
            method(TEXTS, *y)
    shorter = clone(stage).set_params(n_epochs=2).fit_transform(TEXTS, NOISY)
    with pytest.raises(ValueError, match=r"\(2, 2, 2\), but those .*\(2, 5, 2\)"):
        clf.predict(shorter)
    renamed = clone(stage).fit_transform(TEXTS, np.char.upper(NOISY))
    with pytest.raises(ValueError, match="'ANIMAL'"):
        clf.predict(renamed)
    # A class that a fold lacks keeps its column.
    three = clone(stage).fit_transform(TEXTS, ["tool"] * 3 + NOISY.tolist()[3:])
    assert clf.fit(three[3:], NOISY[3:]).classes_.tolist() == [
        "animal", "fruit", "tool",
    ]  # fmt: skip
    assert clf.predict_proba(three).shape == (120, 3)


class Noting(IncrementalDynamics):
    """Remember what comes from a user, and take as many labels as there are texts."""

    def fit_transform(self, X, y, sample_weight=None):
        found = super().fit_transform(X, y[: len(X)], sample_weight)
        self.given_ = y, sample_weight
        return found


def test_first_stage_made_of_others():
    y = NOISY.astype(object)
    y[:20] = None
    weights = np.linspace(1, 2, 120)
    clf = make_fast(make_pipeline(FunctionTransformer(), Noting()), verbose=1)
    clf.set_params(denoiser__verbose=0, missing_label=np.nan)
    clf.fit(TEXTS, y, sample_weight=weights)
    dynamics = clf.dynamics_[-1]
    assert dynamics.given_[0] is y
    assert dynamics.given_[1] is weights
    assert isinstance(dynamics.random_state, int)
    assert clf.classes_.tolist() == ["animal", "fruit"]
    expected = make_fast(IncrementalDynamics(random_state=dynamics.random_state))
    expected.set_params(denoiser=clf.denoiser_, missing_label=np.nan)
    expected.fit(TEXTS, y, sample_weight=weights)
    assert_array_equal(clf.predict_proba(TEXTS), expected.predict_proba(TEXTS))


@pytest.mark.parametrize(
    "stages",
    [
        [Noting(missing_label="x")],
        [FunctionTransformer(lambda texts: texts[:-1]), Noting()],
    ],
    ids=["classes", "texts"],
)
def test_a_first_stage_that_reads_something_else_is_refused(stages):
    y = np.where(np.arange(120) < 9, "x", NOISY)
    clf = make_fast(make_pipeline(*stages))
    with pytest.raises(ValueError, match=r"keep all texts, and have the same missing_"):
        clf.fit(TEXTS, y)


@pytest.mark.parametrize("is_union", [True, False])
def test_vectorizers_that_give_frames(is_union):
    parts = TfidfVectorizer(), TfidfVectorizer(analyzer="char")
    vectorizer = make_union(*parts)
    if not is_union:
        vectorizer = make_pipeline(parts[0], TruncatedSVD(10, random_state=0))
    inside = IncrementalDynamics(vectorizer=vectorizer, random_state=0)
    before = make_pipeline(
        clone(vectorizer), IncrementalDynamics(vectorizer="passthrough", random_state=0)
    )
    with config_context(transform_output="pandas"):
        for dynamics in (inside, before):
            assert make_fast(dynamics).fit(TEXTS, NOISY).score(TEXTS, LABELS) > 0.8


def test_columns_in_another_order_are_refused():
    rng = np.random.RandomState(0)
    y = np.arange(60) % 2
    frame = pd.DataFrame({"a": rng.randn(60) + 5 * y, "b": rng.randn(60)})
    clf = make_fast(dynamics__vectorizer="passthrough").fit(frame, y)
    assert clf.score(frame, y) > 0.9
    with pytest.raises(ValueError, match="same order"):
        clf.predict(frame[["b", "a"]])
    # A column by the name of something that trajectories have.
    with_classes = frame.rename(columns={"b": "classes"})
    inner = make_pipeline(
        StandardScaler(), IncrementalDynamics(vectorizer="passthrough", random_state=0)
    )
    assert make_fast(inner).fit(with_classes, y).classes_.tolist() == [0, 1]


def test_labels_of_features_are_reviewed():
    rng = np.random.RandomState(0)
    y = np.arange(60) % 2
    frame = pd.DataFrame({"a": rng.randn(60) + 5 * y, "b": rng.randn(60)})
    view = make_column_transformer(("passthrough", ["a"]))
    dynamics = IncrementalDynamics(
        vectorizer="passthrough", views=[("a", view)], random_state=0
    )
    clf = make_fast(dynamics).fit(frame, y)
    assert clf.score(frame, y) > 0.9
    for X in (frame, frame.to_numpy().tolist()):
        clf = make_fast(dynamics.set_params(views=[])).fit(X, y)
        assert "text" not in clf.labels_to_check(3, random_state=0)


def test_another_stage_may_know_some_of_the_classes():
    y = np.where(np.arange(len(TEXTS)) < 3, "other", NOISY)
    weights = (y != "other").astype(float)
    votes = pd.DataFrame({"a": y, "b": y})
    votes.loc[5, "b"] = "another"
    for dynamics in (IncrementalDynamics(), make_pipeline(IncrementalDynamics())):
        clf = make_fast(dynamics).fit(TEXTS, y, sample_weight=weights, votes=votes)
        assert {"other", "another"} < {*clf.classes_}


def test_a_second_fit_forgets_the_first(monkeypatch):
    clf = make_fast(final_estimator=FINAL, store_trajectories=True).fit(TEXTS, NOISY)
    recorded = clf.trajectories_
    clf.set_params(dynamics="precomputed", final_estimator=None)
    clf.set_params(store_trajectories=False).fit(recorded, NOISY)
    for name in ("dynamics_", "final_estimator_", "trajectories_"):
        assert not hasattr(clf, name)
    assert clf.predict(recorded).shape == (120,)
    interrupt = Mock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr(IncrementalDynamics, "_train_branch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        clf.set_params(dynamics=IncrementalDynamics()).fit(TEXTS, NOISY)
    with pytest.raises(NotFittedError):
        clf.predict(TEXTS)


def test_stage_of_the_guide(monkeypatch):
    guide = Path(__file__).parents[1] / "docs" / "guide.md"
    _, section = guide.read_text().split("## A stage of your own")
    module = ModuleType("guide")  # what a script is: its classes can be pickled
    monkeypatch.setitem(sys.modules, "guide", module)
    names = vars(module)
    names["DyGenClassifier"] = DyGenClassifier
    for code in re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL):
        exec(code, names)
    clf = make_fast(prior=names["clf"].prior)
    assert clf.fit(TEXTS, NOISY).score(TEXTS, LABELS) > 0.8


def test_missing_labels():
    y = np.where(np.arange(120) < 30, None, NOISY)
    clf = make_fast(missing_label=np.nan).fit(TEXTS, y)
    assert (clf.transduction_[:30] == LABELS[:30]).mean() > 0.85
    assert_array_equal(np.isnan(clf.label_quality_), np.arange(120) < 30)
    assert clf.label_issues()["index"].min() >= 30
    assert_allclose(clf.noise_transition_matrix_.sum(axis=1), 1)


def test_score_leaves_out_what_has_no_label():
    y = LABELS.astype(object)
    y[:30], y[60:66] = None, "animal"
    weights = np.arange(120.0)
    clf = make_fast(missing_label=np.nan).fit(TEXTS, y)
    recorded = clf.dynamics_.transform(TEXTS)
    for stage, X in (
        (clf, TEXTS), (clf.dynamics_, TEXTS),
        (clf.denoiser_, clf.prior_.transform(recorded)),
    ):  # fmt: skip
        is_right = stage.predict(X)[30:] == y[30:]
        assert stage.score(X, y) == is_right.mean()
        weighted = np.average(is_right, weights=weights[30:])
        assert_allclose(stage.score(X, y, weights), weighted)
        with pytest.raises(ValueError, match="y has no label at all; 120 rows equal"):
            stage.score(X, [None] * 120)
        with pytest.raises(ValueError, match=r"has 10000000\.0 in row 1"):
            stage.score(X, y, 1e7 * weights)
    with pytest.raises(ValueError, match=r"no label in row 0 .*missing_label="):
        clf.set_params(missing_label=None).score(TEXTS, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_can_be_drawn_from(tiny_model, dtype):
    final = make_pipeline(TfidfVectorizer(dtype=dtype), LogisticRegression())
    for clf in (
        make_tiny(tiny_model).fit(TEXTS, NOISY),
        make_fast(final_estimator=final).fit(TEXTS, NOISY),
    ):
        recorded = clf.prior_.transform(clf.dynamics_.transform(TEXTS))
        for found in (
            clf.predict_proba(TEXTS), clf.dynamics_.predict_proba(TEXTS),
            clf.denoiser_.predict_proba(recorded), clf.label_distributions_,
            clf.denoiser_.marginal_distributions_,
        ):  # fmt: skip
            assert found.dtype == np.float64
            assert_allclose(found.sum(axis=1), 1, rtol=1e-14)


def assert_left_alone(clf, X, given):
    with pytest.warns(UserWarning, match="all 60 texts are alike .* stay as"):
        clf.fit(X, given)
    assert_array_equal(clf.transduction_[5:], given[5:])
    assert clf.label_issues().empty
    assert_array_equal(clf.label_quality_[5:], np.ones(55))
    assert np.isnan(clf.noise_rate_)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"correction_threshold": 0.0, "prior": TrajectoryKNNPrior()},
        {"denoiser": DirichletVAE(n_epochs=1)},
        {"dynamics": "precomputed"},
        {"dynamics": IncrementalDynamics(vectorizer="passthrough")},
    ],
)
def test_texts_that_are_all_alike_say_nothing(params):
    given = NOISY[:60].astype(object)
    given[:5] = None
    clf = make_fast(missing_label=np.nan).set_params(**params)
    X = ["the same"] * 60
    if clf.dynamics == "precomputed":
        p = np.full((60, 1, 1, 2), 0.5)
        X = Trajectories(np.ones((60, 1, 1, 2)), p, np.unique(NOISY))
    elif clf.dynamics.vectorizer == "passthrough":
        X = np.ones((60, 3))
    assert_left_alone(clf, X, given)


def test_texts_that_are_all_alike_recorded_with_dropout(tiny_model):
    clf = make_tiny(tiny_model, dynamics__recording="training", missing_label=np.nan)
    assert_left_alone(clf, ["the same cat"] * 60, NOISY[:60])


@pytest.mark.filterwarnings("ignore:all 60 texts are alike")
def test_alike_texts_with_votes_or_verified_labels():
    same, given = ["the same"] * 60, np.repeat(["animal", "fruit"], 30)
    votes = np.stack([given] * 3, axis=1)
    votes[:5, 0] = "fruit"
    clf = make_fast(denoiser=None).fit(same, votes=votes)
    assert_array_equal(clf.transduction_, given)
    assert_allclose(clf.annotator_quality()["accuracy"], [55 / 60, 1, 1])
    clf.fit(same, given, verified={i: votes[i, 0] for i in range(0, 60, 4)})
    assert 0 < clf.noise_rate_ < 0.3  # two of 15


@pytest.mark.parametrize("is_frozen", [False, True])
def test_copies_do_not_vouch_for_each_other(is_frozen, tiny_model):
    """About as many labels are found wrong where every text is there twice."""
    frozen = LanguageModelDynamics(tiny_model, trainable_layers=0, n_epochs=3)
    clf = DyGenClassifier(frozen if is_frozen else IncrementalDynamics())
    clf.set_params(random_state=0)
    once = clone(clf).fit(TEXTS, NOISY)
    copies = [*TEXTS, *(f" {text.upper()}" for text in TEXTS)]
    clf.fit(copies, np.tile(NOISY, 2))
    assert clf.noise_rate_ > once.noise_rate_ - 0.05
    assert len(clf.label_issues()) > 1.3 * len(once.label_issues())
    wrong = NOISY != LABELS
    before = roc_auc_score(wrong, -once.label_quality_)
    found = clf.label_quality_.reshape(2, -1).mean(axis=0)
    assert roc_auc_score(wrong, -found) > before - 0.05


def test_label_issues_and_quality(fast):
    issues, posterior = fast.label_issues(), fast.label_distributions_
    assert issues.columns.tolist() == [
        "index", "given", "suggested", "confidence", "quality", "text",
    ]  # fmt: skip
    assert_array_equal(issues.index, issues["index"])
    assert_array_equal(issues["text"], np.array(TEXTS)[issues["index"]])
    suggested = fast.classes_[posterior.argmax(axis=1)]
    assert set(issues["index"]) == set(np.flatnonzero(suggested != NOISY))
    marginal = fast.denoiser_.marginal_distributions_
    doubt = 1 - marginal[np.arange(120), np.searchsorted(fast.classes_, NOISY)]
    differs = fast.classes_[marginal.argmax(axis=1)] != NOISY
    assert fast.noise_rate_ == pytest.approx((doubt.mean() + differs.mean()) / 2)
    assert issues["quality"].is_monotonic_increasing
    assert_array_equal(issues["quality"], fast.label_quality_[issues["index"]])
    given = np.searchsorted(fast.classes_, NOISY)
    assert_array_equal(fast.label_quality_, posterior[np.arange(120), given])
    for row in issues.itertuples():
        assert row.given == NOISY[row.index]
        assert row.suggested == suggested[row.index]
        assert row.confidence == posterior[row.index].max()
    assert (NOISY != LABELS)[issues["index"]].mean() > 0.9
    assert set(np.flatnonzero(fast.transduction_ != NOISY)) <= set(issues["index"])


@pytest.mark.parametrize("last", [LogisticRegression(), KNeighborsClassifier()])
def test_final_estimator(last, monkeypatch):
    fit = count_calls(monkeypatch, type(last), "fit")
    final, weights = make_pipeline(TfidfVectorizer(), last), np.arange(120) % 3
    frame = pd.DataFrame({"text": TEXTS})
    clf = make_fast(final_estimator=final).fit(frame, NOISY, sample_weight=weights)
    (_, _, y), given = fit.call_args
    assert_array_equal(y, clf.transduction_)
    if isinstance(last, LogisticRegression):
        codes = np.searchsorted(clf.classes_, clf.transduction_)
        confidence = clf.label_distributions_[np.arange(120), codes]
        counted = np.where(weights == 0, 1.5, weights)  # the mean, where there is none
        assert_allclose(given["sample_weight"], confidence * counted)
    assert_array_equal(clf.predict(frame), clf.final_estimator_.predict(TEXTS))
    assert_allclose(clf.predict_proba(frame), clf.final_estimator_.predict_proba(TEXTS))
    assert clf.score(TEXTS, LABELS) > 0.9


def test_final_estimator_without_probabilities():
    final = make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0))
    clf = make_fast(final_estimator=final).fit(TEXTS, NOISY)
    assert not hasattr(clf, "predict_proba")
    assert clf.score(TEXTS, LABELS) > 0.8


def test_final_estimator_that_requests_no_weights():
    clf = make_fast(final_estimator=FINAL)
    expected = clf.fit(TEXTS, NOISY).predict_proba(TEXTS)
    with config_context(enable_metadata_routing=True):
        assert not np.allclose(clf.fit(TEXTS, NOISY).predict_proba(TEXTS), expected)


def test_final_estimator_when_classes_lost_all_their_labels(monkeypatch):
    last_code = 1
    monkeypatch.setattr(
        "skdygen._classifier.correct_labels",
        lambda p, marginal, untouched, targets, *_: targets.codes.clip(max=last_code),
    )
    three = np.where(np.arange(120) % 5 == 0, "tool", NOISY)
    clf = make_fast(final_estimator=FINAL, correction_threshold=0.1).fit(TEXTS, three)
    probabilities = clf.predict_proba(TEXTS)
    assert probabilities.shape == (120, 3)
    assert (probabilities[:, 2] == 0).all()
    last_code = 0
    with pytest.raises(
        ValueError, match=r"label 'animal'.* correction_threshold.*0\.1"
    ):
        clf.fit(TEXTS, NOISY)
    # One that does with one class is let.
    clf.set_params(final_estimator=DummyClassifier()).fit(TEXTS, NOISY)
    assert set(clf.predict(TEXTS)) == {"animal"}


def test_nested_parameters_of_default_stages():
    clf = DyGenClassifier().set_params(
        dynamics__n_epochs=3, prior__criterion="paper", denoiser=None,
        denoiser__n_folds=2,
    )  # fmt: skip
    assert clone(clf).get_params()["dynamics__n_epochs"] == 3
    assert (clf.prior.criterion, clf.denoiser.n_folds) == ("paper", 2)
    with pytest.raises(ValueError, match="Invalid parameter 'n_epoch'"):
        DyGenClassifier().set_params(dynamics__n_epoch=3)


@pytest.mark.parametrize(("name", "n_layers"), [("frozen", 0), ("finetuned", 3)])
def test_named_first_stages(name, n_layers, tiny_model, monkeypatch):
    clf = DyGenClassifier(dynamics=name, random_state=0)
    assert clone(clf).get_params()["dynamics"] == clf.dynamics == name
    (stage, *_) = clf._make_stages().values()
    default = LanguageModelDynamics(trainable_layers=n_layers).get_params()
    assert stage.get_params() == default | {"random_state": stage.random_state}
    assert clf.dynamics == name
    small = {"dynamics__model": tiny_model, "dynamics__n_epochs": 2}
    for changed in (
        clone(clf).set_params(**small),
        DyGenClassifier(random_state=0).set_params(dynamics=name, **small),
        clone(clone(clf).set_params(**small)),
    ):
        params = changed.get_params()
        assert params["dynamics__trainable_layers"] == n_layers
        assert params["dynamics__n_epochs"] == 2
    search = GridSearchCV(
        clf.set_params(dynamics="frozen"),
        {"dynamics": [name]} | {key: [value] for key, value in small.items()},
        cv=2,
    ).fit(TEXTS, NOISY)
    assert search.best_estimator_.dynamics_.trainable_layers == n_layers
    with pytest.raises(ValueError, match="'dynamics' parameter"):
        DyGenClassifier(dynamics="froze").fit(TEXTS, NOISY)


def test_random_state_and_verbose_are_handed_down_where_unset():
    clf = DyGenClassifier(
        IncrementalDynamics(random_state=7), denoiser=DirichletVAE(), random_state=0,
        verbose=1, missing_label=-1,
    )  # fmt: skip
    stages = clf._make_stages()
    assert stages["dynamics"].random_state == 7
    assert isinstance(stages["denoiser"].random_state, int)
    assert stages["denoiser"].verbose == 1
    assert {stage.missing_label for stage in stages.values()} == {-1}
    assert DyGenClassifier()._make_stages()["dynamics"].random_state is None
    assert clf.dynamics.missing_label is None


def test_grid_search_trains_and_replays_once_per_fold(tmp_path, monkeypatch):
    fit = count_calls(monkeypatch, IncrementalDynamics, "_fit")
    replay = count_calls(monkeypatch, IncrementalDynamics, "_replay")
    grid = {
        "prior__criterion": ["paper", "relative"],
        "prior__contamination": [0.3, 0.5],
        "denoiser__prior_strength": [1.0, 5.0],
    }
    search = GridSearchCV(make_fast(memory=str(tmp_path)), grid, cv=3, refit=False)
    search.fit(TEXTS, NOISY)
    assert (fit.call_count, replay.call_count) == (3, 3)
    assert len(search.cv_results_["params"]) == 8
    assert search.cv_results_["mean_test_score"].min() > 0.5


@pytest.mark.parametrize(
    ("params", "n_read"),
    [
        ({}, 1),
        ({"prior": RidgePrior(view=0)}, 1),
        ({"prior": RidgePrior(view="lexical")}, 0),
        (
            {"prior": ConsensusPrior([("a", RidgePrior(view=0)), ("b", RidgePrior())])},
            1,
        ),
        ({"denoiser": DirichletVAE(n_epochs=2)}, 3),
        ({"denoiser": TransitionMatrixDenoiser()}, 3),
        ({"prior": make_pipeline(ConsensusPrior())}, 3),
    ],
)
def test_predictions_replay_the_epochs_that_they_depend_on(
    params, n_read, tiny_model, monkeypatch
):
    clf = make_tiny(tiny_model, denoiser=None, dynamics__n_recorded_epochs=None)
    clf.set_params(**params).fit(TEXTS, NOISY)
    expected = clf._judge(clf.dynamics_.transform(TEXTS))
    loaded = count_calls(monkeypatch, Branches, "load")
    assert_array_equal(clf.predict_proba(TEXTS), expected)
    assert loaded.call_count == n_read


@pytest.fixture(params=["loky", "dask"])
def backend(request):
    """Two processes for joblib."""
    with ExitStack() as stack:
        if request.param == "dask":
            distributed = pytest.importorskip("distributed")
            client = distributed.Client(
                n_workers=2, threads_per_worker=1, dashboard_address=None
            )
            stack.enter_context(client)
        stack.enter_context(joblib.parallel_config(request.param, n_jobs=2))
        yield


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # of dask's own; tokenizers would warn on stderr
def test_search_in_several_processes(tiny_model, tmp_path, backend, capfd):
    clf = make_tiny(tiny_model, memory=str(tmp_path))
    grid = {"denoiser__prior_strength": [1.0, 5.0]}
    environment = dict(os.environ)
    search = GridSearchCV(clf, grid, cv=2, error_score="raise").fit(TEXTS, NOISY)
    # Two folds and the whole: the first two stages of each.
    assert len(list(tmp_path.rglob("_fit_stage/*/output.pkl"))) == 6
    assert os.environ == environment
    assert "TOKENIZERS_PARALLELISM" not in capfd.readouterr().err
    with joblib.parallel_config("sequential"):
        expected = GridSearchCV(clf, grid, cv=2).fit(TEXTS, NOISY)
    assert_array_equal(
        search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )


def test_memory_is_used_for_the_same_and_nothing_else(tmp_path, monkeypatch, caplog):
    clf = make_fast(memory=str(tmp_path))
    trained = count_calls(monkeypatch, IncrementalDynamics, "_fit")
    with caplog.at_level("INFO", logger="skdygen"):
        clf.fit(TEXTS, NOISY).predict(TEXTS)
        assert "taken from the cache" not in caplog.text
        clf.fit(TEXTS, NOISY).predict(TEXTS)
    for what in ("fit of IncrementalDynamics", "replay of IncrementalDynamics"):
        assert f"taken from the cache: {what}, which took" in caplog.text
    assert trained.call_count == 1
    clf.fit([*TEXTS[:-1], "a cat"], NOISY)
    clf.fit(TEXTS, np.roll(NOISY, 1))
    clf.fit(TEXTS, NOISY, sample_weight=np.arange(120))
    clone(clf).set_params(random_state=1).fit(TEXTS, NOISY)
    assert trained.call_count == 5
    monkeypatch.setattr("skdygen._cache.__version__", "0.0.1")
    clf.fit(TEXTS, NOISY)
    assert trained.call_count == 6
    for path in tmp_path.rglob("metadata.json"):  # nobody can read texts there
        assert path.stat().st_size < 1000


def test_memory_knows_the_source_of_stages_of_ones_own(tmp_path, monkeypatch):
    """A class or function that has been edited is another, by the same name."""
    source = """
from skdygen.base import BasePrior

class Own(BasePrior):
    def __init__(self, *, missing_label=None):
        self.missing_label = missing_label

    def _fit_prior(self, trajectories, targets):
        return self._prior(trajectories)

    def _prior(self, trajectories):
        return trajectories.probabilities[:, :, EPOCH].mean(axis=1)
"""
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for epoch in ("-1", "0 "):
        (tmp_path / "own_stage.py").write_text(source.replace("EPOCH", epoch))
        sys.modules.pop("own_stage", None)
        importlib.invalidate_caches()
        linecache.clearcache()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        prior = importlib.import_module("own_stage").Own()
        clf = make_fast(prior=prior, memory=tmp_path / "cache").fit(TEXTS, NOISY)
        found.append(clf.label_distributions_)
    sys.modules.pop("own_stage")
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_memory_knows_what_is_in_the_folder_of_a_model(tmp_path, monkeypatch):
    path = save_tiny_model(tmp_path)
    clf = make_tiny(path, memory=tmp_path / "cache", dynamics__n_epochs=1)
    clf.set_params(dynamics__trainable_layers=0)
    trained = count_calls(monkeypatch, LanguageModelDynamics, "_fit")

    def check(n_fits):
        clf.fit(TEXTS, NOISY)
        assert trained.call_count == n_fits

    check(1)
    for file in Path(path).rglob("*"):  # the same, at another time
        os.utime(file, (0, 0))
    check(1)
    expected = clf.predict_proba(TEXTS)
    save_tiny_model(tmp_path, pooling="cls")
    check(2)
    assert not np.array_equal(clf.predict_proba(TEXTS), expected)
    save_tiny_model(tmp_path, seed=1)
    with pytest.raises(ValueError, match="is not the model that has been fine-tuned"):
        copy.deepcopy(clf).predict_proba(TEXTS)  # with no networks from before
    # Within other stages, too.
    clf.set_params(dynamics=make_pipeline(FunctionTransformer(), clf.dynamics))
    check(3)
    check(3)
    save_tiny_model(tmp_path, seed=2)
    check(4)


def test_memory_gives_the_same_even_if_damaged(tiny_model, tmp_path, caplog):
    expected = make_tiny(tiny_model).fit(TEXTS, NOISY)
    clf = make_tiny(tiny_model, memory=tmp_path)

    def cut(content):
        return content[:500]

    def flip(content):  # a bit of a number, say, which can be read all the same
        return content[:-200] + bytes([content[-200] ^ 1]) + content[-199:]

    for damage in (None, None, cut, flip):
        caplog.clear()
        for entry in tmp_path.rglob("output.pkl") if damage else ():
            entry.write_bytes(damage(entry.read_bytes()))
        clf.fit(TEXTS, NOISY)
        assert_array_equal(clf.label_distributions_, expected.label_distributions_)
        assert_array_equal(clf.predict_proba(TEXTS), expected.predict_proba(TEXTS))
        is_noticed = "Exception while loading results" in caplog.text
        assert is_noticed == (damage is not None)


def test_paper_recipe():
    clf = make_paper_classifier(contamination=0.3, random_state=5)
    expected = {
        "dynamics__model": "bert-base-uncased", "dynamics__n_branches": 2,
        "dynamics__n_epochs": 10, "dynamics__trainable_layers": "all",
        "dynamics__learning_rate": 5e-5, "dynamics__head_learning_rate": None,
        "dynamics__coregularization": 5, "dynamics__n_recorded_epochs": None,
        "prior__criterion": "paper", "prior__selection": "global",
        "prior__n_neighbors": 10, "prior__leave_one_out": False,
        "prior__voting": "hard", "prior__view": 0, "prior__contamination": 0.3,
        "denoiser__n_epochs": 10, "denoiser__prior_strength": 5,
        "correction_threshold": 0, "random_state": 5,
    }  # fmt: skip
    assert {name: clf.get_params()[name] for name in expected} == expected
    changed = make_paper_classifier(dynamics__n_epochs=3, learning_rate=1e-4).dynamics
    assert (changed.n_epochs, changed.learning_rate) == (3, 1e-4)
    clf.set_params(dynamics=IncrementalDynamics()).fit(TEXTS, NOISY)
    posterior = clf.label_distributions_
    assert_array_equal(clf.transduction_, clf.classes_[posterior.argmax(axis=1)])


FROZEN = FrozenEstimator(IncrementalDynamics())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"dynamics__n_epochs": 0}, "'n_epochs' parameter"),
        ({"dynamics__estimator": LinearRegression()}, "'estimator' parameter"),
        ({"prior__contamination": 1.5}, "'contamination' parameter"),
        ({"correction_threshold": 2}, "'correction_threshold' parameter"),
        ({"dynamics": "other"}, "'dynamics' parameter"),
        ({"prior": LogisticRegression()}, "'prior' parameter"),
        ({"prior": ConsensusPrior([])}, "priors is empty"),
        ({"dynamics__max_nbytes": "much"}, "max_nbytes='much'"),
        (
            {"dynamics__temp_folder": Path("none")},
            "temp_folder='none' is no folder that",
        ),
        ({"memory": Path(__file__)}, r"memory=.*test_classifier.py.*: no cache can be"),
        ({"memory": __file__}, "use another folder, or None"),
        ({"dynamics": FROZEN}, "pass dynamics='precomputed'"),
        ({"dynamics": make_pipeline(FROZEN)}, "pass dynamics='precomputed'"),
        (
            {"dynamics__n_epochs": 3, "prior": TrajectoryKNNPrior(view=3)},
            "view=3 of a prior is not among the 3 epochs",
        ),
        (
            {
                "dynamics": LanguageModelDynamics(),
                "prior": ConsensusPrior([("one", ClassifierPrior(view=2))]),
            },
            "among the 2 epochs .* more with n_recorded_epochs",
        ),
        ({"class_weight": {"pear": 1.0}}, "class_weight has the label 'pear'"),
        ({"class_weight": {1: -1.0}}, "class_weight has -1.0 for the class 1"),
        ({"class_weight": {1: np.nan}}, "a number from 1e-06 to 1,000,000 is needed"),
        ({"class_weight": {1: 1e300}}, r"class_weight has 1e\+300 for the class 1"),
        ({"dynamics": ConsensusPrior()}, "is a ConsensusPrior, which is a later stage"),
        (
            {"final_estimator": LogisticRegression},
            r"LogisticRegression\(\) instead",
        ),
        (
            {"final_estimator": make_pipeline(TfidfVectorizer(), LinearSVC(C=-1))},
            "'C' parameter of LinearSVC",
        ),
    ],
)
def test_bad_parameters_are_refused_before_training(params, message, no_training):
    clf = make_fast(**params)
    with pytest.raises((OSError, ValueError, TypeError), match=message):
        clf.fit(["a", "b"], [0, 1])
    with pytest.raises(NotFittedError):
        check_is_fitted(clf)


def test_a_final_estimator_that_reads_no_texts():
    clf = make_fast(final_estimator=LogisticRegression())
    with pytest.raises(ValueError, match=r"final_estimator=Log.* put a vectorizer in"):
        clf.fit(TEXTS, NOISY)


def test_stacking_predicts():
    parts = [("a", FINAL), ("b", clone(FINAL))]
    clf = make_fast(final_estimator=StackingClassifier(parts, cv=2)).fit(TEXTS, NOISY)
    assert (clf.predict(TEXTS) == clf.transduction_).mean() > 0.8


def test_class_weights_of_a_class_that_a_fold_lacks():
    weights = dict.fromkeys([*np.unique(NOISY).tolist(), "rare"], 2.0)
    clf = make_fast(class_weight=weights).fit(TEXTS, NOISY)
    assert clf.class_weight_.tolist() == [2, 2]


def test_parameters_of_a_stage_that_has_none():
    for name in ("precomputed", "frozn"):
        with pytest.raises(ValueError, match=f"dynamics='{name}' has no parameters"):
            DyGenClassifier(name).set_params(dynamics__n_epochs=3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", None), ("X", "\ud800"), ("y", None), ("y", 0), ("y", "a\0"),
        ("y", "\ud800"), ("sample_weight", -1.0), ("verified", 0),
        ("verified", "\ud800"),
        ("votes", 0), ("votes", "a\0"), ("vote_confidence", 2.0),
    ],
)  # fmt: skip
def test_every_message_counts_rows_from_0(name, value, no_training):
    labels = ["a", "b", "a", "b", "a", "b"]
    given = {"X": labels, "y": labels, "sample_weight": [1.0] * 6, "verified": labels}
    given |= {"votes": [[k, "a"] for k in labels], "vote_confidence": [[1.0, 1.0]] * 6}
    given[name] = given[name].copy()
    given[name][4] = [value, given[name][0][1]] if "vote" in name else value
    with pytest.raises((TypeError, ValueError), match=r"\brow 4\b") as info:
        make_fast().fit(**given)
    assert str(info.value).startswith(name)


def test_class_weights_multiply_probabilities(fast):
    assert fast.class_weight_.tolist() == [1, 1]
    clf = clone(fast).set_params(class_weight={"fruit": 3}).fit(TEXTS, NOISY)
    assert clf.class_weight_.tolist() == [1, 3]
    expected = fast.predict_proba(TEXTS) * [1, 3]
    expected /= expected.sum(axis=1, keepdims=True)
    assert_allclose(clf.predict_proba(TEXTS), expected)
    n_fruit = [(one.predict(TEXTS) == "fruit").sum() for one in (clf, fast)]
    assert n_fruit[0] > n_fruit[1]
    assert_array_equal(clf.label_distributions_, fast.label_distributions_)
    clf.set_params(final_estimator=FINAL, class_weight={"fruit": 1000.0})
    before = (clone(clf).set_params(class_weight=None).fit(TEXTS, NOISY), clf)
    n_fruit = [
        (one.fit(TEXTS, NOISY).predict(TEXTS) == "fruit").sum() for one in before
    ]
    assert n_fruit[1] > n_fruit[0] + 10


def test_balanced_classes_have_equal_sums():
    texts, labels = make_word_texts(300)
    rows = np.flatnonzero((labels == "fruit") | (np.arange(300) % 10 == 0))
    texts, labels = [texts[i] for i in rows], labels[rows]
    clf = make_fast(class_weight="balanced").fit(texts, labels)
    assert clf.class_weight_[0] > 2 * clf.class_weight_[1]
    assert_allclose(
        (clf.label_distributions_ * clf.class_weight_).sum(axis=0), len(texts) / 2
    )


def test_balanced_weights_where_a_class_is_nobodys():
    """A class that no text is believed to have gives no weight that is not finite."""
    p = [[0.9, 0.06, 0.04], [0.8, 0.16, 0.04], [0.1, 0.86, 0.04], [0.2, 0.76, 0.04]]
    p = np.array([*p, [0.88, 0.07, 0.05]])
    X = Trajectories(np.log(p)[:, None, None], p[:, None, None], ["a", "b", "c"])
    stages = ("precomputed", UniformPrior(), TransitionMatrixDenoiser())
    clf = DyGenClassifier(*stages, class_weight="balanced").fit(X, [*"aabbc"])
    assert clf.label_distributions_[:, 2].sum() == 0
    assert np.isfinite(clf.class_weight_).all()
    assert_allclose(clf.predict_proba(X).sum(axis=1), 1)
    assert clf.predict(X).tolist() == [*"aabba"]
