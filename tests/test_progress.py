"""What a fit shows and logs, and that it can be silent."""

import logging
import re
from unittest.mock import Mock

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

import skdygen
from skdygen import DyGenClassifier
from skdygen.denoisers import DirichletVAE
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.priors import UniformPrior
from tests.conftest import make_word_texts


def make_tiny(tiny_model, *, trainable_layers=1, **params):
    dynamics = LanguageModelDynamics(
        tiny_model, trainable_layers=trainable_layers, n_epochs=2, precision="fp32",
        device="cpu",
    )  # fmt: skip
    denoiser = DirichletVAE(n_epochs=3)
    return DyGenClassifier(dynamics, denoiser=denoiser, random_state=0, **params)


def bars(err):
    """Give what the last state of each progress bar says, by its description."""
    return dict(re.findall(r"([a-z][a-z-]+): +(\d+%.*)", err.replace("\r", "\n")))


def test_bars_of_a_fit(tiny_model, capfd):
    texts, labels = make_word_texts(1100)
    make_tiny(tiny_model, verbose=1).fit(texts, labels)
    out, err = capfd.readouterr()
    assert out == ""
    found = bars(err)
    assert found.keys() == {"tokenising", "encoding", "fine-tuning", "denoising"}
    assert all(state.startswith("100%") for state in found.values())
    assert "1100/1100" in found["tokenising"]
    state = found["fine-tuning"]
    assert re.search(r"70/70 \[\d\d:\d\d<00:00", state)  # time left
    assert re.search(r"loss=\d\.\d{4}, tokens/s=[1-9][\d,]*", state)


def test_loss_and_speed_are_shown_within_an_epoch(tiny_model, word_texts, capfd):
    texts, labels, _ = word_texts
    clf = make_tiny(tiny_model, verbose=1).set_params(dynamics__batch_size=1)
    clf.fit(texts[:60], labels[:60])
    first = capfd.readouterr().err.partition("loss=")[0].rpartition("fine-tuning")[2]
    assert int(re.search(r"(\d+)/120 \[", first)[1]) < 60  # batches of an epoch


def test_bars_of_a_frozen_model_count_texts(tiny_model, word_texts, capfd):
    texts, _, noisy = word_texts
    dynamics = make_tiny(tiny_model, trainable_layers=0).dynamics
    dynamics.set_params(verbose=1, random_state=0).fit(texts, noisy)
    state = bars(capfd.readouterr().err)["fine-tuning"]
    assert " texts/s=" in state
    assert "tokens/s" not in state
    dynamics.transform([f"{i} cats" for i in range(10)])
    assert "20/20" in bars(capfd.readouterr().err)["replaying"]  # 10 at 2 epochs
    dynamics.predict([f"{i} cats" for i in range(10)])
    assert "10/10" in bars(capfd.readouterr().err)["predicting"]


@pytest.mark.parametrize("trainable_layers", [0, 1])
def test_silence(tiny_model, trainable_layers, capfd):
    texts, labels = make_word_texts(1100)  # enough for every bar
    clf = make_tiny(tiny_model, trainable_layers=trainable_layers)
    clf.set_params(dynamics__n_epochs=1).fit(texts, labels).predict(texts)
    clf.dynamics_.predict(texts)
    assert capfd.readouterr() == ("", "")


def test_log(tiny_model, word_texts, caplog):
    texts, _, noisy = word_texts
    caplog.set_level(logging.INFO, logger="skdygen")
    clf = make_tiny(tiny_model).fit(texts, noisy)
    n_changed = (clf.transduction_ != noisy).sum()
    for said in (
        f"2 branches of {tiny_model} on cpu in fp32: 120 texts",
        "epoch 2 of 2: loss",
        f"estimated share of wrong labels: {clf.noise_rate_:.3f}",
        f"changed {n_changed} of 120 given labels",
    ):
        assert said in caplog.text
    assert all(name.startswith("skdygen.") for name, *_ in caplog.record_tuples)


