import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import check_grad
from scipy.special import softmax

from skdygen import Trajectories, _pool
from skdygen._pool import Pool, geometric_mean, log_opinions, spread
from skdygen.denoisers import (
    DirichletVAE,
    LogLinearPool,
    TransitionMatrixDenoiser,
)


def make(n_samples=400, n_classes=3, seed=0):
    """Make texts on which a good and a bad opinion are had, and labels 30 % wrong.

    The bad opinion believes the given labels, which turn 0 into 1.
    """
    rng = np.random.RandomState(seed)
    true = rng.randint(n_classes, size=n_samples)
    given = np.where((true == 0) & (rng.rand(n_samples) < 0.9), 1, true)
    at = np.eye(n_classes)
    off = rng.dirichlet(np.ones(n_classes), size=(2, n_samples))
    good, bad = 0.5 * at[true] + 0.5 * off[0], 0.9 * at[given] + 0.1 * off[1]
    view = at[true] + 0.7 * rng.randn(n_samples, n_classes)
    found = Trajectories(
        np.zeros((n_samples, 1, 1, 2)), np.full((n_samples, 1, 1, n_classes), 1 / 3),
        views={"initial": view},
    )  # fmt: skip
    opinions = np.stack([good, bad], axis=1)
    return found.with_prior(geometric_mean(opinions), opinions), true, given


def known(true, rows):
    return {int(i): int(true[i]) for i in rows}


def test_without_verified_labels_all_count_alike():
    trajectories, _, given = make()
    given = np.where(np.arange(400) < 20, -1, given)
    pool = LogLinearPool(given_weight=1.5, missing_label=-1).fit(trajectories, given)
    log_p = np.log(0.99 * trajectories.opinions + 0.01 / 3).mean(axis=1)
    assert_allclose(pool.marginal_distributions_, softmax(log_p, axis=1))
    expected = log_p + 1.5 * np.eye(4)[given][:, :3]
    assert_allclose(pool.label_distributions_, softmax(expected, axis=1))
    assert pool.held_out_distributions_ is pool.label_distributions_
    assert_allclose(pool.weights_, 0.5)
    alone = trajectories.with_prior(trajectories.prior)  # as of one opinion
    found = LogLinearPool().fit(alone, given % 3).marginal_distributions_
    assert_allclose(found.argmax(axis=1), alone.prior.argmax(axis=1))


def test_verified_labels_teach_whom_to_trust():
    trajectories, true, given = make()
    rest = slice(100, None)
    without = LogLinearPool().fit(trajectories, given)
    n_right = [(without.label_distributions_.argmax(axis=1) == true)[rest].mean()]
    for n_verified in (10, 30, 100):
        pool = LogLinearPool()
        pool.fit(trajectories, given, verified=known(true, range(n_verified)))
        found = pool.label_distributions_
        assert_array_equal(found[:n_verified], np.eye(3)[true[:n_verified]])
        n_right.append((found.argmax(axis=1) == true)[rest].mean())
    assert n_right[0] < 0.75 < 0.9 < min(n_right[2:])
    assert pool.weights_[0] > pool.weights_[1]
    # What is held out is as good as what is said of others, and not the label itself.
    held_out = pool.held_out_distributions_[:100]
    assert (held_out.argmax(axis=1) == true[:100]).mean() < 1
    assert (held_out.argmax(axis=1) == true[:100]).mean() > n_right[3] - 0.1
    other = LogLinearPool(n_folds=2)
    other.fit(trajectories, given, verified=known(true, range(100)))
    assert_array_equal(other.label_distributions_, pool.label_distributions_)
    assert not np.allclose(other.held_out_distributions_[:100], held_out)
    new, new_true, _ = make(seed=1)
    assert pool.score(new, new_true) > without.score(new, new_true) + 0.1


def test_who_reads_only_doubtful_labels_is_not_misled():
    # Of two classes, nearly all that is read is not as given; most of the rest is.
    rng = np.random.RandomState(0)
    true = rng.randint(2, size=600)
    given = np.where(rng.rand(600) < 0.1, 1 - true, true)
    view = 2 * true[:, None] - 1 + rng.randn(600, 1)
    opinions = softmax(np.hstack([-view, view]), axis=1)[:, None]
    trajectories = Trajectories(
        np.zeros((600, 1, 1, 2)), np.full((600, 1, 1, 2), 0.5),
        views={"initial": np.hstack([view, rng.randn(600, 30)])},
    ).with_prior(opinions[:, 0], opinions)  # fmt: skip
    before = LogLinearPool().fit(trajectories, given)
    quality = before.label_distributions_[np.arange(600), given]
    doubtful = known(true, np.argsort(quality)[:60])
    after = LogLinearPool().fit(trajectories, given, verified=doubtful)
    assert np.mean([given[i] != label for i, label in doubtful.items()]) > 0.5
    found = [pool.score(trajectories, true) for pool in (before, after)]
    assert found[1] > found[0] - 0.05


def test_a_verified_text_without_a_given_label():
    trajectories, true, given = make(60)
    given[:10] = -1
    pool = LogLinearPool(missing_label=-1)
    pool.fit(trajectories, given, verified=known(true, [0, 1, 2, 50]))
    assert_array_equal(pool.label_distributions_[:3], np.eye(3)[true[:3]])
    assert np.isfinite(pool.held_out_distributions_).all()
    one = LogLinearPool(missing_label=-1).fit(trajectories, given, verified={5: 1})
    assert_allclose(one.held_out_distributions_.sum(axis=1), 1)


