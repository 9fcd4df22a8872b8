"""Which given labels to replace, and what the replaced ones say about the noise."""

import numpy as np
from sklearn.isotonic import IsotonicRegression

_SURE_SHARE = 0.25
_LEAST_DISAGREEMENT = 0.05


def correct_labels(label_distributions, marginal_distributions, codes, threshold):
    """Replace given labels where there is reason to be sure.

    Parameters
    ----------
    label_distributions : ndarray of shape (n_samples, n_classes)
        Posterior over the true label, given the given one.
    marginal_distributions : ndarray of shape (n_samples, n_classes)
        The same without regard to the given label of the text itself.
    codes : ndarray of shape (n_samples,)
        Given classes; -1 where there is none.
    threshold : "auto" or float
        The probability in `label_distributions` that another class must have; for
        "auto" see `is_more_likely_right`.

    Returns
    -------
    corrected : ndarray of shape (n_samples,)
        Classes; texts without a label get their most probable one.
    """
    suggested = label_distributions.argmax(axis=1)
    corrected = np.where(codes < 0, suggested, codes)
    labelled = codes >= 0
    if threshold == "auto":
        is_sure = is_more_likely_right(
            marginal_distributions[labelled], codes[labelled]
        )
    else:
        is_sure = label_distributions[labelled].max(axis=1) >= threshold
    corrected[labelled] = np.where(is_sure, suggested[labelled], codes[labelled])
    return corrected


def is_more_likely_right(distributions, codes):
    """Tell where the most probable class is more likely right than the given one.

    Where the model errs it disagrees with right labels, and it errs less the more
    confident it is; wrong labels it disagrees with at any confidence. So the share of
    disagreement among its most confident quarter of the texts is a cautious estimate
    of the share of wrong labels (the anchor points of Liu and Tao, 2016), and a
    disagreement elsewhere is more likely the label's fault than the model's as long as
    the share of disagreement at that confidence is less than twice as large.

    If fewer than 5 % disagree among the most confident, nothing is told from the
    model's own errors, and no given label is held to be wrong.

    Parameters
    ----------
    distributions : ndarray of shape (n_samples, n_classes)
        Class probabilities that do not depend on the given label of the text itself.
    codes : ndarray of shape (n_samples,)
        Given classes.

    Returns
    -------
    is_sure : ndarray of shape (n_samples,) of bool
        Where the most probable class may replace the given one.
    """
    confidence = distributions.max(axis=1)
    disagrees = distributions.argmax(axis=1) != codes
    n_sure = max(1, round(_SURE_SHARE * len(codes)))
    surest = np.argsort(-confidence, kind="stable")[:n_sure]
    floor = disagrees[surest].mean()
    if floor < _LEAST_DISAGREEMENT:
        return np.zeros(len(codes), dtype=bool)
    share = IsotonicRegression(increasing=False).fit_transform(confidence, disagrees)
    return share <= 2 * floor


def estimate_transition_matrix(label_distributions, codes):
    """Estimate how true classes turn into given ones.

    Parameters
    ----------
    label_distributions : ndarray of shape (n_samples, n_classes)
        Posterior over the true label.
    codes : ndarray of shape (n_samples,)
        Given classes; -1 where there is none.

    Returns
    -------
    matrix : ndarray of shape (n_classes, n_classes)
        p(given | true), true classes along the rows, which sum to 1.
    """
    n_classes = label_distributions.shape[1]
    one_hot = (codes[:, None] == np.arange(n_classes)).astype(float)
    joint = label_distributions.T @ one_hot
    return joint / joint.sum(axis=1, keepdims=True)
