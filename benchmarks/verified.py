"""Verify a few labels: what that gains, by method and number of labels.

``python -m benchmarks.verified --data FOLDER`` writes a row for each setting, method,
number of verified labels and draw; those that are there are not computed again.
``--page`` writes what the rows say.
"""

import argparse
import copy
import functools
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from cleanlab.multiannotator import get_active_learning_scores
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._testing import ignore_warnings

from skdygen import DyGenClassifier, make_paper_classifier

from .data import REAL, SETTINGS
from .methods import SCORED
from .rivals import Contrastive
from .run import describe_machine, read_rows, rows_so_far
from .strategies import STRATEGIES
from .task import REGIMES, Task
from .verified_page import LEAST_FOR_PARTS, write_page
from .verified_parts import PARTS, without

HERE = Path(__file__).parent
NUMBERS = (0, 10, 25, 50, 100, 200)
# Of these one draw is run: they take the same labels in any, or take long.
_ONE_DRAW = (
    "default, suspicious",
    "default, uncertain",
    "default, expected change",
    "contrastive, verified alone",
    "cleanlab, its own order",
)
# These are run from so many verified labels on.
_FROM = {"verified alone": 1, "contrastive, verified alone": 1}
_FROM |= dict.fromkeys(PARTS, LEAST_FOR_PARTS)
_WEIGHTS = (1, 5, 25)  # of a verified label, where a given one has 1


class Setting:
    """A task with what its methods share: dynamics, embeddings, right labels."""

    def __init__(self, task, labels="given"):
        self.task, self.seed = task, task.seed
        train = task.train
        recorded = {}
        if task.settings["dynamics"]["trainable_layers"] != 0:  # as users have it
            recorded = {"recording": "auto", "n_recorded_epochs": "auto"}
        self.fit = task.fit(replay=SCORED, labels=labels, **recorded)
        self.plain = task.plain()  # of the labels as given, as its cache has it
        if labels == "gold":  # what is done to labels that are right
            train.given = train.gold
        self.classes = np.unique(np.concatenate([train.given, train.gold]))
        self.given = np.searchsorted(self.classes, train.given)
        self.gold = np.searchsorted(self.classes, train.gold)
        self.embedded = {part: task.frozen(part) for part in ("train", *SCORED)}

    @functools.cached_property
    def unverified(self):
        """Ours, as long as nothing is verified."""
        return _fitted(self)

    @functools.cached_property
    def contrastive(self):
        """What fine-tunes on pairs, for all texts, those of `embedded` in a row."""
        splits = [self.task.splits[part] for part in self.embedded]
        return Contrastive([text for split in splits for text in split.texts])

    def draw(self, n, draw):
        """Draw positions of labels to verify, at random."""
        return self.task.draw(n, draw)


def default(setting, rows):
    """Ours."""
    known = dict(zip(rows.tolist(), setting.task.train.gold[rows], strict=True))
    return judged(setting, _fitted(setting, known or None))


def drawn_by_itself(setting, rows, draw, strategy="auto"):
    """Ours, on labels that it has drawn itself."""
    clf = copy.copy(setting.unverified)
    if not len(rows):
        return judged(setting, clf)
    if strategy in STRATEGIES:
        table = STRATEGIES[strategy](setting, len(rows), draw)
    else:
        table = clf.labels_to_check(len(rows), strategy, random_state=draw)
    table["verified"] = setting.task.train.gold[table["index"]]
    start = time.perf_counter()
    clf.refit(table)
    seconds = time.perf_counter() - start
    drawn = {"rows": table["index"].to_numpy(), "refit_seconds": seconds}
    return judged(setting, clf) | drawn


def part_left_out(setting, rows, part):
    """Ours, without one of the parts that verified labels act on."""
    with without(part):
        return default(setting, rows)


def put_in(setting, rows, make=DyGenClassifier):
    """Verified labels in the place of the given ones, and not told as verified."""
    given = setting.task.train.given.copy()
    given[rows] = setting.task.train.gold[rows]
    clf = make().set_params(dynamics="precomputed", random_state=setting.seed)
    clf.fit(setting.fit.train, given)
    found = judged(setting, clf)
    for labels in ("labels", "likely"):
        found[labels][rows] = setting.gold[rows]
    return found


