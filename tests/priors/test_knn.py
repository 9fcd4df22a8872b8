import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.neighbors import (
    KNeighborsClassifier,
    KNeighborsTransformer,
    RadiusNeighborsTransformer,
)

from skdygen.priors import TrajectoryKNNPrior, UniformPrior


def slow_votes(points, clean, labels, n_neighbors, leave_one_out):
    """Votes of the nearest clean points by inverse distance, with loops."""
    votes = np.zeros((len(points), 3))
    for i in range(len(points)):
        near = [c for c in clean if not (leave_one_out and c == i)]
        near.sort(key=lambda c: np.linalg.norm(points[i] - points[c]))
        near = near[:n_neighbors]
        distances = [np.linalg.norm(points[i] - points[c]) for c in near]
        for c, distance in zip(near, distances, strict=True):
            if min(distances) == 0:
                votes[i, labels[c]] += distance == 0
            else:
                votes[i, labels[c]] += 1 / distance
    return votes / votes.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("epoch", [0, -1])
def test_prior_against_loops(clusters, leave_one_out, epoch):
    trajectories, _, given = clusters
    stage = TrajectoryKNNPrior(contamination=0.3, view=epoch, n_neighbors=5)
    stage.set_params(leave_one_out=leave_one_out, voting="soft")
    prior = stage.fit_transform(trajectories, given).prior
    points = trajectories.embeddings[:, :, epoch].reshape(150, -1)
    expected = slow_votes(points, stage.clean_indices_, given, 5, leave_one_out)
    assert_allclose(prior, expected, atol=1e-5)
    hard = stage.set_params(voting="hard").fit_transform(trajectories, given).prior
    assert_array_equal(hard, np.eye(3)[expected.argmax(axis=1)])


def test_a_text_with_many_copies_has_neighbours(clusters):
    trajectories, _, given = clusters
    rows = np.r_[:150, np.zeros(20, int)]
    prior = TrajectoryKNNPrior(contamination=0.0, n_neighbors=5, voting="soft")
    prior.set_params(leave_one_out=True)
    alone = prior.fit_transform(trajectories, given).prior
    copies = trajectories[rows].with_groups(rows)
    found = clone(prior).fit_transform(copies, given[rows]).prior
    assert_allclose(found[rows == 0], np.tile(alone[0], (21, 1)), atol=1e-5)


def test_transform_asks_the_fitted_neighbors(clusters):
    trajectories, _, given = clusters
    fitted = TrajectoryKNNPrior(n_neighbors=4, voting="soft", leave_one_out=True)
    fitted.fit(trajectories[:100], given[:100])
    found = fitted.transform(trajectories[100:]).prior
    points = trajectories.embeddings[:, :, -1].reshape(150, -1)
    clean = fitted.clean_indices_
    knn = KNeighborsClassifier(4, weights="distance").fit(points[clean], given[clean])
    assert_allclose(found, knn.predict_proba(points[100:]), atol=1e-5)
    with pytest.raises(ValueError, match="no trajectories"):
        fitted.transform(trajectories[:0])


@pytest.mark.parametrize("criterion", ["paper", "relative", "margin"])
def test_prior_is_better_than_the_labels(clusters, criterion):
    trajectories, true, given = clusters
    stage = TrajectoryKNNPrior(criterion=criterion)
    prior = stage.fit_transform(trajectories, given).prior
    assert (prior.argmax(axis=1) == true).mean() > (given == true).mean() + 0.1


@pytest.mark.parametrize(
    "neighbors",
    [
        KNeighborsTransformer(mode="distance", n_neighbors=10, algorithm="brute"),
        KNeighborsTransformer(mode="distance", n_neighbors=30),
        RadiusNeighborsTransformer(mode="distance", radius=100.0),
    ],
)
def test_any_neighbors_transformer(clusters, neighbors):
    trajectories, _, given = clusters
    default = TrajectoryKNNPrior(contamination=0.3, voting="soft")
    expected = default.fit_transform(trajectories, given).prior
    stage = clone(default).set_params(neighbors=neighbors)
    found = stage.fit_transform(trajectories, given).prior
    assert_allclose(found, expected, atol=1e-5)
    assert type(stage.neighbors_) is type(neighbors)


APPROXIMATE = """
import sys
import numpy as np
import pynndescent
from skdygen import Trajectories
from skdygen.priors import TrajectoryKNNPrior

folder = sys.argv[1]
neighbors = pynndescent.PyNNDescentTransformer(n_neighbors=11, random_state=0)
prior = TrajectoryKNNPrior(
    contamination=0.3, voting="soft", leave_one_out=True, neighbors=neighbors
)
trajectories = Trajectories.load(f"{folder}/trajectories")
given = np.load(f"{folder}/given.npy")
np.save(f"{folder}/prior.npy", prior.fit_transform(trajectories, given).prior)
"""


@pytest.mark.long
@pytest.mark.skipif(find_spec("pynndescent") is None, reason="needs pynndescent")
def test_approximate_neighbors(clusters, tmp_path):
    """In a new process, where numba is told not to take minutes to make it fast."""
    trajectories, _, given = clusters
    trajectories.save(tmp_path / "trajectories")
    np.save(tmp_path / "given.npy", given)
    slow = dict.fromkeys(("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE"), "0")
    environment = os.environ | {f"NUMBA_{name}": value for name, value in slow.items()}
    command = [sys.executable, "-c", APPROXIMATE, str(tmp_path)]
    subprocess.run(command, check=True, env=environment)
    found = np.load(tmp_path / "prior.npy")
    exact = TrajectoryKNNPrior(contamination=0.3, voting="soft", leave_one_out=True)
    expected = exact.fit_transform(trajectories, given).prior
    assert np.isclose(found, expected, atol=1e-4).all(axis=1).mean() > 0.8


def test_texts_without_neighbors_have_a_uniform_prior(clusters):
    trajectories, _, given = clusters
    neighbors = RadiusNeighborsTransformer(mode="distance", radius=1e-9)
    stage = TrajectoryKNNPrior(neighbors=neighbors, leave_one_out=True)
    assert_allclose(stage.fit_transform(trajectories, given).prior, 1 / 3)


def test_uniform_prior(clusters):
    trajectories, _, given = clusters
    stage = UniformPrior().fit(trajectories, given)
    assert_allclose(stage.transform(trajectories[:7]).prior, np.full((7, 3), 1 / 3))
