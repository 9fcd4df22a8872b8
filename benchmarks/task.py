"""One task of the benchmark: data, noise, regime and seed, and the fits to share."""

import dataclasses
import functools
import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .data import draw_setting, load_splits
from .embeddings import FrozenStore, StoredDynamics

# What all methods of a regime have in common: what two cores can do.
REGIMES = {
    "frozen": {
        "n_train": 4000,
        "n_valid": None,
        "n_development": 2000,
        "n_test": 2000,
        "dynamics": {"trainable_layers": 0, "n_epochs": 10},
    },
    "finetuned": {
        "n_train": 1000,
        "n_valid": 250,
        "n_development": 500,
        "n_test": 1000,
        "dynamics": {"trainable_layers": 3, "n_epochs": 5, "max_length": 64},
    },
}
PLAIN = {"n_branches": 1, "regularization": 0.0}


@dataclasses.dataclass
class Fit:
    """What a fine-tuned model gives.

    `train` and `replayed` are Trajectories, `predicted` are class probabilities after
    the last epoch; of the splits "valid", "development" and "test".
    """

    classes: np.ndarray
    train: object
    replayed: dict
    predicted: dict
    seconds: float
    precision: str
    megabytes: float


class Task:
    """Texts and labels, and the fits that methods share.

    Parameters
    ----------
    setting : str
        Data set, or ``"data set:kind of noise:rate"``.
    regime : {"frozen", "finetuned"}
        Key of `REGIMES`.
    seed : int
        Random state of everything.
    folder : Path
        Of the data sets.
    memory : joblib.Memory
        Keeps fits.
    """

    def __init__(self, setting, regime, seed, folder, memory):
        self.setting, self.regime, self.seed = setting, regime, seed
        self.memory = memory
        self.settings = REGIMES[regime]
        name, *noise = setting.split(":")
        splits = load_splits(folder, name)
        self.store = StoredDynamics.store = FrozenStore(memory)
        for split in splits:
            self.store.add(split.texts)
        self.splits = draw_setting(
            splits,
            (noise[0], float(noise[1])) if noise else None,
            sizes={
                part: self.settings[f"n_{part}"]
                for part in ("train", "valid", "development", "test")
            },
            seed=seed,
            embed=self.store,
        )
        self.train = self.splits["train"]
        self.classes = np.unique(self.train.given)

    def stage_one(self, **params):
        """Fit the first stage, and replay all texts."""
        return self.fit(replay=("valid", "development", "test"), **params)

    def plain(self):
        """Fine-tune one network, without co-regularisation."""
        return self.fit(replay=("valid", "development", "test"), **PLAIN)

    def plain_until(self, epoch):
        """Give the plain model as it was after an epoch, from 0."""
        fit = self.plain()
        predicted = {
            part: replayed.probabilities[:, 0, epoch]
            for part, replayed in fit.replayed.items()
            if part != "valid"
        }
        return dataclasses.replace(fit, predicted=predicted)

    def fit(self, make=StoredDynamics, *, labels="given", replay=(), **params):
        """Fine-tune once for all methods that need the same.

        Parameters
        ----------
        make : callable, default=StoredDynamics
            Makes the first stage.
        labels : {"given", "gold"}, default="given"
            What to train on; "gold" is for the ceiling.
        replay : tuple of str, default=()
            Splits whose whole dynamics are wanted; that of the training texts is
            recorded if there is any.
        **params : dict
            Of the first stage, other than the regime's.

        Returns
        -------
        fit : Fit
            Kept in `memory`.
        """
        params = self.settings["dynamics"] | {"random_state": self.seed} | params
        cached = self.memory.cache(fit_dynamics, ignore=["splits"])
        return cached(self.splits, self.key, make, labels, replay, params)

    @property
    def key(self):
        """All that the texts and labels depend on."""
        return (self.setting, self.regime, self.seed, str(self.settings))

    def frozen(self, part):
        """Frozen embeddings of a split, (n_samples, n_features)."""
        return self.store(self.splits[part].texts).astype(np.float32)

    @functools.cached_property
    def out_of_fold(self):
        """Held-out probabilities of the given labels, from the frozen embeddings."""
        return cross_val_predict(
            make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500)),
            self.frozen("train"),
            self.train.given,
            cv=StratifiedKFold(5, shuffle=True, random_state=self.seed),
            method="predict_proba",
        )


def fit_dynamics(splits, key, make, labels, replay, params):
    """Fit a first stage; see `Task.fit`."""
    del key  # that of the cache
    dynamics = make(**params)
    train = splits["train"]
    start = time.perf_counter()
    recorded = dynamics.fit_transform(train.texts, getattr(train, labels))
    seconds = time.perf_counter() - start
    return Fit(
        dynamics.classes_,
        recorded if replay else None,
        {part: dynamics.transform(splits[part].texts) for part in replay},
        {
            part: dynamics.predict_proba(splits[part].texts)
            for part in ("development", "test")
        },
        seconds,
        dynamics.precision_,
        sum(map(len, dynamics.snapshots_)) / 1e6,
    )
