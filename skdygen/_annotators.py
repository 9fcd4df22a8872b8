"""How annotators err, learnt from their votes and from what the texts say."""

import logging

import numpy as np
import pandas as pd
from scipy.special import softmax

from ._encoding import by_chance
from ._verified import estimate_share

logger = logging.getLogger(__name__)

# So many votes of all annotators stand in for those that one has not given.
_SHARED_VOTES = 50
_FIRST_VOTES = 10  # by which it is not known what classes are confused
_SMALLEST = 1e-12
_LEAST_OVERLAP = 0.1
_LEAST_VERIFIED = 5  # votes of an annotator, for what is verified to judge it


class Annotators:
    """What is the true class where an annotator says a class, for each of them.

    With what the texts say in the place of class shares,
    ``q(y) ~ p(y | x) prod_j P_j(y | v_j) / p(y)`` over the votes v_j on a text. It is
    Dawid and Skene's model (1979) read backwards, from the vote to the class: so a rule
    that votes for one class only, on the texts that it knows, is one like any other. P
    is counted by the majority of the n votes on a text and what the text says, n to 1,
    and has a Dirichlet prior, the confusion that all annotators have in common: who
    votes seldom errs like the others. Counting by q again and again, as they do, drifts
    where classes are of unequal size; texts that learn q and are asked anew do not.
    """

    def fit(self, votes, distributions, known):
        """Fit to `Votes`.

        The distributions of the true class, (n_samples, n_classes), know no vote of the
        text itself; `known` are codes of verified classes, (n_samples,), -1 of none.
        """
        n_samples, n_classes = distributions.shape
        is_known = known >= 0
        certain = np.eye(n_classes)[known[is_known]]
        n_votes = np.bincount(votes.rows, minlength=n_samples)[:, None]
        majority = np.eye(n_classes + 1)[votes.majority(n_classes)][:, :-1]
        found = (n_votes * majority + distributions) / (n_votes + 1)
        found[is_known] = certain
        self._count(votes, found)
        self.evidence = self._weigh(votes, n_samples)
        log_p = np.log(distributions + _SMALLEST)
        self.distributions = softmax(log_p + self.evidence, axis=1)
        self.distributions[is_known] = certain
        return self

    def _count(self, votes, found):
        """Estimate P_j(y | v), (n_annotators, n_classes, n_classes), and p(y)."""
        n_classes = found.shape[1]
        self.shares = found[np.unique(votes.rows)].mean(axis=0) + _SMALLEST
        counts = np.zeros((len(votes.names), n_classes, n_classes))
        np.add.at(counts, (votes.annotators, votes.codes), found[votes.rows])
        together = counts.sum(axis=0)
        right = (np.trace(together) + 1) / (together.sum() + 2)  # nobody is certain
        others = np.tile(self.shares, (n_classes, 1))
        np.fill_diagonal(others, 0)
        others *= (1 - right) / others.sum(axis=1, keepdims=True)
        first = others + right * np.eye(n_classes)
        shared = _posterior_mean(together, first, _FIRST_VOTES)
        self.true_given_vote = _posterior_mean(counts, shared, _SHARED_VOTES)

    def _weigh(self, votes, n_samples):
        """Logarithm of prod_j P_j(y | v_j) / p(y), (n_samples, n_classes)."""
        ratios = np.log(self.true_given_vote / self.shares)
        evidence = np.zeros((n_samples, len(self.shares)))
        of_votes = ratios[votes.annotators, votes.codes] * votes.trust[:, None]
        np.add.at(evidence, votes.rows, of_votes)
        return evidence


def overlaps(votes):
    """Tell whether votes overlap enough to tell how annotators err, and log it."""
    n_each = np.bincount(votes.rows)
    share = (n_each > 1).sum() / (n_each > 0).sum()
    logger.info(
        "%d annotators gave %d votes; %.0f %% of the texts have several: %s",
        len(votes.names), len(votes.rows), 100 * share,
        "how each errs is estimated" if share >= _LEAST_OVERLAP else "too few to tell "
        "how each errs",
    )  # fmt: skip
    return share >= _LEAST_OVERLAP


def describe_annotators(targets, distributions, held_out, alpha=0.05):
    """Say how often each annotator is right, and what it confuses; a DataFrame.

    The distributions of the true class are (n_samples, n_classes); in those held out
    nobody knows what is verified of the text itself.
    """
    votes, classes = targets.votes, targets.classes
    n_annotators, n_classes = len(votes.names), len(classes)
    right = distributions[votes.rows, votes.codes]
    n_votes = np.bincount(votes.annotators, minlength=n_annotators)
    n_right = np.bincount(votes.annotators, right, minlength=n_annotators)
    accuracy, n_verified = n_right / n_votes, np.zeros(n_annotators, dtype=int)
    # How far the posterior is off, nothing but verified labels can tell.
    low, high = np.full((2, n_annotators), np.nan)
    doubts = 1 - held_out[votes.rows, votes.codes]
    is_wrong = targets.verified[votes.rows] != votes.codes
    drawn = targets.probabilities[votes.rows]
    for j in range(n_annotators if len(targets.checked) else 0):
        own = np.flatnonzero(votes.annotators == j)
        checked = np.flatnonzero(~np.isnan(drawn[own]))
        n_verified[j] = len(checked)
        seen = own[checked]
        if by_chance(drawn[seen]).sum() >= _LEAST_VERIFIED:
            share, ends = estimate_share(
                is_wrong[seen], checked, doubts[own], drawn[seen], alpha, targets.worth
            )
            accuracy[j], low[j], high[j] = 1 - share, 1 - ends[1], 1 - ends[0]
    wrong = np.zeros((n_annotators, n_classes, n_classes))
    np.add.at(wrong, (votes.annotators, votes.codes), distributions[votes.rows])
    wrong[:, np.arange(n_classes), np.arange(n_classes)] = 0
    flat = wrong.reshape(n_annotators, -1)
    said, true = np.divmod(flat.argmax(axis=1), n_classes)
    errs, confused = flat.max(axis=1) > 0, {"said": said, "instead_of": true}
    labels = np.append(classes.astype(object), None)  # None, where nothing is
    return pd.DataFrame(
        {
            "n_votes": n_votes,
            "n_verified": n_verified,
            "accuracy": accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            **{name: labels[np.where(errs, k, -1)] for name, k in confused.items()},
            "share": flat.max(axis=1) / n_votes,
        },
        index=pd.Index(votes.names, name="annotator"),
    )


def _posterior_mean(counts, mean, strength):
    """Mean of a Dirichlet posterior along the last axis, after counts."""
    total = counts.sum(axis=-1, keepdims=True)
    return (counts + strength * mean) / (total + strength)
