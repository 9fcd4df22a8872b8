import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import softmax

from skdygen import Trajectories, _memmap
from skdygen._targets import make_targets
from skdygen.priors._scores import (
    centroid_distances,
    class_centroids,
    margin_score,
    noise_scores,
    paper_score,
    relative_score,
)

RNG = np.random.RandomState(0)
VALUES = RNG.rand(9, 2, 4, 3)
CODES = RNG.randint(3, size=9)


def own(i, m):
    return [VALUES[i, m, e, CODES[i]] for e in range(4)]


def others(i, m):
    return [[VALUES[i, m, e, k] for k in range(3) if k != CODES[i]] for e in range(4)]


@pytest.mark.parametrize(
    ("function", "slow"),
    [
        (paper_score, lambda i, m: np.mean(own(i, m)) + np.std(own(i, m))),
        (
            relative_score,
            lambda i, m: np.mean(np.subtract(own(i, m), [*map(min, others(i, m))])),
        ),
        (
            margin_score,
            lambda i, m: np.mean(np.subtract([*map(max, others(i, m))], own(i, m))),
        ),
    ],
)
def test_scores_against_loops(function, slow):
    expected = [[slow(i, m) for m in range(2)] for i in range(9)]
    assert_allclose(function(VALUES, CODES), expected)


@pytest.mark.parametrize("rows_at_once", [4096, 7])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_distances_against_loops(dtype, rows_at_once, monkeypatch):
    monkeypatch.setattr(_memmap, "_ROWS_AT_ONCE", rows_at_once)
    rng = np.random.RandomState(0)
    embeddings = (rng.randn(30, 2, 3, 5) + 10).astype(dtype)
    codes = rng.randint(-1, 4, size=30)
    codes[codes == 2] = 1  # a class without texts
    weights = rng.rand(30)
    centroids = class_centroids(embeddings, codes, weights, 4)
    distances = centroid_distances(embeddings, centroids)
    assert distances.shape == (30, 2, 3, 4)
    for m, e, k in np.ndindex(2, 3, 4):
        points, rows = (
            embeddings[:, m, e].astype(np.float64),
            np.flatnonzero(codes == k),
        )
        if k == 2:
            assert np.isnan(centroids[m, e, k]).all()
            assert np.isinf(distances[:, m, e, k]).all()
            continue
        centroid = sum(weights[i] * points[i] for i in rows) / sum(weights[rows])
        assert_allclose(centroids[m, e, k], centroid, rtol=1e-5)
        expected = [np.sqrt(((point - centroid) ** 2).sum()) for point in points]
        assert_allclose(distances[:, m, e, k], expected, rtol=1e-4)


@pytest.mark.parametrize("criterion", ["paper", "relative", "margin"])
def test_a_text_in_the_wrong_cluster_has_the_highest_score(criterion):
    rng = np.random.RandomState(0)
    given = np.repeat([0, 1, 2], 20)
    embeddings = 5 * np.eye(3, 4)[given][:, None, None] + rng.randn(60, 2, 3, 4)
    given[[0, 25]] = 2
    given[50] = -1
    trajectories = Trajectories(embeddings, softmax(embeddings[..., :3], axis=-1))
    targets = make_targets(given, missing_label=-1)
    scores = noise_scores(trajectories, targets, criterion)
    assert np.isnan(scores[50])
    assert set(np.argsort(-np.nan_to_num(scores, nan=-np.inf))[:2]) == {0, 25}


def test_embedding_before_the_training_counts_as_much_as_the_epochs():
    rng = np.random.RandomState(0)
    targets = make_targets(np.arange(60) % 3)
    embeddings = rng.randn(60, 2, 4, 5)
    initial = 100 * rng.randn(60, 5)

    def score(embeddings, initial=None):
        p = np.full((*embeddings.shape[:3], 3), 1 / 3)
        views = {} if initial is None else {"initial": initial}
        trajectories = Trajectories(embeddings, p, views=views)
        return noise_scores(trajectories, targets, "relative")

    from_epochs = score(embeddings) / score(embeddings).std()
    alone = score(initial[:, None, None])
    from_initial = alone / alone.std()
    assert_allclose(score(embeddings, initial), from_epochs + from_initial, rtol=1e-4)
    assert_allclose(score(embeddings, np.zeros((60, 5))), from_epochs)
