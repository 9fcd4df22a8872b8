"""The generative denoiser of DyGen."""

import math
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ..base import BaseDenoiser, _check_seen
from ..utils._storage import batches

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
        Weight of the prior label in the concentrations; the paper's delta, which is 5
        there.
    prior_weight : float, default=0.5
        Share that a text's own prior has in what is said of it; the rest is the
        posterior's as inferred. 0 for the paper, whose prior only guides the training.
    regularization : float, default=2.0
        Strength of the pull of the branches towards their mean; the paper's lambda_2.
    warmup : float, default=0.1
        Share of the epochs without `regularization` (at least one; 0 for none).
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

    See Also
    --------
    TransitionMatrixDenoiser : One transition matrix for all texts.

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
        "regularization": [Interval(Real, 0, None, closed="left")],
        "warmup": [Interval(Real, 0, 1, closed="left")],
        "missing_label": "no_validation",
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_epochs="auto",
        *,
        learning_rate=3e-3,
        batch_size=64,
        prior_strength=10.0,
        prior_weight=0.5,
        regularization=2.0,
        warmup=0.1,
        missing_label=None,
        random_state=None,
        verbose=0,
    ):
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.prior_strength = prior_strength
        self.prior_weight = prior_weight
        self.regularization = regularization
        self.warmup = warmup
        self.missing_label = missing_label
        self.random_state = random_state
        self.verbose = verbose

    def _fit(self, trajectories, codes, weights):
        from ..utils._torch import one_thread, torch_seed
        from ..utils._warmup import warmup_epochs
        from ._modules import train_vae

        _check_prior(trajectories)
        labelled = np.flatnonzero(codes >= 0)
        shift, scale = _moments(trajectories.embeddings, labelled, weights[labelled])

        def read_features(rows):
            return _features(trajectories.embeddings[labelled[rows]], shift, scale)

        self.n_epochs_ = self.n_epochs
        if self.n_epochs == "auto":
            n_steps_per_epoch = math.ceil(len(labelled) / self.batch_size)
            least = math.ceil(_LEAST_STEPS / n_steps_per_epoch)
            # The branches are not pulled together in the first epoch.
            most = max(2, _MOST_STEPS // n_steps_per_epoch)
            self.n_epochs_ = min(max(10, least), most)
        rng = check_random_state(self.random_state)
        with torch_seed(rng.randint(np.iinfo(np.int32).max)), one_thread():
            vae = self._make_network(
                trajectories.n_branches,
                trajectories.n_epochs * trajectories.n_features,
                trajectories.n_classes,
            )
            train_vae(
                vae,
                read_features,
                codes[labelled],
                weights[labelled],
                self.prior_concentrations(trajectories.prior[labelled]),
                n_epochs=self.n_epochs_,
                n_warmup_epochs=warmup_epochs(self.warmup, self.n_epochs_),
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                regularization=self.regularization,
                rng=rng,
                verbose=self.verbose,
            )
        self._keep_encoder(vae.encoder, shift, scale)

    def _make_network(self, n_branches, n_features, n_classes):
        from ._modules import ConditionalVAE

        return ConditionalVAE(n_branches, n_features, n_classes)

    def _keep_encoder(self, encoder, shift, scale):
        """Keep what inference needs as arrays that read trajectories as they come."""
        weights = encoder.from_features.detach().double().numpy() / scale[:, :, None]
        bias = encoder.bias.detach().double().numpy()[:, 0]
        self.encoder_features_ = weights.astype(np.float32)
        self.encoder_labels_ = encoder.from_label.detach().numpy()
        self.encoder_bias_ = bias - np.einsum("mf,mfk->mk", shift, weights)

    def prior_concentrations(self, prior):
        """Compute the concentrations of the Dirichlet prior.

        Parameters
        ----------
        prior : ndarray of shape (n_samples, n_classes)
            Prior belief in each class.

        Returns
        -------
        alpha : ndarray of shape (n_samples, n_classes)
            ``1 + 1/K + prior_strength * prior``.
        """
        return 1 + 1 / prior.shape[1] + self.prior_strength * prior

    def posterior(self, X):
        """Posterior over the true label, for each label that could be given.

        The encoder is linear in ``[w; onehot(y~)]``: the product with w is computed
        once, and each given label adds its own column.

        Parameters
        ----------
        X : Trajectories of n_samples texts
            Output of the stages before.

        Returns
        -------
        posterior : ndarray of shape (n_samples, n_branches, n_classes, n_classes)
            The values q_m(y | y~, w_m); y~ runs along the third axis, y along the
            last.
        """
        trajectories = _check_seen(self, X)
        n_branches, n_classes = self.encoder_bias_.shape
        shape = (len(trajectories), n_branches, n_classes, n_classes)
        posterior = np.empty(shape, dtype=np.float32)
        for part in batches(len(trajectories), _ROWS_AT_ONCE):
            posterior[part] = self._posterior_of_batch(trajectories[part])
        return posterior

    def _posterior_of_batch(self, trajectories):
        # Classes squared for each text: single precision takes a third of the time.
        from_features = self._encode_features(trajectories).astype(np.float32)
        return _normalized_mode(from_features[:, :, None] + self.encoder_labels_)

    def _encode_features(self, trajectories):
        """A w + a of each text and branch, (n_samples, n_branches, n_classes)."""
        w = _by_branch(trajectories.embeddings)
        return np.swapaxes(w @ self.encoder_features_, 0, 1) + self.encoder_bias_

    def _conditional(self, trajectories, codes):
        found = np.empty((len(codes), trajectories.n_classes))
        for part in batches(len(codes), _ROWS_AT_ONCE):
            from_features = self._encode_features(trajectories[part])
            from_label = self.encoder_labels_[:, codes[part]].swapaxes(0, 1)
            found[part] = _normalized_mode(from_features + from_label).mean(axis=1)
        return self._with_prior(found, trajectories)

    def _marginal(self, trajectories):
        found = np.empty((len(trajectories), trajectories.n_classes))
        n_rows = max(1, _NUMBERS_AT_ONCE // self.encoder_labels_.size)
        for part in batches(len(trajectories), min(n_rows, _ROWS_AT_ONCE)):
            batch = trajectories[part]
            found[part] = marginalize(
                batch.probabilities[:, :, -1], self._posterior_of_batch(batch)
            )
        return self._with_prior(found, trajectories)

    def _with_prior(self, found, trajectories):
        if not self.prior_weight:
            return found
        _check_prior(trajectories)
        return (1 - self.prior_weight) * found + self.prior_weight * trajectories.prior


def _check_prior(trajectories):
    if trajectories.prior is None:
        raise ValueError(
            "X has no prior; put a prior such as skdygen.priors.ConsensusPrior before "
            "the denoiser."
        )


def marginalize(probabilities, posterior):
    """Posterior over the true label where the given label is not known.

    Inference equation of DyGen: ``sum_y~ mean_m p_m(y~ | x) q_m(y | y~, w_m)``.

    Parameters
    ----------
    probabilities : ndarray of shape (n_samples, n_branches, n_classes)
        p_m(y~ | x).
    posterior : ndarray of shape (n_samples, n_branches, n_classes, n_classes)
        q_m(y | y~, w_m); y~ runs along the third axis, y along the last.

    Returns
    -------
    marginal : ndarray of shape (n_samples, n_classes)
        Rows sum to 1.
    """
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


def _by_branch(embeddings):
    """Flatten to (n_branches, n_samples, n_epochs * n_features), float32."""
    n_samples, n_branches = embeddings.shape[:2]
    flat = embeddings.reshape(n_samples, n_branches, -1).astype(np.float32)
    return np.swapaxes(flat, 0, 1)


def _features(embeddings, shift, scale):
    """Standardised trajectories of a batch as a tensor of (branch, row, feature)."""
    import torch

    w = (_by_branch(embeddings) - shift[:, None]) / scale[:, None]
    return torch.from_numpy(w.astype(np.float32))


def _moments(embeddings, rows, weights):
    """Weighted mean and scale of features, (n_branches, n_epochs * n_features).

    The scale is the root mean variance of all features of a branch and epoch: their
    proportions, which the distances between texts live in, stay as they are.
    """
    n_branches, n_epochs, n_features = embeddings.shape[1:]
    total = np.zeros((n_branches, n_epochs * n_features))
    total_of_squares = np.zeros_like(total)
    for part in batches(len(rows), _ROWS_AT_ONCE):
        w = _by_branch(embeddings[rows[part]]).astype(np.float64)
        total += weights[part] @ w
        total_of_squares += weights[part] @ w**2
    mean = total / weights.sum()
    variance = (total_of_squares / weights.sum() - mean**2).clip(min=0)
    variance = variance.reshape(n_branches, n_epochs, n_features).mean(-1)
    variance = np.where(variance > 0, variance, 1.0)
    return mean, np.sqrt(variance).repeat(n_features, axis=1)