def verified_alone(setting, rows):
    """Logistic regression on frozen embeddings, of the verified labels."""
    if len(np.unique(setting.gold[rows])) < 2:
        return None
    return linear(setting, rows, setting.gold[rows], None)


def contrastive(setting, rows):
    """Logistic regression on embeddings trained on pairs of verified texts."""
    codes = setting.gold[rows]
    if len(np.unique(codes)) < 2:
        return None
    found = setting.contrastive.embed(rows, codes, setting.seed)
    ends = np.cumsum([len(embedded) for embedded in setting.embedded.values()])
    parts = np.split(found, ends[:-1])
    embedded = dict(zip(setting.embedded, parts, strict=True))
    model = LogisticRegression(max_iter=500).fit(embedded["train"][rows], codes)
    return _predicted(setting, model, embedded, rows, codes)


def given_and_verified(setting, rows):
    """The same of all labels; the weight of verified ones is that which suits them."""
    codes, best = setting.given.copy(), (-1, 1)
    codes[rows] = setting.gold[rows]
    folds = (
        KFold(min(3, len(rows)), shuffle=True, random_state=0) if len(rows) else None
    )
    for weight in _WEIGHTS if len(rows) else ():
        n_right = 0
        for _, left in folds.split(rows):
            weights = np.ones(len(codes))
            weights[rows], weights[rows[left]] = weight, 0
            model = _logistic(C=0.01).fit(
                setting.embedded["train"], codes,
                logisticregression__sample_weight=weights,
            )  # fmt: skip
            found = model.predict(setting.embedded["train"][rows[left]])
            n_right += (found == setting.gold[rows[left]]).sum()
        best = max(best, (n_right, weight))
    weights = np.ones(len(codes))
    weights[rows] = best[1]
    return linear(setting, np.arange(len(codes)), codes, weights)


def gold_loss_correction(setting, rows):
    """Gold loss correction (Hendrycks et al., 2018), linear on frozen embeddings."""
    n_classes, given = len(setting.classes), setting.given
    held_out = out_of_fold(setting)
    matrix = np.eye(n_classes)
    for code in np.unique(setting.gold[rows]):
        matrix[code] = held_out[rows[setting.gold[rows] == code]].mean(axis=0)
    scaler = StandardScaler().fit(setting.embedded["train"])
    X = scaler.transform(setting.embedded["train"]).astype(float)
    trusted = np.zeros(len(given), dtype=bool)
    trusted[rows] = True
    start = np.zeros((X.shape[1] + 1) * n_classes)

    def loss(parameters):
        coef = parameters.reshape(-1, n_classes)
        log_p = log_softmax(X @ coef[:-1] + coef[-1], axis=1)
        p = np.exp(log_p)
        seen = (p @ matrix).clip(min=1e-9)
        at = np.arange(len(given))
        value = -np.log(seen[at, given])[~trusted].sum()
        value -= log_p[rows, setting.gold[rows]].sum()
        slope = -p * (matrix[:, given].T / seen[at, given][:, None] - 1)
        slope[rows] = p[rows]
        slope[rows, setting.gold[rows]] -= 1
        value += 50 * (coef[:-1] ** 2).sum()
        gradient = np.vstack([X.T @ slope + 100 * coef[:-1], slope.sum(axis=0)])
        return value, gradient.ravel()

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    coef = found.x.reshape(-1, n_classes)
    p = {
        part: np.exp(log_softmax(scaler.transform(e) @ coef[:-1] + coef[-1], axis=1))
        for part, e in setting.embedded.items()
    }
    labels = p["train"].argmax(axis=1)
    labels[rows] = setting.gold[rows]
    return {"labels": labels, "predicted": {part: p[part] for part in SCORED}}


