import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skdygen.dynamics import _engine
from skdygen.dynamics._frozen import Inputs, Ragged
from skdygen.dynamics._networks import Branches, coregularized_loss
from tests.conftest import save_tiny_model
from tests.dynamics.conftest import LABELS, TEXTS, make_dynamics


def slow_loss(logits, targets, weights, coregularization):
    """The loss with a loop for every sum of the equation."""
    n_branches, n_rows, n_classes = logits.shape
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    total = 0.0
    for m in range(n_branches):
        for i in range(n_rows):
            total -= weights[i] * np.log(p[m, i, targets[i]]) / n_branches / n_rows
            for k in range(n_classes):
                mean = sum(p[other, i, k] for other in range(n_branches)) / n_branches
                kl = mean * np.log(mean / p[m, i, k])
                total += weights[i] * coregularization * kl / n_branches / n_rows
    return total


@pytest.mark.parametrize("n_branches", [1, 3])
@pytest.mark.parametrize("coregularization", [0.0, 5.0])
def test_loss_against_loops(n_branches, coregularization):
    rng = np.random.RandomState(0)
    logits = rng.randn(n_branches, 7, 4)
    targets, weights = rng.randint(4, size=7), rng.rand(7)
    tensors = map(torch.from_numpy, (logits, targets, weights))
    found = coregularized_loss(*tensors, coregularization)
    assert_allclose(found.item(), slow_loss(logits, targets, weights, coregularization))


def test_loss_of_impossible_classes_is_finite():
    logits = torch.tensor([[[0.0, -1e9]], [[0.0, -1e9]]], requires_grad=True)
    loss = coregularized_loss(logits, torch.tensor([0]), torch.ones(1), 5.0)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(logits.grad).all()


def test_batches_hold_every_text_once_in_another_order_every_time(tiny_model):
    lengths = np.random.RandomState(0).randint(1, 100, size=2006)
    ids = np.zeros(lengths.sum(), dtype=np.int32)
    inputs = Inputs({"input_ids": Ragged(ids, lengths)}, lengths)
    stage = make_dynamics(tiny_model, n_epochs=2, batch_size=10)
    labelled = np.arange(0, 2006, 2)
    first, second = _engine._draw_batches(stage, inputs, labelled, seed=0)
    for drawn in (first, second):
        assert_array_equal(np.sort(np.concatenate(drawn)), labelled)
        assert sum(len(batch) < 10 for batch in drawn) == 1
        # Texts of like length are together, but not in the order of their lengths.
        longest = [lengths[batch].max() for batch in drawn]
        assert 10 * sum(longest) < 1.15 * lengths[labelled].sum()
        assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    (again, _) = _engine._draw_batches(stage, inputs, labelled, seed=0)
    assert_array_equal(np.concatenate(again), np.concatenate(first))


@pytest.mark.parametrize(
    ("n_recorded", "trainable_layers", "expected"),
    [
        (None, 1, [0, 1, 2, 3, 4]), (9, 1, [0, 1, 2, 3, 4]), (3, 1, [1, 2, 4]),
        (2, 0, [1, 4]), (1, 1, [4]), ("auto", 0, [0, 1, 2, 3, 4]), ("auto", 1, [1, 4]),
        ("auto", "all", [1, 4]),
    ],
)  # fmt: skip
def test_recorded_epochs_are_spread_and_end_with_the_last(
    n_recorded, trainable_layers, expected
):
    stage = make_dynamics(
        "", n_epochs=5, n_recorded_epochs=n_recorded, trainable_layers=trainable_layers
    )
    assert _engine.recorded_epochs(stage) == expected


def test_how_epochs_are_recorded():
    stage = make_dynamics("", recording="auto", trainable_layers=0)
    stage.recorded_epochs_ = [1, 4]
    assert _engine._epochs_recorded_in_training(stage) == []
    stage.set_params(trainable_layers="all")
    assert _engine._epochs_recorded_in_training(stage) == [1]


@pytest.mark.parametrize(
    ("share", "n_epochs", "expected"),
    [(0.1, 10, 1), (0.1, 5, 1), (0.1, 1, 1), (0.5, 10, 5), (0.0, 10, 0)],
)
def test_epochs_without_coregularization(share, n_epochs, expected):
    assert _engine._warmup_epochs(share, n_epochs) == expected


@pytest.mark.parametrize("reason", ["broken", "learning_rate"])
def test_a_loss_that_is_not_a_number_stops_the_fit(tiny_model, reason, monkeypatch):
    dynamics, where = make_dynamics(tiny_model), "batch 3 in epoch 2 is nan"
    forward, losses = Branches.forward, iter([1] * 7 + [float("nan")] + [1] * 99)

    def broken(self, features):
        embeddings, logits = forward(self, features)
        return embeddings, logits * (next(losses) if self.training else 1)

    if reason == "broken":
        monkeypatch.setattr(Branches, "forward", broken)
    else:
        dynamics.set_params(learning_rate=1e30, max_grad_norm=1e30)
        where = "use a smaller learning_rate"
    with pytest.raises(FloatingPointError, match=where):
        dynamics.fit(TEXTS, LABELS)
    with pytest.raises(NotFittedError):
        check_is_fitted(dynamics)


def limit_memory(monkeypatch, most):
    """Have networks fail as a GPU does whose memory so many texts exceed."""
    forward, sizes = Branches.forward, []

    def limited(self, features):
        n_rows = len(next(v for v in features.values() if torch.is_tensor(v)))
        if n_rows > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        sizes.append(n_rows)
        return forward(self, features)

    monkeypatch.setattr(Branches, "forward", limited)
    return sizes


def test_short_of_memory_batches_are_computed_in_parts(tmp_path, monkeypatch, caplog):
    model = save_tiny_model(
        tmp_path, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    dynamics = make_dynamics(
        model, dropout=0.0, recording="training", n_epochs=2, learning_rate=1e-3
    )
    expected = dynamics.fit_transform(TEXTS, LABELS)
    with monkeypatch.context() as patch:
        sizes = limit_memory(patch, 5)
        found = clone(dynamics).fit_transform(TEXTS, LABELS)
        told = [r.message for r in caplog.records if "out of memory" in r.message]
        replayed = copy.deepcopy(dynamics).transform(TEXTS)
    # The same training, up to the order of sums.
    for one, other in ((found, expected), (replayed, dynamics.transform(TEXTS))):
        for moment in ("embeddings", "probabilities"):
            one_, other_ = (getattr(t, moment).astype(float) for t in (one, other))
            assert_allclose(one_, other_, atol=5e-3)
    assert max(sizes) <= 5
    # Told, and learnt, once: not with every batch.
    assert told[0] == "out of memory with 16 texts at once; trying 8."
    assert len(told) == 2
    limit_memory(monkeypatch, 0)
    with pytest.raises(torch.OutOfMemoryError):
        clone(dynamics).fit(TEXTS, LABELS)
