import os
import pickle
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.decomposition import TruncatedSVD
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.validation import check_is_fitted

from skdygen import DyGenClassifier, Trajectories, make_paper_classifier
from skdygen.datasets import make_label_noise
from skdygen.denoisers import DirichletVAE, TransitionMatrixDenoiser
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.priors import (
    ClassifierPrior,
    ConsensusPrior,
    TrajectoryKNNPrior,
    UniformPrior,
)
from tests.conftest import make_word_texts


def make_fast(**params):
    """Make a classifier whose first stage needs no torch."""
    return DyGenClassifier(IncrementalDynamics(), random_state=0).set_params(**params)


def make_tiny(tiny_model, **params):
    """Make a classifier that fine-tunes a tiny language model."""
    dynamics = LanguageModelDynamics(
        tiny_model,
        n_epochs=3,
        batch_size=16,
        learning_rate=5e-3,
        head_learning_rate=1e-2,
        precision="fp32",
    )
    return DyGenClassifier(dynamics, random_state=0).set_params(**params)


def test_fitted_on_wrong_labels(tiny_model, word_texts):
    texts, labels, noisy = word_texts
    clf = make_tiny(tiny_model, correction_threshold=0.5).fit(texts, noisy)
    assert (noisy == labels).mean() == pytest.approx(0.7)
    assert (clf.transduction_ == labels).mean() > 0.95
    new_texts, new_labels = make_word_texts(60, seed=1)
    assert clf.score(new_texts, new_labels) > 0.95
    assert clf.predict(new_texts).dtype == noisy.dtype
    probabilities = clf.predict_proba(new_texts)
    assert_allclose(probabilities.sum(axis=1), 1)
    assert_array_equal(
        clf.predict(new_texts), clf.classes_[probabilities.argmax(axis=1)]
    )


def test_planted_truth_without_torch():
    texts, labels = make_word_texts(400)
    noisy = make_label_noise(labels, "symmetric", 0.3, random_state=0)
    clf = make_fast(correction_threshold=0.5).fit(texts, noisy)
    assert (clf.transduction_ == labels).mean() > 0.95
    expected = np.array([[0.7, 0.3], [0.3, 0.7]])
    assert_allclose(clf.noise_transition_matrix_, expected, atol=0.1)
    assert_allclose(clf.noise_transition_matrix_.sum(axis=1), 1)


def test_right_labels_stay(tiny_model):
    texts, labels = make_word_texts(120)
    for clf in (make_fast(), make_tiny(tiny_model)):
        assert (clf.fit(texts, labels).transduction_ == labels).all()


def test_careful_correction_changes_some_and_harms_none():
    texts, labels = make_word_texts(400)
    noisy = make_label_noise(labels, "symmetric", 0.3, random_state=0)
    careful = make_fast().fit(texts, noisy)
    changed = careful.transduction_ != noisy
    assert (careful.transduction_ == labels).mean() > 0.75
    assert (careful.transduction_[changed] == labels[changed]).mean() > 0.95


def arrays_of(clf, texts):
    """Collect every array that a fitted classifier gives."""
    trajectories = clf.dynamics_.transform(texts)
    arrays = {
        "predict_proba": clf.predict_proba(texts),
        "embeddings": trajectories.embeddings,
        "probabilities": trajectories.probabilities,
    }
    for stage in (clf, clf.prior_, clf.denoiser_):
        for name, value in vars(stage).items():
            if isinstance(value, np.ndarray):
                arrays[type(stage).__name__ + name] = value
    return arrays


def test_equal_seeds_give_equal_arrays(tiny_model, word_texts):
    texts, _, noisy = word_texts
    one = make_tiny(tiny_model).fit(texts, noisy)
    two = clone(one).fit(texts, noisy)
    expected = arrays_of(one, texts[:20])
    assert len(expected) > 10
    for fitted in (two, pickle.loads(pickle.dumps(one)), one.fit(texts, noisy)):
        found = arrays_of(fitted, texts[:20])
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            assert_array_equal(found[name], array, err_msg=name)
    other = clone(one).set_params(random_state=1).fit(texts, noisy)
    assert not np.array_equal(one.label_distributions_, other.label_distributions_)


