import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.neighbors import KNeighborsTransformer, NearestNeighbors

from skdygen import DyGenClassifier, Trajectories
from skdygen.datasets import make_label_noise
from skdygen.dynamics import IncrementalDynamics
from skdygen.priors import ConsensusPrior, TrajectoryKNNPrior, _approximate
from skdygen.priors._approximate import ApproximateNeighbors


@pytest.fixture(scope="module")
def clusters():
    """Trajectories of three clusters, their classes, and labels 30 % of them wrong."""
    rng = np.random.RandomState(0)
    true = np.arange(900) % 3
    embeddings = 2 * np.eye(3, 8)[true][:, None, None] + rng.randn(900, 1, 2, 8)
    given = make_label_noise(true, "symmetric", 0.3, random_state=0)
    return Trajectories(embeddings, np.full((900, 1, 2, 3), 1 / 3)), true, given


@pytest.fixture(scope="module")
def fitted(clusters):
    """Prior of approximate neighbours, fitted to all but the last hundred."""
    trajectories, _, given = clusters
    prior = TrajectoryKNNPrior(neighbors="approximate", voting="soft")
    return prior.fit(trajectories[:800], given[:800])


@pytest.mark.parametrize("query", ["include-self", "leave-one-out"])
def test_nearly_the_exact_votes(clusters, query):
    trajectories, true, given = clusters
    prior = TrajectoryKNNPrior(neighbors="exact", query=query, voting="soft")
    exact = prior.fit_transform(trajectories, given).prior
    prior.set_params(neighbors="approximate")
    found = prior.fit_transform(trajectories, given).prior
    assert np.isclose(found, exact, atol=1e-4).all(axis=1).mean() > 0.8
    assert (found.argmax(axis=1) == true).mean() == pytest.approx(
        (exact.argmax(axis=1) == true).mean(), abs=0.02
    )


def test_auto_is_exact_unless_there_are_many(clusters, monkeypatch, caplog):
    trajectories, _, given = clusters
    prior = TrajectoryKNNPrior(contamination=0.5).fit(trajectories, given)
    assert not isinstance(prior.neighbors_, ApproximateNeighbors)
    monkeypatch.setattr("skdygen.priors._neighbors._EXACT_AMONG", 449)
    with caplog.at_level(logging.INFO, logger="skdygen"):
        prior.fit(trajectories, given)
    assert isinstance(prior.neighbors_, ApproximateNeighbors)
    recall = f"{100 * prior.neighbors_.recall_:.1f} % are found"
    assert f"among 450 clean texts: {recall}" in caplog.text
    # All priors that ask neighbours do so.
    asking = ConsensusPrior().fit(trajectories, given).priors_[1::2]
    assert all(isinstance(p.neighbors_, ApproximateNeighbors) for p in asking)
    exact = TrajectoryKNNPrior(contamination=0.5, neighbors="exact")
    exact.fit(trajectories, given)
    assert not isinstance(exact.neighbors_, ApproximateNeighbors)


def test_without_pynndescent(clusters, monkeypatch, caplog, word_texts):
    trajectories, _, given = clusters
    monkeypatch.setitem(sys.modules, "pynndescent", None)
    monkeypatch.setattr("skdygen.priors._neighbors._EXACT_AMONG", 100)
    prior = TrajectoryKNNPrior().fit(trajectories, given)
    assert not isinstance(prior.neighbors_, ApproximateNeighbors)
    assert "pip install 'skdygen[ann]'" in caplog.text
    # What was asked for in words fails before anything is trained.
    texts, labels, _ = word_texts
    started = []

    class Dynamics(IncrementalDynamics):
        def _fit(self, *args, **kwargs):
            started.append(True)

    clf = DyGenClassifier(Dynamics(), prior=TrajectoryKNNPrior(neighbors="approximate"))
    with pytest.raises(ImportError, match=r"skdygen\[ann\].*neighbors='exact'"):
        clf.fit(texts, labels)
    assert not started


def test_recall(monkeypatch):
    points = np.random.RandomState(0).randn(400, 5).astype(np.float32)
    assert ApproximateNeighbors(11).fit(points).recall_ > 0.9

    class Half:
        """Finds every second neighbour, the text itself among them."""

        def __init__(self, points):
            self.index = NearestNeighbors(n_neighbors=21, algorithm="brute").fit(points)

        def transform(self, X):
            distances, nearest = (a[:, ::2] for a in self.index.kneighbors(X))
            firsts = np.arange(0, distances.size + 1, 11)
            return sparse.csr_array((distances.ravel(), nearest.ravel(), firsts))

    monkeypatch.setattr(_approximate, "_make_index", lambda points, _: Half(points))
    # Of the ten nearest others it finds five.
    assert ApproximateNeighbors(11).fit(points).recall_ == pytest.approx(0.5)


def test_the_same_each_time(clusters, fitted):
    trajectories, _, given = clusters
    new = trajectories[800:]
    expected = fitted.transform(new).prior
    assert_array_equal(fitted.transform(new).prior, expected)
    again = TrajectoryKNNPrior(neighbors="approximate", voting="soft")
    again.fit(trajectories[:800], given[:800])
    assert_array_equal(again.transform(new).prior, expected)
    assert again.neighbors_.recall_ == fitted.neighbors_.recall_


def test_stored(clusters, fitted, tmp_path):
    new = clusters[0][800:]
    expected = fitted.transform(new).prior
    fitted.save(tmp_path / "prior")
    loaded = TrajectoryKNNPrior.load(tmp_path / "prior")
    assert_array_equal(loaded.transform(new).prior, expected)
    joblib.dump(fitted, tmp_path / "prior.joblib")
    loaded = joblib.load(tmp_path / "prior.joblib")
    assert_array_equal(loaded.transform(new).prior, expected)
    assert loaded.neighbors_.recall_ == fitted.neighbors_.recall_


def test_one_index_is_made_at_a_time(monkeypatch):
    """Where numba has neither TBB nor OpenMP, two would end the process."""
    points = np.random.RandomState(0).randn(60, 5)
    at_work = []

    def make(points, n_neighbors):
        at_work.append(1)
        time.sleep(0.05)
        assert len(at_work) == 1
        at_work.pop()
        return KNeighborsTransformer(n_neighbors=n_neighbors).fit(points)

    monkeypatch.setattr(_approximate, "_make_index", make)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: ApproximateNeighbors(3).fit(points), range(4)))


def test_threads(clusters, fitted):
    parts = [clusters[0][first : 2 * first + 50] for first in range(0, 400, 25)]
    expected = [fitted.transform(part).prior for part in parts]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda part: fitted.transform(part).prior, parts))
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one, other)
