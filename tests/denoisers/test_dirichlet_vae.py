import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import digamma, gammaln, softmax
from sklearn.base import clone

from skdygen import Trajectories
from skdygen._memmap import folder_of_mapped
from skdygen.datasets import make_label_noise
from skdygen.denoisers import DirichletVAE, _dirichlet_vae, _vae
from skdygen.denoisers._dirichlet_vae import marginalize
from skdygen.denoisers._vae import ConditionalVAE, standardize, train_vae, vae_loss
from skdygen.priors import TrajectoryKNNPrior
from tests.test_torch import MODES


def slow_kl(alpha, beta):
    """Divergence of two Dirichlet distributions, from the textbook."""
    return (
        gammaln(alpha.sum()) - gammaln(alpha).sum()
        - gammaln(beta.sum()) + gammaln(beta).sum()
        + ((alpha - beta) * (digamma(alpha) - digamma(alpha.sum()))).sum()
    )  # fmt: skip


def slow_loss(alpha, logits, given, weights, alpha_prior, coregularization):
    n_branches, n_rows, n_classes = alpha.shape
    total = 0.0
    for m, i in np.ndindex(n_branches, n_rows):
        decoded = 1 / (1 + np.exp(-logits[m, i]))
        term = slow_kl(alpha[m, i], alpha_prior[i])
        for k in range(n_classes):
            term -= np.log(decoded[k] if given[i, k] else 1 - decoded[k])
        a = (alpha[:, i] - 1) / (alpha[:, i] - 1).sum(axis=1, keepdims=True)
        mean = a.mean(axis=0)
        term += coregularization * (mean * np.log(mean / a[m])).sum()
        total += weights[i] * term / n_branches / n_rows
    return total


@pytest.fixture
def loss_inputs():
    rng = np.random.RandomState(0)
    alpha = 1.2 + rng.rand(2, 5, 3) * 4
    logits = rng.randn(2, 5, 3)
    given = np.eye(3)[rng.randint(3, size=5)]
    alpha_prior = 1.3 + 5 * np.eye(3)[rng.randint(3, size=5)]
    return alpha, logits, given, rng.rand(5), alpha_prior


@pytest.mark.parametrize("strength", [0.0, 2.0])
def test_loss_against_loops(loss_inputs, strength):
    found = vae_loss(*map(torch.from_numpy, loss_inputs), strength)
    assert_allclose(found.item(), slow_loss(*loss_inputs, strength))


def test_samples_stay_on_the_simplex_and_carry_gradients():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = ConditionalVAE(2, 4, 3)
        alpha = torch.full((2, 6, 3), 1.5, requires_grad=True)
        sample = vae.draw(alpha)
        encoded, logits = vae(torch.randn(2, 6, 4), torch.eye(3)[[0, 1, 2, 0, 1, 2]])
    assert (sample >= 0).all()
    assert_allclose(sample.detach().sum(-1), 1, rtol=1e-5)
    sample[..., 0].sum().backward()
    assert (alpha.grad != 0).all()
    assert (encoded > 1 + 1 / 3).all()
    logits.sum().backward()
    assert vae.encoder.from_features.grad.abs().sum() > 0


def noisy_clusters(n_samples=300, rate=0.3, classes=("no", "yes"), seed=0):
    """Two separable classes whose embeddings drift apart, with wrong labels."""
    rng = np.random.RandomState(seed)
    true = rng.permutation(np.arange(n_samples) % 2)
    drift = np.array([1, 2, 3])[None, None, :, None]
    centers = np.where(true[:, None] == 1, 1.0, -1.0) * np.ones(6)
    embeddings = centers[:, None, None] * drift + rng.randn(n_samples, 2, 3, 6)
    p = softmax(np.stack([-embeddings.mean(-1), embeddings.mean(-1)], axis=-1), axis=-1)
    given = make_label_noise(true, "symmetric", rate, random_state=seed)
    classes = np.array(classes)
    return Trajectories(embeddings, p, classes), classes[true], classes[given]


def fit(trajectories, given, **params):
    with_prior = TrajectoryKNNPrior(missing_label=np.nan).fit_transform(
        trajectories, given
    )
    params = {"prior_weight": 0.0, "missing_label": np.nan} | params
    return DirichletVAE(random_state=0, **params).fit(with_prior, given)


@pytest.mark.parametrize("mode", MODES)
def test_whatever_modes_torch_is_in(mode):
    trajectories, _, given = noisy_clusters()
    expected = fit(trajectories, given, n_epochs=1).label_distributions_
    with mode():
        found = fit(trajectories, given, n_epochs=1)
        again = found.predict_proba(trajectories)
    assert_array_equal(found.label_distributions_, expected)
    assert_array_equal(again, found.predict_proba(trajectories))


def test_planted_truth_is_recovered():
    trajectories, true, given = noisy_clusters()
    partly = np.where(np.arange(300) < 30, None, given)
    denoiser = fit(trajectories, partly)
    assert denoiser.n_epochs_ == 100  # "auto": as many as make 500 steps
    found = denoiser.label_distributions_
    is_right = denoiser.classes_[found.argmax(axis=1)] == true
    assert (given == true).mean() == pytest.approx(0.7, abs=0.01)
    assert is_right.mean() > 0.95
    assert is_right[:30].mean() > 0.9
    expected = denoiser.predict_proba(trajectories)  # which knows no given label
    assert_array_equal(found[:30], expected[:30])
    assert not np.allclose(found[30:], expected[30:])
    new, new_true, _ = noisy_clusters(seed=1)
    assert denoiser.score(new, new_true) > 0.95


