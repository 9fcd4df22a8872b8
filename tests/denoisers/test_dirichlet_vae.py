import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import digamma, gammaln
from sklearn.base import clone

from skdygen import Trajectories
from skdygen.datasets import make_label_noise
from skdygen.denoisers import DirichletVAE
from skdygen.denoisers._dirichlet_vae import marginalize
from skdygen.denoisers._modules import ConditionalVAE, vae_loss
from skdygen.priors import TrajectoryKNNPrior, UniformPrior
from skdygen.utils._storage import folder_of_mapped


def slow_kl(alpha, beta):
    """Divergence of two Dirichlet distributions, from the textbook."""
    return (
        gammaln(alpha.sum()) - gammaln(alpha).sum()
        - gammaln(beta.sum()) + gammaln(beta).sum()
        + ((alpha - beta) * (digamma(alpha) - digamma(alpha.sum()))).sum()
    )  # fmt: skip


def slow_loss(alpha, logits, given, weights, alpha_prior, regularization):
    n_branches, n_rows, n_classes = alpha.shape
    total = 0.0
    for m in range(n_branches):
        for i in range(n_rows):
            decoded = 1 / (1 + np.exp(-logits[m, i]))
            term = slow_kl(alpha[m, i], alpha_prior[i])
            for k in range(n_classes):
                term -= np.log(decoded[k] if given[i, k] else 1 - decoded[k])
            a = (alpha[:, i] - 1) / (alpha[:, i] - 1).sum(axis=1, keepdims=True)
            mean = a.mean(axis=0)
            term += regularization * (mean * np.log(mean / a[m])).sum()
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


@pytest.mark.parametrize("regularization", [0.0, 2.0])
def test_loss_against_loops(loss_inputs, regularization):
    found = vae_loss(*map(torch.from_numpy, loss_inputs), regularization)
    assert_allclose(found.item(), slow_loss(*loss_inputs, regularization))


def test_gradient_against_differences(loss_inputs):
    alpha, logits, *others = loss_inputs
    tensors = [torch.from_numpy(alpha).requires_grad_(), torch.from_numpy(logits)]
    tensors[1].requires_grad_()
    vae_loss(*tensors, *map(torch.from_numpy, others), 2.0).backward()
    step = 1e-6
    for array, tensor in zip((alpha, logits), tensors, strict=True):
        for index in [(0, 0, 0), (1, 3, 2), (1, 4, 1)]:
            values = []
            for sign in (1, -1):
                array[index] += sign * step
                values.append(slow_loss(alpha, logits, *others, 2.0))
                array[index] -= sign * step
            slope = (values[0] - values[1]) / (2 * step)
            assert_allclose(tensor.grad[index].item(), slope, rtol=1e-4)


def test_samples_stay_on_the_simplex_and_carry_gradients(monkeypatch):
    drawn = []
    decode = torch.nn.Module.__call__

    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = ConditionalVAE(2, 4, 3)
        monkeypatch.setattr(
            type(vae.decoder),
            "__call__",
            lambda self, w, y: drawn.append(y) or decode(self, w, y),
        )
        alpha, logits = vae(torch.randn(2, 6, 4), torch.eye(3)[[0, 1, 2, 0, 1, 2]])
        logits.sum().backward()
    sample = drawn[-1]  # the encoder is called first, with the given labels
    assert sample.shape == alpha.shape == (2, 6, 3)
    assert (sample >= 0).all()
    assert_allclose(sample.detach().sum(-1), 1, rtol=1e-5)
    assert (alpha > 1 + 1 / 3).all()
    assert vae.encoder.from_features.grad.abs().sum() > 0


def noisy_clusters(n_samples=300, rate=0.3, classes=("no", "yes"), seed=0):
    """Two separable classes whose embeddings drift apart, with wrong labels."""
    rng = np.random.RandomState(seed)
    true = rng.permutation(np.arange(n_samples) % 2)
    drift = np.array([1, 2, 3])[None, None, :, None]
    centers = np.where(true[:, None] == 1, 1.0, -1.0) * np.ones(6)
    embeddings = centers[:, None, None] * drift + rng.randn(n_samples, 2, 3, 6)
    logits = np.stack([-embeddings.mean(-1), embeddings.mean(-1)], axis=-1)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    given = make_label_noise(true, "symmetric", rate, random_state=seed)
    classes = np.array(classes)
    return Trajectories(embeddings, p, classes), classes[true], classes[given]


