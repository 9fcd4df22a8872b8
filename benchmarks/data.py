"""The real data sets that the benchmarks run on, and made noise for the clean ones."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from skdygen.datasets import load_noisy_csv, make_label_noise

# Relations between two marked entities: the marks are needed to know which relation.
_TEXT_COLUMNS = {"semeval_wrench": "text_marked", "chemprot_wrench": "text_marked"}


@dataclasses.dataclass
class Split:
    """Texts with right labels, and with given ones where the split has them."""

    texts: list
    gold: np.ndarray
    given: np.ndarray


def load_split(folder, name, split):
    """Read one split; `given` is NaN where there is no given label.

    Parameters
    ----------
    folder : str or Path
        Folder of the data sets.
    name : str
        Name of the data set.
    split : {"train", "valid", "test"}
        Which part of it.

    Returns
    -------
    split : Split
        The texts and labels.
    """
    column = _TEXT_COLUMNS.get(name, "text")
    path = Path(folder) / name / f"{split}.csv.gz"
    data = load_noisy_csv(path, text=column, gold="label_gold")
    return Split(data.data, data.gold, data.target)


def load_training(folder, name, *, n_samples, seed, noise=None, rate=None):
    """Read training texts that have a given label, or make the labels' mistakes.

    Parameters
    ----------
    folder : str or Path
        Folder of the data sets.
    name : str
        Name of the data set.
    n_samples : int or None
        Number of texts, drawn at random; None takes all.
    seed : int
        Random state of the draw and of made noise.
    noise : {"symmetric", "asymmetric"}, default=None
        Kind of mistakes to make; None takes the labels given in the data.
    rate : float, default=None
        Their share.

    Returns
    -------
    split : Split
        The texts and labels.
    """
    train = load_split(folder, name, "train")
    if noise is not None:
        train.given = make_label_noise(train.gold, noise, rate, random_state=seed)
    rows = np.flatnonzero(pd.notna(train.given))
    if not len(rows):
        raise ValueError(f"{name} has no given labels; choose a kind of --noise.")
    rows = check_random_state(seed).permutation(rows)[:n_samples]
    return Split(
        [train.texts[i] for i in rows], train.gold[rows], train.given[rows].astype(int)
    )
