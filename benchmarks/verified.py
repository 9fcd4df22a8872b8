"""Verify a few labels: what that gains, by method and number of labels.

``python -m benchmarks.verified --data FOLDER`` writes a row for each setting, method,
number of verified labels and draw; those that are there are not computed again.
``--page`` writes what the rows say.
"""

import argparse
import functools
import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
from cleanlab.multiannotator import get_active_learning_scores
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils._testing import ignore_warnings

from skdygen import DyGenClassifier, make_paper_classifier

from .data import REAL, SETTINGS
from .report import markdown
from .run import describe_machine, read_rows
from .task import REGIMES, Task

HERE = Path(__file__).parent
SCORED = ("development", "test")
NUMBERS = (0, 25, 50, 100, 200)
_OURS = ("default", "default, labels_to_check")
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
        if labels == "gold":  # what is done to labels that are right
            train.given = train.gold
        self.plain = task.plain()
        self.classes = np.unique(np.concatenate([train.given, train.gold]))
        self.given = np.searchsorted(self.classes, train.given)
        self.gold = np.searchsorted(self.classes, train.gold)
        self.embedded = {part: task.frozen(part) for part in ("train", *SCORED)}

    def draw(self, n, draw):
        """Draw positions of labels to verify, at random."""
        rng = check_random_state(1000 * self.seed + draw)
        return rng.permutation(len(self.gold))[: min(n, len(self.gold) // 2)]


def default(setting, rows):
    """Ours."""
    return _classifier(setting, DyGenClassifier(), rows)


def most_probable(setting, rows):
    """Ours, each label replaced by the most probable one."""
    return _classifier(setting, DyGenClassifier(correction_threshold=0.0), rows)


def drawn_by_itself(setting, rows, draw, strategy="auto"):
    """Ours, on labels that it has drawn itself."""
    clf = _fitted(setting, DyGenClassifier())
    if not len(rows):
        return _judged(setting, clf)
    table = clf.labels_to_check(len(rows), strategy, random_state=draw)
    table["verified"] = setting.task.train.gold[table["index"]]
    start = time.perf_counter()
    clf.refit(table)
    return _judged(setting, clf) | {"refit_seconds": time.perf_counter() - start}


def paper(setting, rows):
    """The paper's stages, verified labels in the place of the given ones."""
    given = setting.task.train.given.copy()
    given[rows] = setting.task.train.gold[rows]
    clf = make_paper_classifier().set_params(dynamics="precomputed", random_state=0)
    clf.fit(setting.fit.train, given)
    found = _judged(setting, clf)
    found["labels"][rows] = setting.gold[rows]
    return found


def verified_alone(setting, rows):
    """Logistic regression on frozen embeddings, of the verified labels."""
    if len(np.unique(setting.gold[rows])) < 2:
        return None
    return _linear(setting, rows, setting.gold[rows], None)


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
    return _linear(setting, np.arange(len(codes)), codes, weights)


def gold_loss_correction(setting, rows):
    """Gold loss correction (Hendrycks et al., 2018), linear on frozen embeddings."""
    n_classes, given = len(setting.classes), setting.given
    out_of_fold = _out_of_fold(setting)
    matrix = np.eye(n_classes)
    for code in np.unique(setting.gold[rows]):
        matrix[code] = out_of_fold[rows[setting.gold[rows] == code]].mean(axis=0)
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
    out_of_fold = _out_of_fold(setting)
    table = pd.DataFrame({"given": setting.given})
    present = np.unique(setting.given)
    p = out_of_fold[:, present] / out_of_fold[:, present].sum(axis=1, keepdims=True)
    table["given"] = np.searchsorted(present, setting.given)
    scores, _ = get_active_learning_scores(table, pred_probs=p)
    rows = np.argsort(scores)[: len(rows)]
    codes = setting.given.copy()
    codes[rows] = setting.gold[rows]
    probabilities = _out_of_fold(setting, codes)
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
    found = _linear(setting, kept, codes[kept], None, C=0.01)
    found["labels"] = np.where(is_issue, likely, codes)
    return found


METHODS = {
    "default": default,
    "default, labels_to_check": drawn_by_itself,
    "default, suspicious": functools.partial(drawn_by_itself, strategy="suspicious"),
    "default, uncertain": functools.partial(drawn_by_itself, strategy="uncertain"),
    "default, most probable": most_probable,
    "dygen-paper, verified put in": paper,
    "verified alone": verified_alone,
    "given and verified": given_and_verified,
    "gold loss correction": gold_loss_correction,
    "cleanlab, its own order": cleanlab,
}


def _logistic(C=1.0):
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=500))