def fit(trajectories, given, **params):
    prior = TrajectoryKNNPrior().fit(trajectories, given)
    denoiser = DirichletVAE(random_state=0, **{"prior_weight": 0.0} | params)
    return denoiser.fit(prior.transform(trajectories), given)


def test_planted_truth_is_recovered():
    trajectories, true, given = noisy_clusters()
    denoiser = fit(trajectories, given)
    most_probable = denoiser.classes_[denoiser.label_distributions_.argmax(axis=1)]
    assert (given == true).mean() == pytest.approx(0.7, abs=0.01)
    assert (most_probable == true).mean() > 0.95
    new, new_true, _ = noisy_clusters(seed=1)
    assert denoiser.score(new, new_true) > 0.95


def test_posterior_is_the_equation():
    trajectories, _, given = noisy_clusters(50)
    denoiser = fit(trajectories, given, n_epochs=2)
    found = denoiser.posterior(trajectories)
    assert found.shape == (50, 2, 2, 2)
    for i in (0, 17):
        for m in range(2):
            w = trajectories.embeddings[i, m].ravel()
            for k in range(2):
                activation = (
                    denoiser.encoder_features_[m].T.astype(float) @ w
                    + denoiser.encoder_labels_[m][k]
                    + denoiser.encoder_bias_[m]
                )
                alpha = np.log1p(np.exp(activation)) + 1 + 1 / 2
                expected = (alpha - 1) / (alpha - 1).sum()
                assert_allclose(found[i, m, k], expected, rtol=1e-4)


def test_kept_encoder_is_the_trained_network(monkeypatch):
    from skdygen.denoisers import _modules

    kept = {}
    train_vae = _modules.train_vae

    def spy(vae, read_features, codes, *args, **kwargs):
        train_vae(vae, read_features, codes, *args, **kwargs)
        rows = np.arange(len(codes))
        with torch.no_grad():
            kept["alpha"] = vae(read_features(rows), torch.eye(2)[codes])[0].numpy()
        kept["codes"] = codes

    monkeypatch.setattr(_modules, "train_vae", spy)
    trajectories, _, given = noisy_clusters(60)
    denoiser = fit(trajectories, given, n_epochs=3)
    a = kept["alpha"] - 1
    expected = a / a.sum(-1, keepdims=True)
    found = denoiser.posterior(trajectories)[np.arange(60), :, kept["codes"]]
    assert_allclose(found, expected.swapaxes(0, 1), atol=1e-5)
    assert_allclose(denoiser.label_distributions_, expected.mean(axis=0), atol=1e-5)


def test_marginalisation_against_loops():
    rng = np.random.RandomState(0)
    p = rng.dirichlet(np.ones(3), size=(6, 2))
    q = rng.dirichlet(np.ones(3), size=(6, 2, 3))
    expected = np.zeros((6, 3))
    for i in range(6):
        for y in range(3):
            for given in range(3):
                expected[i, y] += np.mean(
                    [p[i, m, given] * q[i, m, given, y] for m in range(2)]
                )
        expected[i] /= expected[i].sum()
    assert_allclose(marginalize(p, q), expected)


def test_predict_proba_marginalises_the_posterior():
    trajectories, _, given = noisy_clusters(60)
    denoiser = fit(trajectories, given)
    expected = marginalize(
        trajectories.probabilities[:, :, -1], denoiser.posterior(trajectories)
    )
    assert_allclose(denoiser.predict_proba(trajectories), expected, rtol=1e-5)
    assert_allclose(denoiser.marginal_distributions_, expected, rtol=1e-5)


def test_prior_concentrations():
    prior = np.array([[1.0, 0.0], [0.25, 0.75]])
    found = DirichletVAE(prior_strength=4.0).prior_concentrations(prior)
    assert_allclose(found, [[5.5, 1.5], [2.5, 4.5]])


