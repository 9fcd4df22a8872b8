import copy
import gc
import json
import multiprocessing
import os
import pickle
import shutil
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import load
from scipy.special import softmax
from sentence_transformers import SentenceTransformer
from sklearn.base import clone
from tqdm.auto import tqdm

from skdygen._memmap import folder_of_mapped
from skdygen.dynamics._hub import load_sentence_transformer
from tests.conftest import make_word_texts, save_tiny_model
from tests.dynamics.conftest import (
    LABELS,
    TEXTS,
    assert_same,
    before_steps,
    make_dynamics,
)
from tests.test_torch import MODES


def test_what_is_set_after_a_fit_is_for_the_next_one(tiny_model):
    """But for where and how predictions are computed."""
    dynamics = make_dynamics(tiny_model, trainable_layers=1, n_epochs=1)
    expected = dynamics.fit(TEXTS, LABELS).predict_proba(TEXTS)
    replayed = dynamics.transform(TEXTS)
    dynamics.set_params(
        trainable_layers=0, n_branches=3, hidden_size=7, max_length=3, max_windows=1,
        n_components=2, dropout=0.9, batch_size=5,
    )  # fmt: skip
    for fitted in (dynamics, pickle.loads(pickle.dumps(dynamics))):
        assert_allclose(fitted.predict_proba(TEXTS), expected, atol=1e-5)
        again = fitted.transform(TEXTS)
        assert again.fine_tuned
        assert_same(again, replayed, atol=1e-2)
    assert dynamics.fit_transform(TEXTS, LABELS).embeddings.shape[1] == 3


@pytest.mark.parametrize("trainable_layers", [0, 1, "all"])
def test_texts_of_which_a_tokenizer_leaves_nothing(
    tiny_model, trainable_layers, tmp_path
):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))
    dynamics = make_dynamics(folder, trainable_layers=trainable_layers, n_epochs=1)
    dynamics.fit(TEXTS, LABELS)
    alone, beside = dynamics.predict_proba([""]), dynamics.predict_proba(["", "a"])
    assert_allclose(alone[0], beside[0], atol=1e-3)


@pytest.mark.parametrize("trainable_layers", [0, 1, "all"])
def test_learns_and_records(tiny_model, trainable_layers):
    texts, labels = make_word_texts(120)
    dynamics = make_dynamics(
        tiny_model, trainable_layers=trainable_layers, n_epochs=6, learning_rate=3e-3
    )
    trajectories = dynamics.fit_transform(texts, labels)
    assert trajectories.fine_tuned == (trainable_layers != 0)
    width = 16 if trainable_layers == 0 else 32
    assert trajectories.embeddings.shape == (120, 2, 6, width)
    assert trajectories.classes.tolist() == ["animal", "fruit"]
    assert_allclose(trajectories.probabilities.sum(axis=-1), 1, atol=1e-5)
    expected = load_sentence_transformer(tiny_model).encode(texts)
    assert_allclose(trajectories.views["initial"], expected, atol=2e-3)
    new_texts, new_labels = make_word_texts(60, seed=1)
    assert dynamics.score(new_texts, new_labels) > 0.95
    # The embedding moves from epoch to epoch, and branches differ.
    assert np.abs(np.diff(trajectories.embeddings.astype(float), axis=2)).max() > 0.1
    assert not np.allclose(trajectories.embeddings[:, 0], trajectories.embeddings[:, 1])
    losses, speeds = dynamics.history_["loss"], dynamics.history_["tokens_per_second"]
    assert losses[-1] < losses[0] / 2
    assert (len(losses), len(speeds)) == (6, 6)
    assert min(speeds) > 0
    # What is kept of an epoch is what has been trained.
    names = set(load(dynamics.snapshots_[-1]))
    assert not any("word_embeddings" in name for name in names)
    assert any("layer.0." in name for name in names) == (trainable_layers != 0)


@pytest.mark.parametrize(
    ("trainable_layers", "precision"), [(0, "fp32"), (1, "bf16"), ("all", "fp32")]
)
def test_replay_gives_what_was_recorded(tiny_model, trainable_layers, precision):
    dynamics = make_dynamics(
        tiny_model, trainable_layers=trainable_layers, precision=precision,
        n_epochs=2, n_branches=3,
    )  # fmt: skip
    recorded = dynamics.fit_transform(TEXTS, LABELS)
    assert recorded.n_branches == 3
    assert dynamics.precision_ == precision
    again = pickle.loads(pickle.dumps(dynamics))
    assert_same(again.transform(TEXTS), recorded)
    # Other texts in the batch, and so other padding, change next to nothing.
    found = dynamics.transform(TEXTS[:3])
    assert_same(found, recorded[:3], atol=2e-3 if precision == "fp32" else 2e-2)