def _linear(setting, rows, codes, weights, C=None):
    """Fit to some labels; of few, with the usual penalty, of many a stronger one."""
    C = (0.01 if len(rows) > 400 else 0.1) if C is None else C
    params = {}
    if weights is not None:
        params["logisticregression__sample_weight"] = weights
    model = _logistic(C).fit(setting.embedded["train"][rows], codes, **params)
    p = {}
    for part, embedded in setting.embedded.items():
        p[part] = np.zeros((len(embedded), len(setting.classes)))
        p[part][:, model.classes_] = model.predict_proba(embedded)
    labels = p["train"].argmax(axis=1)
    if len(rows) < len(labels):
        labels[rows] = codes
    return {"labels": labels, "predicted": {part: p[part] for part in SCORED}}


def _out_of_fold(setting, codes=None):
    """Held-out probabilities of labels by frozen embeddings."""
    codes = setting.given if codes is None else codes
    found = np.full((len(codes), len(setting.classes)), 1e-6)
    present, numbered = np.unique(codes, return_inverse=True)
    found[:, present] += cross_val_predict(
        _logistic(0.01), setting.embedded["train"], numbered, method="predict_proba",
        cv=KFold(5, shuffle=True, random_state=0),
    )  # fmt: skip
    return found / found.sum(axis=1, keepdims=True)


def _fitted(setting, clf, verified=None):
    clf.set_params(
        dynamics="precomputed", random_state=setting.seed, store_trajectories=True
    )
    return clf.fit(setting.fit.train, setting.task.train.given, verified=verified)


def _classifier(setting, clf, rows):
    known = dict(zip(rows.tolist(), setting.task.train.gold[rows], strict=True))
    return _judged(setting, _fitted(setting, clf, known or None))


