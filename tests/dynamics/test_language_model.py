import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skdygen import DyGenClassifier
from skdygen.dynamics import LanguageModelDynamics
from skdygen.dynamics._backbone import Backbone
from skdygen.dynamics._language_model import _loaded
from skdygen.dynamics._models import load_sentence_transformer
from skdygen.utils._storage import folder_of_mapped
from tests.conftest import make_word_texts, save_tiny_model

LAYERS = [0, 1, "all"]


def make_dynamics(tiny_model, **params):
    settings = {
        "n_epochs": 3,
        "trajectory_epochs": None,
        "batch_size": 16,
        "learning_rate": 1e-2,
        "head_learning_rate": 1e-2,
        "hidden_size": 16,
        "random_state": 0,
        "precision": "fp32",
    }
    return LanguageModelDynamics(tiny_model, **(settings | params))


@pytest.mark.parametrize("trainable_layers", LAYERS)
def test_learns_and_records(tiny_model, trainable_layers):
    texts, labels = make_word_texts(240)
    dynamics = make_dynamics(
        tiny_model, trainable_layers=trainable_layers, n_epochs=6, learning_rate=5e-3
    )
    trajectories = dynamics.fit_transform(texts, labels)
    width = 16 if trainable_layers == 0 else 32
    assert trajectories.embeddings.shape == (240, 2, 6, width)
    assert trajectories.probabilities.shape == (240, 2, 6, 2)
    assert trajectories.classes.tolist() == ["animal", "fruit"]
    assert_allclose(trajectories.probabilities.sum(axis=-1), 1, atol=1e-5)
    new_texts, new_labels = make_word_texts(60, seed=1)
    assert dynamics.score(new_texts, new_labels) > 0.95
    # The embedding moves from epoch to epoch, and branches differ.
    assert np.abs(np.diff(trajectories.embeddings.astype(float), axis=2)).max() > 0.1
    assert not np.allclose(trajectories.embeddings[:, 0], trajectories.embeddings[:, 1])


