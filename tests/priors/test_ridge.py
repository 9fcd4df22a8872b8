import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.base import clone
from sklearn.linear_model import Ridge

from skdygen import Trajectories, _memmap
from skdygen._targets import make_targets
from skdygen.datasets import make_label_noise
from skdygen.priors import RidgePrior, TrajectoryKNNPrior, _clean_set, _ridge
from skdygen.priors._ridge import _PENALTIES, fit_ridge, fit_sharpness
from skdygen.priors._scores import cut_scores, find_neighbors


@pytest.mark.parametrize("has_copies", [False, True])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("n_at_once", [7, 30])
def test_each_row_is_predicted_by_the_others(
    has_copies, is_weighted, n_at_once, monkeypatch
):
    monkeypatch.setattr(_memmap, "_ROWS_AT_ONCE", n_at_once)
    rng = np.random.RandomState(0)
    X, targets = rng.randn(30, 4) + 3, rng.randn(30, 2)
    targets[:, 0] += X[:, 1]
    groups, is_known = np.arange(30), np.zeros(30, dtype=bool)
    if has_copies:
        groups[[1, 17, 29]], groups[12:14] = 8, 20
        is_known[[8, 17, 20]] = True
        X = X[groups]
    weights = 0.5 + rng.rand(30) if is_weighted else np.ones(30)
    center = np.average(X, axis=0, weights=weights)
    variances = np.average((X - center) ** 2, axis=0, weights=weights)
    scale = np.sqrt(variances).mean()
    errors, found = [], []
    for penalty in _PENALTIES:
        left_out = np.empty_like(targets)
        for i in range(30):
            rest = (groups != groups[i]) | (is_known & (np.arange(30) != i))
            model = Ridge(alpha=penalty * 4 * scale**2)
            model.fit(X[rest], targets[rest], weights[rest])
            left_out[i] = model.predict(X[i : i + 1])
        squares = ((targets - left_out) ** 2).sum(axis=1)
        errors.append(np.average(squares, weights=weights))
        found.append(left_out)
    best = np.argmin(errors)
    left_out, coef, intercept = fit_ridge(
        X.__getitem__, targets, weights, groups, is_known
    )
    assert_allclose(left_out, found[best], rtol=1e-6)
    model = Ridge(alpha=_PENALTIES[best] * 4 * scale**2).fit(X, targets, weights)
    assert_allclose(X @ coef + intercept, model.predict(X), rtol=1e-6)


def test_classes_differ_in_sharpness():
    rng = np.random.RandomState(0)
    factors, log_shares = np.array([1.0, 2.0, 8.0]), np.log([0.7, 0.25, 0.05])
    outputs = rng.randn(5000, 3)
    p = softmax(factors * outputs + log_shares, axis=1)
    learnt = np.eye(3)[[rng.choice(3, p=row) for row in p]]
    found = fit_sharpness(outputs, log_shares, learnt, np.ones(5000))
    assert_allclose(found, factors, rtol=0.15)
    weights = np.repeat([1.0, 0.0], 2500)
    half = fit_sharpness(outputs[:2500], log_shares, learnt[:2500], weights[:2500])
    weighted = fit_sharpness(outputs, log_shares, learnt, weights)
    assert_allclose(weighted, half, rtol=1e-3)


def test_classes_have_one_sharpness():
    rng = np.random.RandomState(0)
    outputs = rng.randn(5000, 3)
    p = softmax(4 * outputs, axis=1)
    learnt = np.eye(3)[[rng.choice(3, p=row) for row in p]]
    found = fit_sharpness(outputs, 0, learnt, np.ones(5000), by_class=False)
    assert found.shape == (1,)
    assert_allclose(found, 4, rtol=0.1)


def test_own_labels_have_no_part(memorised):
    trajectories, true, given = memorised
    prior = RidgePrior()
    before = prior.fit_transform(trajectories, given).prior
    assert (before.argmax(axis=1) == true).mean() > (given == true).mean() + 0.1
    other = given.copy()
    other[7] = (given[7] + 1) % 3
    after = RidgePrior().fit_transform(trajectories, other).prior
    # Others, and the sharpness, see the change; the text itself only through these.
    assert_allclose(after[7], before[7], atol=0.02)
    new = prior.transform(trajectories[7:8]).prior
    assert not np.allclose(new, before[7], atol=1e-6)


