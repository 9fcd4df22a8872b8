"""The settings: data sets with real mistakes, and clean ones with made mistakes."""

import dataclasses
import operator
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from skdygen.datasets import load_noisy_csv, make_label_noise, make_texts
from skdygen.votes import votes_from_lists

# Relations between two marked entities: the marks are needed to know which relation.
_TEXT_COLUMNS = {"semeval_wrench": "text_marked", "chemprot_wrench": "text_marked"}

REAL = (
    "trec_wrench",
    "semeval_wrench",
    "chemprot_wrench",
    "youtube_wrench",
    "noisyagnews",
    "mr_chatgpt",
    "claude9_ws",
    "rte_mturk",
)
# Of these there are single votes: four sets of rules, and people.
VOTED = ("trec_wrench", "semeval_wrench", "youtube_wrench", "claude9_ws", "rte_mturk")
MADE = tuple(
    f"{name}:{kind}:{rate}"
    for name in ("agnews", "20newsgroups_raw")
    for kind in ("symmetric", "asymmetric", "instance")
    for rate in (0.2, 0.4)
)
SETTINGS = REAL + MADE
# Data sets with right labels, whose classes are put together as those of one.
MIXED = (
    "20newsgroups_raw", "agnews", "trec_wrench", "semeval_wrench", "chemprot_wrench",
    "claude9_ws",
)  # fmt: skip
# "data set/classes/ratio": so many classes, the largest so many times the smallest.
SHAPES = (
    "agnews/2/1", "agnews/2/13", "agnews/4/50", "20newsgroups_raw/2/1",
    "20newsgroups_raw/5/20", "20newsgroups_raw/20/1", "20newsgroups_raw/20/50",
    "mixed/58/1", "mixed/58/10",
)  # fmt: skip
SHAPED = tuple(
    f"{shape}:{noise}"
    for shape in SHAPES
    for noise in (
        "symmetric:0.01", "symmetric:0.1", "symmetric:0.3", "symmetric:0.6",
        "asymmetric:0.3", "instance:0.1",
    )
    if noise != "symmetric:0.6" or "/2/" not in shape  # more than half of two classes
)  # fmt: skip


@dataclasses.dataclass
class Split:
    """Texts with right labels, which are for scoring only, and given ones.

    `rows` are their numbers in the file, or in what was put together of several.
    """

    texts: list
    gold: np.ndarray
    given: np.ndarray
    rows: np.ndarray = None

    def __post_init__(self):
        if self.rows is None:
            self.rows = np.arange(len(self.texts))

    def __len__(self):
        return len(self.texts)

    def take(self, rows):
        """Select rows."""
        texts = [self.texts[i] for i in rows]
        return Split(texts, self.gold[rows], self.given[rows], self.rows[rows])

    def __add__(self, other):
        return Split(
            self.texts + other.texts,
            np.concatenate([self.gold, other.gold]),
            np.concatenate([self.given, other.given]),
        )


def make_split(n_texts, seed=0):
    """Make texts of one to five messages, and labels 30 % of which are wrong."""
    rng = np.random.RandomState(seed)
    n_messages = 1 + np.minimum(rng.geometric(0.5, size=n_texts) - 1, 4)
    messages, about = make_texts(int(n_messages.sum()), random_state=seed)
    firsts = np.cumsum(n_messages) - n_messages
    texts = [
        " ".join(messages[first : first + n])
        for first, n in zip(firsts, n_messages, strict=True)
    ]
    gold = about[firsts]
    given = make_label_noise(gold, "symmetric", 0.3, random_state=seed)
    return Split(texts, gold, given)


def load_splits(folder, name):
    """Read the training, validation and test texts of a data set.

    Parameters
    ----------
    folder : str or Path
        Folder of the data sets.
    name : str
        Name of the data set.

    Returns
    -------
    splits : list of Split
        With NaN where there is no given label.
    """
    splits = []
    for part in ("train", "valid", "test"):
        path = Path(folder) / name / f"{part}.csv.gz"
        data = load_noisy_csv(
            path, text=_TEXT_COLUMNS.get(name, "text"), gold="label_gold"
        )
        splits.append(Split(data.data, data.gold, data.target))
    return splits