def test_is_the_pipeline_written_by_hand(word_texts):
    texts, _, noisy = word_texts
    stages = {
        "dynamics": IncrementalDynamics(random_state=1),
        "prior": TrajectoryKNNPrior(),
        "denoiser": DirichletVAE(random_state=2),
    }
    pipeline = Pipeline([(name, clone(stage)) for name, stage in stages.items()])
    pipeline.fit(texts, noisy)
    clf = DyGenClassifier(**stages).fit(texts, noisy)
    assert_array_equal(clf.predict_proba(texts), pipeline.predict_proba(texts))
    assert_array_equal(
        clf.label_distributions_, pipeline["denoiser"].label_distributions_
    )
    assert clf.dynamics_ is clf.pipeline_["dynamics"]


def test_precomputed_dynamics(word_texts):
    texts, labels, noisy = word_texts
    stage = IncrementalDynamics(random_state=1)
    recorded = stage.fit_transform(texts, noisy)
    denoiser = DirichletVAE(random_state=2)
    clf = DyGenClassifier("precomputed", denoiser=denoiser).fit(recorded, noisy)
    whole = DyGenClassifier(stage, denoiser=denoiser).fit(texts, noisy)
    assert_array_equal(clf.label_distributions_, whole.label_distributions_)
    assert_array_equal(clf.predict(stage.transform(texts)), whole.predict(texts))
    assert not hasattr(clf, "dynamics_")
    scores = cross_val_score(clf.set_params(random_state=0), recorded, labels, cv=3)
    assert scores.min() > 0.9


def test_precomputed_dynamics_with_a_class_that_a_fold_lacks(word_texts):
    texts, _, noisy = word_texts
    three = np.where(np.arange(120) < 3, "tool", noisy)
    recorded = IncrementalDynamics(random_state=0).fit_transform(texts, three)
    clf = DyGenClassifier("precomputed", random_state=0).fit(recorded[3:], three[3:])
    assert clf.classes_.tolist() == ["animal", "fruit", "tool"]
    assert clf.predict_proba(recorded).shape == (120, 3)
    assert clf.label_distributions_.shape == (117, 3)


@pytest.mark.parametrize(
    "make",
    [
        list,
        np.array,
        lambda y: np.array(y, dtype=object),
        pd.Series,
        lambda y: pd.Series(y, index=range(5, 125), dtype="category"),
    ],
)
@pytest.mark.parametrize("names", [("animal", "fruit"), (-1, 3), (False, True)])
def test_labels_of_any_type(word_texts, make, names):
    texts, _, noisy = word_texts
    fast = make_fast(denoiser__n_epochs=2)
    expected = fast.fit(texts, noisy).predict_proba(texts)
    y = [names[0] if label == "animal" else names[1] for label in noisy]
    clf = clone(fast).fit(texts, make(y))
    assert_array_equal(clf.predict_proba(texts), expected)
    assert clf.classes_.tolist() == list(names)
    for labels in (clf.predict(texts), clf.transduction_):
        assert {type(label) for label in labels.tolist()} == {type(names[0])}


def test_a_column_of_labels_is_taken_with_a_warning(word_texts):
    texts, _, noisy = word_texts
    fast = make_fast(denoiser__n_epochs=2)
    expected = fast.fit(texts, noisy).predict_proba(texts)
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        clf = clone(fast).fit(texts, pd.DataFrame({"y": noisy}))
    assert_array_equal(clf.predict_proba(texts), expected)


def test_other_trajectories_than_those_fitted_on_are_refused(word_texts):
    texts, _, noisy = word_texts
    stage = IncrementalDynamics(n_epochs=3, random_state=0)
    recorded = stage.fit_transform(texts, noisy)
    clf = DyGenClassifier("precomputed", random_state=0).fit(recorded, noisy)
    shorter = clone(stage).set_params(n_epochs=2).fit_transform(texts, noisy)
    with pytest.raises(ValueError, match=r"\(2, 2, 2\), but those .*\(2, 3, 2\)"):
        clf.predict(shorter)
    renamed = clone(stage).fit_transform(texts, np.char.upper(noisy))
    with pytest.raises(ValueError, match="'ANIMAL'"):
        clf.predict(renamed)
    with pytest.raises(ValueError, match="one class only, 'fruit'"):
        clf.fit(recorded, np.full(120, "fruit"))


