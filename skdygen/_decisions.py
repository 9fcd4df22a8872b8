"""Which given labels to replace, and what the replaced ones say about the noise."""

import numpy as np
from sklearn.isotonic import IsotonicRegression

from .priors._clean_set import lowest

_SUREST_SHARE = 0.25
_ERROR_OF_SUREST = 0.05


def correct_labels(label_distributions, evidence, codes, weights, threshold):
    """Replace given labels where there is reason to be sure; give codes (n_samples,).

    `label_distributions` is the posterior over the true label given the given one, and
    `evidence` are class probabilities that do not depend on the text's own label, both
    (n_samples, n_classes). A threshold is the probability that another class must have
    in the former; "auto" is decided by `is_more_likely_right`. Texts without a label
    (code -1) get their most probable one.
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
    """Compare given labels (code -1: none) with the most probable ones.

    Returns arrays of shape (n_samples,): the most probable classes; their
    probabilities; those of the given classes, NaN where there is none; and where a
    label is given and is not the most probable one.
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
    labels wrong. Takes arrays of (n_samples, n_classes) and (n_samples,).
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

    Returns p(given | true), (n_classes, n_classes), true classes along the rows; a
    class that is no text's most probable one is taken to be given rightly.
    """
    n_classes = label_distributions.shape[1]
    counts = np.zeros((n_classes, n_classes))
    labelled = codes >= 0
    likely = label_distributions[labelled].argmax(axis=1)
    np.add.at(counts, (likely, codes[labelled]), weights[labelled])
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.where(totals > 0, totals, 1)
    return np.where(totals > 0, shares, np.eye(n_classes))
