import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.torch import load
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from torch.nn.functional import cross_entropy, kl_div

from skdygen.dynamics import _engine
from skdygen.dynamics._frozen import Inputs, Ragged
from skdygen.dynamics._networks import Branches, coregularized_loss
from tests.conftest import save_tiny_model
from tests.dynamics.conftest import LABELS, TEXTS, assert_same, make_dynamics


@pytest.mark.parametrize("n_branches", [1, 3])
@pytest.mark.parametrize("coregularization", [0.0, 5.0])
def test_loss(n_branches, coregularization):
    """Against a loop over the branches, with the terms of torch."""
    rng = np.random.RandomState(0)
    logits = torch.from_numpy(rng.randn(n_branches, 7, 4))
    targets, weights = map(torch.from_numpy, (rng.randint(4, size=7), rng.rand(7)))
    expected, mean = 0.0, logits.softmax(-1).mean(0)
    for one in logits:
        kl = kl_div(one.log_softmax(-1), mean, reduction="none").sum(-1)
        terms = cross_entropy(one, targets, reduction="none") + coregularization * kl
        expected += (weights * terms).mean().item() / n_branches
    found = coregularized_loss(logits, targets, weights, coregularization)
    assert_allclose(found.item(), expected)


def test_loss_of_impossible_classes_is_finite():
    logits = torch.tensor([[[0.0, -1e9]], [[0.0, -1e9]]], requires_grad=True)
    loss = coregularized_loss(logits, torch.tensor([0]), torch.ones(1), 5.0)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(logits.grad).all()


def test_batches_hold_every_text_once_in_another_order_every_time():
    lengths = np.random.RandomState(0).randint(1, 100, size=2006)
    ids = np.zeros(lengths.sum(), dtype=np.int32)
    inputs = Inputs({"input_ids": Ragged(ids, lengths)}, lengths)
    stage, labelled = (
        make_dynamics("", n_epochs=2, batch_size=10),
        np.arange(0, 2006, 2),
    )
    first, second = _engine._draw_batches(stage, inputs, labelled, seed=0)
    for drawn in (first, second):
        assert_array_equal(np.sort(np.concatenate(drawn)), labelled)
        assert sum(len(batch) < 10 for batch in drawn) == 1
        # Texts of like length are together, but not in the order of their lengths.
        longest = [lengths[batch].max() for batch in drawn]
        assert 10 * sum(longest) < 1.15 * lengths[labelled].sum()
        assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))


@pytest.mark.parametrize(
    ("n_recorded", "layers", "expected"),
    [
        (None, 1, [0, 1, 2, 3, 4]), (9, 1, [0, 1, 2, 3, 4]), (3, 1, [1, 2, 4]),
        (1, 1, [4]), ("auto", 0, [0, 1, 2, 3, 4]), ("auto", "all", [1, 4]),
    ],
)  # fmt: skip
def test_recorded_epochs_are_spread_and_end_with_the_last(n_recorded, layers, expected):
    stage = make_dynamics(
        "", n_epochs=5, n_recorded_epochs=n_recorded, trainable_layers=layers,
        recording="auto",
    )  # fmt: skip
    stage.recorded_epochs_ = _engine.recorded_epochs(stage)
    assert stage.recorded_epochs_ == expected
    in_training = _engine._epochs_recorded_in_training(stage)
    assert in_training == ([] if layers == 0 else expected[:-1])


def test_the_first_epoch_is_without_coregularization(tiny_model):
    fits = [
        make_dynamics(tiny_model, n_epochs=1, **params).fit(TEXTS, LABELS).snapshots_
        for params in (
            {"coregularization": 0.0},
            {"coregularization_warmup": 0.1},
            {"coregularization_warmup": 0.0},
        )
    ]
    assert fits[0] == fits[1] != fits[2]


def test_a_branch_is_trained_alike_beside_others(tiny_model):
    alone, beside = (
        make_dynamics(
            tiny_model, trainable_layers=0, dropout=0.0, coregularization=0.0,
            n_branches=n, max_grad_norm=0.01,
        ).fit_transform(TEXTS, LABELS)
        for n in (1, 3)
    )  # fmt: skip
    assert_allclose(beside.probabilities[:, 0], alone.probabilities[:, 0], atol=2e-3)