@pytest.mark.parametrize("trainable_layers", LAYERS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_replay_gives_what_was_recorded(
    tiny_model, word_texts, trainable_layers, precision
):
    texts, _, noisy = word_texts
    dynamics = make_dynamics(
        tiny_model, trainable_layers=trainable_layers, precision=precision,
        recording="evaluation",
    )  # fmt: skip
    recorded = dynamics.fit_transform(texts, noisy)
    for fitted in (dynamics, pickle.loads(pickle.dumps(dynamics))):
        replayed = fitted.transform(texts)
        # Half precision, at the scale of the embeddings.
        scale = np.abs(recorded.embeddings).max()
        for moment in ("embeddings", "probabilities", "initial"):
            assert_allclose(
                getattr(replayed, moment).astype(float),
                getattr(recorded, moment).astype(float),
                atol=2e-3 * float(scale),
            )
        # Other texts in the batch, and so other padding, change next to nothing.
        assert_allclose(
            fitted.transform(texts[:3]).embeddings.astype(float),
            recorded.embeddings[:3].astype(float),
            atol=(2e-3 if precision == "fp32" else 2e-2) * float(scale),
        )


def test_heads_are_linear_on_the_embedding(tiny_model, word_texts):
    texts, _, noisy = word_texts
    dynamics = make_dynamics(tiny_model, recording="evaluation")
    trajectories = dynamics.fit_transform(texts, noisy)
    from safetensors.numpy import load

    for epoch, snapshot in enumerate(dynamics.snapshots_):
        weights = load(snapshot)
        assert all(array.dtype == np.float16 for array in weights.values())
        for branch in range(2):
            head = weights[f"branches.{branch}.head.weight"].astype(np.float64)
            bias = weights[f"branches.{branch}.head.bias"].astype(np.float64)
            embedding = trajectories.embeddings[:, branch, epoch].astype(np.float64)
            logits = embedding @ head.T + bias
            expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            found = trajectories.probabilities[:, branch, epoch]
            assert_allclose(found, expected, atol=5e-3)


def test_predict_proba_is_the_last_epoch(tiny_model, word_texts):
    texts, _, noisy = word_texts
    dynamics = make_dynamics(tiny_model)
    trajectories = dynamics.fit_transform(texts, noisy)
    expected = trajectories.probabilities[:, :, -1].mean(axis=1)
    assert_allclose(dynamics.predict_proba(texts), expected, atol=1e-6)
    assert_array_equal(
        dynamics.predict(texts), dynamics.classes_[expected.argmax(axis=1)]
    )


@pytest.mark.parametrize("trainable_layers", LAYERS)
def test_equal_seeds_give_equal_results(tiny_model, word_texts, trainable_layers):
    texts, _, noisy = word_texts
    dynamics = make_dynamics(tiny_model, trainable_layers=trainable_layers)
    first = dynamics.fit_transform(texts, noisy)
    second = clone(dynamics).fit_transform(texts, noisy)
    assert_array_equal(first.embeddings, second.embeddings)
    assert_array_equal(first.probabilities, second.probabilities)
    other = clone(dynamics).set_params(random_state=1).fit_transform(texts, noisy)
    assert not np.array_equal(first.embeddings, other.embeddings)


def test_recording_does_not_disturb_training(tiny_model, word_texts):
    texts, _, noisy = word_texts
    recorded = make_dynamics(tiny_model)
    recorded.fit_transform(texts, noisy)
    assert make_dynamics(tiny_model).fit(texts, noisy).snapshots_ == recorded.snapshots_


def test_texts_without_label_have_dynamics_but_no_influence(tiny_model):
    texts, labels = make_word_texts(80)
    partly = np.where(np.arange(80) % 4 == 0, "none", labels)
    dynamics = make_dynamics(tiny_model, missing_label="none")
    trajectories = dynamics.fit_transform(texts, partly)
    assert len(trajectories) == 80
    assert dynamics.classes_.tolist() == ["animal", "fruit"]
    swapped = [
        "saw file" if label == "none" else text
        for text, label in zip(texts, partly, strict=True)
    ]
    again = clone(dynamics).fit(swapped, partly)
    assert again.snapshots_ == dynamics.snapshots_


def test_what_is_not_trained_is_computed_once_per_text(
    tiny_model, word_texts, monkeypatch
):
    from transformers import BertModel

    texts, _, noisy = word_texts
    calls = []
    forward = BertModel.forward

    def counted(self, input_ids=None, *args, **kwargs):
        if input_ids is not None:
            calls.append(len(input_ids))
        return forward(self, input_ids, *args, **kwargs)

    monkeypatch.setattr(BertModel, "forward", counted)
    for n_epochs in (1, 4):
        calls.clear()
        make_dynamics(tiny_model, trainable_layers=0, n_epochs=n_epochs).fit(
            texts, noisy
        )
        assert sum(calls) == len(texts) + 1  # and that by which the model is known


def test_trajectories_above_max_nbytes_are_mapped(tiny_model, word_texts, tmp_path):
    texts, _, noisy = word_texts
    in_memory = make_dynamics(tiny_model, trainable_layers=1)
    mapped = clone(in_memory).set_params(max_nbytes="1K", temp_folder=str(tmp_path))
    expected = in_memory.fit_transform(texts, noisy)
    found = mapped.fit_transform(texts, noisy)
    assert folder_of_mapped(found.embeddings)
    assert not folder_of_mapped(expected.embeddings)
    assert_array_equal(found.embeddings, expected.embeddings)
    del found
    assert list(tmp_path.iterdir()) == []


def test_stage_in_a_pipeline_of_scikit_learn(tiny_model, word_texts):
    texts, labels, _ = word_texts
    model = make_pipeline(make_dynamics(tiny_model), LogisticRegression(max_iter=1000))
    model.fit(texts[:80], labels[:80])
    assert model.score(texts[80:], labels[80:]) > 0.9


def test_replay_is_that_of_the_fit_whatever_has_been_set_since(tiny_model, word_texts):
    texts, _, noisy = word_texts
    dynamics = make_dynamics(tiny_model).fit(texts, noisy)
    before = dynamics.transform(texts)
    after = dynamics.set_params(n_epochs=7).transform(texts)
    assert after.shape == before.shape
    assert_array_equal(after.embeddings, before.embeddings)


@pytest.mark.parametrize("trainable_layers", LAYERS)
def test_predictions_in_several_threads(tiny_model, word_texts, trainable_layers):
    texts, _, noisy = word_texts
    dynamics = make_dynamics(tiny_model, trainable_layers=trainable_layers)
    dynamics.fit(texts, noisy)
    parts = [texts[i : i + 20] for i in range(0, 120, 20)] * 2
    expected = [dynamics.transform(part) for part in parts]
    of_last = [dynamics.predict_proba(part) for part in parts]
    dynamics = pickle.loads(pickle.dumps(dynamics))  # networks to be built anew
    calls = [delayed(dynamics.transform)(part) for part in parts]
    calls += [delayed(dynamics.predict_proba)(part) for part in parts]
    found = Parallel(n_jobs=6, prefer="threads")(calls)
    for one, other in zip(found, expected, strict=False):
        assert_array_equal(one.embeddings, other.embeddings)
        assert_array_equal(one.probabilities, other.probabilities)
    for one, other in zip(found[len(parts) :], of_last, strict=True):
        assert_array_equal(one, other)


def test_fits_in_several_threads(tiny_model, word_texts):
    """Each as if it were alone, though random numbers belong to the process."""
    texts, _, noisy = word_texts
    fits = [
        DyGenClassifier(
            make_dynamics(tiny_model, dropout=0.3, random_state=None), random_state=seed
        )
        for seed in range(4)
    ]
    expected = [clone(clf).fit(texts, noisy).predict_proba(texts[:9]) for clf in fits]

    def fit(clf):
        return clf.fit(texts, noisy).predict_proba(texts[:9])

    found = Parallel(n_jobs=4, prefer="threads")(delayed(fit)(clf) for clf in fits)
    assert_array_equal(found, expected)


@pytest.mark.parametrize("trainable_layers", LAYERS)
def test_whatever_tensors_the_user_has_by_default(
    tiny_model, word_texts, trainable_layers
):
    texts, _, noisy = word_texts
    clf = DyGenClassifier(
        make_dynamics(tiny_model, trainable_layers=trainable_layers), random_state=0
    )
    expected = clone(clf).fit(texts, noisy).predict_proba(texts)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):  # stands for a GPU
            found = clf.fit(texts, noisy).predict_proba(texts)
            assert torch.empty(1).device.type == "meta"
        assert torch.empty(1).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert_array_equal(found, expected)


