"""The share of wrong labels, from the scores alone."""

import numpy as np
from sklearn.mixture import GaussianMixture

_MOST_SCORES = 10_000  # a mixture of two needs no more
_STARTS = (0.1, 0.3, 0.5)
_MOST_CONTAMINATION = 0.5


def estimate_contamination(scores, weights):
    """Estimate the share of wrong labels with a mixture of two Gaussians.

    The component with the higher mean stands for the wrong labels. A wide component
    can reach over both ends of the other; its posterior counts above the mean of the
    lower component only. Of three starts, from the highest 10 %, 30 % and 50 % of the
    scores, the likeliest mixture is taken.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Noise scores, larger for labels that look wrong.
    weights : ndarray of shape (n_samples,)
        How much each counts.

    Returns
    -------
    contamination : float
        Mean posterior probability of the higher component, at most 0.5 as for
        scikit-learn's outlier detectors; 0 if all scores are equal.
    """
    scores = _quantiles(scores, weights, min(len(scores), _MOST_SCORES))
    spread = scores.std()
    if len(scores) < 4 or not spread > 0:
        return 0.0
    standardized = ((scores - scores.mean()) / spread)[:, None]
    mixtures = [_fit_mixture(standardized, share) for share in _STARTS]
    mixture = max(mixtures, key=lambda fitted: fitted.lower_bound_)
    low, high = np.argsort(mixture.means_[:, 0])
    posterior = mixture.predict_proba(standardized)[:, high]
    posterior[standardized[:, 0] < mixture.means_[low, 0]] = 0.0
    return min(float(posterior.mean()), _MOST_CONTAMINATION)


def _quantiles(scores, weights, n_quantiles):
    """Draw scores evenly along their weighted distribution, sorted."""
    order = np.argsort(scores)
    reached = np.cumsum(weights[order]) / weights.sum()
    # In the middle of the steps: with equal weights, all scores once.
    middles = (np.arange(n_quantiles) + 0.5) / n_quantiles
    return scores[order[np.searchsorted(reached, middles).clip(max=len(order) - 1)]]


def _fit_mixture(sorted_scores, share):
    """Fit two components, the higher one starting from a share of the scores."""
    cut = len(sorted_scores) - max(1, int(share * len(sorted_scores)))
    lower, higher = sorted_scores[:cut], sorted_scores[cut:]
    return GaussianMixture(
        n_components=2,
        weights_init=[1 - share, share],
        means_init=[lower.mean(axis=0), higher.mean(axis=0)],
        # The default stops far from the optimum where components overlap.
        tol=1e-6,
        max_iter=5000,
        random_state=0,
    ).fit(sorted_scores)
