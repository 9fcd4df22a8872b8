"""Single votes: of which text, by whom, for what."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Votes:
    """Votes, one after the other, in the order of the texts.

    Parameters
    ----------
    names : ndarray of shape (n_annotators,)
        Names of the annotators, as users write them.
    rows, annotators, codes : ndarray of shape (n_votes,) and dtype int64
        Positions of the text, of the annotator in `names`, and of what it is taken for
        among the classes.
    confidence : ndarray of shape (n_votes,) or None
        How sure the annotator said to be, between 0 and 1; NaN where it did not.
    n_samples : int
        Number of texts.
    """

    names: np.ndarray
    rows: np.ndarray
    annotators: np.ndarray
    codes: np.ndarray
    confidence: np.ndarray
    n_samples: int

    def shares(self, n_classes):
        """Distribution of the votes on each text, (n_samples, n_classes); 0 of none."""
        counts = np.zeros((self.n_samples, n_classes))
        np.add.at(counts, (self.rows, self.codes), 1)
        return counts / counts.sum(axis=1, keepdims=True).clip(min=1)