def test_networks_are_there_for_predictions_only(tiny_model, word_texts):
    texts, _, noisy = word_texts
    dynamics = make_dynamics(tiny_model)
    for _ in range(2):
        dynamics.fit(texts, noisy)
        assert dynamics not in _loaded
        expected = dynamics.transform(texts)
        networks = dynamics._load_networks()
        dynamics.predict(texts)
        assert dynamics._load_networks()[0] is networks[0]
    # What says how to compute counts when it has been set after that, too.
    dynamics.set_params(max_tokens=20).predict(texts)
    assert dynamics._load_networks()[0].max_tokens == 20
    assert_allclose(
        dynamics.transform(texts).probabilities, expected.probabilities, atol=1e-3
    )
    n_before = len(_loaded)
    del dynamics
    assert len(_loaded) == n_before - 1


def test_a_device_that_there_is_not(tiny_model, word_texts, tmp_path):
    texts, _, noisy = word_texts
    for device in ("gpu", "cuda:99"):
        dynamics = make_dynamics(tiny_model, device=device, checkpoint_dir=tmp_path)
        with pytest.raises(ValueError, match=f"device='{device}' cannot be used here"):
            dynamics.fit(texts, noisy)
        assert list(tmp_path.iterdir()) == []
    # Such as where a model is used that was fitted elsewhere.
    fitted = make_dynamics(tiny_model).fit(texts, noisy)
    expected = fitted.predict_proba(texts)
    fitted = pickle.loads(pickle.dumps(fitted.set_params(device="cuda:99")))
    with pytest.raises(ValueError, match=r"set_params\(device='auto'\)"):
        fitted.predict(texts)
    fitted.set_params(device="auto")
    assert_array_equal(fitted.predict_proba(texts), expected)