def test_first_stage_made_of_others(word_texts):
    texts, labels, noisy = word_texts
    dynamics = make_pipeline(FunctionTransformer(), IncrementalDynamics())
    y = np.where(np.arange(120) < 20, "none", noisy)
    clf = DyGenClassifier(dynamics, missing_label="none", random_state=0, verbose=1)
    clf.set_params(denoiser__verbose=0).fit(texts, y)
    assert clf.classes_.tolist() == ["animal", "fruit"]
    assert clf.score(texts, labels) > 0.8
    assert isinstance(clf.dynamics_[-1].random_state, int)


@pytest.mark.parametrize(
    "vectorizer",
    [
        TfidfVectorizer(),
        make_union(TfidfVectorizer(), TfidfVectorizer(analyzer="char")),
        make_pipeline(TfidfVectorizer(), TruncatedSVD(10, random_state=0)),
    ],
    ids=["vectorizer", "union", "frames"],
)
def test_parts_with_and_without_set_output(word_texts, vectorizer):
    texts, labels, noisy = word_texts
    inside = IncrementalDynamics(vectorizer=vectorizer, random_state=0)
    before = make_pipeline(
        clone(vectorizer), IncrementalDynamics(vectorizer="passthrough", random_state=0)
    )
    with sklearn.config_context(transform_output="pandas"):
        for dynamics in (inside, before):
            clf = DyGenClassifier(dynamics, random_state=0).fit(texts, noisy)
            assert clf.score(texts, labels) > 0.8
        if not isinstance(vectorizer, Pipeline):
            return
        # A stage of its own, whose vectorizer gives frames.
        assert len(inside.fit(texts, noisy).transform(texts[:7])) == 7


def test_numbers_instead_of_texts():
    rng = np.random.RandomState(0)
    y = np.arange(200) % 2
    X = rng.randn(200, 4) + 3 * y[:, None]
    noisy = make_label_noise(y, "symmetric", 0.3, random_state=0)
    clf = DyGenClassifier(IncrementalDynamics(vectorizer="passthrough"), random_state=0)
    assert clf.fit(X, noisy).score(X, y) > 0.95


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
    clf = DyGenClassifier(inner, random_state=0).fit(with_classes, y)
    assert clf.classes_.tolist() == [0, 1]


def test_outputs_configured_as_data_frames(word_texts):
    texts, _, noisy = word_texts
    expected = make_fast().fit(texts, noisy).predict_proba(texts)
    with sklearn.config_context(transform_output="pandas"):
        found = make_fast().fit(texts, noisy).predict_proba(texts)
    assert_array_equal(found, expected)


def test_a_failed_fit_leaves_nothing(word_texts, monkeypatch):
    texts, _, noisy = word_texts
    clf = make_fast().fit(texts, noisy)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(IncrementalDynamics, "_train_branch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(texts, noisy)
    with pytest.raises(NotFittedError):
        clf.predict(texts)


def test_a_second_fit_forgets_the_first(word_texts):
    texts, _, noisy = word_texts
    final = make_pipeline(TfidfVectorizer(), LogisticRegression())
    clf = make_fast(final_estimator=final).fit(texts, noisy)
    recorded = IncrementalDynamics(random_state=0).fit_transform(texts, noisy)
    clf.set_params(dynamics="precomputed", final_estimator=None).fit(recorded, noisy)
    assert not hasattr(clf, "dynamics_")
    assert not hasattr(clf, "final_estimator_")
    assert clf.predict(recorded).shape == (120,)


def test_final_estimator_under_metadata_routing(word_texts):
    texts, _, noisy = word_texts
    with sklearn.config_context(enable_metadata_routing=True):
        plain = make_pipeline(TfidfVectorizer(), LogisticRegression())
        last = LogisticRegression().set_fit_request(sample_weight=True)
        weighted = make_pipeline(TfidfVectorizer(), last)
        fitted = [
            make_fast(final_estimator=final).fit(texts, noisy)
            for final in (plain, weighted)
        ]
    reference = make_fast(final_estimator=plain).fit(texts, noisy)
    expected = reference.predict_proba(texts)
    assert not np.allclose(fitted[0].predict_proba(texts), expected)
    assert_allclose(fitted[1].predict_proba(texts), expected)


def test_final_estimator_without_probabilities(word_texts):
    texts, labels, noisy = word_texts
    clf = make_fast(
        final_estimator=make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0))
    )
    clf.fit(texts, noisy)
    assert not hasattr(clf, "predict_proba")
    assert clf.score(texts, labels) > 0.8


