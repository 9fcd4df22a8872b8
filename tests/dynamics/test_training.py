import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import load

from skdygen.dynamics import LanguageModelDynamics
from skdygen.dynamics._backbone import Inputs
from skdygen.dynamics._ragged import Ragged
from skdygen.dynamics._training import coregularized_loss, length_grouped_batches
from skdygen.utils._warmup import warmup_epochs


def slow_loss(logits, targets, weights, regularization):
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
                total += weights[i] * regularization * kl / n_branches / n_rows
    return total


@pytest.mark.parametrize("n_branches", [1, 2, 3])
@pytest.mark.parametrize("regularization", [0.0, 5.0])
def test_loss_against_loops(n_branches, regularization):
    rng = np.random.RandomState(0)
    logits = rng.randn(n_branches, 7, 4)
    targets, weights = rng.randint(4, size=7), rng.rand(7)
    tensors = map(torch.from_numpy, (logits, targets, weights))
    found = coregularized_loss(*tensors, regularization)
    assert_allclose(found.item(), slow_loss(logits, targets, weights, regularization))


def test_loss_of_impossible_classes_is_finite():
    logits = torch.tensor([[[0.0, -1e9]], [[0.0, -1e9]]], requires_grad=True)
    loss = coregularized_loss(logits, torch.tensor([0]), torch.ones(1), 5.0)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(logits.grad).all()


def test_batches_hold_every_text_once_in_another_order_every_time():
    lengths = np.random.RandomState(0).randint(1, 100, size=1003)
    rng = np.random.RandomState(0)
    first = length_grouped_batches(lengths, 10, rng)
    second = length_grouped_batches(lengths, 10, rng)
    assert_array_equal(np.sort(np.concatenate(first)), np.arange(1003))
    assert sum(len(batch) < 10 for batch in first) == 1
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))


def test_batches_are_of_like_length():
    lengths = np.random.RandomState(0).randint(1, 100, size=1000)
    drawn = length_grouped_batches(lengths, 10, np.random.RandomState(0))
    padded = sum(len(batch) * lengths[batch].max() for batch in drawn)
    assert padded < 1.1 * lengths.sum()


@pytest.mark.parametrize("multiple", [1, 8])
def test_batches_of_few_tokens(multiple):
    lengths = np.sort(np.random.RandomState(0).randint(1, 100, size=1000))
    ids = np.arange(lengths.sum(), dtype=np.int32)
    fields = {"input_ids": Ragged(ids, lengths)}
    inputs = Inputs(fields, lengths, multiple=multiple)
    drawn = list(inputs.cut(np.arange(1000), 10, max_tokens=80))
    assert_array_equal(np.concatenate(drawn), np.arange(1000))
    shapes = [tuple(inputs.batch(b, "cpu")["input_ids"].shape) for b in drawn]
    n_rows = np.array([n for n, _ in shapes])
    padded = np.array([length for _, length in shapes])
    assert (padded % multiple == 0).all()
    assert ((n_rows * padded)[n_rows > 1] <= 80).all()  # one text may be longer
    assert (n_rows.min(), n_rows.max()) == (1, 10)
    # Five tokens take five on a processor, and eight where they are padded to that.
    five = np.full(12, 5)
    fields = {"input_ids": Ragged(np.zeros(60, dtype=np.int32), five)}
    cut = Inputs(fields, five, multiple=multiple).cut(np.arange(12), 10, max_tokens=20)
    assert len(next(cut)) == {1: 4, 8: 2}[multiple]
    # What is no sequence of tokens has none.
    rows = Inputs({"sentence_embedding": np.ones((30, 4))}, np.ones(30, dtype=int))
    assert [len(b) for b in rows.cut(np.arange(30), 10, max_tokens=1)] == [10, 10, 10]


@pytest.mark.parametrize(
    ("warmup", "n_epochs", "expected"),
    [(0.1, 10, 1), (0.1, 5, 1), (0.1, 1, 1), (0.5, 10, 5), (0.0, 10, 0)],
)
def test_warmup_epochs(warmup, n_epochs, expected):
    assert warmup_epochs(warmup, n_epochs) == expected


@pytest.mark.parametrize("width", [(), (3,)])
def test_padding(width):
    rng = np.random.RandomState(0)
    sequences = [rng.randn(length, *width) for length in (3, 1, 9, 4)]
    ragged = Ragged(np.concatenate(sequences), [3, 1, 9, 4], fill=7)
    padded, mask = ragged.pad(np.array([3, 0]), multiple=8)
    assert padded.shape == (2, 8, *width)
    assert_array_equal(mask.sum(axis=1), [4, 3])
    assert_array_equal(padded[0, :4], sequences[3])
    assert_array_equal(padded[1, :3], sequences[0])
    assert (padded[~mask] == 7).all()


def test_weight_decay_shrinks_the_weights(tiny_model, word_texts):
    texts, _, noisy = word_texts
    norms = []
    for weight_decay in (0.0, 300.0):
        dynamics = LanguageModelDynamics(
            tiny_model, n_epochs=2, trainable_layers=0, weight_decay=weight_decay,
            learning_rate=1e-2, precision="fp32", random_state=0,
        ).fit(texts, noisy)  # fmt: skip
        weights = load(dynamics.snapshots_[-1])
        norms.append(np.linalg.norm(weights["branches.0.body.layers.1.weight"]))
    assert norms[1] < norms[0] / 2