def test_many_texts_are_told_apart_where_no_line_does(monkeypatch):
    rng = np.random.RandomState(0)
    corners = rng.randn(600, 4)
    true = (corners[:, 0] * corners[:, 1] > 0).astype(int)
    given = np.where(rng.rand(600) < 0.2, 1 - true, true)
    probabilities = np.full((600, 1, 1, 2), 0.5)
    trajectories = Trajectories(corners[:, None, None], probabilities, [0, 1])
    some, new = trajectories[:400], trajectories[400:]

    def hits(prior):
        own = prior.fit_transform(some, given[:400]).prior.argmax(axis=1)
        found = prior.transform(new).prior.argmax(axis=1)
        return (own == true[:400]).mean(), (found == true[400:]).mean()

    monkeypatch.setattr(_ridge, "_MOST_LINEAR", 400)
    few = RidgePrior(view=-1)
    assert max(hits(few)) < 0.65
    assert few.centers_.shape == (0, 4)
    monkeypatch.setattr(_ridge, "_MOST_LINEAR", 399)
    monkeypatch.setattr(_ridge, "_N_CENTERS", 50)
    many = RidgePrior(view=-1)
    assert min(hits(many)) > 0.8
    assert many.centers_.shape == (50, 4)
    assert many.coef_.shape == (54, 2)
    # Centers are compared with as they are, whatever the unit.
    scaled = Trajectories(1000 * corners[:400, None, None], some.probabilities, [0, 1])
    found = clone(many).fit_transform(scaled, given[:400]).prior
    assert_allclose(found, many.fit_transform(some, given[:400]).prior, atol=1e-3)


def test_a_class_keeps_its_texts_where_a_rarer_one_has_got_many_labels(monkeypatch):
    rng = np.random.RandomState(0)
    sizes = 1.5 ** rng.permutation(12)
    true = rng.choice(12, p=sizes / sizes.sum(), size=3000)
    X = 0.8 * rng.randn(12, 20)[true] + rng.randn(3000, 20)
    given = make_label_noise(true, kind="asymmetric", rate=0.4, random_state=0)
    probabilities = np.full((3000, 1, 1, 12), 1 / 12)
    trajectories = Trajectories(X[:, None, None], probabilities, np.arange(12))

    def hits(most_linear):
        monkeypatch.setattr(_ridge, "_MOST_LINEAR", most_linear)
        prior = RidgePrior(view=-1)
        own = prior.fit_transform(trajectories[:2000], given[:2000]).prior
        new = prior.transform(trajectories[2000:]).prior
        found = np.concatenate([own, new])
        assert_allclose(found.sum(axis=1), 1)
        return (found.argmax(axis=1) == true).mean()

    monkeypatch.setattr(_ridge, "_N_CENTERS", 1)  # what they add is another matter
    assert hits(1999) > hits(2000) + 0.05


def test_verified_texts_are_learnt_from_whatever_is_given(memorised):
    trajectories, true, given = memorised
    wrong = np.flatnonzero(given != true)[:20]
    known = dict(zip(wrong.tolist(), true[wrong].tolist(), strict=True))
    for prior in (
        RidgePrior(contamination=0.5, selection="class"),
        TrajectoryKNNPrior(contamination=0.5, leave_one_out=True, voting="soft"),
    ):
        found = prior.fit_transform(trajectories, given, verified=known).prior
        kept = np.searchsorted(prior.clean_indices_, wrong)
        assert_allclose(prior.clean_indices_[kept], wrong)
        assert_allclose(prior.clean_codes_[kept], true[wrong])
        plain = prior.fit_transform(trajectories, given).prior
        rest = np.setdiff1d(np.arange(240), wrong)
        hits = [(p.argmax(axis=1) == true)[rest].mean() for p in (found, plain)]
        assert hits[0] >= hits[1] - 0.03
        assert_allclose(found.sum(axis=1), 1)


