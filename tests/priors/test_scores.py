import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdygen import Trajectories
from skdygen.priors._contamination import estimate_contamination
from skdygen.priors._scores import (
    margin_score,
    noise_scores,
    paper_score,
    relative_score,
)

RNG = np.random.RandomState(0)
VALUES = RNG.rand(9, 2, 4, 3)
CODES = RNG.randint(3, size=9)


def own(i, m, e):
    return VALUES[i, m, e, CODES[i]]


def others(i, m, e):
    return [VALUES[i, m, e, k] for k in range(3) if k != CODES[i]]


@pytest.mark.parametrize(
    ("function", "slow"),
    [
        (
            paper_score,
            lambda i, m: (
                np.mean([own(i, m, e) for e in range(4)])
                + np.std([own(i, m, e) for e in range(4)])
            ),
        ),
        (
            relative_score,
            lambda i, m: np.mean(
                [own(i, m, e) - min(others(i, m, e)) for e in range(4)]
            ),
        ),
        (
            margin_score,
            lambda i, m: np.mean(
                [max(others(i, m, e)) - own(i, m, e) for e in range(4)]
            ),
        ),
    ],
)
def test_scores_against_loops(function, slow):
    found = function(VALUES, CODES)
    for i in range(9):
        for m in range(2):
            assert_allclose(found[i, m], slow(i, m))


@pytest.mark.parametrize("criterion", ["paper", "relative", "margin"])
def test_a_text_in_the_wrong_cluster_has_the_highest_score(criterion):
    rng = np.random.RandomState(0)
    true = np.repeat([0, 1, 2], 20)
    centers = 5 * np.eye(3, 4)[true]
    embeddings = centers[:, None, None] + rng.randn(60, 2, 3, 4)
    logits = embeddings[..., :3]
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    given = true.copy()
    given[[0, 25]] = 2
    given[50] = -1
    scores = noise_scores(
        Trajectories(embeddings, p), given, (given >= 0).astype(float), criterion
    )
    assert np.isnan(scores[50])
    assert set(np.argsort(-np.nan_to_num(scores, nan=-np.inf))[:2]) == {0, 25}


def estimate(scores):
    return estimate_contamination(scores, np.ones(len(scores)))


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 0.45])
def test_contamination_of_two_gaussians(share):
    rng = np.random.RandomState(0)
    is_wrong = rng.rand(4000) < share
    scores = rng.randn(4000) + 4 * is_wrong
    assert estimate(scores) == pytest.approx(is_wrong.mean(), abs=0.02)


def test_contamination_when_one_component_is_wide():
    rng = np.random.RandomState(0)
    scores = np.concatenate([rng.randn(800) * 0.1, rng.randn(200) * 3 + 1])
    # About a third of the wide component lies below the narrow one.
    assert 0.05 < estimate(scores) < 0.2


@pytest.mark.parametrize("scores", [np.zeros(10), np.zeros(1), np.array([1.0, 2.0])])
def test_contamination_of_few_or_equal_scores(scores):
    assert estimate(scores) == 0


def test_contamination_does_not_depend_on_order_or_scale():
    rng = np.random.RandomState(0)
    scores = np.concatenate([rng.randn(700), rng.randn(300) + 4])
    expected = estimate(scores)
    assert expected == pytest.approx(0.3, abs=0.02)
    shuffled = 1e-3 * rng.permutation(scores) - 5
    assert estimate(shuffled) == pytest.approx(expected, abs=1e-3)


def test_a_score_of_weight_two_counts_as_two():
    rng = np.random.RandomState(0)
    scores = np.concatenate([rng.randn(700), rng.randn(300) + 4])
    weights = rng.randint(3, size=1000)
    repeated = estimate(np.repeat(scores, weights))
    counts = weights > 0
    weighted = estimate_contamination(scores[counts], weights[counts].astype(float))
    assert weighted == pytest.approx(repeated, abs=0.01)


def test_contamination_of_more_scores_than_are_read():
    rng = np.random.RandomState(0)
    scores = np.concatenate([rng.randn(24_000), rng.randn(6000) + 4])
    assert estimate(scores) == pytest.approx(0.2, abs=0.02)


def test_embedding_before_the_training_counts_as_much_as_the_epochs():
    rng = np.random.RandomState(0)
    codes = np.arange(60) % 3
    embeddings = rng.randn(60, 2, 4, 5)
    initial = 100 * rng.randn(60, 5)

    def score(embeddings, initial=None):
        p = np.full((*embeddings.shape[:3], 3), 1 / 3)
        trajectories = Trajectories(embeddings, p, initial=initial)
        return noise_scores(trajectories, codes, np.ones(60), "relative")

    from_epochs = score(embeddings) / score(embeddings).std()
    alone = score(initial[:, None, None])
    from_initial = alone / alone.std()
    assert_allclose(score(embeddings, initial), from_epochs + from_initial, rtol=1e-4)
    assert_allclose(score(embeddings, np.zeros((60, 5))), from_epochs)
