"""Tables and curves of what verified labels gain, from the rows of `verified`."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from .report import markdown, save_figure, target
from .verified_parts import PARTS

HERE = Path(__file__).parent
CEILING = "gold labels (ceiling)"
# By number verified; of others only how far rivals are behind.
_AIMS = {
    0: {
        "labels": 2, "worst": -0.5, "test": 5, "worst test": -1, "error": 0.08,
        "auroc": 0.82,
    },
    50: {
        "labels": 7, "worst": 0, "way": 0.5, "rival": 2, "error": 0.05, "auroc": 0.85,
        "refit": 10,
    },
    100: {"labels": 9, "worst": 0, "way": 0.6, "rival": 2},
}  # fmt: skip
_FORMS = {"way": ".2f", "error": ".3f", "auroc": ".3f", "refit": ".1f"}
_AT_MOST = {"error", "refit"}
LEAST_FOR_PARTS = 25  # verified labels; with fewer they say little
_OURS = ("default", "default, labels_to_check")
_STRATEGIES = (
    "default",
    "default, labels_to_check",
    "default, suspicious",
    "default, uncertain",
    "default, stratified",
    "default, expected change",
)
_RIVALS = (
    "default",
    "dygen-paper, verified put in",
    "verified alone",
    "contrastive, verified alone",
    "given and verified",
    "gold loss correction",
    "cleanlab, its own order",
)
_SHOWN = (
    *_STRATEGIES,
    "default, verified put in",
    *_RIVALS[1:],
)
_ABOUT_PARTS = ("default", *PARTS, "default, verified put in")


def write_page(rows, cells, path):
    """Write the page of the documentation: the text of verified.md, with its tables.

    Of `cells`, rows of `run`, it takes what training on right labels gives.
    """
    table = pd.json_normalize([row for row in rows if row["scores"] is not None])
    table.columns = table.columns.str.removeprefix("scores.")
    table["labels"] = table["labels"] + ", " + table["regime"]
    table["labels_gain"] = table["labels_accuracy"] - table["given_labels_accuracy"]
    most_probable = table.get("most_probable_accuracy", np.nan)
    table["most_probable_gain"] = most_probable - table["given_labels_accuracy"]
    table["test_gain"] = table["test_accuracy"] - table["test_accuracy_plain"]
    text = re.sub(
        r"<!-- (by_method|by_setting|by_part) (.*) -->",
        lambda found: globals()[found[1]](table, *found[2].split(" | ")),
        (HERE / "verified.md").read_text(),
    )
    images = path.parent / "images"
    images.mkdir(exist_ok=True)
    frozen = table[table["labels"] == "given, frozen"]
    draw_curves(frozen, images / "verified_labels.svg")
    cells = pd.json_normalize(cells)
    cells = cells[(cells["method"] == CEILING) & (cells["seed"] == 0)]
    ceiling = cells.set_index("setting")["scores.test_accuracy"]
    path.write_text(text.replace("<!-- targets -->", targets(frozen, ceiling)))


def targets(table, ceiling):
    """What was aimed at, and what is reached, by labels that the classifier drew."""
    unread = (table["method"] == "default") & (table["n_verified"] == 0)
    ours = table[unread | (table["method"] == "default, labels_to_check")]
    rivals = _means(table[table["method"].isin(_RIVALS[1:])], "test_gain", 100)
    rivals = rivals.groupby("method").mean()
    rows = []
    for n, found in ours.groupby("n_verified"):
        found = found.groupby("setting").mean(numeric_only=True)
        labels, test = 100 * found["labels_gain"], 100 * found["test_gain"]
        way = 100 * (ceiling[found.index] - found["test_accuracy_plain"])
        rival = rivals[n].idxmax()
        measured = {
            "labels": ("labels put right", labels.mean()),
            "worst": (f"the same, worst ({labels.idxmin()})", labels.min()),
            "test": ("test less plain", test.mean()),
            "worst test": (f"the same, worst ({test.idxmin()})", test.min()),
            "way": ("share of the way to right labels", test.mean() / way.mean()),
            "rival": (f"test less best rival ({rival})", test.mean() - rivals[n].max()),
            "error": ("error of the noise rate", found["noise_rate_error"].mean()),
            "auroc": ("AUROC", found["auroc"].mean()),
        }
        if n:
            measured["refit"] = ("slowest refit, seconds", found["refit_seconds"].max())
        for name, needed in _AIMS.get(n, {"rival": 2}).items():
            what, value = measured[name]
            how = {"form": _FORMS.get(name, "+.1f"), "at_most": name in _AT_MOST}
            row = target("frozen", what, value, needed, **how)
            rows.append({"verified": n} | {k: row[k] for k in list(row)[1:]})
    return markdown(rows)


def draw_curves(table, path):
    """Draw labels put right by number verified: ways to choose them, and rivals."""
    means = _means(table, "labels_gain", 100)
    plt.rcParams["svg.hashsalt"] = "skdygen"  # equal results, equal files
    figure, axes = plt.subplots(1, 2, figsize=(9, 5), layout="constrained")
    for axis, methods in zip(axes, (_STRATEGIES, _RIVALS), strict=True):
        for name in [m for m in methods if m in means.index.levels[1]]:
            found = means.xs(name, level="method").dropna(axis=1).mean()
            style = "ko-" if name == "default" else "o-"
            axis.plot(found.index, found, style, ms=3, label=name)
        axis.axhline(0, color="0.3", lw=0.8)
        axis.set_xlabel("verified labels")
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": 2}
        axis.legend(fontsize=8, frameon=False, **below)
    axes[0].set_ylabel("labels put right, points")
    save_figure(figure, path)


def by_part(table, labels):
    """What the default gains without parts, by number verified: labels and texts."""
    rows = table[(table["labels"] == labels) & (table["n_verified"] >= LEAST_FOR_PARTS)]
    measures = ("labels_gain", "most_probable_gain", "test_gain")
    rows = rows[rows["method"].isin(_ABOUT_PARTS)]
    rows = rows[rows["draw"].isin(rows.loc[rows["method"].isin(PARTS), "draw"])]
    gains = [_means(rows, measure, 100).dropna(axis=1) for measure in measures]
    shown = []
    for method in [m for m in _ABOUT_PARTS if m in gains[0].index.levels[1]]:
        found = [gain.xs(method, level="method").mean() for gain in gains]
        row = {"method": f"**{method}**" if method in _OURS else method}
        for n_verified in gains[0].columns:
            row[f"{n_verified} verified"] = ", ".join(
                f"{f[n_verified]:+.1f}" for f in found
            )
        shown.append(row)
    return markdown(shown)


def by_method(table, labels, measure, scale=100):
    """Mean over settings, and the worst of them, by method and number verified."""
    rows = table[table["labels"] == labels]
    return method_table(rows, measure, float(scale), _SHOWN, _OURS)


def method_table(rows, measure, scale, methods, ours):
    """Write the table of `by_method` of some rows and methods, ours in bold."""
    means = _means(rows, measure, scale)
    digits = 1 if scale == 100 or measure == "seconds" else 3
    shown = []
    for method in [name for name in methods if name in means.index.levels[1]]:
        found = means.xs(method, level="method")
        row = {"method": f"**{method}**" if method in ours else method}
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