def cleanlab(setting, rows):
    """What cleanlab would have read next, those labels replaced, and its issues too."""
    held_out = out_of_fold(setting)
    table = pd.DataFrame({"given": setting.given})
    present = np.unique(setting.given)
    p = held_out[:, present] / held_out[:, present].sum(axis=1, keepdims=True)
    table["given"] = np.searchsorted(present, setting.given)
    scores, _ = get_active_learning_scores(table, pred_probs=p)
    rows = np.argsort(scores)[: len(rows)]
    codes = setting.given.copy()
    codes[rows] = setting.gold[rows]
    probabilities = out_of_fold(setting, codes)
    quality = probabilities[np.arange(len(codes)), codes]
    by_class = [
        quality[codes == k].mean() if (codes == k).any() else 1.0
        for k in range(probabilities.shape[1])
    ]
    likely = probabilities.argmax(axis=1)
    sure = probabilities.max(axis=1) >= np.array(by_class)[likely]
    is_issue = (likely != codes) & sure
    is_issue[rows] = False
    kept = np.flatnonzero(~is_issue)
    found = linear(setting, kept, codes[kept], None, C=0.01)
    found["labels"] = np.where(is_issue, likely, codes)
    return found


METHODS = {
    "default": default,
    "default, labels_to_check": drawn_by_itself,
    "default, suspicious": functools.partial(drawn_by_itself, strategy="suspicious"),
    "default, uncertain": functools.partial(drawn_by_itself, strategy="uncertain"),
    "default, stratified": functools.partial(drawn_by_itself, strategy="stratified"),
    "default, expected change": functools.partial(
        drawn_by_itself, strategy="expected change"
    ),
    **{name: functools.partial(part_left_out, part=name) for name in PARTS},
    "default, verified put in": put_in,
    "dygen-paper, verified put in": functools.partial(
        put_in, make=make_paper_classifier
    ),
    "verified alone": verified_alone,
    "contrastive, verified alone": contrastive,
    "given and verified": given_and_verified,
    "gold loss correction": gold_loss_correction,
    "cleanlab, its own order": cleanlab,
}


def _logistic(C=1.0):
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=500))


def linear(setting, rows, codes, weights, C=None):
    """Fit to some labels; of few, with the usual penalty, of many a stronger one."""
    C = (0.01 if len(rows) > 400 else 0.1) if C is None else C
    params = {}
    if weights is not None:
        params["logisticregression__sample_weight"] = weights
    model = _logistic(C) if np.ptp(codes) else DummyClassifier()  # one class is left
    model.fit(setting.embedded["train"][rows], codes, **params)
    return _predicted(setting, model, setting.embedded, rows, codes)


def _predicted(setting, model, embedded, rows, codes):
    """What a model says of all texts; the labels that it has learnt stay, if few."""
    p = {}
    for part, features in embedded.items():
        p[part] = np.zeros((len(features), len(setting.classes)))
        p[part][:, model.classes_] = model.predict_proba(features)
    labels = p["train"].argmax(axis=1)
    if len(rows) < len(labels):
        labels[rows] = codes
    return {"labels": labels, "predicted": {part: p[part] for part in SCORED}}


def out_of_fold(setting, codes=None):
    """Held-out probabilities of labels by frozen embeddings."""
    codes = setting.given if codes is None else codes
    found = np.full((len(codes), len(setting.classes)), 1e-6)
    present, numbered = np.unique(codes, return_inverse=True)
    found[:, present] += cross_val_predict(
        _logistic(0.01), setting.embedded["train"], numbered, method="predict_proba",
        cv=KFold(5, shuffle=True, random_state=0),
    )  # fmt: skip
    return found / found.sum(axis=1, keepdims=True)


def _fitted(setting, verified=None):
    clf = DyGenClassifier(
        "precomputed", store_trajectories=True, random_state=setting.seed
    )
    return clf.fit(setting.fit.train, setting.task.train.given, verified=verified)


def judged(setting, clf):
    """What a fitted classifier says."""
    columns = np.searchsorted(setting.classes, clf.classes_)
    predicted = {}
    for part in SCORED:
        found = clf.predict_proba(setting.fit.replayed[part])
        predicted[part] = np.zeros((len(found), len(setting.classes)))
        predicted[part][:, columns] = found
    found = {
        "labels": np.searchsorted(setting.classes, clf.transduction_),
        "likely": columns[clf.label_distributions_.argmax(axis=1)],
        "predicted": predicted,
        "quality": clf.label_quality_,
        "noise_rate": clf.noise_rate_,
    }
    if hasattr(clf, "noise_rate_interval_"):
        found["interval"] = clf.noise_rate_interval_.tolist()
    return found