def test_stage_of_the_guide(word_texts, monkeypatch):
    guide = Path(__file__).parents[1] / "docs" / "guide.md"
    _, section = guide.read_text().split("## A stage of your own")
    module = ModuleType("guide")  # what a script is: its classes can be pickled
    monkeypatch.setitem(sys.modules, "guide", module)
    names = vars(module)
    names["DyGenClassifier"] = DyGenClassifier
    for code in re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL):
        exec(code, names)
    texts, labels, noisy = word_texts
    clf = names["clf"].set_params(dynamics=IncrementalDynamics(), random_state=0)
    assert clf.fit(texts, noisy).score(texts, labels) > 0.8


@pytest.mark.parametrize(
    "make",
    [
        tuple,
        np.array,
        lambda texts: np.array(texts, dtype=object)[:, None],
        pd.Series,
        lambda texts: pd.DataFrame({"text": texts}),
    ],
)
def test_texts_in_any_container(word_texts, make):
    texts, _, noisy = word_texts
    fast = make_fast(denoiser__n_epochs=2)
    expected = fast.fit(texts, noisy).predict_proba(texts)
    clf = clone(fast).fit(make(texts), noisy)
    assert_array_equal(clf.predict_proba(make(texts)), expected)


@pytest.mark.parametrize("missing", [-1, np.nan, None])
def test_missing_labels(word_texts, tiny_model, missing):
    texts, labels, noisy = word_texts
    y = noisy.astype(object)
    y[:30] = missing
    missing_label = np.nan if missing is None else missing
    if missing == -1:
        y = np.where(y == "animal", 0, np.where(y == "fruit", 1, y)).astype(int)
        labels = (labels == "fruit").astype(int)
    for clf in (make_fast(), make_tiny(tiny_model)):
        clf.set_params(missing_label=missing_label).fit(texts, y)
        assert len(clf.classes_) == 2
        assert clf.label_distributions_.shape == (120, 2)
        assert (clf.transduction_[:30] == labels[:30]).mean() > 0.85
        assert clf.label_issues()["index"].min() >= 30
        assert_allclose(clf.noise_transition_matrix_.sum(axis=1), 1)


def test_label_issues(word_texts):
    texts, labels, noisy = word_texts
    clf = make_fast().fit(texts, noisy)
    issues = clf.label_issues()
    assert issues.columns.tolist() == [
        "index", "given", "suggested", "confidence", "quality",
    ]  # fmt: skip
    posterior = clf.label_distributions_
    suggested = clf.classes_[posterior.argmax(axis=1)]
    assert set(issues["index"]) == set(np.flatnonzero(suggested != noisy))
    assert issues["quality"].is_monotonic_increasing
    for row in issues.itertuples():
        assert row.given == noisy[row.index]
        assert row.suggested == suggested[row.index]
        codes = np.searchsorted(clf.classes_, [row.given, row.suggested])
        assert_allclose(posterior[row.index, codes], [row.quality, row.confidence])
    is_wrong = (noisy != labels)[issues["index"]]
    assert is_wrong.mean() > 0.9
    changed = np.flatnonzero(clf.transduction_ != noisy)
    assert set(changed) <= set(issues["index"])


def test_swapped_stages(word_texts):
    texts, labels, noisy = word_texts
    for stages in (
        {"prior": UniformPrior(), "denoiser": TransitionMatrixDenoiser()},
        {"prior": TrajectoryKNNPrior(criterion="paper", selection="class")},
    ):
        clf = make_fast(**stages).fit(texts, noisy)
        assert clf.score(texts, labels) > 0.8
        assert_allclose(clf.predict_proba(texts).sum(axis=1), 1)


