"""The share of wrong labels, from the scores alone."""

import numpy as np
from sklearn.mixture import GaussianMixture


def estimate_contamination(scores):
    """Estimate the share of wrong labels with a mixture of two Gaussians.

    The component with the higher mean stands for the wrong labels. A wide component
    can reach over both ends of the other; its posterior counts above the mean of the
    lower component only.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Noise scores, larger for labels that look wrong.

    Returns
    -------
    contamination : float
        Mean posterior probability of the higher component; 0 if all scores are equal.
    """
    spread = scores.std()
    if len(scores) < 2 or not spread > 0:
        return 0.0
    standardized = ((scores - scores.mean()) / spread)[:, None]
    # The split at the mean is a start without chance, so no random state is needed.
    is_high = standardized[:, 0] > 0
    mixture = GaussianMixture(
        n_components=2,
        weights_init=[1 - is_high.mean(), is_high.mean()],
        means_init=[standardized[~is_high].mean(0), standardized[is_high].mean(0)],
        random_state=0,
    ).fit(standardized)
    low, high = np.argsort(mixture.means_[:, 0])
    posterior = mixture.predict_proba(standardized)[:, high]
    posterior[standardized[:, 0] < mixture.means_[low, 0]] = 0.0
    return float(posterior.mean())
