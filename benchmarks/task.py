"""One task of the benchmark: data, noise, regime and seed, and the fits to share."""

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import time

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdygen.base import targets_for
from skdygen.votes import majority_vote

from .data import MIXED, draw_setting, load_splits, load_votes, mix, shape
from .embeddings import FrozenStore, StoredDynamics

# What all methods of a regime have in common: what two cores can do, in the regime
# "short" while somebody waits.
REGIMES = {
    "frozen": {
        "n_train": 4000,
        "n_valid": None,
        "n_development": 2000,
        "n_test": 2000,
        "dynamics": {"trainable_layers": 0, "n_epochs": 10},
    },
    "finetuned": {
        "n_train": 2000,
        "n_valid": 500,
        "n_development": 1000,
        "n_test": 2000,
        "dynamics": {"trainable_layers": 3, "n_epochs": 5, "max_length": 128},
    },
    "encoders": {
        "n_train": 1000,
        "n_valid": 50,
        "n_development": 500,
        "n_test": 500,
        "dynamics": {"trainable_layers": 0, "n_epochs": 10},
    },
    "short": {
        "n_train": 1000,
        "n_valid": 250,
        "n_development": 500,
        "n_test": 1000,
        "dynamics": {"trainable_layers": 3, "n_epochs": 5, "max_length": 64},
    },
}
TRAINED_LAYERS = (0, 1, 2, 3, 4, "all")  # compared, where a regime has one of them
PLAIN = {"n_branches": 1, "coregularization": 0.0}


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


class Task:
    """Texts and labels, and the fits that methods share.

    Parameters
    ----------
    setting : str
        Data set, or ``"data set:kind of noise:rate"``; see `data.SHAPES`.
    regime : {"frozen", "finetuned", "encoders", "short"}
        Key of `REGIMES`.
    seed : int
        Random state of everything.
    folder : Path
        Of the data sets.
    cache : Path
        Folder for fits and embeddings.
    store : FrozenStore, default=None
        Of another encoder than the default: its embeddings of the texts that are drawn,
        and the model where layers of it are trained.
    """

    def __init__(self, setting, regime, seed, folder, cache, store=None):
        self.setting, self.regime, self.seed = setting, regime, seed
        self.folder, self.cache = folder, cache
        self.settings = REGIMES[regime]
        name, *noise = setting.split(":")
        name, *wanted = name.split("/")
        names = MIXED if name == "mixed" else [name]
        data_sets = [load_splits(folder, name) for name in names]
        default = FrozenStore(cache / "frozen")
        if store is None or "instance" in noise:  # mistakes are the same for all
            for split in itertools.chain(*data_sets):
                default.add(split.texts)
        splits = mix(data_sets)
        if wanted:
            splits = shape(splits, int(wanted[0]), float(wanted[1]))
        self.splits = draw_setting(
            splits,
            (noise[0], float(noise[1])) if noise else None,
            sizes={
                part: self.settings[f"n_{part}"]
                for part in ("train", "valid", "development", "test")
            },
            seed=seed,
            embed=default,
        )
        self.store = StoredDynamics.store = default if store is None else store
        if store is not None:
            store.add([text for split in self.splits.values() for text in split.texts])
        is_trained = self.settings["dynamics"]["trainable_layers"] != 0
        self.encoder = self.store.params if is_trained else {}
        self.train = self.splits["train"]
        self.classes = np.unique(self.train.given)

    def stage_one(self, replay=("valid", "development", "test"), **params):
        """Fit the first stage, and replay the texts of some splits."""
        return self.fit(replay=replay, **params)

    def plain(self):
        """Fine-tune one network, without co-regularisation."""
        return self.fit(replay=("valid", "test"), **PLAIN)

    def fit(self, make=StoredDynamics, *, labels="given", replay=(), **params):
        """Fine-tune once for all methods that need the same.

        Parameters
        ----------
        make : callable, default=StoredDynamics
            Makes the first stage.
        labels : {"given", "gold", "majority", "votes"}, default="given"
            What to train on; "gold" is for the ceiling, "majority" that of the votes.
        replay : tuple of str, default=()
            Splits whose whole dynamics are wanted; that of the training texts is
            recorded if there is any.
        **params : dict
            Of the first stage, other than the regime's.

        Returns
        -------
        fit : Fit
            Kept in the cache.
        """
        params = self.settings["dynamics"] | {"random_state": self.seed} | params
        return self.keep(
            [make.__name__, labels, replay, params],
            lambda: fit_dynamics(self, make, labels, replay, params),
        )

    def keep(self, what, compute):
        """Read from the cache what was computed for these texts and labels before.

        Parameters
        ----------
        what : JSON value
            All that the result depends on, other than the texts and labels.
        compute : callable
            Gives the result if it is not there.

        Returns
        -------
        result : object
            From a file that this benchmark wrote, or computed.
        """
        defaults = repr(StoredDynamics().get_params())
        key = json.dumps(
            [self.setting, self.regime, self.seed, self.settings, defaults, what]
            + [self.store.name] * (self.store.name is not None)
        )
        name = hashlib.sha256(key.encode()).hexdigest()[:24]
        path = self.cache / "fits" / f"{name}.joblib"
        if path.exists():
            return joblib.load(path)
        result = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")  # others may compute the same
        joblib.dump(result, part)
        part.replace(path)
        return result

    @functools.cached_property
    def votes(self):
        """Single votes on the training texts, a column for each annotator."""
        return load_votes(self.folder, self.setting).iloc[self.train.rows]

    def draw(self, n, draw=0):
        """Draw positions of training texts, at random: one of several draws."""
        order = np.random.RandomState(1000 * self.seed + draw).permutation(
            len(self.train)
        )
        return order[: min(n, len(order) // 2)]

    def labels(self, kind):
        """Give labels of the training texts: "given", "gold" or "majority"."""
        if kind == "majority":
            return majority_vote(self.votes)
        return getattr(self.train, kind)

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


def fit_dynamics(task, make, labels, replay, params):
    """Fit a first stage; see `Task.fit`."""
    # Every epoch by a pass; methods choose of them, and may ask for another way.
    recorded = {"n_recorded_epochs": None, "recording": "evaluation"}
    dynamics = make(**recorded | task.encoder | params)
    splits, train = task.splits, task.train
    start = time.perf_counter()
    if labels == "votes":  # as the classifier hands them on
        targets = targets_for(train.texts, None, None, None, votes=task.votes)
        recorded = dynamics._fit_targets(train.texts, targets, record=True)
    else:
        recorded = dynamics.fit_transform(train.texts, task.labels(labels))
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
    )
