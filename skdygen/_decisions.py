"""Which given labels to replace, and what the replaced ones say about the noise."""

import numpy as np
from sklearn.isotonic import IsotonicRegression

from ._encoding import by_chance
from ._memmap import parts
from .priors._clean_set import lowest

_SUREST_SHARE = 0.25
_ERROR_OF_SUREST = 0.05
# Of the way from the largest class to all labels that are foretold: a view that goes no
# further is near chance; one that does is believed where what is verified is undecided.
NEAR_CHANCE, _BELIEVED = 0.1, 0.6


def correct_labels(distributions, marginal, untouched, targets, threshold):
    """Replace labels where there is reason to be sure, (n_samples,).

    The distributions, (n_samples, n_classes), say what the labels are, those of
    verified texts without their verified labels. With "auto" they do everywhere if that
    makes verified labels better. If not, or if none is verified, the `marginal` ones,
    without regard to a text's own label, say where, unless those that it had no part at
    all in, `untouched` (n_samples, n_views, n_classes), are near chance. Where votes
    give evidence they do everywhere, if that does not make verified labels worse.
    """
    codes, labelled = targets.codes, targets.labelled
    suggested = distributions.argmax(axis=1)
    if threshold == "auto":
        acts = _act(suggested, marginal, untouched, targets)
    else:
        acts = distributions.max(axis=1)[labelled] >= threshold
    corrected = suggested.copy()  # where there is no label
    corrected[labelled] = np.where(acts, suggested[labelled], codes[labelled])
    return corrected


def _act(suggested, marginal, untouched, targets):
    """Tell which given labels are replaced by what is suggested, (n_labelled,)."""
    labelled = targets.labelled
    codes, weights = targets.codes[labelled], targets.weights[labelled]
    # What was read in any case, perhaps since the model doubts it, is no fair sample.
    is_drawn = by_chance(targets.probabilities) & (targets.codes >= 0)
    rows = targets.checked[is_drawn[targets.checked]]
    if targets.evidence is not None and not len(rows):
        return np.ones(len(labelled), dtype=bool)  # annotators tell how others err
    lifted = foretold(untouched, targets)
    if len(rows):
        right, given = targets.verified[rows], targets.codes[rows]
        gained = (suggested[rows] == right).astype(int) - (given == right)
        gained = gained / targets.probabilities[rows]
        # What does not foretell labels well has to gain more than chance would; what
        # annotators say of each other must not lose more.
        gain, chance = gained.sum(), np.sqrt((gained**2).sum())
        if targets.evidence is not None:
            is_trusted = gain >= -chance
        else:
            is_trusted = gain >= 0 if lifted > _BELIEVED else gain > chance
        if is_trusted:
            return np.ones(len(labelled), dtype=bool)
    if lifted < NEAR_CHANCE:
        return np.zeros(len(labelled), dtype=bool)
    confidence, found = marginal.max(axis=1), marginal.argmax(axis=1)
    return is_more_likely_right(confidence[labelled], found[labelled], codes, weights)


def foretold(views, targets):
    """How far labels can be foretold by the best of some views, see `lift`.

    The views are distributions, (n_samples, n_views, n_classes).
    """
    rows = targets.labelled
    codes, weights = targets.codes[rows], targets.weights[rows]
    return max(lift(view, codes, weights) for view in views.argmax(axis=2)[rows].T)


def lift(found, codes, weights):
    """How far what is found foretells labels, beyond always naming the largest class.

    1 if all are, 0 if no more are than are of that class.
    """
    accuracy = np.average(found == codes, weights=weights)
    chance = np.bincount(codes, weights).max() / weights.sum()
    return (accuracy - chance) / (1 - chance) if chance < 1 else 0.0


def are_alike(X, trajectories):
    """Whether no text differs from the others, in itself or in what was made of it."""
    # Embeddings that are recorded with dropout differ for the same text, too.
    if isinstance(X, list) and isinstance(X[0], str) and len(set(X)) == 1:
        return True
    arrays = (trajectories.embeddings[:, :, -1], *trajectories.views.values())
    return all(
        (array[part] == array[:1]).all()
        for array in arrays
        for part in parts(len(array))
    )


def judge_labels(label_distributions, codes):
    """Compare labels (code -1: none) with the most probable ones, 4 x (n_samples,)."""
    # The most probable class; its probability; that of the given one, NaN where there
    # is none; and whether a label is given and is not the most probable one.
    rows = np.arange(len(codes))
    suggested = label_distributions.argmax(axis=1)
    confidence = label_distributions[rows, suggested]
    quality = np.where(codes < 0, np.nan, label_distributions[rows, codes])
    return suggested, confidence, quality, (codes >= 0) & (suggested != codes)


def is_more_likely_right(confidence, found, codes, weights):
    """Tell where the class found is more likely right than the given one."""
    # Where the model errs it disagrees with right labels, and it errs less the more
    # confident it is; wrong labels it disagrees with at any confidence. So the share of
    # disagreement among the quarter of the texts where it is most confident, less 5 %
    # for its errors even there, is a cautious estimate of the share of wrong labels (by
    # anchor points, as in Liu and Tao, 2016). A disagreement at another confidence is
    # more likely the label's fault than the model's if disagreement there is less than
    # twice as frequent. A model that is wrong on more than 5 % of its most confident
    # quarter makes some right labels wrong.
    disagrees = found != codes
    surest = lowest(-confidence, weights, _SUREST_SHARE)
    disagreement = np.average(disagrees[surest], weights=weights[surest])
    if disagreement >= 0.5:  # then it is the model that cannot be believed
        return np.zeros(len(codes), dtype=bool)
    noise = disagreement - _ERROR_OF_SUREST
    # Clipped: the largest may be further apart than what it takes for the same.
    falling = IsotonicRegression(increasing=False, out_of_bounds="clip")
    falling.fit(confidence, disagrees, sample_weight=weights)
    return falling.predict(confidence) <= 2 * noise


def estimate_noise_rate(distributions, codes, weights):
    """Guess the share of wrong labels; texts without a label have weight 0."""
    # The share of labels that are not the most probable misses mistakes, the mean doubt
    # counts the model's own: the middle of both.
    doubts = 1 - distributions[np.arange(len(codes)), codes]
    differs = distributions.argmax(axis=1) != codes
    return float(np.average((doubts + differs) / 2, weights=weights))


def estimate_transition_matrix(label_distributions, codes, weights):
    """Estimate p(given | true), (n_classes, n_classes), true along the rows."""
    # Posteriors of many classes are flat: their sums would see confusion everywhere. So
    # the most probable class of each text counts as its true one; a class that is
    # nowhere the most probable one is taken to be given rightly.
    n_classes = label_distributions.shape[1]
    counts = np.zeros((n_classes, n_classes))
    labelled = codes >= 0
    likely = label_distributions.argmax(axis=1)[labelled]
    np.add.at(counts, (likely, codes[labelled]), weights[labelled])
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.where(totals > 0, totals, 1)
    return np.where(totals > 0, shares, np.eye(n_classes))
