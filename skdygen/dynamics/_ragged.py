"""Sequences of unequal length in one flat array."""

import math

import numpy as np


def padded_length(lengths, multiple):
    """Length that sequences are padded to: the longest, up to the next multiple."""
    return max(1, math.ceil(lengths.max() / multiple)) * multiple


class Ragged:
    """Sequences of unequal length, one after the other in one flat array.

    Parameters
    ----------
    flat : ndarray of shape (n_items, ...)
        The items of all sequences: token ids, or vectors of tokens.
    lengths : array-like of shape (n_sequences,)
        How many items each sequence has.
    fill : int or float, default=0
        The item that `pad` puts behind short sequences.
    """

    def __init__(self, flat, lengths, fill=0):
        self.flat = flat
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.fill = fill

    def __len__(self):
        return len(self.lengths)

    def positions(self, rows, *, multiple=1):
        """Where the items of some sequences lie in `flat`.

        Parameters
        ----------
        rows : ndarray of shape (n_rows,)
            The sequences.
        multiple : int, default=1
            The longest length is rounded up to a multiple of this.

        Returns
        -------
        positions : ndarray of shape (n_rows, length)
            Indices into `flat`; 0 where `mask` is False.
        mask : ndarray of shape (n_rows, length) of bool
            True where a sequence has an item.
        """
        lengths = self.lengths[rows]
        steps = np.arange(padded_length(lengths, multiple))
        mask = steps < lengths[:, None]
        return np.where(mask, self.starts[rows][:, None] + steps, 0), mask

    def pad(self, rows, *, multiple=1):
        """Some sequences as a rectangular array, short ones filled up.

        Parameters
        ----------
        rows : ndarray of shape (n_rows,)
            The sequences.
        multiple : int, default=1
            The longest length is rounded up to a multiple of this.

        Returns
        -------
        padded : ndarray of shape (n_rows, length, ...)
            The items.
        mask : ndarray of shape (n_rows, length) of bool
            True where a sequence has an item.
        """
        positions, mask = self.positions(rows, multiple=multiple)
        padded = self.flat[positions]
        padded[~mask] = self.fill
        return padded, mask