@pytest.mark.parametrize("weighted", [True, False])
def test_final_estimator(word_texts, weighted, monkeypatch):
    texts, labels, noisy = word_texts
    seen = {}
    last = LogisticRegression() if weighted else KNeighborsClassifier()
    final = make_pipeline(TfidfVectorizer(), last)
    fit = type(last).fit

    def spy(self, X, y, **params):
        seen.update(params, y=y)
        return fit(self, X, y, **params)

    spy.__signature__ = __import__("inspect").signature(fit)
    monkeypatch.setattr(type(last), "fit", spy)
    clf = make_fast(final_estimator=final).fit(texts, noisy)
    assert_array_equal(seen["y"], clf.transduction_)
    if weighted:
        codes = np.searchsorted(clf.classes_, clf.transduction_)
        expected = clf.label_distributions_[np.arange(120), codes]
        assert_array_equal(seen["sample_weight"], expected)
    assert_array_equal(clf.predict(texts), clf.final_estimator_.predict(texts))
    assert_allclose(clf.predict_proba(texts), clf.final_estimator_.predict_proba(texts))
    assert clf.score(texts, labels) > 0.9


def test_final_estimator_when_a_class_lost_all_its_labels(word_texts, monkeypatch):
    texts, _, noisy = word_texts
    monkeypatch.setattr(
        "skdygen._classifier.correct_labels",
        lambda p, evidence, codes, *others: codes.clip(max=1),
    )
    three = np.where(np.arange(120) % 5 == 0, "tool", noisy)
    final = make_pipeline(TfidfVectorizer(), LogisticRegression())
    clf = make_fast(final_estimator=final).fit(texts, three)
    probabilities = clf.predict_proba(texts)
    assert probabilities.shape == (120, 3)
    assert (probabilities[:, 2] == 0).all()


def test_final_estimator_when_one_class_is_left(word_texts, monkeypatch):
    texts, _, noisy = word_texts
    monkeypatch.setattr(
        "skdygen._classifier.correct_labels", lambda p, e, codes, *_: 0 * codes
    )
    final = make_pipeline(TfidfVectorizer(), LogisticRegression())
    clf = make_fast(final_estimator=final, correction_threshold=0.1)
    with pytest.raises(
        ValueError, match=r"label 'animal'.* correction_threshold.*0\.1"
    ):
        clf.fit(texts, noisy)
    # One that does with that is let.
    clf.set_params(final_estimator=DummyClassifier()).fit(texts, noisy)
    assert set(clf.predict(texts)) == {"animal"}


def test_nested_parameters_of_default_stages():
    clf = DyGenClassifier().set_params(
        dynamics__n_epochs=3,
        prior__criterion="paper",
        denoiser=None,
        denoiser__n_epochs=2,
    )
    assert clf.dynamics.n_epochs == 3
    assert clf.prior.criterion == "paper"
    assert clf.denoiser.n_epochs == 2
    assert DyGenClassifier().dynamics is None
    with pytest.raises(ValueError, match="Invalid parameter 'n_epoch'"):
        DyGenClassifier().set_params(dynamics__n_epoch=3)
    assert clone(clf).get_params()["dynamics__n_epochs"] == 3


def test_grid_search_fine_tunes_once_per_fold(
    tiny_model, word_texts, tmp_path, monkeypatch
):
    texts, _labels, noisy = word_texts
    counts = count_calls(monkeypatch, "_fit", "_replay")
    search = GridSearchCV(
        make_tiny(tiny_model, memory=str(tmp_path), denoiser__n_epochs=20),
        GRID,
        cv=3,
        refit=False,
    )
    search.fit(texts, noisy)
    assert counts == {"_fit": 3, "_replay": 3}
    assert len(search.cv_results_["params"]) == 12
    assert search.cv_results_["mean_test_score"].min() > 0.5


GRID = {
    "prior__criterion": ["paper", "relative"],
    "prior__contamination": [0.3, 0.5],
    "denoiser__prior_strength": [1.0, 5.0, 10.0],
}


def count_calls(monkeypatch, *names):
    """Count how often methods of `LanguageModelDynamics` are called from now on."""
    counts = dict.fromkeys(names, 0)

    def count(name):
        method = getattr(LanguageModelDynamics, name)

        def counted(self, *args, **kwargs):
            counts[name] += 1
            return method(self, *args, **kwargs)

        monkeypatch.setattr(LanguageModelDynamics, name, counted)

    for name in names:
        count(name)
    return counts


