import logging

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.neighbors import (
    KNeighborsClassifier,
    KNeighborsTransformer,
    RadiusNeighborsTransformer,
)

from skdygen import Trajectories
from skdygen.datasets import make_label_noise
from skdygen.priors import TrajectoryKNNPrior, UniformPrior


@pytest.fixture
def clusters():
    """Trajectories of three clusters, their classes, and labels 30 % of them wrong."""
    rng = np.random.RandomState(0)
    true = np.arange(150) % 3
    moments = (
        np.eye(3, 6)[true][:, None, None] * np.array([2, 4, 6])[None, None, :, None]
    )
    embeddings = moments + rng.randn(150, 2, 3, 6)
    logits = embeddings[..., :3]
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    given = make_label_noise(true, "symmetric", 0.3, random_state=0)
    return Trajectories(embeddings, p), true, given


def slow_votes(points, clean, labels, n_neighbors, leave_out):
    """Votes of the nearest clean points by inverse distance, with loops."""
    votes = np.zeros((len(points), 3))
    for i in range(len(points)):
        near = [c for c in clean if not (leave_out and c == i)]
        near.sort(key=lambda c: np.linalg.norm(points[i] - points[c]))
        near = near[:n_neighbors]
        distances = [np.linalg.norm(points[i] - points[c]) for c in near]
        for c, distance in zip(near, distances, strict=True):
            if min(distances) == 0:
                votes[i, labels[c]] += distance == 0
            else:
                votes[i, labels[c]] += 1 / distance
    return votes / votes.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("query", ["include-self", "leave-one-out"])
@pytest.mark.parametrize("epoch", [0, -1])
def test_prior_against_loops(clusters, query, epoch):
    trajectories, _, given = clusters
    stage = TrajectoryKNNPrior(
        contamination=0.3, query=query, voting="soft", epoch=epoch, n_neighbors=5
    )
    prior = stage.fit_transform(trajectories, given).prior
    points = trajectories.embeddings[:, :, epoch].reshape(150, -1)
    expected = slow_votes(
        points, stage.clean_indices_, given, 5, query == "leave-one-out"
    )
    assert_allclose(prior, expected, atol=1e-5)
    stage.set_params(voting="hard")
    hard = stage.fit_transform(trajectories, given).prior
    assert_array_equal(hard, np.eye(3)[expected.argmax(axis=1)])


def test_clean_texts_keep_their_label_unless_left_out(clusters):
    trajectories, _, given = clusters
    stage = TrajectoryKNNPrior(criterion="paper", contamination=0.1)
    prior = stage.fit_transform(trajectories, given).prior
    clean = stage.clean_indices_
    assert_array_equal(prior[clean].argmax(axis=1), given[clean])
    stage.set_params(query="leave-one-out")
    prior = stage.fit_transform(trajectories, given).prior
    assert (prior[clean].argmax(axis=1) != given[clean]).any()


def test_transform_asks_the_fitted_neighbors(clusters):
    trajectories, _, given = clusters
    fitted = TrajectoryKNNPrior(n_neighbors=4, voting="soft").fit(
        trajectories[:100], given[:100]
    )
    found = fitted.transform(trajectories[100:]).prior
    points = trajectories.embeddings[:, :, -1].reshape(150, -1)
    clean = fitted.clean_indices_
    knn = KNeighborsClassifier(4, weights="distance").fit(points[clean], given[clean])
    assert_allclose(found, knn.predict_proba(points[100:]), atol=1e-5)


@pytest.mark.parametrize("selection", ["global", "class"])
def test_selection(clusters, selection):
    trajectories, _, given = clusters
    stage = TrajectoryKNNPrior(contamination=0.4, selection=selection)
    stage.fit(trajectories, given)
    kept = np.zeros(150, dtype=bool)
    kept[stage.clean_indices_] = True
    scores = stage.noise_scores_
    groups = [np.full(150, True)]
    if selection == "class":
        groups = [given == k for k in range(3)]
    for group in groups:
        assert kept[group].sum() == round(0.6 * group.sum())
        assert scores[group & kept].max() <= scores[group & ~kept].min()


@pytest.mark.parametrize("selection", ["global", "class"])
def test_of_many_clean_texts_some_are_asked(clusters, selection):
    trajectories, true, given = clusters
    complete = TrajectoryKNNPrior(contamination=0.4, selection=selection)
    few = clone(complete).set_params(max_samples=30)
    asked = few.fit(trajectories, given).clean_indices_
    clean = complete.fit(trajectories, given).clean_indices_
    assert len(asked) == pytest.approx(30, abs=3)
    assert set(given[asked]) == set(given)
    assert set(asked) < set(clean)
    # Not the cleanest of them: their scores are spread as all scores of clean texts.
    scores = complete.noise_scores_
    assert np.median(scores[asked]) == pytest.approx(np.median(scores[clean]), abs=0.5)
    assert scores[asked].max() > np.quantile(scores[clean], 0.9)
    prior = few.transform(trajectories).prior
    assert (prior.argmax(axis=1) == true).mean() > (given == true).mean() + 0.1


