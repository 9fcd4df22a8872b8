"""The generative denoiser of DyGen."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from sklearn.utils import check_random_state, gen_batches

from .._sklearn_compat import Interval, StrOptions
from .._torch import n_epochs_without_pull, one_thread, seeded
from .._trajectories import check_prior
from ..base import BaseDenoiser
from ._vae import ConditionalVAE, by_branch, train_vae, weighted_moments

_ROWS_AT_ONCE = 1024
_NUMBERS_AT_ONCE = 2**22  # of posteriors given each label: classes squared for a text
_LEAST_STEPS = 500
_MOST_STEPS = 20_000


class DirichletVAE(BaseDenoiser):
    """Infer true labels from dynamics with a conditional variational auto-encoder.

    The true label y of a text is a point of the simplex that is not observed. Given
    the trajectory w and the given label y~, each branch has [1]_::

        q(y | y~, w) = Dirichlet(alpha),  alpha = softplus(A [w; y~] + a) + 1 + 1/K
        p(y~ | y, w) = sigmoid(B [w; y] + b)
        p(y)         = Dirichlet(1 + 1/K + prior_strength * prior)

    and is trained on the evidence lower bound, with the exact reparameterised sample
    and divergence of Dirichlet distributions. The branches are pulled towards their
    mean. The posterior of a true label is the normalised mode of q,
    ``(alpha - 1) / sum(alpha - 1)``, and where the given label is not known
    ``p(y | x) = sum_y~ mean_m p_m(y~ | x) q_m(y | y~, w_m)``. Both are averaged with
    the text's prior.

    Parameters
    ----------
    n_epochs : "auto" or int, default="auto"
        Number of passes over the texts. "auto" takes the paper's 10, as many as make
        500 steps where the texts are few, and as many as make about 20,000, or two,
        where they are many.
    learning_rate : float, default=3e-3
        Learning rate of Adam.
    batch_size : int, default=64
        Number of texts per step.
    prior_strength : float, default=10.0
        Weight of the prior label, or the verified one, in the concentrations; the
        paper's delta, which is 5 there.
    prior_weight : float, default=0.5
        Share that a text's own prior has in what is said of it; the rest is the
        posterior's as inferred. 0 for the paper, whose prior only guides the training.
    coregularization : float, default=2.0
        Strength of the pull of the branches towards their mean; the paper's lambda_2.
    coregularization_warmup : float, default=0.1
        Share of the epochs without this pull (at least one; 0 for none).
    missing_label : object, default=None
        The value in `y` that means "no label"; NaN stands for all null values.
    random_state : int, RandomState instance or None, default=None
        Determines first weights, samples and the order of the texts.
    verbose : int, default=0
        0 is silent; 1 shows progress.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    label_distributions_ : ndarray of shape (n_samples, n_classes)
        Posterior over the true label of the training texts, given their labels.
    marginal_distributions_ : ndarray of shape (n_samples, n_classes)
        The same without regard to each text's own given label.
    n_epochs_ : int
        Number of passes that were made.
    encoder_features_ : ndarray of shape (n_branches, n_epochs * n_features, n_classes)
        The columns of A for w, transposed.
    encoder_labels_ : ndarray of shape (n_branches, n_classes, n_classes)
        The columns of A for y~, transposed.
    encoder_bias_ : ndarray of shape (n_branches, n_classes)
        The vector a.

    References
    ----------
    .. [1] Y. Zhuang, Y. Yu, L. Kong, X. Chen, C. Zhang, "DyGen: Learning from Noisy
       Labels via Dynamics-Enhanced Generative Modeling", KDD 2023.

    Examples
    --------
    >>> from skdygen.datasets import make_label_noise, make_texts
    >>> from skdygen.denoisers import DirichletVAE
    >>> from skdygen.dynamics import IncrementalDynamics
    >>> from skdygen.priors import ConsensusPrior
    >>> texts, labels = make_texts(300, random_state=0)
    >>> noisy = make_label_noise(labels, kind="symmetric", rate=0.3, random_state=0)
    >>> trajectories = IncrementalDynamics(random_state=0).fit_transform(texts, noisy)
    >>> trajectories = ConsensusPrior().fit_transform(trajectories, noisy)
    >>> denoiser = DirichletVAE(random_state=0).fit(trajectories, noisy)
    >>> found = denoiser.classes_[denoiser.label_distributions_.argmax(axis=1)]
    >>> bool((found == labels).mean() > (noisy == labels).mean())
    True
    """

    _parameter_constraints = {
        "n_epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "prior_strength": [Interval(Real, 0, None, closed="left")],
        "prior_weight": [Interval(Real, 0, 1, closed="both")],
        "coregularization": [Interval(Real, 0, None, closed="left")],
        "coregularization_warmup": [Interval(Real, 0, 1, closed="left")],
        "missing_label": "no_validation",
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    _network = ConditionalVAE  # another in benchmarks

    def __init__(
        self,
        n_epochs: Literal["auto"] | int = "auto",
        *,
        learning_rate: float = 3e-3,
        batch_size: int = 64,
        prior_strength: float = 10.0,
        prior_weight: float = 0.5,
        coregularization: float = 2.0,
        coregularization_warmup: float = 0.1,
        missing_label: Any = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.prior_strength = prior_strength
        self.prior_weight = prior_weight
        self.coregularization = coregularization
        self.coregularization_warmup = coregularization_warmup
        self.missing_label = missing_label
        self.random_state = random_state
        self.verbose = verbose

    def _n_tasks(self):
        return None if self.n_epochs == "auto" else self.n_epochs

    def _fit(self, trajectories, targets):
        check_prior(trajectories)
        self.n_epochs_ = self.n_epochs
        if self.n_epochs == "auto":
            n_steps_per_epoch = math.ceil(len(targets.labelled) / self.batch_size)
            least = math.ceil(_LEAST_STEPS / n_steps_per_epoch)
            # The branches are not pulled together in the first epoch.
            most = max(2, _MOST_STEPS // n_steps_per_epoch)
            self.n_epochs_ = min(max(10, least), most)
        n_classes = trajectories.n_classes
        prior = np.array(trajectories.prior)
        prior[targets.checked] = np.eye(n_classes)[targets.verified[targets.checked]]
        alpha_prior = 1 + 1 / n_classes + self.prior_strength * prior
        shift, scale = weighted_moments(trajectories.embeddings, targets)
        rng = check_random_state(self.random_state)
        with seeded(rng.randint(np.iinfo(np.int32).max)), one_thread():
            vae = self._network(
                trajectories.n_branches,
                trajectories.n_epochs * trajectories.n_features,
                n_classes,
            )
            train_vae(
                vae,
                trajectories,
                targets,
                alpha_prior,
                shift,
                scale,
                n_epochs=self.n_epochs_,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                coregularization=self.coregularization,
                n_warmup_epochs=n_epochs_without_pull(
                    self.coregularization_warmup, self.n_epochs_
                ),
                rng=rng,
                verbose=self.verbose,
            )
        self._keep_encoder(vae.encoder, shift, scale)

    def _keep_encoder(self, encoder, shift, scale):
        """Keep what inference needs as arrays that read trajectories as they come."""
        weights = encoder.from_features.detach().double().numpy() / scale[:, :, None]
        bias = encoder.bias.detach().double().numpy()[:, 0]
        self.encoder_features_ = weights.astype(np.float32)
        self.encoder_labels_ = encoder.from_label.detach().numpy()
        self.encoder_bias_ = bias - np.einsum("mf,mfk->mk", shift, weights)

    def _posterior(self, trajectories):
        """Give q_m(y | y~, w_m), (n_samples, n_branches, classes y~, classes y)."""
        # The encoder is linear: each given label adds its own column to the product
        # with w. Classes squared: single precision takes a third of the time.
        from_features = self._encode_features(trajectories).astype(np.float32)
        return _normalized_mode(from_features[:, :, None] + self.encoder_labels_)

    def _encode_features(self, trajectories):
        """A w + a of each text and branch, (n_samples, n_branches, n_classes)."""
        w = by_branch(trajectories.embeddings)
        return np.swapaxes(w @ self.encoder_features_, 0, 1) + self.encoder_bias_

    def _conditional(self, trajectories, codes):
        from_label = self.encoder_labels_[:, codes].swapaxes(0, 1)
        found = _normalized_mode(self._encode_features(trajectories) + from_label)
        return self._with_prior(found.mean(axis=1), trajectories)

    def _marginal(self, trajectories):
        found = np.empty((len(trajectories), trajectories.n_classes))
        n_rows = max(1, _NUMBERS_AT_ONCE // self.encoder_labels_.size)
        for part in gen_batches(len(trajectories), min(n_rows, _ROWS_AT_ONCE)):
            batch = trajectories[part]
            given = batch.probabilities[:, :, -1]
            found[part] = marginalize(given, self._posterior(batch))
        return self._with_prior(found, trajectories)

    def _with_prior(self, found, trajectories):
        """Average what was inferred with the texts' own prior."""
        if not self.prior_weight:
            return found
        check_prior(trajectories)
        return (1 - self.prior_weight) * found + self.prior_weight * trajectories.prior


def marginalize(probabilities, posterior):
    """Sum ``sum_y~ mean_m p_m(y~ | x) q_m(y | y~, w_m)``, (n_samples, n_classes)."""
    # p (n_samples, n_branches, given classes), q the same with true classes behind.
    marginal = np.einsum("nmg,nmgy->ny", probabilities, posterior, dtype=np.float64)
    return marginal / marginal.sum(axis=1, keepdims=True)


def _normalized_mode(activations):
    """Compute (alpha - 1) / sum(alpha - 1) along the last axis."""
    # softplus; in this form it is computed by vectors, unlike np.logaddexp
    alpha_less_1 = np.log1p(np.exp(-np.abs(activations)))
    alpha_less_1 += np.maximum(activations, 0)
    alpha_less_1 += 1 / activations.shape[-1]
    alpha_less_1 /= alpha_less_1.sum(axis=-1, keepdims=True)
    return alpha_less_1
