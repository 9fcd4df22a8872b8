"""Logarithmic pools: several distributions of one label made one."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from ._memmap import parts

_DOUBT = 0.01  # share of every opinion that is spread over all classes
# Standard deviations of the Gaussian priors: of the sharpness of all opinions together,
# around 1; of the weight of each beside it, around 0; and of the given label's.
_SD_SHARPNESS, _SD_WEIGHT, _SD_GIVEN = 0.5, 0.1, 2.0
_MOST_ITERATIONS = 300


def log_opinions(opinions):
    """Logarithms of distributions, none of them certain, (..., n_classes)."""
    opinions = np.asarray(opinions, dtype=np.float64)
    return np.log((1 - _DOUBT) * opinions + _DOUBT / opinions.shape[-1])


def geometric_mean(opinions, weights=None):
    """Pool (n_samples, n_opinions, n_classes) to a distribution; None: alike."""
    pooled = np.empty((len(opinions), opinions.shape[2]))
    for part in parts(len(opinions)):
        pooled[part] = _pooled(log_opinions(opinions[part]), weights)
    return pooled


def spread(opinions, weights=None):
    """How far the opinions on each text are apart, (n_samples,).

    The entropy of their geometric mean less their own, (n_samples, n_opinions,
    n_classes), as in query by committee (McCallum and Nigam, 1998); of a single one,
    its entropy.
    """
    found = np.empty(len(opinions))
    for part in parts(len(opinions)):
        log_p = log_opinions(opinions[part])
        found[part] = entropy(_pooled(log_p, weights), axis=1)
        if opinions.shape[1] > 1:
            own = entropy(np.exp(log_p), axis=2)
            found[part] -= np.average(own, axis=1, weights=weights)
    return found.clip(min=0)


def _pooled(log_p, weights):
    """Normalised product of opinions, each to the power of its weight."""
    return softmax(np.average(log_p, axis=1, weights=weights), axis=1)


class Pool:
    """A log-linear model of the true label, with a prior of how far to trust whom.

    ``p(y | x, y~) ~ prod_v p_v(y | x)^w_v exp(g e_y + x B_y)``: opinions p_v, evidence
    e, which is [y = y~] of a given label y~, and features x (Genest and Zidek,
    "Combining Probability Distributions", 1986). With no text to fit on, w is
    `weights`, g is `given_weight` and B is 0; fitted is the maximum a posteriori.
    """

    def __init__(self, weights, n_features, n_classes, given_weight):
        self.weights = weights
        self.given_weight = given_weight
        self.coef = np.zeros((n_features, n_classes))

    def fit(self, log_p, features, learnt, evidence, sample_weight):
        """Fit to texts whose labels, or distributions of these, are known.

        log_p is (n_samples, n_opinions, n_classes), features (n_samples, n_features),
        what is learnt and evidence (n_samples, n_classes), and how much each text
        counts (n_samples,).
        """
        n_samples, n_opinions, n_classes = log_p.shape
        flat = np.swapaxes(log_p, 0, 1).reshape(n_opinions, -1)
        # Texts that are fewer than the features span but so many directions.
        axes, triangle = np.linalg.qr(features.T)
        features = triangle.T
        prior_mean = np.concatenate([[1, self.given_weight], np.zeros(n_opinions)])
        usual = self.weights
        spread = [_SD_WEIGHT] * n_opinions
        spread = np.array([_SD_SHARPNESS, _SD_GIVEN, *spread])

        def loss(parameters):
            weighing = parameters[: 2 + n_opinions]
            coef = parameters[2 + n_opinions :].reshape(-1, n_classes)
            weights = weighing[0] * usual + weighing[2:]
            z = (weights @ flat).reshape(n_samples, n_classes) + features @ coef
            z += weighing[1] * evidence
            log_q = log_softmax(z, axis=1)
            residual = sample_weight[:, None] * (np.exp(log_q) - learnt)
            off = (weighing - prior_mean) / spread
            value = -sample_weight @ (log_q * learnt).sum(axis=1)
            value += (off @ off + (coef**2).sum()) / 2
            of_given = (residual * evidence).sum()
            of_weights = flat @ residual.ravel()
            gradient = np.array([of_weights @ usual, of_given, *of_weights])
            of_coef = features.T @ residual + coef
            return value, np.concatenate([gradient + off / spread, of_coef.ravel()])

        start = np.concatenate([prior_mean, np.zeros(features.shape[1] * n_classes)])
        options = {"maxiter": _MOST_ITERATIONS, "ftol": 1e-7, "maxcor": 5}
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
        self.weights = found[0] * usual + found[2 : 2 + n_opinions]
        self.given_weight = found[1]
        self.coef = axes @ found[2 + n_opinions :].reshape(-1, n_classes)
        return self

    def predict_proba(self, log_p, features, evidence):
        """Distributions of the true label, (n_samples, n_classes)."""
        z = np.einsum("nvk,v->nk", log_p, self.weights) + features @ self.coef
        return softmax(z + self.given_weight * evidence, axis=1)