def test_equal_seeds_give_equal_results():
    trajectories, _, given = noisy_clusters(100)
    one, two = fit(trajectories, given), fit(trajectories, given)
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            assert_array_equal(value, getattr(two, name))
    other = clone(one).set_params(random_state=1)
    other.fit(UniformPrior().fit_transform(trajectories, given), given)
    assert not np.array_equal(one.encoder_labels_, other.encoder_labels_)


def test_mapped_trajectories(tmp_path):
    trajectories, _, given = noisy_clusters(100)
    trajectories = UniformPrior().fit_transform(trajectories, given)
    trajectories.save(tmp_path / "file")
    mapped = Trajectories.load(tmp_path / "file", max_nbytes=0)
    assert folder_of_mapped(mapped.embeddings)
    expected = DirichletVAE(random_state=0).fit(trajectories, given)
    found = DirichletVAE(random_state=0).fit(mapped, given)
    assert_array_equal(found.label_distributions_, expected.label_distributions_)
    assert_array_equal(
        found.predict_proba(mapped), expected.predict_proba(trajectories)
    )


def test_texts_without_label_have_the_marginal_posterior():
    trajectories, true, given = noisy_clusters()
    partly = given.astype(object)
    partly[:50] = None
    prior = TrajectoryKNNPrior(missing_label=np.nan)
    with_prior = prior.fit_transform(trajectories, partly)
    denoiser = DirichletVAE(missing_label=np.nan, random_state=0)
    denoiser.fit(with_prior, partly)
    assert_array_equal(
        denoiser.label_distributions_[:50], denoiser.predict_proba(with_prior[:50])
    )
    found = denoiser.classes_[denoiser.label_distributions_[:50].argmax(axis=1)]
    assert (found == true[:50]).mean() > 0.9


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_posterior_is_averaged_with_the_prior(weight):
    trajectories, _, given = noisy_clusters()
    prior = np.random.RandomState(0).dirichlet(np.ones(2), size=300)
    with_prior = trajectories.with_prior(prior)
    alone = DirichletVAE(prior_weight=0.0, random_state=0).fit(with_prior, given)
    mixed = DirichletVAE(prior_weight=weight, random_state=0).fit(with_prior, given)
    assert_allclose(
        mixed.label_distributions_,
        (1 - weight) * alone.label_distributions_ + weight * prior,
    )
    assert_allclose(
        mixed.predict_proba(with_prior),
        (1 - weight) * alone.predict_proba(trajectories) + weight * prior,
    )
    with pytest.raises(ValueError, match="X has no prior"):
        mixed.predict_proba(trajectories)


def test_one_branch():
    trajectories, true, given = noisy_clusters()
    one = Trajectories(
        trajectories.embeddings[:, :1],
        trajectories.probabilities[:, :1],
        trajectories.classes,
    )
    assert fit(one, given).score(one, true) > 0.95


def test_features_that_never_move():
    trajectories, true, given = noisy_clusters()
    still = np.concatenate([trajectories.embeddings, np.ones((300, 2, 3, 2))], axis=-1)
    still[:, :, 1] = 3.0
    trajectories = Trajectories(still, trajectories.probabilities, trajectories.classes)
    assert fit(trajectories, given).score(trajectories, true) > 0.9


def test_errors():
    trajectories, _, given = noisy_clusters(20)
    with pytest.raises(ValueError, match="X has no prior"):
        DirichletVAE().fit(trajectories, given)
    with_prior = UniformPrior().fit_transform(trajectories, given)
    with pytest.raises(ValueError, match="'n_epochs' parameter"):
        DirichletVAE(n_epochs=0).fit(with_prior, given)
    with pytest.raises(ValueError, match="label 'maybe' in row 0"):
        DirichletVAE().fit(with_prior, ["maybe", *given[1:]])
    with pytest.raises(FloatingPointError, match="learning_rate"):
        DirichletVAE(learning_rate=1e30, random_state=0).fit(with_prior, given)
