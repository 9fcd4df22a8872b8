"""Learn from several labels of each text: by majority, by annotator, or with the texts.

``python -m benchmarks.votes --data FOLDER`` writes a row for each setting, seed, method
and number of verified labels; those that are there are not computed again. ``--page``
writes what the rows say.
"""

import argparse
import functools
import json
import os
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from cleanlab.multiannotator import get_label_quality_multiannotator
from crowdkit.aggregation import GLAD, MACE, DawidSkene
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._testing import ignore_warnings

from skdygen import DyGenClassifier
from skdygen._votes import encode_votes

from .data import VOTED
from .run import describe_machine, rows_so_far
from .task import REGIMES, Task
from .verified import Setting, judged, linear, out_of_fold, score
from .votes_page import write_page
from .votes_parts import PARTS, changed

HERE = Path(__file__).parent


class VotedSetting(Setting):
    """A setting with its votes; given is what methods start from and are judged by.

    That is the majority of the votes, unless `labels` is "given".
    """

    def __init__(self, task, labels):
        super().__init__(task, labels)
        found, votes = encode_votes(task.votes)
        self.classes = np.union1d(self.classes, found)
        self.votes = votes.recode(np.searchsorted(self.classes, found))
        self.gold = np.searchsorted(self.classes, task.train.gold)
        y = task.labels("given" if labels == "given" else "majority")
        self.given = np.searchsorted(self.classes, y)
        self.learnt = {"votes": task.votes} if labels == "votes" else {"y": y}


def ours(setting, rows):
    """Ours, on what the setting says is to be learnt."""
    known = dict(zip(rows.tolist(), setting.task.train.gold[rows], strict=True))
    clf = DyGenClassifier("precomputed", random_state=setting.seed)
    start = time.perf_counter()
    clf.fit(setting.fit.train, verified=known or None, **setting.learnt)
    seconds = setting.fit.seconds + time.perf_counter() - start
    found = judged(setting, clf) | {"seconds": seconds}
    if "votes" in setting.learnt:
        found["annotators"] = clf.annotator_quality()
    return found


def aggregated(setting, rows, aggregate):
    """Make one label of the votes on each text; logistic regression on all of them."""
    codes, seconds = setting.task.keep(
        ["votes", aggregate.__name__, joblib.hash(setting.given)],
        lambda: _timed(aggregate, setting),
    )
    codes = codes.copy()
    codes[rows] = setting.gold[rows]
    found, more = _timed(linear, setting, np.arange(len(codes)), codes, None)
    noise_rate = (codes != setting.given).mean()
    return found | {
        "labels": codes, "noise_rate": noise_rate, "seconds": seconds + more
    }  # fmt: skip


def majority(setting):
    """Most votes."""
    return setting.given


def drawn(setting):
    """Most votes; of a tie any of its classes."""
    shares = setting.votes.shares(len(setting.classes))
    noise = np.random.RandomState(setting.seed).uniform(0, 1e-6, shares.shape)
    return (shares + noise).argmax(axis=1)


def dawid_skene(setting):
    """What an annotator says given the true class (Dawid and Skene, 1979)."""
    return _by_crowd_kit(setting, DawidSkene())


def mace(setting):
    """Whether an annotator knows or guesses (Hovy et al., 2013)."""
    return _by_crowd_kit(setting, MACE())


def glad(setting):
    """How good an annotator and how hard a text is (Whitehill et al., 2009)."""
    return _by_crowd_kit(setting, GLAD())


def snorkel(setting):
    """How often rules are right, by how they agree (Ratner et al., 2019)."""
    from snorkel.labeling.model import LabelModel  # not among the extras: it is heavy

    table = _table(setting.votes, -1)
    model = LabelModel(len(setting.classes), verbose=False)
    model.fit(table, n_epochs=500, seed=setting.seed, progress_bar=False)
    return model.predict_proba(table).argmax(axis=1)


def crowdlab(setting):
    """Votes and held-out probabilities of a classifier (Goh et al., 2022)."""
    table = pd.DataFrame(_table(setting.votes, np.nan))
    held_out = out_of_fold(setting)
    quality = get_label_quality_multiannotator(table, held_out, verbose=False)
    return quality["label_quality"]["consensus_label"].to_numpy()