def test_heads_are_linear_on_the_embedding(fitted):
    dynamics, trajectories = fitted
    for epoch, snapshot in enumerate(dynamics.snapshots_):
        weights = {name: array.astype(float) for name, array in load(snapshot).items()}
        for branch in range(2):
            head = f"branches.{branch}.head"
            embeddings = trajectories.embeddings[:, branch, epoch].astype(float)
            logits = embeddings @ weights[f"{head}.weight"].T + weights[f"{head}.bias"]
            found = trajectories.probabilities[:, branch, epoch]
            assert_allclose(found, softmax(logits, axis=1), atol=5e-3)
    last = trajectories.probabilities[:, :, -1].mean(axis=1)
    assert_allclose(dynamics.predict_proba(TEXTS), last, atol=1e-6)
    assert_array_equal(dynamics.predict(TEXTS), dynamics.classes_[last.argmax(axis=1)])


def test_equal_fits_are_equal_and_others_differ(tiny_model, fitted):
    dynamics, _ = fitted
    unrecorded = clone(dynamics).fit(TEXTS, LABELS)
    assert unrecorded.snapshots_ == dynamics.snapshots_
    plain = make_dynamics(tiny_model, n_epochs=1).fit_transform(TEXTS, LABELS)
    for name, value in (
        ("random_state", 1), ("weight_decay", 1.0), ("max_grad_norm", 0.1),
        ("head_learning_rate", 1e-3), ("learning_rate", 1e-3),
    ):  # fmt: skip
        changed = make_dynamics(tiny_model, n_epochs=1, **{name: value})
        other = changed.fit_transform(TEXTS, LABELS)
        assert not np.array_equal(other.embeddings, plain.embeddings), name


def test_texts_without_label_have_dynamics_but_no_influence(tiny_model):
    partly = np.where(np.arange(75) % 4 == 0, "none", LABELS)
    dynamics = make_dynamics(tiny_model, missing_label="none", n_epochs=1)
    assert len(dynamics.fit_transform(TEXTS, partly)) == 75
    assert dynamics.classes_.tolist() == ["animal", "fruit"]
    swapped = np.where(partly == "none", "saw file", TEXTS)
    assert clone(dynamics).fit(swapped, partly).snapshots_ == dynamics.snapshots_


def test_every_text_is_computed_once(tiny_model, monkeypatch):
    """Where no layer is trained; and then equal texts, for all epochs."""
    forward, sizes = transformers.BertModel.forward, []

    def counted(self, input_ids=None, *args, **kwargs):
        sizes.append(len(input_ids))
        return forward(self, input_ids, *args, **kwargs)

    monkeypatch.setattr(transformers.BertModel, "forward", counted)
    dynamics = make_dynamics(tiny_model, trainable_layers=0)
    expected = dynamics.fit_transform(TEXTS, LABELS)[[3, 1, 3, 3, 0]]
    assert sum(sizes) == len(TEXTS) + 1  # and that by which the model is known
    found = dynamics.transform([TEXTS[3], TEXTS[1], TEXTS[3], TEXTS[3], TEXTS[0]])
    assert sum(sizes) == len(TEXTS) + 1 + 3 + 1
    assert_same(found, expected, atol=1e-3)


def test_what_is_large_together_is_mapped_together(tiny_model, fitted):
    recorded = fitted[1]
    arrays = recorded.embeddings, recorded.probabilities, recorded.views["initial"]
    n_bytes = sum(array.nbytes for array in arrays)
    for max_nbytes in (n_bytes, n_bytes - 1):
        found = make_dynamics(tiny_model, max_nbytes=max_nbytes).fit_transform(
            TEXTS, LABELS
        )
        arrays = found.embeddings, found.probabilities, found.views["initial"]
        is_mapped = {folder_of_mapped(array) is not None for array in arrays}
        assert is_mapped == {max_nbytes < n_bytes}


@pytest.mark.parametrize("params", [{"max_nbytes": "1K"}, {"store_weights": False}])
def test_what_does_not_change_the_numbers(tiny_model, fitted, tmp_path, params):
    dynamics = make_dynamics(tiny_model, temp_folder=str(tmp_path), **params)
    found = dynamics.fit_transform(TEXTS, LABELS)
    assert_same(found, fitted[1])
    assert (folder_of_mapped(found.embeddings) is not None) == ("max_nbytes" in params)
    del found
    assert list(tmp_path.iterdir()) == []
    if "store_weights" in params:
        for method in (dynamics.transform, dynamics.predict, dynamics.predict_proba):
            with pytest.raises(AttributeError, match="store_weights=True"):
                method(TEXTS)
        dynamics.views_ = {}
        assert len(pickle.dumps(dynamics)) < 10_000