def test_a_verified_class_that_nobody_gave(memorised):
    trajectories, _, given = memorised
    prior = RidgePrior()
    found = prior.fit_transform(trajectories, given, verified={0: 7, 1: 7})
    assert found.classes.tolist() == prior.classes_.tolist() == [0, 1, 2, 7]
    assert found.probabilities.shape[-1] == found.prior.shape[1] == 4
    assert (found.probabilities[..., 3] == 0).all()
    assert prior.transform(trajectories[:5]).classes.tolist() == [0, 1, 2, 7]
    few = Trajectories(trajectories.embeddings, trajectories.probabilities, [1, 2, 7])
    with pytest.raises(ValueError, match=r"classes \[1, 2, 7\].* \[0, 1, 2\]"):
        prior.transform(few)


def test_neighbours_are_of_the_same_texts(memorised):
    trajectories, true, given = memorised
    prior, some = RidgePrior("cut", view=-1, missing_label=-1), given.copy()
    some[::3] = -1
    found = [prior.fit_transform(trajectories, y).prior for y in (given, some, true)]
    for y, before in zip((given, some, true), found, strict=True):
        alone = clone(prior).fit_transform(trajectories[:], y)  # nothing known of it
        assert_array_equal(alone.prior, before)


@pytest.mark.parametrize("has_copies", [False, True])
def test_cut_scores_against_loops(has_copies):
    rng = np.random.RandomState(0)
    space = rng.randn(40, 3)
    given = rng.randint(3, size=40)
    given[:5] = -1
    weights = np.where(given < 0, 0, 0.5 + rng.rand(40))
    weights[given < 0] = 1
    groups = np.arange(40)
    if has_copies:
        groups[[9, 20, 21]] = 7
        space = space[groups]
    targets = make_targets(given, weights, missing_label=-1)
    rows = targets.labelled
    # Of copies with a label the first is asked.
    asked = [j for j in rows if j not in (9, 20, 21)] if has_copies else rows
    near = find_neighbors(
        lambda some: space[some], rows, np.asarray(asked), n_neighbors=6
    )
    found = cut_scores(near, targets, groups)
    assert np.isnan(found[:5]).all()
    shares = [
        targets.weights[given == k].sum() / targets.weights.sum() for k in range(3)
    ]
    for i in rows:
        others = [j for j in asked if groups[j] != groups[i]]
        distances = {j: np.linalg.norm(space[i] - space[j]) for j in others}
        near = sorted(others, key=distances.get)[:6]
        w = {j: targets.weights[j] / (1 + distances[j]) for j in near}
        p = 1 - shares[given[i]]
        cut = sum(w[j] for j in near if given[j] != given[i])
        expected = cut - p * sum(w.values())
        expected /= np.sqrt(p * (1 - p) * sum(v**2 for v in w.values()))
        assert found[i] == pytest.approx(expected, rel=1e-5)


def test_cut_statistic_finds_wrong_labels_also_among_some(memorised):
    trajectories, true, given = memorised
    for max_samples in (None, 60):
        prior = RidgePrior("cut", contamination=0.5, max_samples=max_samples)
        found = prior.fit_transform(trajectories, given).prior
        assert len(prior.clean_indices_) <= (max_samples or 120)
        scores = prior.noise_scores_
        assert scores[given != true].mean() > scores[given == true].mean() + 1
        assert (found.argmax(axis=1) == true).mean() > (given == true).mean()
    assert_allclose(softmax(np.log(found), axis=1), found)


def test_neighbors_are_sought_among_fewer_than_are_learnt_from(memorised, monkeypatch):
    monkeypatch.setattr(_clean_set, "_MOST_COMPARED", 60)
    trajectories, _, given = memorised
    scores = {}
    for max_samples in (60, 30_000, None):
        prior = RidgePrior("cut", contamination=0.1, max_samples=max_samples)
        scores[max_samples] = prior.fit(trajectories, given).noise_scores_
        assert (len(prior.clean_indices_) > 60) == (max_samples != 60)
    assert_array_equal(scores[30_000], scores[60])
    assert (scores[None] != scores[60]).any()