@pytest.fixture(params=["loky", "dask"])
def backend(request):
    """Two processes for joblib."""
    if request.param == "loky":
        with parallel_config("loky", n_jobs=2):
            yield
        return
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        parallel_config("dask"),
    ):
        yield


@pytest.mark.filterwarnings("default")  # of dask's own; tokenizers would warn on stderr
def test_search_in_several_processes(tiny_model, word_texts, tmp_path, backend, capfd):
    texts, _, noisy = word_texts
    clf = make_tiny(tiny_model, memory=str(tmp_path), denoiser__n_epochs=20)
    grid = {"denoiser__prior_strength": [1.0, 5.0]}
    environment = dict(os.environ)
    search = GridSearchCV(clf, grid, cv=2, error_score="raise").fit(texts, noisy)
    # Two folds and the whole: the first two stages of each; and a replay per fold.
    assert len(list(tmp_path.rglob("output.pkl"))) == 8
    assert os.environ == environment
    assert "TOKENIZERS_PARALLELISM" not in capfd.readouterr().err
    with parallel_config("sequential"):
        expected = GridSearchCV(clf, grid, cv=2).fit(texts, noisy)
    assert_array_equal(
        search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )


def test_memory_of_another_version_is_not_used(
    tiny_model, word_texts, tmp_path, monkeypatch
):
    texts, _, noisy = word_texts
    clf = make_tiny(tiny_model, memory=str(tmp_path), denoiser__n_epochs=20)
    counts = count_calls(monkeypatch, "_fit")
    clf.fit(texts, noisy)
    clf.fit(texts, noisy)
    assert counts == {"_fit": 1}
    monkeypatch.setattr("skdygen.__version__", "0.0.1")
    clf.fit(texts, noisy)
    assert counts == {"_fit": 2}
    clf.set_params(random_state=1).fit(texts, noisy)
    assert counts == {"_fit": 3}
    other = [*texts[:-1], "a cat"]
    clf.fit(other, noisy)
    assert counts == {"_fit": 4}


def test_a_damaged_entry_of_memory_is_computed_again(
    tiny_model, word_texts, tmp_path, caplog
):
    texts, _, noisy = word_texts
    clf = make_tiny(tiny_model, memory=str(tmp_path), denoiser__n_epochs=20)
    expected = clf.fit(texts, noisy).predict_proba(texts)
    entries = list(tmp_path.rglob("output.pkl"))
    assert len(entries) == 3  # two stages and a replay
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:500])
    assert_array_equal(clf.fit(texts, noisy).predict_proba(texts), expected)
    assert "Exception while loading results" in caplog.text


def test_memory_gives_the_same(tiny_model, word_texts, tmp_path):
    texts, _, noisy = word_texts
    expected = make_tiny(tiny_model).fit(texts, noisy)
    for _ in range(2):
        clf = make_tiny(tiny_model, memory=tmp_path).fit(texts, noisy)
        assert_array_equal(clf.label_distributions_, expected.label_distributions_)
        assert_array_equal(clf.predict_proba(texts), expected.predict_proba(texts))


def test_cross_validation_and_pipelines(word_texts):
    texts, labels, noisy = word_texts
    clf = make_pipeline(FunctionTransformer(list), make_fast())
    found = cross_val_predict(clf, np.array(texts), noisy, cv=3, method="predict_proba")
    assert found.shape == (120, 2)
    assert_allclose(found.sum(axis=1), 1)
    assert (np.array(["animal", "fruit"])[found.argmax(axis=1)] == labels).mean() > 0.8


def test_random_state_and_verbose_are_handed_down_where_unset():
    clf = DyGenClassifier(
        IncrementalDynamics(random_state=7), random_state=0, verbose=1, missing_label=-1
    )
    stages = clf._make_stages()
    assert stages["dynamics"].random_state == 7
    assert isinstance(stages["denoiser"].random_state, int)
    assert stages["denoiser"].verbose == 1
    assert {stage.missing_label for stage in stages.values()} == {-1}
    assert DyGenClassifier()._make_stages()["denoiser"].random_state is None
    assert clf.dynamics.missing_label is None