def test_a_device_for_several_processes(tiny_model, word_texts, monkeypatch):
    texts, _, noisy = word_texts
    several = SimpleNamespace(num_processes=2, device=torch.device("cuda:1"))
    monkeypatch.setattr("skdygen.utils._processes.state", lambda: several)
    dynamics = make_dynamics(tiny_model, device="cpu")
    with pytest.raises(ValueError, match="device='cpu' cannot be that of 2 processes"):
        dynamics.fit(texts, noisy)


@pytest.mark.parametrize("trainable_layers", LAYERS)
def test_a_model_that_has_been_changed_since(word_texts, trainable_layers, tmp_path):
    texts, _, noisy = word_texts
    model = save_tiny_model(tmp_path)
    dynamics = make_dynamics(model, trainable_layers=trainable_layers)
    expected = dynamics.fit(texts, noisy).predict_proba(texts)
    dynamics.save(tmp_path / "saved")
    save_tiny_model(tmp_path, seed=1)
    changed = LanguageModelDynamics.load(tmp_path / "saved")
    for predict in (changed.transform, changed.predict_proba):
        with pytest.raises(ValueError, match="is not the model that has been fine-tun"):
            predict(texts)
    # The former one, at another place.
    (tmp_path / "former").mkdir()
    changed.set_params(model=save_tiny_model(tmp_path / "former"))
    assert_array_equal(changed.predict_proba(texts), expected)


def test_silent_by_default_and_progress_on_demand(tiny_model, word_texts, capfd):
    texts, _, noisy = word_texts
    make_dynamics(tiny_model).fit(texts, noisy)
    assert capfd.readouterr() == ("", "")
    make_dynamics(tiny_model, verbose=1).fit(texts, noisy)
    assert "fine-tuning: 100%" in capfd.readouterr().err


def test_loss_that_is_not_finite(tiny_model, word_texts):
    texts, _, noisy = word_texts
    dynamics = make_dynamics(tiny_model, learning_rate=1e30, max_grad_norm=1e30)
    with pytest.raises(FloatingPointError, match="learning_rate"):
        dynamics.fit(texts, noisy)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_epochs": 0}, "'n_epochs' parameter"),
        ({"n_branches": 0}, "'n_branches' parameter"),
        ({"trainable_layers": "some"}, "'trainable_layers' parameter"),
        ({"trainable_layers": -1}, "'trainable_layers' parameter"),
        ({"n_components": 32}, "the embeddings are no wider than 32"),
        ({"trajectory_epochs": 0}, "'trajectory_epochs' parameter"),
        ({"recording": "no"}, "'recording' parameter"),
        ({"max_tokens": 0}, "'max_tokens' parameter"),
        ({"warmup": 1.0}, "'warmup' parameter"),
        ({"precision": "fp8"}, "'precision' parameter"),
        ({"max_nbytes": "much"}, "max_nbytes='much' is not a size"),
    ],
)
def test_bad_parameters(tiny_model, params, message):
    with pytest.raises(ValueError, match=message):
        make_dynamics(tiny_model, **params).fit(["a", "b"], [0, 1])


@pytest.mark.parametrize("trainable_layers", LAYERS)
def test_embedding_before_the_training_is_recorded(
    tiny_model, word_texts, trainable_layers
):
    texts, _, noisy = word_texts
    model = load_sentence_transformer(tiny_model)
    expected = model.encode(texts)
    dynamics = make_dynamics(
        tiny_model, trainable_layers=trainable_layers, precision="fp32"
    )
    for found in (dynamics.fit_transform(texts, noisy), dynamics.transform(texts)):
        assert_allclose(found.initial, expected, atol=2e-3)


