import copy
import gc
import pickle
import threading
import weakref
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import load
from sentence_transformers import SentenceTransformer
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skdygen import _torch
from skdygen._trajectories import folder_of_mapped
from skdygen.dynamics._frozen import Backbone
from skdygen.dynamics._hub import load_sentence_transformer
from tests.conftest import make_word_texts, save_tiny_model
from tests.dynamics.conftest import LABELS, TEXTS, make_dynamics

MOMENTS = ("embeddings", "probabilities", "initial")


def assert_close(found, expected, atol):
    """Compare trajectories, at the scale of the embeddings."""
    atol *= float(np.abs(expected.embeddings).max())
    for moment in MOMENTS:
        one, other = (getattr(t, moment).astype(float) for t in (found, expected))
        assert_allclose(one, other, atol=atol)


def assert_equal(found, expected):
    """Compare trajectories to the bit."""
    for moment in MOMENTS:
        assert_array_equal(getattr(found, moment), getattr(expected, moment))


@pytest.mark.parametrize("trainable_layers", [0, 1, "all"])
def test_learns_and_records(tiny_model, trainable_layers):
    texts, labels = make_word_texts(120)
    dynamics = make_dynamics(
        tiny_model, trainable_layers=trainable_layers, n_epochs=6, learning_rate=5e-3
    )
    trajectories = dynamics.fit_transform(texts, labels)
    width = 16 if trainable_layers == 0 else 32
    assert trajectories.embeddings.shape == (120, 2, 6, width)
    assert trajectories.probabilities.shape == (120, 2, 6, 2)
    assert trajectories.classes.tolist() == ["animal", "fruit"]
    assert_allclose(trajectories.probabilities.sum(axis=-1), 1, atol=1e-5)
    expected = load_sentence_transformer(tiny_model).encode(texts)
    assert_allclose(trajectories.initial, expected, atol=2e-3)
    new_texts, new_labels = make_word_texts(60, seed=1)
    assert dynamics.score(new_texts, new_labels) > 0.95
    # The embedding moves from epoch to epoch, and branches differ.
    assert np.abs(np.diff(trajectories.embeddings.astype(float), axis=2)).max() > 0.1
    assert not np.allclose(trajectories.embeddings[:, 0], trajectories.embeddings[:, 1])
    for figures in (dynamics.history_["loss"], dynamics.history_["tokens_per_second"]):
        assert len(figures) == 6
        assert min(figures) > 0
    assert dynamics.history_["loss"][-1] < dynamics.history_["loss"][0] / 2
    # What is kept of an epoch is what has been trained.
    names = set(load(dynamics.snapshots_[-1]))
    assert not any("word_embeddings" in name for name in names)
    assert any("layer.0." in name for name in names) == (trainable_layers != 0)


@pytest.mark.parametrize(
    ("trainable_layers", "precision"), [(0, "fp32"), (1, "bf16"), ("all", "fp32")]
)
def test_replay_gives_what_was_recorded(tiny_model, trainable_layers, precision):
    dynamics = make_dynamics(
        tiny_model, trainable_layers=trainable_layers, precision=precision, n_epochs=2
    )
    recorded = dynamics.fit_transform(TEXTS, LABELS)
    assert dynamics.precision_ == precision
    again = pickle.loads(pickle.dumps(dynamics))
    assert_close(again.transform(TEXTS), recorded, atol=2e-3)
    # Other texts in the batch, and so other padding, change next to nothing.
    found = dynamics.transform(TEXTS[:3])
    assert_close(found, recorded[:3], atol=2e-3 if precision == "fp32" else 2e-2)


def test_heads_are_linear_on_the_embedding(fitted):
    dynamics, trajectories = fitted
    embeddings = trajectories.embeddings.astype(np.float64)
    for epoch, snapshot in enumerate(dynamics.snapshots_):
        weights = load(snapshot)
        assert all(array.dtype == np.float16 for array in weights.values())
        for branch in range(2):
            head = weights[f"branches.{branch}.head.weight"].astype(np.float64)
            bias = weights[f"branches.{branch}.head.bias"].astype(np.float64)
            expected = np.exp(embeddings[:, branch, epoch] @ head.T + bias)
            expected /= expected.sum(axis=1, keepdims=True)
            found = trajectories.probabilities[:, branch, epoch]
            assert_allclose(found, expected, atol=5e-3)