def _judged(setting, clf):
    """What a fitted classifier says."""
    columns = np.searchsorted(setting.classes, clf.classes_)
    predicted = {}
    for part in SCORED:
        found = clf.predict_proba(setting.fit.replayed[part])
        predicted[part] = np.zeros((len(found), len(setting.classes)))
        predicted[part][:, columns] = found
    found = {
        "labels": np.searchsorted(setting.classes, clf.transduction_),
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
    if "noise_rate" in found:
        scores["noise_rate_error"] = abs(found["noise_rate"] - is_wrong.mean())
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
    parser.add_argument("--draws", type=int, default=3)
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
        "--parts", type=Path, default=HERE / "results" / "verified" / "parts.jsonl"
    )
    parser.add_argument("--cache", type=Path, default=HERE / "cache")
    parser.add_argument("--page", type=Path, help="write this page instead")
    options = parser.parse_args(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    rows = read_rows(options.output) if options.output.exists() else []
    if options.page is not None:
        write_page(rows, read_rows(options.parts), options.page)
        return
    keys = ("setting", "regime", "seed", "labels", "method", "n_verified", "draw")
    done = {tuple(row[key] for key in keys) for row in rows}
    for name in options.settings:
        setting = None
        for n_verified in options.numbers:
            for draw in range(options.draws if n_verified else 1):
                for method in options.methods:
                    cell = (name, options.regime, options.seed, options.labels)
                    cell = (*cell, method, n_verified, draw)
                    is_nothing = method == "verified alone" and not n_verified
                    if cell in done or is_nothing:
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
    return None if found is None else score(setting, rows, found)


def write_page(rows, part_rows, path):
    """Write the page of the documentation: the text of verified.md, with its tables."""
    table = pd.json_normalize([row for row in rows if row["scores"] is not None])
    table.columns = table.columns.str.removeprefix("scores.")
    table["labels"] = table["labels"] + ", " + table["regime"]
    table["labels_gain"] = table["labels_accuracy"] - table["given_labels_accuracy"]
    table["test_gain"] = table["test_accuracy"] - table["test_accuracy_plain"]
    text = re.sub(
        r"<!-- (by_method|by_setting) (.*) -->",
        lambda found: globals()[found[1]](table, *found[2].split(" | ")),
        (HERE / "verified.md").read_text(),
    )
    path.write_text(text.replace("<!-- parts -->", parts(part_rows)))


def parts(rows):
    """What the default comes to, with other parts and without some, unverified."""
    scores = pd.json_normalize(rows).set_index(["setting", "method"])
    scores = scores.filter(regex="^scores").rename(columns=lambda name: name[7:])
    shown = []
    for method in scores.index.get_level_values("method").unique():
        found = scores.xs(method, level="method")
        row = {"method": method.removeprefix("ablation: ")}
        for part in SCORED:
            plain = scores.xs("plain", level="method")[f"{part}_accuracy"]
            gain = 100 * (found[f"{part}_accuracy"] - plain)
            row[f"{part}, gain"] = f"{gain.mean():+.1f} ({gain.min():+.1f})"
        right = found.get("most_probable_accuracy", np.nan)
        right = 100 * (right - found["given_labels_accuracy"])
        row["most probable labels, gain"] = row["AUROC"] = ""
        if right.notna().all():
            row["most probable labels, gain"] = (
                f"{right.mean():+.1f} ({right.min():+.1f})"
            )
            row["AUROC"] = f"{found['auroc'].mean():.3f}"
        shown.append(row)
    return markdown(shown)


def by_method(table, labels, measure, scale=100):
    """Mean over settings, and the worst of them, by method and number verified."""
    means = _means(table[table["labels"] == labels], measure, float(scale))
    digits = 1 if float(scale) == 100 else 3
    shown = []
    for method in [name for name in METHODS if name in means.index.levels[1]]:
        found = means.xs(method, level="method")
        row = {"method": f"**{method}**" if method in _OURS else method}
        for n_verified, column in found.items():
            worst = f" ({column.min():+.{digits}f})" if "gain" in measure else ""
            form = f"+.{digits}f" if "gain" in measure else f".{digits}f"
            known = "" if column.isna().any() else f"{column.mean():{form}}{worst}"
            row[f"{n_verified} verified"] = known
        if any(list(row.values())[1:]):
            shown.append(row)
    return markdown(shown)


def by_setting(table, labels, method):
    """What a method gains on each setting: labels put right, and test accuracy."""
    rows = table[(table["labels"] == labels) & (table["method"] == method)]
    gains = {m: _means(rows, m, 100) for m in ("labels_gain", "test_gain")}
    firsts = rows.groupby("setting").first()
    shown = []
    for setting in gains["test_gain"].index.levels[0]:
        row = {
            "setting": setting,
            "given right": f"{firsts.loc[setting, 'given_labels_accuracy']:.3f}",
            "plain, test": f"{firsts.loc[setting, 'test_accuracy_plain']:.3f}",
        }
        for n_verified in gains["test_gain"].columns:
            found = [gains[m].loc[(setting, method), n_verified] for m in gains]
            row[f"{n_verified} verified"] = f"{found[0]:+.1f}, {found[1]:+.1f}"
        shown.append(row)
    return markdown(shown)


def _means(rows, measure, scale):
    """Means over draws, (setting and method, number verified)."""
    keys = ["setting", "method", "n_verified"]
    return rows.groupby(keys)[measure].mean().mul(scale).unstack("n_verified")


if __name__ == "__main__":
    main()