def test_equal_texts_are_computed_once(tiny_model, word_texts, monkeypatch):
    texts, _, noisy = word_texts
    dynamics = make_dynamics(tiny_model).fit(texts, noisy)
    repeated = [texts[3], texts[1], texts[3], texts[3], texts[0]]
    expected = dynamics.transform(texts[:4])[[3, 1, 3, 3, 0]]
    encode, counts = Backbone.encode, []

    def counted(self, texts):
        counts.append(len(texts))
        return encode(self, texts)

    monkeypatch.setattr(Backbone, "encode", counted)
    found = dynamics.transform(repeated)
    assert_allclose(found.probabilities, expected.probabilities, atol=1e-3)
    assert_allclose(found.initial, expected.initial, atol=1e-3)
    assert_allclose(
        dynamics.predict_proba(repeated),
        found.probabilities[:, :, -1].mean(axis=1),
        rtol=1e-6,
    )
    assert counts == [3, 3]


@pytest.mark.parametrize(
    ("n_kept", "expected"),
    [
        (None, [0, 1, 2, 3, 4]),
        (9, [0, 1, 2, 3, 4]),
        (3, [1, 2, 4]),
        (2, [1, 4]),
        (1, [4]),
    ],
)
def test_kept_epochs_are_spread_and_end_with_the_last(
    tiny_model, word_texts, n_kept, expected
):
    texts, _, noisy = word_texts
    every = make_dynamics(tiny_model, n_epochs=5, trainable_layers=0)
    complete = every.fit_transform(texts, noisy)
    dynamics = clone(every).set_params(trajectory_epochs=n_kept)
    recorded = dynamics.fit_transform(texts, noisy)
    assert dynamics.trajectory_epochs_ == expected
    assert len(dynamics.snapshots_) == len(expected)
    assert_array_equal(recorded.embeddings, complete.embeddings[:, :, expected])
    assert_array_equal(recorded.probabilities, complete.probabilities[:, :, expected])
    replayed = dynamics.transform(texts)
    assert_allclose(replayed.embeddings, recorded.embeddings, atol=1e-2)
    assert_allclose(dynamics.predict_proba(texts), every.predict_proba(texts))


@pytest.mark.parametrize(
    ("trainable_layers", "expected"),
    [(0, [0, 1, 2, 3, 4]), (1, [1, 4]), ("all", [1, 4])],
)
def test_epochs_that_are_kept_by_default(
    tiny_model, word_texts, trainable_layers, expected
):
    texts, _, noisy = word_texts
    dynamics = LanguageModelDynamics(
        tiny_model, trainable_layers=trainable_layers, n_epochs=5, random_state=0
    )
    assert dynamics.fit_transform(texts, noisy).n_epochs == len(expected)
    assert dynamics.trajectory_epochs_ == expected


@pytest.mark.parametrize("trainable_layers", LAYERS)
def test_recording_while_training(tiny_model, trainable_layers):
    texts, labels = make_word_texts(240, classes=("animal", "fruit", "tool"))
    partly = np.where(labels == "tool", "none", labels)
    dynamics = make_dynamics(
        tiny_model, trainable_layers=trainable_layers, missing_label="none",
        recording="training", n_epochs=6, trajectory_epochs=2, learning_rate=5e-3,
    )  # fmt: skip
    watched = dynamics.fit_transform(texts, partly)
    assert np.isfinite(watched.embeddings.astype(float)).all()
    assert_allclose(watched.probabilities.sum(axis=-1), 1, atol=1e-5)
    # The training is the same, and so is what is said of texts it does not use.
    afterwards = clone(dynamics).set_params(recording="evaluation")
    recorded = afterwards.fit_transform(texts, partly)
    assert dynamics.snapshots_ == afterwards.snapshots_
    is_tool = labels == "tool"
    assert_allclose(
        watched.probabilities[is_tool], recorded.probabilities[is_tool], atol=1e-3
    )
    # Of the others it is said earlier, and with dropout, but is no less true.
    assert not np.allclose(
        watched.probabilities[~is_tool], recorded.probabilities[~is_tool], atol=1e-3
    )
    last = watched.probabilities[~is_tool][:, :, -1].mean(axis=1)
    found = watched.classes[last.argmax(axis=1)]
    assert (found == labels[~is_tool]).mean() > 0.9
    # A mixture takes the last epoch from the one, the first from the other.
    mixed = clone(dynamics).set_params(recording="mixed").fit_transform(texts, partly)
    for moment in ("embeddings", "probabilities"):
        found, first, last = (getattr(t, moment) for t in (mixed, watched, recorded))
        assert_array_equal(found[:, :, 0], first[:, :, 0])
        assert_array_equal(found[:, :, 1], last[:, :, 1])
    # By default it is that mixture, but on a frozen model, where a pass costs nothing.
    by_default = clone(dynamics).set_params(recording="auto")
    found = by_default.fit_transform(texts, partly)
    expected = recorded if trainable_layers == 0 else mixed
    assert_array_equal(found.embeddings, expected.embeddings)