def test_paper_recipe():
    clf = make_paper_classifier(contamination=0.3, random_state=5)
    dynamics, prior, denoiser = clf.dynamics, clf.prior, clf.denoiser
    assert dynamics.model == "bert-base-uncased"
    assert (dynamics.n_branches, dynamics.n_epochs) == (2, 10)
    assert dynamics.trainable_layers == "all"
    assert dynamics.learning_rate == 5e-5
    assert dynamics.head_learning_rate is None
    assert dynamics.regularization == 5
    assert (prior.criterion, prior.selection, prior.n_neighbors) == (
        "paper",
        "global",
        10,
    )
    assert (prior.query, prior.voting, prior.epoch) == ("include-self", "hard", 0)
    assert prior.contamination == 0.3
    assert (denoiser.n_epochs, denoiser.prior_strength) == (10, 5)
    assert clf.correction_threshold == 0
    assert clf.random_state == 5
    changed = make_paper_classifier(dynamics__n_epochs=3, learning_rate=1e-4)
    assert changed.dynamics.n_epochs == 3
    assert changed.dynamics.learning_rate == 1e-4


def test_paper_recipe_runs(word_texts):
    texts, _labels, noisy = word_texts
    clf = make_paper_classifier(dynamics=IncrementalDynamics(), random_state=0)
    clf.fit(texts, noisy)
    posterior = clf.label_distributions_
    assert_array_equal(clf.transduction_, clf.classes_[posterior.argmax(axis=1)])


def test_silent_by_default(tiny_model, word_texts, capfd):
    texts, _, noisy = word_texts
    make_tiny(tiny_model).fit(texts, noisy).predict(texts)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        ("a bare string", ["a"], ValueError, "single string"),
        (["a", None, "b"], [0, 1, 0], TypeError, "row 1 is None"),
        (["a", "b", np.nan], [0, 1, 0], TypeError, "row 2 is nan"),
        (["a", 7, "b"], [0, 1, 0], TypeError, "row 1 is 7"),
        (["a", "b"], [0, 1, 0], ValueError, "X has 2 texts but y has 3 labels"),
        (["a", "b"], [1, 1], ValueError, "one class only"),
        (["a", "b", "c"], ["x", None, "y"], ValueError, "y has no label in row 1"),
        (["a", "b", "c"], [0.1, 0.7, 0.2], ValueError, "continuous"),
        (["a", "b"], [["x"], ["y"]], TypeError, r"row 0 is \['x'\] \(list\)"),
        ([], [], ValueError, "X is empty"),
    ],
)
def test_bad_data_is_refused_before_training(X, y, error, message, monkeypatch):
    def no_training(*args, **kwargs):
        raise AssertionError("training began")

    monkeypatch.setattr(IncrementalDynamics, "_fit", no_training)
    monkeypatch.setattr(LanguageModelDynamics, "_fit", no_training)
    for clf in (DyGenClassifier(), make_fast()):
        with pytest.raises(error, match=message):
            clf.fit(X, y)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"dynamics__n_epochs": 0}, ValueError, "'n_epochs' parameter"),
        ({"prior__contamination": 1.5}, ValueError, "'contamination' parameter"),
        ({"denoiser__n_epochs": 0}, ValueError, "'n_epochs' parameter"),
        ({"correction_threshold": 2}, ValueError, "'correction_threshold' parameter"),
        ({"dynamics": "other"}, ValueError, "'dynamics' parameter"),
        ({"prior": LogisticRegression()}, ValueError, "'prior' parameter"),
        ({"denoiser": LogisticRegression()}, ValueError, "'denoiser' parameter"),
        ({"dynamics__max_nbytes": "much"}, ValueError, "max_nbytes='much'"),
        (
            {"dynamics": FrozenEstimator(IncrementalDynamics())},
            TypeError,
            "pass dynamics='precomputed'",
        ),
        (
            {
                "dynamics": make_pipeline(
                    FunctionTransformer(), FrozenEstimator(IncrementalDynamics())
                )
            },
            TypeError,
            "pass dynamics='precomputed'",
        ),
        (
            {"dynamics__n_epochs": 3, "prior": TrajectoryKNNPrior(epoch=3)},
            ValueError,
            "epoch=3 of a prior is not among the 3 epochs",
        ),
        (
            {
                "dynamics": LanguageModelDynamics(),
                "prior": ConsensusPrior([("one", ClassifierPrior(epoch=2))]),
            },
            ValueError,
            "among the 2 epochs .* more with trajectory_epochs",
        ),
    ],
)
def test_bad_parameters_are_refused_before_training(
    params, error, message, monkeypatch
):
    def no_training(*args, **kwargs):
        raise AssertionError("training began")

    monkeypatch.setattr(IncrementalDynamics, "_fit", no_training)
    monkeypatch.setattr(LanguageModelDynamics, "_fit", no_training)
    with pytest.raises(error, match=message):
        make_fast(**params).fit(["a", "b"], [0, 1])