def test_predict_proba_is_the_last_epoch(fitted):
    dynamics, trajectories = fitted
    expected = trajectories.probabilities[:, :, -1].mean(axis=1)
    assert_allclose(dynamics.predict_proba(TEXTS), expected, atol=1e-6)
    classes = dynamics.classes_[expected.argmax(axis=1)]
    assert_array_equal(dynamics.predict(TEXTS), classes)


def test_seeds(tiny_model, fitted):
    dynamics, expected = fitted
    assert_equal(clone(dynamics).fit_transform(TEXTS, LABELS), expected)
    other = make_dynamics(tiny_model, random_state=1).fit_transform(TEXTS, LABELS)
    assert not np.array_equal(other.embeddings, expected.embeddings)


def test_recording_does_not_disturb_training(tiny_model, fitted):
    plain = make_dynamics(tiny_model).fit(TEXTS, LABELS)
    assert plain.snapshots_ == fitted[0].snapshots_


def test_texts_without_label_have_dynamics_but_no_influence(tiny_model):
    partly = np.where(np.arange(75) % 4 == 0, "none", LABELS)
    dynamics = make_dynamics(tiny_model, missing_label="none", n_epochs=1)
    assert len(dynamics.fit_transform(TEXTS, partly)) == 75
    assert dynamics.classes_.tolist() == ["animal", "fruit"]
    swapped = np.where(partly == "none", "saw file", TEXTS)
    assert clone(dynamics).fit(swapped, partly).snapshots_ == dynamics.snapshots_


@pytest.mark.parametrize("n_epochs", [1, 4])
def test_what_is_not_trained_is_computed_once_per_text(
    tiny_model, n_epochs, monkeypatch
):
    sizes = []
    forward = transformers.BertModel.forward

    def counted(self, input_ids=None, *args, **kwargs):
        sizes.append(0 if input_ids is None else len(input_ids))
        return forward(self, input_ids, *args, **kwargs)

    monkeypatch.setattr(transformers.BertModel, "forward", counted)
    make_dynamics(tiny_model, trainable_layers=0, n_epochs=n_epochs).fit(TEXTS, LABELS)
    assert sum(sizes) == len(TEXTS) + 1  # and that by which the model is known


def test_trajectories_above_max_nbytes_are_mapped(tiny_model, fitted, tmp_path):
    _, expected = fitted
    assert not folder_of_mapped(expected.embeddings)
    mapped = make_dynamics(tiny_model, max_nbytes="1K", temp_folder=str(tmp_path))
    found = mapped.fit_transform(TEXTS, LABELS)
    assert folder_of_mapped(found.embeddings)
    assert_equal(found, expected)
    del found
    assert list(tmp_path.iterdir()) == []


def test_stage_in_a_pipeline_of_scikit_learn(tiny_model):
    texts, labels = make_word_texts(100)
    model = make_pipeline(make_dynamics(tiny_model), LogisticRegression(max_iter=1000))
    model.fit(texts[:60], labels[:60])
    assert model.score(texts[60:], labels[60:]) > 0.9


def test_replay_is_that_of_the_fit_whatever_has_been_set_since(fitted):
    dynamics = copy.deepcopy(fitted[0])
    expected = dynamics.transform(TEXTS)
    changed = {"n_epochs": 7, "n_recorded_epochs": 1, "n_components": 3}
    assert_equal(dynamics.set_params(**changed).transform(TEXTS), expected)


def test_predictions_in_several_threads(fitted):
    dynamics = copy.deepcopy(fitted[0])  # whose networks are to be built anew
    parts = [TEXTS[i : i + 15] for i in range(0, 75, 15)] * 2
    calls = [delayed(dynamics.transform)(part) for part in parts]
    calls += [delayed(dynamics.predict_proba)(part) for part in parts]
    with torch.random.fork_rng():  # random numbers belong to all threads
        found = Parallel(n_jobs=4, prefer="threads")(calls)
    for part, one, of_last in zip(parts, found, found[len(parts) :], strict=False):
        assert_equal(one, fitted[0].transform(part))
        assert_array_equal(of_last, fitted[0].predict_proba(part))


