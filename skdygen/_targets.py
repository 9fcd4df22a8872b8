"""What a fit knows of the labels, encoded once."""

import warnings
from dataclasses import dataclass, replace

import numpy as np

from ._annotators import Annotators
from ._checked import encode_verified, is_several
from ._encoding import by_chance, encode_labels, join_classes, shown, words_of
from ._votes import Votes, encode_votes
from ._weights import read_weights

_N_FOLDS = 5  # of verified texts, where each is judged by the others
_EVEN = 1e-6  # chances that differ by no larger part are alike
_LEAST_WORTH = 0.5  # what `labels_to_check` gives of the mean chance at least


@dataclass(frozen=True)
class Targets:
    """What a fit knows of the labels; made once, and handed on from stage to stage.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        The classes, sorted, as users write them.
    codes : ndarray of shape (n_samples,) and dtype int64
        Position of each given label in `classes`; -1 where there is none, or where its
        weight is 0.
    weights : ndarray of shape (n_samples,)
        How much each label counts; 0 where there is none, 1 if no weights were given.
    verified : ndarray of shape (n_samples,) and dtype int64
        Position of each verified label in `classes`; -1 where nobody has looked.
    probabilities : ndarray of shape (n_samples,)
        With what probability each verified text was drawn: 1 if it was taken in any
        case, 0 if it was chosen after others were drawn; NaN where none is verified.
    votes : Votes or None
        Single votes, if they say more than `codes`, with codes into `classes`.
    believed : ndarray of shape (n_samples, n_classes) or None
        What the votes come to together with the texts, for priors to learn from.
    evidence : ndarray of shape (n_samples, n_classes) or None
        What the votes on each text say of its true class, up to a constant: log
        p(votes | y). Both are None until annotators are known.
    worth : float
        What the texts least likely to be drawn had of the mean chance, at least.
    """

    classes: np.ndarray
    codes: np.ndarray
    weights: np.ndarray
    verified: np.ndarray
    probabilities: np.ndarray
    votes: Votes | None = None
    believed: np.ndarray | None = None
    evidence: np.ndarray | None = None
    worth: float = 1.0

    @classmethod
    def unverified(cls, classes, codes, weights, votes=None):
        """Make targets of which nobody has verified any."""
        unknown = np.full(len(codes), np.nan)
        return cls(classes, codes, weights, np.full(len(codes), -1), unknown, votes)

    @property
    def labelled(self):
        """Positions of the texts with a given label, (n_labelled,)."""
        return np.flatnonzero(self.codes >= 0)

    @property
    def checked(self):
        """Positions of the texts with a verified label, (n_checked,)."""
        return np.flatnonzero(self.verified >= 0)

    @property
    def voted(self):
        """Whether each text has a vote, (n_samples,) of bool."""
        return np.bincount(self.votes.rows, minlength=len(self.codes)) > 0

    @property
    def distributions(self):
        """What is to be learnt of each text, (n_samples, n_classes); 0 of none."""
        if self.believed is not None:
            return self.believed
        n_classes = len(self.classes)
        known = np.eye(n_classes + 1)[self.codes][:, :-1]
        if self.votes is not None:
            shares = self.votes.shares(n_classes)
            known = np.where(self.voted[:, None], shares, known)
        return known

    def given_as(self, code):
        """Positions of the texts that are given a class."""
        return np.flatnonzero(self.codes == code)

    def ask_annotators(self, distributions):
        """Return the same with what votes say, by what the texts say on their own."""
        found = Annotators().fit(self.votes, distributions, self.verified)
        believed = np.where(
            self.voted[:, None], found.distributions, self.distributions
        )
        return replace(self, believed=believed, evidence=found.evidence)

    def hold_out(self, distributions):
        """Return the same with evidence on verified texts from the others alone.

        They are judged by what was verified, which teaches how annotators err.
        """
        evidence, rows = self.evidence.copy(), self.checked
        for first in range(min(_N_FOLDS, len(rows))):
            left, known = rows[first::_N_FOLDS], self.verified.copy()
            known[left] = -1
            found = Annotators().fit(self.votes, distributions, known)
            evidence[left] = found.evidence[left]
        return replace(self, evidence=evidence)

    def as_believed(self):
        """Return the same with the class that is believed in the place of the given."""
        codes = np.where(self.codes < 0, -1, self.believed.argmax(axis=1))
        return replace(self, codes=codes)

    def as_given(self):
        """Return the same without what is verified, and without its own classes.

        So the first stage, which learns the labels as given, stays as it is when labels
        are verified later.
        """
        is_new = np.isin(np.arange(len(self.classes)), self.verified)
        is_new[self.codes[self.labelled]] = False
        if self.votes is not None:
            is_new[self.votes.codes] = False
        moved = np.append(np.cumsum(~is_new) - 1, -1)  # -1 stays
        return Targets.unverified(
            self.classes[~is_new],
            moved[self.codes],
            self.weights,
            self.votes and self.votes.recode(moved),
        )

    def verify(self, verified, missing_label=None):
        """Return the same with more verified labels; errors of `encode_verified`."""
        if is_several(verified):
            targets = self
            for draw in verified:
                targets = targets.verify(draw, missing_label)
            return targets
        n_samples = len(self.codes)
        classes, found, drawn = encode_verified(
            verified, self.classes, n_samples, missing_label
        )
        _warn_of_alike(classes, self.classes.tolist())
        moved = np.append(np.searchsorted(classes, self.classes), -1)  # -1 stays
        worth = min(self.worth, _worth(drawn, self.verified < 0))
        is_new = found >= 0
        # Where nobody has said how they were drawn, all were as likely.
        unsaid = is_new & np.isnan(drawn)
        drawn = np.where(unsaid, unsaid.sum() / n_samples, drawn)
        drawn[~is_new] = np.nan
        # All texts were drawn from before: what is chosen now stands for none of them.
        if by_chance(self.probabilities).any() and not by_chance(drawn).any():
            drawn[is_new] = 0
        return Targets(
            classes,
            moved[self.codes],
            self.weights,
            np.where(is_new, found, moved[self.verified]),
            _join_draws(np.where(is_new, np.nan, self.probabilities), drawn),
            self.votes and self.votes.recode(moved),
            worth=worth,
        )