def test_views_beside_the_embedding_from_before(tiny_model, fitted):
    dynamics = make_dynamics(tiny_model, views=[])
    recorded = dynamics.fit_transform(TEXTS, LABELS)
    assert list(recorded.views) == ["initial"]
    assert list(fitted[1].views) == ["initial", "lexical"]
    assert_array_equal(recorded.embeddings, fitted[1].embeddings)


def test_only_some_epochs_are_recorded(tiny_model, fitted):
    every, complete = fitted
    dynamics = make_dynamics(tiny_model, n_recorded_epochs=2)
    recorded = dynamics.fit_transform(TEXTS, LABELS)
    assert dynamics.recorded_epochs_ == [1, 2]
    assert dynamics.snapshots_ == every.snapshots_[1:]
    assert_array_equal(recorded.embeddings, complete.embeddings[:, :, 1:])
    # The replay is that of the fit, whatever has been set since.
    dynamics.set_params(n_epochs=7, n_recorded_epochs=1, n_components=3)
    assert_same(dynamics.transform(TEXTS), recorded, atol=2e-3)


def test_predictions_in_several_threads(fitted):
    dynamics = copy.deepcopy(fitted[0])  # whose networks are to be built anew
    parts = [TEXTS[i : i + 15] for i in range(0, 75, 15)] * 2
    calls = [delayed(dynamics.transform)(part) for part in parts]
    calls += [delayed(dynamics.predict_proba)(part) for part in parts]
    with torch.random.fork_rng():  # random numbers belong to all threads
        found = Parallel(n_jobs=4, prefer="threads")(calls)
    for part, one, of_last in zip(parts, found, found[len(parts) :], strict=False):
        assert_same(one, fitted[0].transform(part))
        assert_array_equal(of_last, fitted[0].predict_proba(part))


def test_a_prediction_does_not_wait_for_the_fit_of_another(
    tiny_model, fitted, monkeypatch
):
    """The fit takes no step until the prediction is there."""
    is_fitting, is_predicted = threading.Event(), threading.Event()

    def wait(number):
        is_fitting.set()
        assert is_predicted.wait(timeout=60)

    steps = before_steps(monkeypatch, wait)
    other, dynamics = copy.deepcopy(fitted[0]), make_dynamics(tiny_model)
    thread = threading.Thread(target=dynamics.fit, args=(TEXTS, LABELS))
    thread.start()
    assert is_fitting.wait(timeout=60)
    found = other.predict_proba(TEXTS)
    assert steps == [1]
    is_predicted.set()
    thread.join()
    assert_array_equal(found, fitted[0].predict_proba(TEXTS))
    assert len(dynamics.snapshots_) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_predicts_although_a_thread_was_showing_progress(fitted):
    is_held, is_forked = threading.Event(), threading.Event()

    def show():
        with tqdm.get_lock():
            is_held.set()
            is_forked.wait()

    def predict():
        fitted[0].predict_proba(TEXTS[:2])

    fitted[0].predict_proba(TEXTS[:2])
    thread = threading.Thread(target=show)
    thread.start()
    assert is_held.wait(timeout=60)
    child = multiprocessing.get_context("fork").Process(target=predict)
    child.start()
    is_forked.set()
    thread.join()
    child.join(timeout=30)
    child.kill()  # if it waits for ever
    child.join()
    assert child.exitcode == 0


@pytest.mark.parametrize("mode", MODES)
def test_whatever_modes_torch_is_in(fitted, mode):
    dynamics, expected = fitted
    other = copy.deepcopy(dynamics)  # whose first prediction is in the mode
    with mode():
        predicted = other.transform(TEXTS)
        found = clone(dynamics).fit_transform(TEXTS, LABELS)
    assert_same(predicted, dynamics.transform(TEXTS))
    assert_same(other.transform(TEXTS), predicted)
    assert_same(found, expected)


def test_networks_are_there_for_predictions_only(tiny_model):
    dynamics = make_dynamics(tiny_model, n_epochs=1)
    for _ in range(2):
        dynamics.fit(TEXTS, LABELS)
        assert dynamics._idle_networks == []
        dynamics.transform(TEXTS)
        (networks,) = dynamics._idle_networks
        dynamics.predict(TEXTS)
        assert dynamics._idle_networks == [networks]
    assert copy.copy(dynamics)._idle_networks == []  # they go with no copy
    dynamics.views_ = {}
    kept = sum(map(len, dynamics.snapshots_))
    assert kept < len(pickle.dumps(dynamics)) < kept + 10_000
    # What says how to compute counts when it has been set after that, too.
    dynamics.set_params(max_tokens=20).predict(TEXTS)
    (others,) = dynamics._idle_networks
    assert others.backbone.max_tokens == 20
    references = [weakref.ref(networks), weakref.ref(others)]
    del dynamics, networks, others
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_a_device_that_there_is_not(fitted):
    """Such as where a model is used that was fitted elsewhere."""
    other = copy.deepcopy(fitted[0])
    other.set_params(device="cuda:99")
    with pytest.raises(ValueError, match=r"set_params\(device='auto'\)"):
        other.predict(TEXTS)
    found = other.set_params(device="cpu").predict_proba(TEXTS)
    assert_array_equal(found, fitted[0].predict_proba(TEXTS))


