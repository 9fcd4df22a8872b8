import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skdygen import Trajectories, _memmap
from skdygen.priors import ClassifierPrior, RidgePrior, TrajectoryKNNPrior
from skdygen.priors._clean_set import estimate_contamination, lowest


def estimate(scores):
    return estimate_contamination(scores, np.ones(len(scores)))


def two_gaussians(n_samples=1000, share=0.3):
    rng = np.random.RandomState(0)
    is_wrong = rng.rand(n_samples) < share
    return rng.randn(n_samples) + 4 * is_wrong, is_wrong.mean()


@pytest.mark.parametrize(
    ("n_samples", "share"),
    [(4000, 0.05), (4000, 0.3), (4000, 0.45), (30_000, 0.2)],  # more than are read
)
def test_contamination_of_two_gaussians(n_samples, share):
    scores, expected = two_gaussians(n_samples, share)
    assert estimate(scores) == pytest.approx(expected, abs=0.02)


def test_contamination_when_one_component_is_wide():
    rng = np.random.RandomState(0)
    scores = np.concatenate([rng.randn(800) * 0.1, rng.randn(200) * 3 + 1])
    # About a third of the wide component lies below the narrow one.
    assert estimate(scores) == pytest.approx((scores[800:] > 0).mean() * 0.2, abs=0.02)
    assert estimate(1e-3 * scores[::-1] - 5) == pytest.approx(estimate(scores))


@pytest.mark.parametrize("scores", [np.zeros(10), np.zeros(1), np.array([1.0, 2.0])])
def test_contamination_of_few_or_equal_scores(scores):
    assert estimate(scores) == 0


def test_a_score_of_weight_two_counts_as_two():
    scores, _ = two_gaussians()
    weights = np.random.RandomState(1).randint(3, size=1000)
    repeated = estimate(np.repeat(scores, weights))
    counts = weights > 0
    weighted = estimate_contamination(scores[counts], weights[counts].astype(float))
    assert weighted == pytest.approx(repeated, abs=0.01)


def test_contamination_is_estimated_or_given(clusters):
    trajectories, true, given = clusters
    stage = TrajectoryKNNPrior().fit(trajectories, given)
    assert stage.contamination_ == pytest.approx((true != given).mean(), abs=0.1)
    stage.set_params(contamination=0.1).fit(trajectories, given)
    assert stage.contamination_ == 0.1


def test_all_are_the_lowest_of_all():
    weights = np.array([1e6, 1e-12, 1e-12])
    assert_array_equal(lowest(np.arange(3.0), weights, 1.0), [0, 1, 2])


def test_lowest_scores_make_up_a_share_of_the_weight():
    scores, weights = np.array([4.0, 1.0, 3.0, 2.0]), np.array([1.0, 2.0, 1.0, 4.0])
    assert lowest(scores, weights, 0.25).tolist() == [1]
    assert lowest(scores, weights, 0.75).tolist() == [1, 3]
    assert lowest(scores, weights, 0.0).tolist() == [1]
    assert lowest(scores, weights, 1.0).tolist() == [1, 3, 2, 0]


@pytest.mark.parametrize("selection", ["global", "class"])
def test_selection(clusters, selection):
    trajectories, true, given = clusters
    stage = TrajectoryKNNPrior(contamination=0.4, selection=selection)
    clean = stage.fit(trajectories, given).clean_indices_
    scores, kept = stage.noise_scores_, np.isin(np.arange(150), clean)
    groups = [np.full(150, True)]
    if selection == "class":
        groups = [given == k for k in range(3)]
    for group in groups:
        assert kept[group].sum() == round(0.6 * group.sum())
        assert scores[group & kept].max() <= scores[group & ~kept].min()
    # Of many clean texts some are asked, not the cleanest: scores are spread alike.
    few = clone(stage).set_params(max_samples=30)
    asked = few.fit(trajectories, given).clean_indices_
    assert len(asked) == pytest.approx(30, abs=3)
    assert set(given[asked]) == set(given)
    assert set(asked) < set(clean)
    assert np.median(scores[asked]) == pytest.approx(np.median(scores[clean]), abs=0.5)
    assert scores[asked].max() > np.quantile(scores[clean], 0.9)
    prior = few.transform(trajectories).prior
    assert (prior.argmax(axis=1) == true).mean() > (given == true).mean() + 0.1


@pytest.mark.parametrize("make", [ClassifierPrior, TrajectoryKNNPrior])
def test_no_class_is_lost_among_many(make):
    rng = np.random.RandomState(0)
    given = 2 * rng.randint(2, size=1000)
    given[rng.permutation(1000)[:2]] = 1
    p = np.full((1000, 1, 1, 3), 1 / 3)
    trajectories = Trajectories(rng.randn(1000, 1, 1, 3), p)
    stage = make(contamination=0.0, max_samples=20)
    assert set(stage.fit(trajectories, given).clean_codes_) == {0, 1, 2}