def test_a_prediction_does_not_wait_for_the_fit_of_another(
    tiny_model, fitted, monkeypatch
):
    """The fit takes no step until the prediction is there."""
    is_fitting, is_predicted = threading.Event(), threading.Event()
    step = torch.optim.AdamW.step

    def late_step(*args, **kwargs):
        is_fitting.set()
        assert is_predicted.wait(timeout=60)
        return step(*args, **kwargs)

    other = copy.deepcopy(fitted[0])
    monkeypatch.setattr(torch.optim.AdamW, "step", late_step)
    dynamics = make_dynamics(tiny_model)
    thread = threading.Thread(target=dynamics.fit, args=(TEXTS, LABELS))
    thread.start()
    assert is_fitting.wait(timeout=60)
    found = other.predict_proba(TEXTS)
    is_predicted.set()
    thread.join()
    assert_array_equal(found, fitted[0].predict_proba(TEXTS))
    assert len(dynamics.snapshots_) == 3


@contextmanager
def other_defaults():
    """Have tensors made in float64, on a device that stands for a GPU."""
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            yield
            assert torch.empty(1).device.type == "meta"
            assert torch.empty(1).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "mode",
    [
        other_defaults,
        torch.inference_mode,
        torch.no_grad,
        lambda: torch.autocast("cpu", torch.bfloat16),
    ],
)
def test_whatever_modes_torch_is_in(fitted, mode):
    dynamics, expected = fitted
    replayed = dynamics.transform(TEXTS)
    with mode():
        predicted = copy.deepcopy(dynamics).transform(TEXTS)
        found = clone(dynamics).fit_transform(TEXTS, LABELS)
    assert_equal(predicted, replayed)
    assert_equal(found, expected)


def test_networks_are_there_for_predictions_only(tiny_model, fitted):
    dynamics = make_dynamics(tiny_model, n_epochs=1)
    for _ in range(2):
        dynamics.fit(TEXTS, LABELS)
        assert dynamics._idle_networks == []
        expected = dynamics.transform(TEXTS)
        (networks,) = dynamics._idle_networks
        dynamics.predict(TEXTS)
        assert dynamics._idle_networks == [networks]
    # They go with no copy, and each prediction of a copy is the same.
    copies = [copy.copy(dynamics), copy.deepcopy(dynamics)]
    copies.append(pickle.loads(pickle.dumps(dynamics)))
    for other in copies:
        assert other._idle_networks == []
        assert_equal(other.transform(TEXTS), expected)
    # What says how to compute counts when it has been set after that, too.
    dynamics.set_params(max_tokens=20).predict(TEXTS)
    (others,) = dynamics._idle_networks
    assert others.backbone.max_tokens == 20
    assert_close(dynamics.transform(TEXTS), expected, atol=1e-3)
    # Nothing else holds them.
    references = [weakref.ref(networks), weakref.ref(others)]
    del dynamics, networks, others
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_a_prediction_that_fails_leaves_no_networks(fitted, monkeypatch):
    dynamics = copy.deepcopy(fitted[0])
    expected = dynamics.predict_proba(TEXTS)

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Backbone, "encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            dynamics.predict(TEXTS)
    assert dynamics._idle_networks == []
    assert_array_equal(dynamics.predict_proba(TEXTS), expected)


def test_a_device_that_there_is_not(tiny_model, fitted, tmp_path):
    for device in ("gpu", "cuda:99"):
        dynamics = make_dynamics(tiny_model, device=device, checkpoint_dir=tmp_path)
        with pytest.raises(ValueError, match=f"device='{device}' cannot be used here"):
            dynamics.fit(TEXTS, LABELS)
        assert list(tmp_path.iterdir()) == []
    # Such as where a model is used that was fitted elsewhere.
    other = copy.deepcopy(fitted[0]).set_params(device="cuda:99")
    with pytest.raises(ValueError, match=r"set_params\(device='auto'\)"):
        other.predict(TEXTS)
    found = other.set_params(device="cpu").predict_proba(TEXTS)
    assert_array_equal(found, fitted[0].predict_proba(TEXTS))


