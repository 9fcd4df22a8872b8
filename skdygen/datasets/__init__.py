"""Texts and labels to try things on: made noise, a made corpus, and files."""

from ._csv import load_noisy_csv
from ._noise import make_label_noise
from ._texts import make_texts

__all__ = ["load_noisy_csv", "make_label_noise", "make_texts"]