@pytest.mark.parametrize("trainable_layers", LAYERS)
def test_size_of_a_fitted_model(tiny_model, word_texts, trainable_layers):
    texts, _, noisy = word_texts
    dynamics = make_dynamics(
        tiny_model, trainable_layers=trainable_layers, trajectory_epochs=2
    ).fit(texts, noisy)
    _, branches = dynamics._load_networks()
    trained = sum(p.numel() for p in branches.trained_parameters().values())
    everything = sum(p.numel() for p in branches.parameters())
    assert trained < everything or trainable_layers == 0
    # Two bytes for each trained weight and epoch, and names of the weights beside.
    names = sum(200 * len(name) for name in branches.trained_parameters())
    assert 2 * 2 * trained < len(pickle.dumps(dynamics)) < 2 * 2 * trained + names


def test_without_weights(tiny_model, word_texts):
    texts, _, noisy = word_texts
    with_them = make_dynamics(tiny_model, trainable_layers=1)
    without = clone(with_them).set_params(store_weights=False)
    expected = with_them.fit_transform(texts, noisy)
    recorded = without.fit_transform(texts, noisy)
    assert_array_equal(recorded.embeddings, expected.embeddings)
    assert len(pickle.dumps(without)) < 10_000 < len(pickle.dumps(with_them))
    for method in (without.transform, without.predict, without.predict_proba):
        with pytest.raises(AttributeError, match="store_weights=True"):
            method(texts)


def test_the_table_of_word_embeddings_is_shared_and_not_kept(tiny_model, word_texts):
    from safetensors.torch import load

    texts, _, noisy = word_texts
    dynamics = make_dynamics(tiny_model, trainable_layers="all").fit(texts, noisy)
    names = set(load(dynamics.snapshots_[-1]))
    assert any("layer.0." in name for name in names)
    assert not any("word_embeddings" in name for name in names)
    _, branches = dynamics._load_networks()
    one, two = (branch.body[0].model for branch in branches.branches)
    assert one.get_input_embeddings().weight is two.get_input_embeddings().weight
    original = load_sentence_transformer(tiny_model)[0].model
    assert_array_equal(
        one.get_input_embeddings().weight.detach(),
        original.get_input_embeddings().weight.detach(),
    )


def test_recorded_embeddings_can_be_projected(tiny_model, word_texts):
    texts, _, noisy = word_texts
    whole = make_dynamics(tiny_model, recording="evaluation")
    expected = whole.fit_transform(texts, noisy)
    dynamics = clone(whole).set_params(n_components=16)
    recorded = dynamics.fit_transform(texts, noisy)
    assert recorded.embeddings.shape == (120, 2, 3, 16)
    assert dynamics.n_features_out_ == 16
    assert_allclose(recorded.initial, expected.initial)
    replayed = pickle.loads(pickle.dumps(dynamics)).transform(texts)
    assert_allclose(replayed.embeddings, recorded.embeddings, atol=1e-2)
    # The training is the same, and distances nearly stay.
    assert dynamics.snapshots_ == whole.snapshots_
    pairs = np.random.RandomState(0).randint(120, size=(2, 200))

    def distances(embeddings):
        last = embeddings[:, 0, -1].astype(float)
        return np.linalg.norm(last[pairs[0]] - last[pairs[1]], axis=1)

    original, found = distances(expected.embeddings), distances(recorded.embeddings)
    assert np.corrcoef(found, original)[0, 1] > 0.9
    assert np.median(found / original.clip(1e-9)) == pytest.approx(1, abs=0.3)