def test_rows_are_judged_in_batches(clusters, monkeypatch):
    trajectories, _, given = clusters
    stage = TrajectoryKNNPrior(leave_one_out=True, voting="soft")
    expected = stage.fit_transform(trajectories, given).prior
    monkeypatch.setattr(_memmap, "_ROWS_AT_ONCE", 7)
    found = stage.fit_transform(trajectories, given).prior
    assert_allclose(found, expected, atol=1e-5)


def test_neighbors_in_a_view_that_is_replaced(clusters):
    trajectories, _, given = clusters
    rng = np.random.RandomState(0)
    cut = RidgePrior("cut", view="words")
    trajectories = trajectories.with_views({"words": rng.rand(len(given), 3)})
    cut.fit(trajectories, given)
    others = rng.rand(2, len(given), 3)
    trajectories.views["words"] = others[0]
    for changed in (trajectories, trajectories.with_views({"words": others[1]})):
        found = cut.fit(changed, given).noise_scores_
        anew = Trajectories(
            changed.embeddings, changed.probabilities,
            changed.classes, views=changed.views,
        )  # fmt: skip
        assert_array_equal(found, cut.fit(anew, given).noise_scores_)


def test_very_few_texts():
    few = Trajectories(
        np.random.RandomState(0).rand(4, 1, 1, 2), np.full((4, 1, 1, 2), 0.5)
    )
    prior = TrajectoryKNNPrior(contamination=0.0).fit_transform(few, [0, 1, 0, 1]).prior
    assert_array_equal(prior.argmax(axis=1), [0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"leaves 1 of 4 .*at least 2"):
        TrajectoryKNNPrior(contamination=0.9).fit(few, [0, 1, 0, 1])


PRIORS = [
    TrajectoryKNNPrior(voting="soft", leave_one_out=True, contamination=0.0),
    ClassifierPrior(contamination=0.0),
    RidgePrior(),
]


def say(prior, copies, given, row, label, *, by_verified):
    """What is said of a row, which is verified, if its copy 58 below has a label."""
    y = given.copy()
    y[58 + row] = label
    verified = {row: y[row]} | ({58 + row: label} if by_verified else {})
    return clone(prior).fit_transform(copies, y, verified=verified).prior[row]


@pytest.mark.parametrize("prior", PRIORS, ids=repr)
def test_a_text_is_judged_without_the_labels_of_its_copies(clusters, prior):
    trajectories, _, given = clusters
    rows = np.r_[:58, :58]
    copies, given = trajectories[rows].with_groups(rows), given[rows]

    def most_moved(copies, by_verified):
        """How far what is said of a text goes with the label of its copy."""
        found = [
            [
                say(prior, copies, given, row, label, by_verified=by_verified)
                for label in range(3)
            ]
            for row in range(0, 58, 7)
        ]
        return np.ptp(found, axis=1).max()

    assert most_moved(copies, by_verified=False) < 0.1
    apart = copies.with_groups(np.arange(116))
    assert most_moved(apart, by_verified=False) > 0.15
    if not isinstance(prior, ClassifierPrior):  # which leaves out folds
        assert most_moved(copies, by_verified=True) > 0.15


@pytest.mark.parametrize("prior", PRIORS, ids=repr)
def test_copies_are_judged_alike_whether_learnt_from_or_not(clusters, prior):
    trajectories, _, given = clusters
    rows = np.repeat(np.arange(40), 3)
    prior = clone(prior).set_params(max_samples=50)
    found = prior.fit_transform(
        trajectories[rows].with_groups(rows), given[rows], verified={0: 0, 1: 0}
    ).prior
    learnt = np.isin(np.arange(120), prior.clean_indices_)
    assert len({*rows[learnt]} & {*rows[~learnt]}) > 5
    found = found.reshape(40, 3, 3)[1:]  # those of text 0 know of each other
    assert_allclose(found, found[:, :1].repeat(3, axis=1), atol=1e-6)


@pytest.mark.parametrize("prior", PRIORS, ids=repr)
def test_copies_that_are_not_quite_the_same(clusters, prior):
    """As by an encoder that reads case: a hundred of them are still one text."""
    trajectories, _, given = clusters
    rows = np.r_[:100, np.zeros(100, int)]
    same = trajectories[rows].with_groups(rows)
    noise = 2 * np.random.RandomState(0).randn(*same.embeddings.shape)
    noise[:100] = 0
    moved = Trajectories(same.embeddings + noise, same.probabilities, groups=rows)
    expected, found = (
        clone(prior).fit_transform(copies, given[rows], verified={1: 0}).prior
        for copies in (same, moved)
    )
    assert_allclose(found, expected, atol=1e-6)


def test_texts_that_are_all_copies_of_one():
    rng = np.random.RandomState(0)
    made = Trajectories(
        rng.randn(8, 1, 2, 3), np.full((8, 1, 2, 2), 0.5), groups=np.zeros(8, int)
    )
    for prior in PRIORS:
        y = np.arange(8) % 2
        found = clone(prior).fit_transform(made, y, verified={0: 0}).prior
        assert np.isfinite(found).all()