def _worth(drawn, is_unread):
    """What the least likely text had of the mean chance in a draw of those unread.

    1 if all were as likely, which the chances of all that were drawn can tell; what is
    taken in any case aside.
    """
    is_drawn = by_chance(drawn)
    n_texts = (is_drawn | is_unread & ~(drawn >= 1)).sum()
    chances = drawn[is_drawn] * n_texts / max(is_drawn.sum(), 1)
    if np.allclose(chances, 1, rtol=_EVEN, atol=0):
        return 1.0
    return min(_LEAST_WORTH, chances.min())


def _join_draws(*draws):
    """Probabilities of being in any of several draws, (n_samples,); NaN if in none.

    A text is as likely to be in all of them together as in its own, times how much
    more there are; what is taken in any case has the probability 1 all the same, and
    what is in no draw, 0.
    """
    sizes = [by_chance(draw).sum() for draw in draws]
    joined = np.full(len(draws[0]), np.nan)
    for draw, size in zip(draws, sizes, strict=True):
        more = draw * sum(sizes) / max(size, 1)
        more = np.minimum(more, np.nextafter(1, 0))
        joined = np.where(np.isnan(draw), joined, np.where(draw < 1, more, draw))
    return joined


def make_targets(
    y, sample_weight=None, verified=None, votes=None, vote_confidence=None, *,
    missing_label=None, classes=None, n_samples=None,
):  # fmt: skip
    """Check and encode labels and weights; arguments and errors of `encode_labels`.

    A ValueError is also raised if there is not one weight for each sample, a weight is
    no number from 0 to a million, or labels of fewer than two classes have a positive
    weight. Errors of verified labels are those of `encode_verified`, of votes
    `encode_votes`.
    """
    if votes is not None:
        classes, codes, votes = _encode_with_votes(
            y, votes, vote_confidence, missing_label, classes, n_samples
        )
    elif vote_confidence is not None:
        raise ValueError("vote_confidence is passed without votes; pass both.")
    else:
        classes, codes = encode_labels(
            y, missing_label=missing_label, classes=classes, n_samples=n_samples
        )
    if missing_label is None:
        _warn_of_blanks(classes, codes)
    _warn_of_alike(classes)
    targets = _weigh(classes, codes, sample_weight)
    if votes is not None:
        # A label of weight 0 takes the votes on its text with it.
        is_kept = ~((codes >= 0) & (targets.codes < 0))[votes.rows]
        votes = votes.keep(is_kept) if is_kept.any() else None
        targets = replace(targets, votes=votes)
    return targets if verified is None else targets.verify(verified, missing_label)