def test_a_device_for_several_processes(tiny_model, monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr(_torch, "n_processes", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: gpu)
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: 1)
    assert _torch.find_device("auto") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="device='cpu' cannot be that of 2 processes"):
        make_dynamics(tiny_model, device="cpu").fit(TEXTS, LABELS)


def test_a_model_that_has_been_changed_since(tmp_path):
    model = save_tiny_model(tmp_path)
    dynamics = make_dynamics(model, n_epochs=1).fit(TEXTS, LABELS)
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
    _, expected = fitted
    by_path = make_dynamics(Path(tiny_model))
    assert_equal(by_path.fit_transform(TEXTS, LABELS), expected)
    model = SentenceTransformer(tiny_model, device="cpu").train().half()
    model.max_seq_length = 40
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loaded = make_dynamics(model)
    found = loaded.fit_transform(TEXTS, LABELS)
    assert_close(found, expected, atol=0.05)  # it has been half
    assert_close(pickle.loads(pickle.dumps(loaded)).transform(TEXTS), found, atol=2e-3)
    # It is left as it is.
    assert model.training
    assert model.max_seq_length == 40
    assert all(parameter.requires_grad for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float16
        assert torch.equal(tensor, before[name])


def test_silent_by_default_and_progress_on_demand(tiny_model, capfd):
    make_dynamics(tiny_model, n_epochs=1).fit(TEXTS, LABELS)
    assert capfd.readouterr() == ("", "")
    make_dynamics(tiny_model, n_epochs=1, verbose=1).fit(TEXTS, LABELS)
    assert "fine-tuning: 100%" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_epochs": 0}, "'n_epochs' parameter"),
        ({"n_branches": 0}, "'n_branches' parameter"),
        ({"trainable_layers": "some"}, "'trainable_layers' parameter"),
        ({"trainable_layers": -1}, "'trainable_layers' parameter"),
        ({"model": 3}, "'model' parameter"),
        ({"n_components": 32}, "the embeddings are no wider than 32"),
        ({"n_recorded_epochs": 0}, "'n_recorded_epochs' parameter"),
        ({"recording": "no"}, "'recording' parameter"),
        ({"max_tokens": 0}, "'max_tokens' parameter"),
        ({"warmup_ratio": 1.0}, "'warmup_ratio' parameter"),
        ({"precision": "fp8"}, "'precision' parameter"),
        ({"max_nbytes": "much"}, "max_nbytes='much' is not a size"),
    ],
)
def test_bad_parameters(tiny_model, params, message):
    dynamics = make_dynamics(tiny_model).set_params(**params)
    with pytest.raises(ValueError, match=message):
        dynamics.fit(["a", "b"], [0, 1])


def test_equal_texts_are_computed_once(fitted, monkeypatch):
    dynamics, _ = fitted
    repeated = [TEXTS[3], TEXTS[1], TEXTS[3], TEXTS[3], TEXTS[0]]
    expected = dynamics.transform(TEXTS[:4])[[3, 1, 3, 3, 0]]
    encode, counts = Backbone.encode, []

    def counted(self, texts):
        counts.append(len(texts))
        return encode(self, texts)

    monkeypatch.setattr(Backbone, "encode", counted)
    found = dynamics.transform(repeated)
    assert_close(found, expected, atol=1e-3)
    last = found.probabilities[:, :, -1].mean(axis=1)
    assert_allclose(dynamics.predict_proba(repeated), last, rtol=1e-6)
    assert counts == [3, 3]


def test_recorded_epochs(tiny_model, fitted):
    every, complete = fitted
    dynamics = make_dynamics(tiny_model, n_recorded_epochs=2)
    recorded = dynamics.fit_transform(TEXTS, LABELS)
    assert dynamics.recorded_epochs_ == [1, 2]
    assert dynamics.snapshots_ == every.snapshots_[1:]
    assert_array_equal(recorded.embeddings, complete.embeddings[:, :, 1:])
    assert_array_equal(recorded.probabilities, complete.probabilities[:, :, 1:])
    assert_close(dynamics.transform(TEXTS), recorded, atol=2e-3)
    assert_allclose(dynamics.predict_proba(TEXTS), every.predict_proba(TEXTS))