def test_precomputed_wants_trajectories():
    with pytest.raises(TypeError, match="X must be Trajectories"):
        DyGenClassifier("precomputed").fit(["a", "b"], [0, 1])


def test_class_weights_multiply_probabilities(word_texts):
    texts, _, noisy = word_texts
    clf = DyGenClassifier(IncrementalDynamics(), random_state=0).fit(texts, noisy)
    assert clf.class_weight_.tolist() == [1, 1]
    weighted = clone(clf).set_params(class_weight={"fruit": 3}).fit(texts, noisy)
    assert weighted.class_weight_.tolist() == [1, 3]
    expected = clf.predict_proba(texts) * [1, 3]
    expected /= expected.sum(axis=1, keepdims=True)
    assert_allclose(weighted.predict_proba(texts), expected)
    assert (weighted.predict(texts) == "fruit").sum() > (
        clf.predict(texts) == "fruit"
    ).sum()
    assert_array_equal(weighted.label_distributions_, clf.label_distributions_)


def test_balanced_classes_have_equal_sums():
    texts, labels = make_word_texts(300)
    rows = np.flatnonzero((labels == "fruit") | (np.arange(300) % 10 == 0))
    texts, labels = [texts[i] for i in rows], labels[rows]
    clf = DyGenClassifier(
        IncrementalDynamics(), class_weight="balanced", random_state=0
    ).fit(texts, labels)
    assert clf.class_weight_[0] > 3 * clf.class_weight_[1]
    assert_allclose(
        (clf.label_distributions_ * clf.class_weight_).sum(axis=0), len(texts) / 2
    )


def test_balanced_weights_where_a_class_is_nobodys():
    """A class that no text is believed to have gives no weight that is not finite."""
    p = [[0.9, 0.06, 0.04], [0.8, 0.16, 0.04], [0.1, 0.86, 0.04], [0.2, 0.76, 0.04]]
    p = np.array([*p, [0.88, 0.07, 0.05]])
    X = Trajectories(
        np.log(p)[:, None, None], p[:, None, None], np.array(["a", "b", "c"])
    )
    clf = DyGenClassifier(
        "precomputed", UniformPrior(), TransitionMatrixDenoiser(),
        class_weight="balanced",
    ).fit(X, ["a", "a", "b", "b", "c"])  # fmt: skip
    assert clf.label_distributions_[:, 2].sum() == 0
    assert np.isfinite(clf.class_weight_).all()
    assert_allclose(clf.predict_proba(X).sum(axis=1), 1)
    assert clf.predict(X).tolist() == ["a", "a", "b", "b", "a"]


def test_class_weights_reach_the_final_estimator(word_texts):
    texts, _, noisy = word_texts
    final = make_pipeline(TfidfVectorizer(), LogisticRegression())
    clf = DyGenClassifier(
        IncrementalDynamics(),
        final_estimator=final,
        class_weight={"fruit": 1000.0},
        random_state=0,
    ).fit(texts, noisy)
    assert (clf.predict(texts) == "fruit").mean() > 0.9


@pytest.mark.parametrize(
    ("class_weight", "match"),
    [
        ({"pear": 1.0}, r"class_weight has the label 'pear'"),
        ({"fruit": -1.0}, r"class_weight has -1.0 for the class 'fruit'"),
        ({"fruit": "much"}, "a positive number is needed"),
        ({"fruit": np.nan}, "a positive number is needed"),
    ],
)
def test_class_weights_that_are_refused(word_texts, class_weight, match):
    texts, _, noisy = word_texts
    clf = DyGenClassifier(IncrementalDynamics(), class_weight=class_weight)
    with pytest.raises(ValueError, match=match):
        clf.fit(texts, noisy)
    with pytest.raises(NotFittedError):
        check_is_fitted(clf)
