"""What verified labels prove, and which ones to verify next."""

import numpy as np
from scipy.stats import beta

from ._encoding import by_chance


def estimate_share(is_wrong, checked, doubts, probabilities, alpha=0.05, worth=1.0):
    """Estimate the share of wrong labels, and an interval that holds it.

    The labels are N; of the verified ones, `is_wrong`, `doubts` (any guess of how
    likely each is wrong, made without it) and `probabilities` (of being drawn; 1: read
    in any case; 0: not by chance) are (n_checked,), and `checked` their positions among
    `doubts`, (N,); `worth` is what the labels that are least likely to be drawn have of
    the mean chance, at least. Returns a share, and the ends of an interval that holds
    the true one in 1 - alpha of all draws, whatever the doubts are worth.

    The share is the mean doubt of all, corrected by what was found where somebody has
    looked (Angelopoulos, Duchi and Zrnic, "PPI++", 2023), of those that were not read
    in any case. The interval is that of Clopper and Pearson for as many independent
    draws as have the same variance (Korn and Graubard, 1998). Both lie between what is
    known to be wrong, and that with all that nobody has read.
    """
    n_wrong, n_unread = is_wrong.sum(), len(doubts) - len(checked)
    known = n_wrong / len(doubts), (n_wrong + n_unread) / len(doubts)
    if not n_unread:
        return known[0], known
    certain = probabilities >= 1
    n_rest = len(doubts) - certain.sum()
    found = is_wrong[certain].sum()
    drawn = np.flatnonzero(by_chance(probabilities))
    if not len(drawn):
        return np.nan, known
    wrong = is_wrong[drawn].astype(float)
    weights = 1 / probabilities[drawn]
    weights /= weights.sum()
    rest = np.delete(doubts, checked[certain])
    own = doubts[checked[drawn]]
    n_drawn = len(drawn)
    centered = wrong - weights @ wrong, own - weights @ own
    variance = weights @ centered[1] ** 2
    trust = 0.0
    if variance > 0 and n_drawn > 2:
        trust = (weights @ (centered[0] * centered[1])) / variance
        trust = float(np.clip(trust / (1 + n_drawn / n_rest), 0, 1))
    share = float(np.clip(trust * rest.mean() + weights @ (wrong - trust * own), 0, 1))
    spread = weights**2 @ (centered[0] - trust * centered[1]) ** 2
    spread *= n_drawn / max(n_drawn - 1, 1) * (1 - n_drawn / n_rest)
    plain = 1 / (weights**2).sum()  # so many draws of equal weights, by Kish
    if 0 < share < 1 and spread > 0 and 0 < wrong.sum() < n_drawn:
        # No better than twice what it is without doubts: variances are uncertain too.
        n_effective = min(share * (1 - share) / spread, 2 * plain)
    else:  # where the wrong ones are, there can be the least likely to be drawn
        n_effective = min(plain, worth * n_drawn)
    positive = share * n_effective
    low = beta.ppf(alpha / 2, positive, n_effective - positive + 1) if positive else 0
    high = beta.ppf(1 - alpha / 2, positive + 1, n_effective - positive)
    high = 1.0 if positive >= n_effective else high
    ends = (found + n_rest * np.array([share, low, high])) / len(doubts)
    share, *ends = np.clip(ends, *known).tolist()
    return share, tuple(ends)


def most_errors(n_wrong, n_drawn, alpha):
    """Upper end of a one-sided interval for a share, of Clopper and Pearson."""
    n_right = np.asarray(n_drawn - n_wrong)
    ends = beta.ppf(1 - alpha, n_wrong + 1, np.where(n_right > 0, n_right, 1))
    return np.where(n_right > 0, ends, 1.0)


def accept_surest(
    doubts, checked, is_wrong, probabilities, max_error, alpha, worth=1.0
):
    """Accept the surest labels, such that few of all N are wrong and accepted.

    `doubts` (N,) order the labels; `checked` are positions of those that were verified,
    `is_wrong` tells what was found there, and `probabilities` how likely they were
    drawn, (n_checked,) each; these and `worth` are those of `estimate_share`. With
    probability 1 - alpha at most a share `max_error` of all labels is accepted, not
    verified, and wrong (Candes, Ilyas and Zrnic, "Probably Approximately Correct
    Labels", 2025): accepted are those below the largest doubt for which the upper end
    of that share is small enough.
    Returns which are accepted, (N,) of bool, and how many more have to be verified at
    random before the surer half could be.
    """
    drawn = np.flatnonzero(by_chance(probabilities))
    order = drawn[np.argsort(doubts[checked[drawn]], kind="stable")]
    levels, wrong = doubts[checked[order]], is_wrong[order]
    weights = 1 / probabilities[order]
    weights /= weights.sum()
    # A draw of a large weight stands for many: as few draws as if all had the largest.
    n_drawn = np.minimum(1 / np.maximum.accumulate(weights), worth * len(drawn))
    n_rest = len(doubts) - (probabilities >= 1).sum()
    limit = max_error * len(doubts) / max(n_rest, 1)
    ends = most_errors(np.cumsum(weights * wrong) * n_drawn, n_drawn, alpha)
    fails = np.flatnonzero(ends > limit)
    if not n_rest:
        accepted = np.ones(len(doubts), dtype=bool)
    elif not len(order) or most_errors(0, n_drawn[0], alpha) > limit:
        accepted = np.zeros(len(doubts), dtype=bool)  # too few for any promise
    elif len(fails):
        accepted = doubts < levels[fails[0]]
    else:
        accepted = np.ones(len(doubts), dtype=bool)
    half = doubts <= np.median(doubts)
    if accepted[half].all():
        return accepted, 0
    in_half = half[checked[order]]
    share = float(weights @ (wrong & in_half))
    n_worth = n_drawn[in_half].min(initial=len(order))
    numbers = np.unique(np.geomspace(1, max(len(doubts), 2), 400).astype(int))
    ends = most_errors(np.ceil(share * numbers), numbers, alpha)
    needed = next(iter(numbers[ends <= limit]), len(doubts))
    n_left = len(doubts) - len(checked)
    return accepted, min(max(int(np.ceil(needed - n_worth)), 1), n_left)


def draw_to_check(sizes, n, rng):
    """Draw n of N texts with probabilities as their sizes say, as far as possible.

    Sizes are positive, (N,). Returns positions, (n,), and the probability of each to be
    drawn, by systematic sampling in random order.
    """
    probabilities = inclusion_probabilities(sizes, n)
    order = rng.permutation(len(sizes))
    steps = np.cumsum(probabilities[order])
    steps[-1] = n  # rounding
    picked = order[np.searchsorted(steps, rng.uniform() + np.arange(n), side="right")]
    return picked, probabilities[picked]


def inclusion_probabilities(sizes, n):
    """Probabilities in proportion to sizes, none above 1, that sum up to n."""
    certain = np.zeros(len(sizes), dtype=bool)
    while True:
        rest = sizes * ~certain
        probabilities = np.where(certain, 1.0, (n - certain.sum()) * rest / rest.sum())
        over = (probabilities > 1) & ~certain
        if not over.any():
            return probabilities
        certain |= over