def test_biases_and_norms_do_not_decay(tiny_model):
    start, end = (
        load(
            make_dynamics(tiny_model, n_epochs=1, head_learning_rate=None, **params)
            .fit(TEXTS, LABELS)
            .snapshots_[-1]
        )
        for params in (
            {"learning_rate": 1e-9}, {"learning_rate": 1e-4, "weight_decay": 5e3},
        )
    )  # fmt: skip
    for name, weight in start.items():
        if weight.any():  # biases start with 0
            is_decayed = end[name].float().norm() < 0.5 * weight.float().norm()
            assert is_decayed == (weight.ndim > 1), name


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({}, "batch 3 in epoch 2 is nan"),
        ({"learning_rate": 1e30, "max_grad_norm": 1e30}, "use a smaller learning_rate"),
    ],
)
def test_a_loss_that_is_not_a_number_stops_the_fit(
    tiny_model, params, where, monkeypatch
):
    forward, factors = Branches.forward, iter([1] * 7 + [float("nan")] * 99)

    def broken(self, features):
        embeddings, logits = forward(self, features)
        return embeddings, logits * (next(factors) if self.training else 1)

    if not params:
        monkeypatch.setattr(Branches, "forward", broken)
    dynamics = make_dynamics(tiny_model, **params)
    with pytest.raises(FloatingPointError, match=where):
        dynamics.fit(TEXTS, LABELS)
    with pytest.raises(NotFittedError):
        check_is_fitted(dynamics)


@pytest.mark.parametrize("layers", [0, 1])
def test_weights_that_no_prediction_could_use_stop_the_fit(tiny_model, layers):
    """No loss has seen the step of the last batch, nor what half precision cuts."""
    dynamics = make_dynamics(
        tiny_model, n_epochs=1, batch_size=100, learning_rate=1e9,
        head_learning_rate=1e9, warmup_ratio=0.0, trainable_layers=layers,
    )  # fmt: skip
    for fit in (dynamics.fit, dynamics.fit_transform):
        with pytest.raises(FloatingPointError, match=r"1 the weights .* too large"):
            fit(TEXTS, LABELS)


def test_outputs_that_are_not_finite_stop_the_fit(tiny_model, monkeypatch):
    forward = Branches.forward

    def broken(self, features):
        embeddings, logits = forward(self, features)
        return embeddings * (1 if self.training else float("inf")), logits

    monkeypatch.setattr(Branches, "forward", broken)
    with pytest.raises(FloatingPointError, match="after epoch 1 the networks give no"):
        make_dynamics(tiny_model).fit_transform(TEXTS, LABELS)


def test_short_of_memory_batches_are_computed_in_parts(tmp_path, monkeypatch, caplog):
    """As on a GPU whose memory more than five texts, and later any, exceed."""
    model = save_tiny_model(
        tmp_path, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    dynamics = make_dynamics(
        model, dropout=0.0, recording="training", n_epochs=2, learning_rate=1e-3
    )
    expected = dynamics.fit_transform(TEXTS, LABELS)
    replayed = copy.deepcopy(dynamics).transform(TEXTS)
    forward, most, n_calls = Branches.forward, 5, 0

    def limited(self, features):
        nonlocal n_calls
        n_calls += 1
        n_rows = len(next(v for v in features.values() if torch.is_tensor(v)))
        if n_rows > most or n_calls == 4:  # also when one part has been computed
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return forward(self, features)

    monkeypatch.setattr(Branches, "forward", limited)
    # The same training, up to the order of sums.
    assert_same(clone(dynamics).fit_transform(TEXTS, LABELS), expected, atol=5e-3)
    # Told, and learnt, once: not with every batch.
    told = [r.message for r in caplog.records if "out of memory" in r.message]
    assert told[0] == "out of memory with 16 texts at once; trying 8."
    assert len(told) == 3
    assert_same(dynamics.transform(TEXTS), replayed, atol=5e-3)
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        clone(dynamics).fit(TEXTS, LABELS)
