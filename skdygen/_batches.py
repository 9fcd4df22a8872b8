"""Rows of large arrays, not too many at once."""

from sklearn.utils import gen_batches

ROWS_AT_ONCE = 4096


def parts(n_rows):
    """Yield slices of so many rows, one after the other."""
    return gen_batches(n_rows, ROWS_AT_ONCE)