def test_few_verified_labels_of_many_classes_do_little_harm():
    """What is said of texts by their labels must not teach to trust who knows these."""
    n_seen, n_new, n_classes = 500, 1000, 40
    shares = 1.0 / np.arange(1, n_classes + 1)
    shares /= shares.sum()
    gains = []
    for seed in range(3):
        rng = np.random.RandomState(seed)
        n_samples = n_seen + n_new
        true = rng.choice(n_classes, size=n_samples, p=shares)
        given = rng.choice(n_classes, size=n_samples, p=shares)
        given = np.where(rng.rand(n_samples) < 0.7, true, given)
        said = np.column_stack([true, true, true])
        is_off = rng.rand(n_samples, 3) < 0.5
        said[is_off] = rng.choice(n_classes, size=is_off.sum(), p=shares)
        # The last opinion has learnt the labels of the training texts by heart.
        knows = (rng.rand(n_samples) < 0.7) & (np.arange(n_samples) < n_seen)
        said[knows, 2] = given[knows]
        doubt = rng.dirichlet(np.ones(n_classes), size=(n_samples, 3))
        opinions = 0.4 * np.eye(n_classes)[said] + 0.6 * doubt
        found = Trajectories(
            np.zeros((n_samples, 1, 1, 2)),
            np.full((n_samples, 1, 1, n_classes), 1 / n_classes),
            views={"initial": rng.randn(n_samples, 30)},
        )
        found = found.with_prior(geometric_mean(opinions), opinions)
        seen, new = found[np.arange(n_seen)], found[np.arange(n_seen, n_samples)]
        n_right = []
        for verified in ({}, known(true, range(50))):
            pool = LogLinearPool().fit(seen, given[:n_seen], verified=verified)
            predicted = pool.classes_[pool.predict_proba(new).argmax(axis=1)]
            n_right.append((predicted == true[n_seen:]).mean())
        gains.append(n_right[1] - n_right[0])
    assert np.mean(gains) > -0.03, gains


def test_gradient_and_few_directions():
    """The gradient is right, and fewer texts than features lose nothing."""
    trajectories, true, given = make(12)
    log_p = log_opinions(trajectories.opinions)
    features = np.random.RandomState(0).randn(12, 30)
    counts = np.linspace(0.5, 2, 12)
    seen = {}

    def compare(loss, start, jac, **_):
        point = start + 0.3 * np.random.RandomState(1).randn(len(start))
        seen["error"] = check_grad(lambda x: loss(x)[0], lambda x: loss(x)[1], point)
        seen["size"] = len(start)
        return minimize(loss, start, jac=jac, method="L-BFGS-B")

    minimize = _pool.minimize
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_pool, "minimize", compare)
        pool = Pool(np.array([0.3, 0.7]), 30, 3, 2.0).fit(
            log_p, features, np.eye(3)[true], np.eye(3)[given], counts
        )
    assert seen["error"] < 1e-4
    assert seen["size"] == 2 + 2 + 12 * 3

    def loss(coef):
        """The same with all 30 directions, of which 18 gain nothing."""
        pool.coef = coef.reshape(30, 3)
        p = pool.predict_proba(log_p, features, np.eye(3)[given])
        return -counts @ np.log(p[np.arange(12), true]) + (coef**2).sum() / 2

    best = pool.coef.copy()
    found = minimize(loss, best.ravel(), method="L-BFGS-B").x
    assert_allclose(found.reshape(30, 3), best, atol=5e-3)


def test_spread():
    agreed = np.array([[0.9, 0.1], [0.9, 0.1]])
    opposed = np.array([[0.9, 0.1], [0.1, 0.9]])
    found = spread(np.stack([agreed, opposed]))
    assert found[0] == pytest.approx(0, abs=1e-9)
    assert found[1] > 0.3
    alone = spread(np.array([[[0.5, 0.5]], [[1.0, 0.0]]]))
    assert alone[0] > alone[1] > 0


@pytest.mark.parametrize(
    "denoiser", [DirichletVAE(n_epochs=3, random_state=0), TransitionMatrixDenoiser()]
)
def test_other_denoisers_take_verified_labels(denoiser):
    trajectories, true, given = make()
    rows = np.flatnonzero(given != true)[:30]
    denoiser.fit(trajectories, given, verified=known(true, rows))
    found = denoiser.label_distributions_
    assert_array_equal(found[rows], np.eye(3)[true[rows]])
    assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    if isinstance(denoiser, TransitionMatrixDenoiser):
        plain = TransitionMatrixDenoiser().fit(trajectories, given)
        pairs = 3 * plain.transition_matrix_
        np.add.at(pairs, (true[rows], given[rows]), 1)
        expected = pairs / pairs.sum(axis=1, keepdims=True)
        assert_allclose(denoiser.transition_matrix_, expected)


def test_without_a_prior():
    trajectories, _, given = make(30)
    bare = Trajectories(trajectories.embeddings, trajectories.probabilities)
    with pytest.raises(ValueError, match="X has no prior"):
        LogLinearPool().fit(bare, given)
    new = {0: given.max() + 1}
    with pytest.raises(ValueError, match=r"or none of these .* same verified labels"):
        LogLinearPool().fit(trajectories, given, verified=new)
