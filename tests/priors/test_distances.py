import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdygen.priors import _distances
from skdygen.priors._distances import centroid_distances, class_centroids


@pytest.fixture(params=[4096, 7], ids=["one batch", "many batches"])
def rows_at_once(request, monkeypatch):
    monkeypatch.setattr(_distances, "_ROWS_AT_ONCE", request.param)


@pytest.mark.usefixtures("rows_at_once")
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_against_loops(dtype):
    rng = np.random.RandomState(0)
    embeddings = (rng.randn(30, 2, 3, 5) + 10).astype(dtype)
    codes = rng.randint(-1, 4, size=30)
    codes[codes == 2] = 1  # a class without texts
    weights = rng.rand(30)
    centroids = class_centroids(embeddings, codes, weights, 4)
    distances = centroid_distances(embeddings, centroids)
    assert distances.shape == (30, 2, 3, 4)
    exact = embeddings.astype(np.float64)
    for m in range(2):
        for e in range(3):
            for k in (0, 1, 3):
                rows = [i for i in range(30) if codes[i] == k]
                total = sum(weights[i] * exact[i, m, e] for i in rows)
                centroid = total / sum(weights[rows])
                assert_allclose(centroids[m, e, k], centroid, rtol=1e-5)
                for i in range(30):
                    expected = np.sqrt(((exact[i, m, e] - centroid) ** 2).sum())
                    assert_allclose(distances[i, m, e, k], expected, rtol=1e-4)
    assert np.isnan(centroids[:, :, 2]).all()
    assert np.isinf(distances[..., 2]).all()
