"""What a fit shows and logs, and that it can be silent."""

import logging
import re
from unittest.mock import Mock

import pytest

from skdygen import DyGenClassifier
from skdygen.denoisers import DirichletVAE
from skdygen.dynamics import LanguageModelDynamics
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