def test_recording_while_training(tiny_model):
    texts, labels = make_word_texts(120, classes=("animal", "fruit", "tool"))
    partly = np.where(labels == "tool", "none", labels)
    dynamics = make_dynamics(
        tiny_model, missing_label="none", recording="training", n_epochs=4,
        n_recorded_epochs=2,
    )  # fmt: skip
    watched = dynamics.fit_transform(texts, partly)
    assert np.isfinite(watched.embeddings.astype(float)).all()
    assert_allclose(watched.probabilities.sum(axis=-1), 1, atol=1e-5)
    # The training is the same, and so is what is said of texts it does not use.
    afterwards = clone(dynamics).set_params(recording="evaluation")
    recorded = afterwards.fit_transform(texts, partly)
    assert dynamics.snapshots_ == afterwards.snapshots_
    is_tool = labels == "tool"
    one, other = watched.probabilities, recorded.probabilities
    assert_allclose(one[is_tool], other[is_tool], atol=1e-3)
    # Of the others it is said earlier, and with dropout, but is no less true.
    assert not np.allclose(one[~is_tool], other[~is_tool], atol=1e-3)
    found = watched.classes[one[:, :, -1].mean(axis=1).argmax(axis=1)]
    assert (found == labels)[~is_tool].mean() > 0.9
    # A mixture takes the last epoch from the one, the first from the other.
    mixed = clone(dynamics).set_params(recording="auto").fit_transform(texts, partly)
    for moment in ("embeddings", "probabilities"):
        found, first, last = (getattr(t, moment) for t in (mixed, watched, recorded))
        assert_array_equal(found[:, :, 0], first[:, :, 0])
        assert_array_equal(found[:, :, 1], last[:, :, 1])


def test_size_of_a_fitted_model(fitted):
    dynamics, _ = fitted
    dynamics.predict(TEXTS[:1])
    branches = dynamics._idle_networks[0].branches
    trained = sum(p.numel() for p in branches.trained_parameters().values())
    # Two bytes for each trained weight and epoch, and names of the weights beside.
    names = sum(200 * len(name) for name in branches.trained_parameters())
    assert 2 * 3 * trained < len(pickle.dumps(dynamics)) < 2 * 3 * trained + names


def test_without_weights(tiny_model, fitted):
    without = make_dynamics(tiny_model, store_weights=False)
    assert_equal(without.fit_transform(TEXTS, LABELS), fitted[1])
    assert len(pickle.dumps(without)) < 10_000 < len(pickle.dumps(fitted[0]))
    for method in (without.transform, without.predict, without.predict_proba):
        with pytest.raises(AttributeError, match="store_weights=True"):
            method(TEXTS)


def test_recorded_embeddings_can_be_projected(tiny_model, fitted):
    whole, expected = fitted
    dynamics = make_dynamics(tiny_model, n_components=16)
    recorded = dynamics.fit_transform(TEXTS, LABELS)
    assert recorded.embeddings.shape == (75, 2, 3, 16)
    assert dynamics.n_features_out_ == 16
    assert_array_equal(recorded.initial, expected.initial)
    assert_close(copy.deepcopy(dynamics).transform(TEXTS), recorded, atol=2e-3)
    # The training is the same, and distances nearly stay.
    assert dynamics.snapshots_ == whole.snapshots_
    pairs = np.random.RandomState(0).randint(75, size=(2, 200))

    def distances(embeddings):
        last = embeddings[:, 0, -1].astype(float)
        return np.linalg.norm(last[pairs[0]] - last[pairs[1]], axis=1)

    original, found = distances(expected.embeddings), distances(recorded.embeddings)
    assert np.corrcoef(found, original)[0, 1] > 0.9
    assert np.median(found / original.clip(1e-9)) == pytest.approx(1, abs=0.3)


def test_weight_decay_shrinks_the_weights(tiny_model):
    norms = []
    for weight_decay in (0.0, 100.0):
        dynamics = make_dynamics(
            tiny_model, trainable_layers=0, weight_decay=weight_decay
        ).fit(TEXTS, LABELS)
        weights = load(dynamics.snapshots_[-1])
        norms.append(np.linalg.norm(weights["branches.0.body.layers.1.weight"]))
    assert norms[1] < norms[0] / 2
