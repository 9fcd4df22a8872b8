"""Which given labels to replace, and what the replaced ones say about the noise."""

import numpy as np
from sklearn.isotonic import IsotonicRegression

from .priors._clean_set import lowest

_SUREST_SHARE = 0.25
_ERROR_OF_SUREST = 0.05


def correct_labels(label_distributions, evidence, codes, weights, threshold):
    """Replace labels (code -1: none) where there is reason to be sure, (n_samples,)."""
    # The posterior knows a text's own label; the evidence hardly does. Both are
    # (n_samples, n_classes): the former says what the label is, the latter if to act.
    suggested = label_distributions.argmax(axis=1)
    is_sure = np.ones(len(codes), dtype=bool)  # where there is no label
    labelled = np.flatnonzero(codes >= 0)
    if threshold == "auto":
        is_sure[labelled] = is_more_likely_right(
            evidence[labelled], codes[labelled], weights[labelled]
        )
    else:
        is_sure[labelled] = label_distributions[labelled].max(axis=1) >= threshold
    return np.where(is_sure, suggested, codes)


def judge_labels(label_distributions, codes):
    """Compare labels (code -1: none) with the most probable ones, 4 x (n_samples,)."""
    # The most probable class; its probability; that of the given one, NaN where there
    # is none; and whether a label is given and is not the most probable one.
    rows = np.arange(len(codes))
    suggested = label_distributions.argmax(axis=1)
    confidence = label_distributions[rows, suggested]
    quality = np.where(codes < 0, np.nan, label_distributions[rows, codes])
    return suggested, confidence, quality, (codes >= 0) & (suggested != codes)


def is_more_likely_right(distributions, codes, weights):
    """Tell where the most probable class is more likely right than the given one."""
    # Where the model errs it disagrees with right labels, and it errs less the more
    # confident it is; wrong labels it disagrees with at any confidence. So the share of
    # disagreement among the quarter of the texts where it is most confident, less 5 %
    # for its errors even there, is a cautious estimate of the share of wrong labels (by
    # anchor points, as in Liu and Tao, 2016). A disagreement at another confidence is
    # more likely the label's fault than the model's if disagreement there is less than
    # twice as frequent. A model that is wrong on more than 5 % of its most confident
    # quarter makes some right labels wrong.
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
    """Estimate p(given | true), (n_classes, n_classes), true along the rows."""
    # Posteriors of many classes are flat: their sums would see confusion everywhere. So
    # the most probable class of each text counts as its true one; a class that is
    # nowhere the most probable one is taken to be given rightly.
    n_classes = label_distributions.shape[1]
    counts = np.zeros((n_classes, n_classes))
    labelled = codes >= 0
    likely = label_distributions[labelled].argmax(axis=1)
    np.add.at(counts, (likely, codes[labelled]), weights[labelled])
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.where(totals > 0, totals, 1)
    return np.where(totals > 0, shares, np.eye(n_classes))