# Ordered by what the first stage learns, so that each is fitted or read once.
METHODS = {
    "ours on given labels": ours,
    "ours on the majority": ours,
    "majority": functools.partial(aggregated, aggregate=majority),
    "majority, ties at random": functools.partial(aggregated, aggregate=drawn),
    "Dawid-Skene": functools.partial(aggregated, aggregate=dawid_skene),
    "MACE": functools.partial(aggregated, aggregate=mace),
    "GLAD": functools.partial(aggregated, aggregate=glad),
    "snorkel": functools.partial(aggregated, aggregate=snorkel),
    "CROWDLAB": functools.partial(aggregated, aggregate=crowdlab),
    "ours on votes": ours,
    **dict.fromkeys(PARTS, ours),
}
# The others learn the majority.
_LEARNT = {"ours on given labels": "given"}
_LEARNT |= dict.fromkeys(["ours on votes", *PARTS], "votes")


def _by_crowd_kit(setting, method):
    votes = setting.votes
    table = {"task": votes.rows, "worker": votes.annotators, "label": votes.codes}
    with ignore_warnings(category=DeprecationWarning):  # of pandas, by crowd-kit
        found = method.fit_predict(pd.DataFrame(table))
    return found.loc[np.arange(votes.n_samples)].to_numpy()


def _table(votes, missing):
    """Codes of votes, (n_samples, n_annotators)."""
    table = np.full((votes.n_samples, len(votes.names)), missing)
    table[votes.rows, votes.annotators] = votes.codes
    return table


def _timed(function, *arguments):
    """What a function gives, and seconds."""
    start = time.perf_counter()
    return function(*arguments), time.perf_counter() - start


def score_annotators(setting, found):
    """Score what is known of annotators: how many of their votes are right."""
    votes = setting.votes
    n_votes = np.bincount(votes.annotators)

    def right(codes):
        return np.bincount(votes.annotators, codes[votes.rows] == votes.codes) / n_votes

    true, said = right(setting.gold), right(found["labels"])
    scores = {}
    if "annotators" in found:
        table = found["annotators"].loc[votes.names]
        said = table["accuracy"].to_numpy()
        holds = (table["accuracy_low"] <= true) & (true <= table["accuracy_high"])
        if (is_given := table["accuracy_low"].notna()).any():
            scores["annotator_intervals_hold"] = holds[is_given].mean()
        scores["annotator_intervals"] = is_given.mean()
    scores["annotator_error"] = np.average(np.abs(said - true), weights=n_votes)
    return scores


def run_cell(setting, method, n_verified):
    """Verify labels drawn at random, run a method, score it."""
    rows = setting.draw(n_verified, 0)
    with ignore_warnings(category=ConvergenceWarning), changed(method):
        found = METHODS[method](setting, rows)
    y = setting.task.labels("majority")
    scores = score(setting, rows, found) | score_annotators(setting, found)
    scores["majority_accuracy"] = (y == setting.task.train.gold).mean()
    scores["seconds"] = found["seconds"]
    return {name: float(value) for name, value in scores.items()}


def main(arguments=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.votes", description=__doc__
    )
    parser.add_argument("--data", type=Path, help="folder of the data")
    parser.add_argument("--regime", choices=list(REGIMES), default="frozen")
    parser.add_argument("--settings", nargs="+", choices=VOTED, default=list(VOTED))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--numbers", nargs="+", type=int, default=[0, 50])
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, metavar="METHOD",
        default=[method for method in METHODS if method not in PARTS],
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, default=HERE / "results" / "votes" / "votes.jsonl"
    )
    parser.add_argument("--cache", type=Path, default=HERE / "cache")
    parser.add_argument("--page", type=Path, help="write this page instead")
    options = parser.parse_args(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    rows = rows_so_far(options.output)
    if options.page is not None:
        write_page(rows, options.page)
        return
    keys = ("setting", "regime", "seed", "method", "n_verified")
    done = {tuple(row[key] for key in keys) for row in rows}
    for seed in options.seeds:
        for name in options.settings:
            cells = [
                (name, options.regime, seed, method, n_verified)
                for method in METHODS
                for n_verified in options.numbers
                if method in options.methods
            ]
            cells = [cell for cell in cells if cell not in done]
            if cells:
                task = Task(*cells[0][:3], options.data, options.cache)
            setting, learnt = None, None
            for cell in cells:
                method, n_verified = cell[3:]
                if learnt != (learnt := _LEARNT.get(method, "majority")):
                    setting = VotedSetting(task, learnt)
                row = dict(zip(keys, cell, strict=True)) | {
                    "scores": run_cell(setting, method, n_verified)
                }
                with options.output.open("a") as file:
                    file.write(json.dumps(row | describe_machine()) + "\n")
            print(f"seed {seed}, {name}", flush=True)


if __name__ == "__main__":
    main()