def _warn_of_blanks(classes, codes):
    """Warn that a label is blank, as an empty cell of a table is."""
    is_blank = [isinstance(x, str) and not x.strip() for x in classes.tolist()]
    if any(is_blank):
        position = is_blank.index(True)
        rows = np.flatnonzero(codes == position)
        where = f", first in row {rows[0]}" if len(rows) else ""
        blank = shown(classes, position)
        warnings.warn(
            f"{blank} is a class of {len(rows)} labels{where}; if it means that there "
            f"is none, pass missing_label={blank}.",
            stacklevel=3,
        )


def _warn_of_alike(classes, before=()):
    """Warn of two classes that differ by blanks or case alone, unless both were there.

    Whoever writes labels by hand makes such ones, and may not see it.
    """
    written = {}
    for label in classes.tolist():
        if isinstance(label, str) and label.strip():
            written.setdefault(words_of(label), []).append(label)
    for alike in written.values():
        new = [label for label in alike if label not in before]
        if len(alike) > 1 and new:
            other = next(label for label in alike if label != new[-1])
            warnings.warn(
                f"{new[-1]!r} and {other!r} are two classes, but differ by blanks or "
                f"case alone; if they mean the same, write them alike.",
                stacklevel=4,
            )


def _encode_with_votes(y, votes, confidence, missing_label, classes, n_samples):
    """Classes of labels and votes, codes of labels or majorities, and `Votes` or None.

    None if they are the labels once more.
    """
    found, votes = encode_votes(
        votes, missing_label=missing_label, n_samples=n_samples, confidence=confidence
    )
    if y is not None:
        classes, codes = encode_labels(
            y, missing_label=missing_label, classes=classes, n_samples=n_samples
        )
    joined = found
    if classes is not None:
        first = np.argmin(votes.codes)
        name = shown(votes.names, votes.annotators[first])
        where = f"row {votes.rows[first]} of column {name}"
        joined = join_classes(classes, found, "votes", where)
    votes = votes.recode(np.searchsorted(joined, found))
    majority = votes.majority(len(joined))
    if y is None:
        codes, chosen = majority, np.unique(majority[votes.rows])
        if len(chosen) < 2:
            raise ValueError(
                f"votes has one class only that a majority chose, "
                f"{shown(joined, chosen[0])}; a classifier needs at least two classes."
            )
    else:
        codes = np.append(np.searchsorted(joined, classes), -1)[codes]
        codes = np.where(codes < 0, majority, codes)
    is_same = len(votes.names) == 1 and votes.confidence is None
    is_same = is_same and np.array_equal(codes, majority)
    return joined, codes, None if is_same else votes


def _weigh(classes, codes, sample_weight):
    """Make targets of encoded labels and weights."""
    if sample_weight is None:
        return Targets.unverified(classes, codes, (codes >= 0).astype(np.float64))
    weights = read_weights(sample_weight, len(codes))
    counts = (codes >= 0) & (weights > 0)
    n_classes = len(np.unique(codes[counts]))
    if n_classes < 2:
        raise ValueError(
            f"sample_weight is positive for labels of {n_classes} class(es) only; a "
            f"classifier needs at least two classes."
        )
    codes, weights = np.where(counts, codes, -1), np.where(counts, weights, 0.0)
    # There are no fewer labels than there are texts, even if weights sum up to 1.
    weights = weights / min(weights[counts].mean(), 1)
    return Targets.unverified(classes, codes, weights)