def test_posterior_is_the_equation():
    trajectories, _, given = noisy_clusters(50)
    denoiser = fit(trajectories, given, n_epochs=2)
    found = denoiser._posterior(trajectories)
    assert found.shape == (50, 2, 2, 2)
    for i, m, k in np.ndindex(50, 2, 2):
        w = trajectories.embeddings[i, m].ravel()
        activation = (
            denoiser.encoder_features_[m].T.astype(float) @ w
            + denoiser.encoder_labels_[m][k]
            + denoiser.encoder_bias_[m]
        )
        alpha = np.log1p(np.exp(activation)) + 1 + 1 / 2
        assert_allclose(found[i, m, k], (alpha - 1) / (alpha - 1).sum(), rtol=1e-4)
    expected = marginalize(trajectories.probabilities[:, :, -1], found)
    assert_allclose(denoiser.predict_proba(trajectories), expected, rtol=1e-5)
    assert_allclose(denoiser.marginal_distributions_, expected, rtol=1e-5)


def test_kept_encoder_is_the_trained_network(monkeypatch):
    kept = {}

    def spy(vae, trajectories, targets, alpha_prior, shift, scale, **params):
        train_vae(vae, trajectories, targets, alpha_prior, shift, scale, **params)
        w = standardize(trajectories.embeddings, shift, scale)
        # One scale for each branch and epoch, one mean for each feature.
        assert_allclose(w.mean(axis=1), 0, atol=1e-5)
        assert_allclose(w.reshape(2, -1, 3, 6).var(axis=1).mean(axis=-1), 1, rtol=1e-4)
        with torch.no_grad():
            alpha, _ = vae(torch.from_numpy(w), torch.eye(2)[targets.codes])
        kept.update(alpha=alpha.numpy(), codes=targets.codes, alpha_prior=alpha_prior)

    monkeypatch.setattr(_dirichlet_vae, "train_vae", spy)
    trajectories, _, given = noisy_clusters(60)
    prior = np.tile([0.25, 0.75], (60, 1))
    denoiser = DirichletVAE(3, prior_strength=4.0, prior_weight=0.0, random_state=0)
    denoiser.fit(trajectories.with_prior(prior), given)
    assert_allclose(kept["alpha_prior"], np.tile([2.5, 4.5], (60, 1)))
    a = kept["alpha"] - 1
    expected = a / a.sum(-1, keepdims=True)
    found = denoiser._posterior(trajectories)[np.arange(60), :, kept["codes"]]
    assert_allclose(found, expected.swapaxes(0, 1), atol=1e-5)
    assert_allclose(denoiser.label_distributions_, expected.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("ratio", "n_free"), [(0.0, 0), (0.1, 1), (0.5, 2)]
)  # of 4 epochs
def test_first_epochs_are_without_the_pull(ratio, n_free, monkeypatch):
    strengths = []

    def spy(*args):
        strengths.append(args[-1])
        return vae_loss(*args)

    monkeypatch.setattr(_vae, "vae_loss", spy)
    trajectories, _, given = noisy_clusters(40)
    fit(
        trajectories, given, n_epochs=4, batch_size=40,
        coregularization=3.0, coregularization_warmup=ratio,
    )  # fmt: skip
    assert strengths == [0.0] * n_free + [3.0] * (4 - n_free)


def test_marginalisation_against_loops():
    rng = np.random.RandomState(0)
    p = rng.dirichlet(np.ones(3), size=(6, 2))
    q = rng.dirichlet(np.ones(3), size=(6, 2, 3))
    expected = np.zeros((6, 3))
    for i, m, given, y in np.ndindex(6, 2, 3, 3):
        expected[i, y] += p[i, m, given] * q[i, m, given, y] / 2
    assert_allclose(marginalize(p, q), expected / expected.sum(axis=1, keepdims=True))


def test_posterior_is_averaged_with_the_prior():
    trajectories, _, given = noisy_clusters(100)
    prior = np.random.RandomState(0).dirichlet(np.ones(2), size=100)
    with_prior = trajectories.with_prior(prior)
    alone = DirichletVAE(3, prior_weight=0.0, random_state=0).fit(with_prior, given)
    mixed = clone(alone).set_params(prior_weight=0.3).fit(with_prior, given)
    expected = 0.7 * alone.label_distributions_ + 0.3 * prior
    assert_allclose(mixed.label_distributions_, expected)
    expected = 0.7 * alone.predict_proba(trajectories) + 0.3 * prior
    assert_allclose(mixed.predict_proba(with_prior), expected)
    for method, *y in ((mixed.predict_proba,), (mixed.fit, given)):
        with pytest.raises(ValueError, match="X has no prior"):
            method(trajectories, *y)
    with pytest.raises(FloatingPointError, match="learning_rate"):
        mixed.set_params(learning_rate=1e30).fit(with_prior, given)


def test_from_a_file_that_is_mapped(tmp_path):
    trajectories, _, given = noisy_clusters(100)
    expected = fit(trajectories, given, n_epochs=5).label_distributions_
    trajectories.save(tmp_path / "file")
    mapped = Trajectories.load(tmp_path / "file", max_nbytes=0)
    assert folder_of_mapped(mapped.embeddings)
    assert_array_equal(fit(mapped, given, n_epochs=5).label_distributions_, expected)


def test_one_branch_and_features_that_never_move():
    trajectories, true, given = noisy_clusters()
    one = Trajectories(
        trajectories.embeddings[:, :1],
        trajectories.probabilities[:, :1],
        trajectories.classes,
    )
    assert fit(one, given, n_epochs=30).score(one, true) > 0.95
    still = np.concatenate([trajectories.embeddings, np.ones((300, 2, 3, 2))], axis=-1)
    still[:, :, 1] = 3.0
    still = Trajectories(still, trajectories.probabilities, trajectories.classes)
    assert fit(still, given, n_epochs=30).score(still, true) > 0.9