def test_caches_that_are_not_of_joblib(tiny_model, word_texts):
    memory = Mock(**{"cache.side_effect": lambda function: function})
    texts, _, noisy = word_texts
    clf = make_tiny(tiny_model, trainable_layers=0, memory=memory).fit(texts, noisy)
    assert clf.predict(texts).shape == (120,)
    cached = [call.args[0].__name__ for call in memory.cache.call_args_list]
    assert cached == ["_fit_stage", "_fit_stage", "_replay"]


class Witness:
    """A callback of scikit-learn that notes what it is told."""

    max_propagation_depth = None

    def __init__(self):
        self.began, self.ended = [], []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        self.began.append(context.task_name)

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.ended.append(context.task_name)
        if fitted_estimator is not None:
            self.n_classes = len(fitted_estimator.classes_)


@pytest.fixture
def witness():
    pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9")
    return Witness()


@pytest.mark.parametrize("trainable_layers", [0, 1])
def test_callbacks_of_scikit_learn(trainable_layers, tiny_model, word_texts, witness):
    texts, _, noisy = word_texts
    clf = make_tiny(tiny_model, trainable_layers=trainable_layers)
    clf.set_params(final_estimator=make_pipeline(CountVectorizer(), MultinomialNB()))
    clf.set_callbacks(witness).fit(texts, noisy)
    assert witness.began == [
        "fit", "dynamics", "encoding", "epoch", "epoch", "prior",
        "denoiser", "epoch", "epoch", "epoch", "final_estimator",
    ]  # fmt: skip
    assert sorted(witness.ended) == sorted(witness.began)
    assert witness.ended[-1] == "fit"
    assert witness.n_classes == 2


def test_callbacks_of_a_stage(tiny_model, word_texts, witness):
    texts, _, noisy = word_texts
    dynamics = IncrementalDynamics(n_epochs=2, random_state=0).set_callbacks(witness)
    found = dynamics.fit_transform(texts, noisy)
    assert witness.began == ["fit"] + 4 * ["epoch"]  # two of each branch
    found = UniformPrior().fit_transform(found, noisy)
    denoiser = DirichletVAE(random_state=0).set_callbacks(
        witness
    )  # as many epochs as it wants
    denoiser.fit(found, noisy)
    assert witness.began[5:] == ["fit"] + denoiser.n_epochs_ * ["epoch"]
    clf = DyGenClassifier(dynamics)
    with pytest.raises(TypeError, match="dynamics has callbacks of its own"):
        clf.fit(texts, noisy)


def test_callbacks_go_through_a_search(word_texts, witness):
    texts, _, noisy = word_texts
    clf = DyGenClassifier(IncrementalDynamics(n_epochs=1), random_state=0)
    search = GridSearchCV(clf, {"correction_threshold": [0, 1]}, cv=2)
    search.set_callbacks(witness).fit(texts, noisy)
    assert witness.began.count("dynamics") == 5
    assert witness.began.count("epoch") == 10


def test_callbacks_are_no_part_of_what_is_cached_or_saved(
    word_texts, witness, tmp_path
):
    texts, _, noisy = word_texts
    clf = DyGenClassifier(
        IncrementalDynamics(), memory=tmp_path / "cache", random_state=0
    ).fit(texts, noisy)
    clf.set_callbacks(witness).fit(texts, noisy)
    assert witness.began == ["fit", "dynamics", "prior", "denoiser"]
    clf.save(tmp_path / "model.skops")
    loaded = skdygen.load(tmp_path / "model.skops")
    assert not hasattr(loaded, "_skl_callbacks")
    loaded.fit(texts, noisy)


def test_fits_inside_a_task_are_not_told_of(word_texts, witness):
    texts, _, noisy = word_texts
    inner = DyGenClassifier(IncrementalDynamics(), random_state=0)
    clf = DyGenClassifier(
        IncrementalDynamics(n_epochs=1), final_estimator=inner, random_state=0
    )
    clf.set_callbacks(witness).fit(texts, noisy)
    assert witness.began[-2:] == ["denoiser", "final_estimator"]