def load_votes(folder, name):
    """Read single votes: a row for each training text, a column for each annotator."""
    path = Path(folder) / name / "votes_train.csv.gz"
    return votes_from_lists(pd.read_csv(path)["votes"])


def mix(data_sets):
    """Put data sets together: the splits of each, its classes behind those before."""
    mixed, n_classes = None, 0
    for splits in data_sets:
        codes = [dataclasses.replace(s, gold=s.gold + n_classes) for s in splits]
        n_classes = 1 + max(split.gold.max() for split in codes)
        mixed = codes if mixed is None else list(map(operator.add, mixed, codes))
    return mixed


def shape(splits, n_classes, ratio):
    """Take classes, and thin them out so that they are of unequal size.

    Parameters
    ----------
    splits : list of Split
        Output of `load_splits`.
    n_classes : int
        Number of classes, the first ones.
    ratio : float
        How many times as large the largest class is as the smallest; sizes between them
        fall geometrically.

    Returns
    -------
    splits : list of Split
        The same ones, with fewer texts.
    """
    rng = check_random_state(0)
    shares = float(ratio) ** -np.linspace(0, 1, n_classes)
    shaped = []
    for split in splits:
        sizes = np.bincount(split.gold, minlength=n_classes)[:n_classes]
        most = np.quantile(sizes / shares, 0.1, method="lower")  # a few have less
        n_each = np.ceil(most * shares).astype(int)
        rows = [
            rng.permutation(np.flatnonzero(split.gold == code))[:n]
            for code, n in enumerate(n_each)
        ]
        shaped.append(split.take(np.sort(np.concatenate(rows))))
    return shaped


def draw_setting(splits, noise, *, sizes, seed, embed):
    """Draw training texts, make noise, and draw the texts to score on.

    Choices are made by scores on the development texts: those of the validation split
    and the training texts that were not drawn. What is published is scored on the
    test texts.

    Parameters
    ----------
    splits : list of Split
        Output of `load_splits`.
    noise : tuple (kind, rate) or None
        Mistakes to make; None takes the labels given in the data.
    sizes : dict of str to int or None
        Number of texts of each split; None takes all. Test texts are the same for all
        seeds.
    seed : int
        Random state of the draw and of made noise.
    embed : callable
        Gives features of texts, for noise that depends on them.

    Returns
    -------
    splits : dict of str to Split
        "train", "valid" (with given labels, for those who choose an epoch by them),
        "development" and "test".
    """
    train, valid, test = splits
    if noise is None:
        covered = np.flatnonzero(pd.notna(train.given))
        valid = valid.take(np.flatnonzero(pd.notna(valid.given)))
    else:
        covered = np.arange(len(train))
    order = check_random_state(seed).permutation(covered)
    n_train = len(order) if sizes["train"] is None else sizes["train"]
    train, rest = train.take(order[:n_train]), train.take(order[n_train:])
    development = _draw(splits[1] + rest, sizes["development"])
    valid = _draw(valid, sizes["valid"])
    test = _draw(test, sizes["test"])
    if noise is not None:
        kind, rate = noise
        both = train + valid  # in one go, so that their mistakes are alike
        features = embed(both.texts) if kind == "instance" else None
        given = make_label_noise(both.gold, kind, rate, X=features, random_state=seed)
        train.given, valid.given = given[: len(train)], given[len(train) :]
    train.given, valid.given = train.given.astype(int), valid.given.astype(int)
    return {"train": train, "valid": valid, "development": development, "test": test}


def _draw(split, size):
    if size is None or size >= len(split):
        return split
    return split.take(np.sort(check_random_state(0).permutation(len(split))[:size]))
