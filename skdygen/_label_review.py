"""What a fitted classifier says of its labels: wrong ones, proofs, what to check."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ._annotators import describe_annotators
from ._decisions import judge_labels
from ._encoding import check_texts, find_index, fingerprint
from ._sklearn_compat import num_samples
from ._trajectories import Trajectories
from ._verified import accept_surest, draw_to_check, estimate_share

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class LabelReviewMixin:
    """Gives `DyGenClassifier` its methods about the training labels."""

    # Of the training, where they are known.
    _index = _texts = _fingerprint = None

    def label_issues(self, X: ArrayLike | None = None) -> pd.DataFrame:
        """List the given labels that look wrong, the most suspicious first.

        Parameters
        ----------
        X : sequence of str of length n_samples, default=None
            The training texts, if they are no longer known: they stay with the
            classifier that was fitted on them, but go neither with copies of it nor
            into files.

        Returns
        -------
        issues : DataFrame
            One row for each training text whose most probable class is not the given
            one, whether or not `transduction_` changes it, with the columns

            - index: position of the text in `X`, counted from 0;
            - given: its label in `y`;
            - suggested: its most probable class;
            - confidence: the probability of the suggested class;
            - quality: the probability of the given class;
            - text: the text, if it is known.

            The index of the frame is that of `X`, or else of `y`, where these are of
            pandas, and the position where they are not: ``y[issues.index]`` are the
            labels either way.
        """
        check_is_fitted(self)
        _, confidence, quality, is_issue = judge_labels(
            self.label_distributions_, self._targets.codes
        )
        order = np.lexsort((-confidence, quality))
        return self._table(order[is_issue[order]], X)

    def annotator_quality(self) -> pd.DataFrame:
        """Say how often each annotator is right, and what it takes for what.

        Returns
        -------
        quality : DataFrame
            One row for each annotator who has voted, named as in `votes`, with the
            columns

            - n_votes: number of its votes;
            - n_verified: number of those on texts with a verified label;
            - accuracy: share of its votes that are right, by the posterior of the true
              labels; with five verified or more that were drawn at random, corrected
              by these;
            - accuracy_low, accuracy_high: ends of a 95 % interval, as for
              `noise_rate_interval_` valid whatever the model believes; NaN if fewer
              than five were verified that were drawn at random;
            - said, instead_of: its most frequent confusion, the class that it names and
              the one that is true, None if there is none;
            - share: share of its votes that are that confusion.

        Raises
        ------
        ValueError
            If the classifier was fitted without votes of several annotators.
        """
        check_is_fitted(self)
        if self._targets.votes is None:
            raise ValueError(
                "annotator_quality needs votes of several annotators; pass fit the "
                "single labels, votes=."
            )
        return describe_annotators(
            self._targets,
            self.label_distributions_,
            self.denoiser_.held_out_distributions_,
        )

    def _table(self, rows, X=None):
        """Say what is given and what is most probable, of some texts."""
        codes = self._targets.codes[rows]
        index, texts = self._index, self._texts
        if X is not None:
            texts, found = check_texts(X), find_index(X)
            self._check_same_X(texts)
            index = index if found is None else found
        suggested, confidence, quality, _ = judge_labels(
            self.label_distributions_[rows], codes
        )
        given = self.classes_[codes]
        if (codes < 0).any():
            given = np.where(codes < 0, None, given.astype(object))
        columns = {
            "index": rows,
            "given": given,
            "suggested": self.classes_[suggested],
            "confidence": confidence,
            "quality": quality,
        }
        if texts is not None:
            columns["text"] = [texts[row] for row in rows]
        return pd.DataFrame(columns, index=rows if index is None else index[rows])

    def _check_same_X(self, X):
        """Raise an error if `X` is not what the classifier was fitted on.

        Texts are compared with texts, and only the number of anything else.
        """
        n_samples, n_fitted = num_samples(X), len(self.label_distributions_)
        if n_samples != n_fitted:
            raise ValueError(
                f"X has {n_samples} texts, but the classifier was fitted on "
                f"{n_fitted}; pass those, in their order."
            )
        if self._fingerprint is None or isinstance(X, Trajectories):
            return
        texts = check_texts(X)
        if fingerprint(texts) == self._fingerprint:
            return
        where = ""
        if self._texts is not None:
            pairs = zip(texts, self._texts, strict=True)
            where = next(i for i, (a, b) in enumerate(pairs) if a.split() != b.split())
            where = f", first in row {where}"
        raise ValueError(
            f"X has other texts than the classifier was fitted on, or another "
            f"order{where}; pass the same texts in their order."
        )

    def accept_labels(
        self, max_error: float = 0.05, confidence: float = 0.95
    ) -> np.ndarray:
        """Tell which corrected labels can be taken without reading them.

        Parameters
        ----------
        max_error : float in (0, 1), default=0.05
            The largest share of all labels that may be accepted and wrong.
        confidence : float in (0, 1), default=0.95
            With what probability that is to hold, over draws of the verified texts.

        Returns
        -------
        accepted : ndarray of shape (n_samples,) and dtype bool
            The surest labels of `transduction_`; verified ones always. With few
            verified labels none of the others: it takes 59 that are all right to prove
            5 % at a confidence of 95 %.

        Notes
        -----
        Holds if the verified texts were drawn at random, or by `labels_to_check` with
        the strategy "random" or "auto"; after the latter up to twice as many are needed
        to prove the same. That each verified text is judged by a pool fitted to others
        makes it an approximation, on the safe side as far as simulations show.
        """
        check_is_fitted(self)
        for name, value in (("max_error", max_error), ("confidence", confidence)):
            if not 0 < value < 1:
                raise ValueError(f"{name} must be between 0 and 1, but is {value!r}.")
        accepted, _ = self._accept(max_error, confidence)
        return accepted | (self._targets.verified >= 0)

    def labels_to_check(
        self,
        n_labels: int = 50,
        strategy: Literal["auto", "random", "suspicious", "uncertain"] = "auto",
        random_state: int | np.random.RandomState | None = None,
        X: ArrayLike | None = None,
    ) -> pd.DataFrame:
        """Draw texts whose labels to verify next.

        Parameters
        ----------
        n_labels : int, default=50
            How many.
        strategy : {"auto", "random", "suspicious", "uncertain"}, default="auto"
            "auto" draws the more likely the more the opinions on a text differ, which
            teaches most; "random" draws all alike; both keep intervals and guarantees
            valid. "suspicious" takes the given labels of the lowest quality, to find
            most mistakes by reading, and "uncertain" the texts whose two most probable
            classes are closest; these say nothing of the labels that are not taken.
        random_state : int, RandomState instance or None, default=None
            Determines the draw.
        X : sequence of str of length n_samples, default=None
            The training texts, if they are no longer known, see `label_issues`.

        Returns
        -------
        labels : DataFrame
            One row for each text, with the index and columns of `label_issues`, and

            - probability: with which it was drawn; 1 where it is taken in any case;
            - verified: empty, to be filled in; rows that stay empty are passed over.

            Filled in, it is what `refit` and `fit` take as `verified`, which go by the
            column "index".
        """
        check_is_fitted(self)
        rng = check_random_state(random_state)
        left = np.flatnonzero(self._targets.verified < 0)
        if not len(left):
            raise ValueError("every text has a verified label; there is none to draw.")
        if not (isinstance(n_labels, Integral) and 0 < n_labels <= len(left)):
            raise ValueError(
                f"n_labels must be between 1 and {len(left)}, the number of texts that "
                f"nobody has verified, but is {n_labels!r}."
            )
        if strategy in ("auto", "random"):
            sizes = np.ones(len(left))
            if strategy == "auto":  # none is less than half as likely as at random
                sizes += self._spread[left] / (self._spread[left].mean() or 1)
            chosen, drawn = draw_to_check(sizes, n_labels, rng)
        elif strategy in ("suspicious", "uncertain"):
            by = np.nan_to_num(self.label_quality_[left], nan=np.inf)
            if strategy == "uncertain":
                second, first = np.sort(self.label_distributions_[left], axis=1)[
                    :, -2:
                ].T
                by = first - second
            chosen, drawn = np.argsort(by, kind="stable")[:n_labels], np.ones(n_labels)
        else:
            raise ValueError(
                f"strategy must be 'auto', 'random', 'suspicious' or 'uncertain', but "
                f"is {strategy!r}."
            )
        table = self._table(left[chosen], X)
        table.insert(5, "probability", drawn)
        table.insert(6, "verified", None)
        return table

    def _prove(self, targets):
        """Say what the verified labels prove of the given and the corrected ones."""
        rows = targets.checked[targets.codes[targets.checked] >= 0]
        held_out = self.denoiser_.held_out_distributions_
        doubts = 1 - judge_labels(held_out, targets.codes)[2]
        is_wrong = targets.verified[rows] != targets.codes[rows]
        drawn = targets.probabilities[rows]

        def estimate(labels):
            checked = np.flatnonzero(np.isin(rows, labels))
            return estimate_share(
                is_wrong[checked], np.searchsorted(labels, rows[checked]),
                doubts[labels], drawn[checked], worth=targets.worth,
            )  # fmt: skip

        share, interval = estimate(targets.labelled)
        share = share if np.isfinite(share) else np.clip(self.noise_rate_, *interval)
        self.noise_rate_ = float(share)
        self.noise_rate_interval_ = np.array(interval)
        self.class_noise_rate_intervals_ = np.array(
            [
                estimate(labels)[1] if len(labels) else (0.0, 1.0)
                for labels in map(targets.given_as, range(len(targets.classes)))
            ]
        )
        accepted, n_more = self._accept(0.05, 0.95)
        self.correction_guarantee_ = {
            "max_error": 0.05, "confidence": 0.95,
            "n_accepted": int((accepted & (targets.verified < 0)).sum()),
            "n_more": int(n_more),
        }  # fmt: skip

    def _accept(self, max_error, confidence):
        """Which labels can be taken unread, and how many more are to be verified."""
        targets, said = self._targets, self._said
        rows = targets.checked
        held_out = self.denoiser_.held_out_distributions_
        doubts = 1 - held_out[np.arange(len(said)), said]
        return accept_surest(
            doubts, rows, said[rows] != targets.verified[rows],
            targets.probabilities[rows], max_error, 1 - confidence, targets.worth,
        )  # fmt: skip