def test_no_class_is_lost_among_many():
    rng = np.random.RandomState(0)
    given = np.zeros(1000, dtype=int)
    given[rng.permutation(1000)[:2]] = 1
    trajectories = Trajectories(rng.randn(1000, 1, 1, 3), np.full((1000, 1, 1, 2), 0.5))
    stage = TrajectoryKNNPrior(contamination=0.0, max_samples=20)
    stage.fit(trajectories, given)
    assert set(stage.clean_codes_) == {0, 1}


def test_rows_are_judged_in_batches(clusters, monkeypatch):
    trajectories, _, given = clusters
    stage = TrajectoryKNNPrior(query="leave-one-out", voting="soft")
    expected = stage.fit_transform(trajectories, given).prior
    for module in ("_clean_set", "_scores"):
        monkeypatch.setattr(f"skdygen.priors.{module}._ROWS_AT_ONCE", 7)
    found = stage.fit_transform(trajectories, given).prior
    assert_allclose(found, expected, atol=1e-5)


def test_contamination(clusters, caplog):
    trajectories, true, given = clusters
    with caplog.at_level(logging.INFO, logger="skdygen"):
        stage = TrajectoryKNNPrior().fit(trajectories, given)
    assert stage.contamination_ == pytest.approx((true != given).mean(), abs=0.1)
    assert "estimated share of wrong labels" in caplog.text
    assert TrajectoryKNNPrior(contamination=0.1).fit(
        trajectories, given
    ).contamination_ == pytest.approx(0.1)


@pytest.mark.parametrize("criterion", ["paper", "relative", "margin"])
def test_prior_is_better_than_the_labels(clusters, criterion):
    trajectories, true, given = clusters
    prior = (
        TrajectoryKNNPrior(criterion=criterion).fit_transform(trajectories, given).prior
    )
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


def test_texts_without_neighbors_have_a_uniform_prior(clusters):
    trajectories, _, given = clusters
    neighbors = RadiusNeighborsTransformer(mode="distance", radius=1e-9)
    stage = TrajectoryKNNPrior(neighbors=neighbors, query="leave-one-out")
    prior = stage.fit_transform(trajectories, given).prior
    assert_allclose(prior, 1 / 3)


def test_texts_without_label_are_never_clean_but_have_a_prior(clusters):
    trajectories, true, given = clusters
    partly = np.where(np.arange(150) < 30, -1, given)
    stage = TrajectoryKNNPrior(missing_label=-1)
    prior = stage.fit_transform(trajectories, partly).prior
    assert stage.clean_indices_.min() >= 30
    assert np.isnan(stage.noise_scores_[:30]).all()
    assert (prior[:30].argmax(axis=1) == true[:30]).mean() > 0.8


def test_a_class_that_nobody_was_given(clusters):
    trajectories, _, given = clusters
    rows = np.flatnonzero(given != 1)
    part = trajectories[rows]
    for criterion in ("paper", "relative", "margin"):
        prior = (
            TrajectoryKNNPrior(criterion=criterion)
            .fit_transform(part, given[rows])
            .prior
        )
        assert prior.shape == (len(rows), 3)
        assert (prior[:, 1] == 0).all()


def test_very_few_texts():
    few = Trajectories(
        np.random.RandomState(0).rand(4, 1, 1, 2), np.full((4, 1, 1, 2), 0.5)
    )
    prior = TrajectoryKNNPrior(contamination=0.0).fit_transform(few, [0, 1, 0, 1]).prior
    assert_array_equal(prior.argmax(axis=1), [0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"leaves 1 of 4 .*at least 2"):
        TrajectoryKNNPrior(contamination=0.9).fit(few, [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"contamination": 1.5}, "'contamination' parameter"),
        ({"contamination": "much"}, "'contamination' parameter"),
        ({"criterion": "own"}, "'criterion' parameter"),
        ({"n_neighbors": 0}, "'n_neighbors' parameter"),
        ({"epoch": 3}, "epoch=3 of a prior is not among the 3 epochs"),
    ],
)
def test_bad_parameters(clusters, params, message):
    trajectories, _, given = clusters
    with pytest.raises(ValueError, match=message):
        TrajectoryKNNPrior(**params).fit(trajectories, given)


def test_bad_input(clusters):
    trajectories, _, given = clusters
    with pytest.raises(TypeError, match="X must be Trajectories"):
        TrajectoryKNNPrior().fit(np.zeros((150, 3)), given)
    with pytest.raises(ValueError, match="X has 150 texts but y has 149"):
        TrajectoryKNNPrior().fit(trajectories, given[1:])
    with pytest.raises(ValueError, match="no trajectories"):
        TrajectoryKNNPrior().fit(trajectories, given).transform(trajectories[:0])


def test_uniform_prior(clusters):
    trajectories, _, given = clusters
    stage = UniformPrior().fit(trajectories, given)
    assert_allclose(stage.transform(trajectories[:7]).prior, np.full((7, 3), 1 / 3))
