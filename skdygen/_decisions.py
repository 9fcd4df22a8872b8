"""Which given labels to replace, and what the replaced ones say about the noise."""

import numpy as np
from sklearn.isotonic import IsotonicRegression

from .priors._clean_set import lowest

_SUREST_SHARE = 0.25
_ERROR_OF_SUREST = 0.05


def correct_labels(label_distributions, evidence, codes, weights, threshold):
    """Replace given labels where there is reason to be sure.

    Parameters
    ----------
    label_distributions : ndarray of shape (n_samples, n_classes)
        Posterior over the true label, given the given one.
    evidence : ndarray of shape (n_samples, n_classes)
        Class probabilities that do not depend on the given label of the text itself.
    codes : ndarray of shape (n_samples,)
        Given classes; -1 where there is none.
    weights : ndarray of shape (n_samples,)
        How much each text counts, for "auto".
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
            evidence[labelled], codes[labelled], weights[labelled]
        )
    else:
        is_sure = label_distributions[labelled].max(axis=1) >= threshold
    corrected[labelled] = np.where(is_sure, suggested[labelled], codes[labelled])
    return corrected


def judge_labels(label_distributions, codes):
    """Compare given labels with the most probable ones.

    Parameters
    ----------
    label_distributions : ndarray of shape (n_samples, n_classes)
        Posterior over the true label.
    codes : ndarray of shape (n_samples,)
        Given classes; -1 where there is none.

    Returns
    -------
    suggested : ndarray of shape (n_samples,)
        The most probable classes.
    confidence : ndarray of shape (n_samples,)
        Their probabilities.
    quality : ndarray of shape (n_samples,)
        Probabilities of the given classes; NaN where there is none.
    is_issue : ndarray of shape (n_samples,) of bool
        Where a label is given and is not the most probable one.
    """
    rows = np.arange(len(codes))
    suggested = label_distributions.argmax(axis=1)
    confidence = label_distributions[rows, suggested]
    quality = np.where(codes < 0, np.nan, label_distributions[rows, codes])
    return suggested, confidence, quality, (codes >= 0) & (suggested != codes)


def is_more_likely_right(distributions, codes, weights):
    """Tell where the most probable class is more likely right than the given one.

    Where the model errs it disagrees with right labels, and it errs less the more
    confident it is; wrong labels it disagrees with at any confidence. So the share of
    disagreement among the quarter of the texts where it is most confident, less 5 %
    for its errors even there, is a cautious estimate of the share of wrong labels (by
    anchor points, as in Liu and Tao, 2016). A disagreement at another confidence is
    more likely the label's fault than the model's if disagreement there is less than
    twice as frequent.

    A model that disagrees with half of the labels even there is not believed at all.
    One that is wrong on more than 5 % of its most confident quarter makes some right
    labels wrong.

    Parameters
    ----------
    distributions : ndarray of shape (n_samples, n_classes)
        Class probabilities that do not depend on the given label of the text itself.
    codes : ndarray of shape (n_samples,)
        Given classes.
    weights : ndarray of shape (n_samples,)
        How much each text counts.

    Returns
    -------
    is_sure : ndarray of shape (n_samples,) of bool
        Where the most probable class may replace the given one.
    """
    confidence = distributions.max(axis=1)
    disagrees = distributions.argmax(axis=1) != codes
    surest = lowest(-confidence, weights, _SUREST_SHARE)
    disagreement = np.average(disagrees[surest], weights=weights[surest])
    if disagreement >= 0.5:  # then it is the model that cannot be believed
        return np.zeros(len(codes), dtype=bool)
    noise = disagreement - _ERROR_OF_SUREST
    # Clipped: the largest may be further apart than what it takes for the same.
    falling = IsotonicRegression(increasing=False, out_of_bounds="clip")
    falling.fit(confidence, disagrees, sample_weight=weights)
    return falling.predict(confidence) <= 2 * noise


def estimate_transition_matrix(label_distributions, codes, weights):
    """Estimate how true classes turn into given ones, by counting.

    Posteriors of many classes are flat: their sums would see confusion everywhere. So
    the most probable class of each text counts as its true one.

    Parameters
    ----------
    label_distributions : ndarray of shape (n_samples, n_classes)
        Posterior over the true label.
    codes : ndarray of shape (n_samples,)
        Given classes; -1 where there is none.
    weights : ndarray of shape (n_samples,)
        How much each text counts.

    Returns
    -------
    matrix : ndarray of shape (n_classes, n_classes)
        p(given | true), true classes along the rows, which sum to 1; a class that is
        no text's most probable one is taken to be given rightly.
    """
    n_classes = label_distributions.shape[1]
    counts = np.zeros((n_classes, n_classes))
    labelled = codes >= 0
    likely = label_distributions[labelled].argmax(axis=1)
    np.add.at(counts, (likely, codes[labelled]), weights[labelled])
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.where(totals > 0, totals, 1)
    return np.where(totals > 0, shares, np.eye(n_classes))