def score(setting, rows, found):
    """Score what a method gives; the ranking by the texts that nobody verified."""
    is_wrong = setting.given != setting.gold
    scores = {
        "given_labels_accuracy": 1 - is_wrong.mean(),
        "labels_accuracy": (found["labels"] == setting.gold).mean(),
    }
    for part in SCORED:
        gold = setting.task.splits[part].gold
        likely = setting.classes[found["predicted"][part].argmax(axis=1)]
        scores[f"{part}_accuracy"] = (likely == gold).mean()
        likely = setting.plain.classes[setting.plain.predicted[part].argmax(axis=1)]
        scores[f"{part}_accuracy_plain"] = (likely == gold).mean()
    if "likely" in found:
        scores["most_probable_accuracy"] = (found["likely"] == setting.gold).mean()
    if "noise_rate" in found:
        scores["noise_rate_error"] = abs(found["noise_rate"] - is_wrong.mean())
    if "quality" in found:
        rest = np.setdiff1d(np.arange(len(is_wrong)), rows)
        if is_wrong[rest].any():
            scores["auroc"] = roc_auc_score(is_wrong[rest], -found["quality"][rest])
    if "interval" in found:
        low, high = found["interval"]
        scores["interval_holds"] = low <= is_wrong.mean() <= high
        scores["interval_width"] = high - low
    if "refit_seconds" in found:
        scores["refit_seconds"] = found["refit_seconds"]
    return {name: float(value) for name, value in scores.items()}


def main(arguments=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.verified", description=__doc__
    )
    parser.add_argument("--data", type=Path, help="folder of the data")
    parser.add_argument("--regime", choices=list(REGIMES), default="frozen")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(REAL))
    parser.add_argument("--labels", choices=["given", "gold"], default="given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--numbers", nargs="+", type=int, default=list(NUMBERS))
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=HERE / "results" / "verified" / "verified.jsonl",
    )
    parser.add_argument(
        "--cells", type=Path, default=HERE / "results" / "frozen.jsonl",
        help="what benchmarks.run gave, for the page",
    )  # fmt: skip
    parser.add_argument("--cache", type=Path, default=HERE / "cache")
    parser.add_argument("--page", type=Path, help="write this page instead")
    options = parser.parse_args(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    rows = rows_so_far(options.output)
    if options.page is not None:
        write_page(rows, read_rows(options.cells), options.page)
        return
    keys = ("setting", "regime", "seed", "labels", "method", "n_verified", "draw")
    done = {tuple(row[key] for key in keys) for row in rows}
    for name in options.settings:
        setting = None
        for n_verified in options.numbers:
            for draw in range(options.draws):
                for method in options.methods:
                    cell = (name, options.regime, options.seed, options.labels)
                    cell = (*cell, method, n_verified, draw)
                    n_wanted = n_draws(method, n_verified, options.draws)
                    if cell in done or draw >= n_wanted:
                        continue
                    if setting is None:
                        task = (name, options.regime, options.seed)
                        task = Task(*task, options.data, options.cache)
                        setting = Setting(task, options.labels)
                    row = dict(zip(keys, cell, strict=True)) | {
                        "scores": run_cell(setting, method, n_verified, draw)
                    }
                    with options.output.open("a") as file:
                        file.write(json.dumps(row | describe_machine()) + "\n")
        print(name, flush=True)


def run_cell(setting, method, n_verified, draw):
    """Verify labels, run a method, score it; None where it cannot be run."""
    rows = setting.draw(n_verified, draw)
    function = METHODS[method]
    draws_itself = getattr(function, "func", function) is drawn_by_itself
    with ignore_warnings(category=ConvergenceWarning):
        found = function(setting, rows, *[draw] * draws_itself)
    return None if found is None else score(setting, found.get("rows", rows), found)


def n_draws(method, n_verified, n_asked):
    """Count the draws that a method is run with: 0 where it has nothing to say."""
    if n_verified < _FROM.get(method, 0):
        return 0
    return n_asked if n_verified and method not in _ONE_DRAW else 1


if __name__ == "__main__":
    main()