def test_a_model_that_has_been_changed_since(tmp_path):
    dynamics = make_dynamics(save_tiny_model(tmp_path), n_epochs=1).fit(TEXTS, LABELS)
    expected = dynamics.predict_proba(TEXTS)
    changed = copy.deepcopy(dynamics)
    save_tiny_model(tmp_path, seed=1)
    for predict in (changed.transform, changed.predict_proba):
        with pytest.raises(ValueError, match="is not the model that has been fine-tun"):
            predict(TEXTS)
    # The former one, at another place.
    (tmp_path / "former").mkdir()
    changed.set_params(model=save_tiny_model(tmp_path / "former"))
    assert_array_equal(changed.predict_proba(TEXTS), expected)


def test_a_model_by_path_or_loaded(tiny_model, fitted):
    by_path = make_dynamics(Path(tiny_model))
    assert_same(by_path.fit_transform(TEXTS, LABELS), fitted[1])
    model = SentenceTransformer(tiny_model, device="cpu").train().double()
    before = copy.deepcopy(model.state_dict())
    loaded = make_dynamics(model, max_length=40)
    assert_same(loaded.fit_transform(TEXTS, LABELS), fitted[1])
    again = pickle.loads(pickle.dumps(loaded))
    assert_same(again.transform(TEXTS), fitted[0].transform(TEXTS))
    # It is left as it is.
    assert model.training
    assert model.max_seq_length == 64
    assert all(parameter.requires_grad for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])


def test_recording_while_training(tiny_model):
    texts, labels = make_word_texts(120, classes=("animal", "fruit", "tool"))
    is_tool = labels == "tool"
    partly = np.where(is_tool, "none", labels)
    watching = make_dynamics(
        tiny_model, missing_label="none", recording="training", n_epochs=4,
        n_recorded_epochs=2,
    )  # fmt: skip
    watched = watching.fit_transform(texts, partly)
    # The training is the same, and so is what is said of texts it does not use.
    afterwards = clone(watching).set_params(recording="evaluation")
    recorded = afterwards.fit_transform(texts, partly)
    assert watching.snapshots_ == afterwards.snapshots_
    assert_same(watched[is_tool], recorded[is_tool], atol=1e-3)
    # Of the others it is said earlier, and with dropout, but is no less true.
    assert np.isfinite(watched.embeddings.astype(float)).all()
    one, other = (t.probabilities[~is_tool] for t in (watched, recorded))
    assert not np.allclose(one, other, atol=1e-3)
    found = watched.classes[one[:, :, -1].mean(axis=1).argmax(axis=1)]
    assert (found == labels[~is_tool]).mean() > 0.9
    # A mixture takes the last epoch from the one, the first from the other.
    mixed = clone(watching).set_params(recording="auto").fit_transform(texts, partly)
    for moment in ("embeddings", "probabilities"):
        found, first, last = (getattr(t, moment) for t in (mixed, watched, recorded))
        assert_array_equal(found[:, :, 0], first[:, :, 0])
        assert_array_equal(found[:, :, 1], last[:, :, 1])


def test_recorded_embeddings_can_be_projected(tiny_model, fitted):
    dynamics = make_dynamics(tiny_model, n_components=16)
    recorded = dynamics.fit_transform(TEXTS, LABELS)
    assert recorded.embeddings.shape == (75, 2, 3, dynamics.n_features_out_)
    assert dynamics.n_features_out_ == 16
    assert_same(copy.deepcopy(dynamics).transform(TEXTS), recorded, atol=2e-3)
    # The training is the same, and the projection that of all branches and epochs.
    assert dynamics.snapshots_ == fitted[0].snapshots_
    expected = fitted[1].embeddings @ dynamics.projection_.components_.T
    assert_allclose(recorded.embeddings.astype(float), expected, atol=5e-3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"model": 3}, "'model' parameter"),
        ({"n_components": 32}, "the embeddings are no wider than 32"),
    ],
)
def test_bad_parameters(tiny_model, params, message):
    with pytest.raises(ValueError, match=message):
        make_dynamics(tiny_model).set_params(**params).fit(["a", "b"], [0, 1])
