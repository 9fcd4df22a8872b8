"""Tables of what votes gain, from the rows of `votes`."""

import re
from pathlib import Path

import pandas as pd

from .report import markdown
from .verified_page import method_table
from .votes_parts import PARTS

HERE = Path(__file__).parent
_OURS = ("ours on votes",)
_SHOWN = (
    *_OURS,
    "ours on the majority",
    "ours on given labels",
    "majority",
    "majority, ties at random",
    "Dawid-Skene",
    "MACE",
    "GLAD",
    "snorkel",
    "CROWDLAB",
)
_GAINS = {
    "most_probable_gain": ("most_probable_accuracy", "majority_accuracy"),
    "labels_gain": ("labels_accuracy", "majority_accuracy"),
    "development_gain": ("development_accuracy", "development_accuracy_plain"),
    "test_gain": ("test_accuracy", "test_accuracy_plain"),
}


def write_page(rows, path):
    """Write the page of the documentation: the text of votes.md, with its tables."""
    table = pd.json_normalize(rows)
    table.columns = table.columns.str.removeprefix("scores.")
    for gain, (ours, others) in _GAINS.items():
        table[gain] = table[ours] - table[others]
    text = re.sub(
        r"<!-- (by_method|by_part|by_setting) (.*) -->",
        lambda found: globals()[found[1]](table, *found[2].split(" | ")),
        (HERE / "votes.md").read_text(),
    )
    path.write_text(text)


def by_method(table, regime, measure, scale=100):
    """Mean over settings, and the worst of them, by method and number verified."""
    rows = table[table["regime"] == regime]
    return method_table(rows, measure, float(scale), _SHOWN, _OURS)


def by_part(table, regime, measure):
    """The same of ours and of what it would be otherwise, by the seeds of these."""
    rows = table[table["regime"] == regime]
    seeds = rows.loc[rows["method"].isin(PARTS), "seed"]
    rows = rows[rows["seed"].isin(seeds)]
    return method_table(rows, measure, 100.0, (*_OURS, *PARTS), _OURS)


def by_setting(table, regime, measure, n_verified):
    """What each method gains on each setting, mean over seeds, in points."""
    is_asked = table["regime"] == regime
    rows = table[is_asked & (table["n_verified"] == int(n_verified))]
    means = 100 * rows.groupby(["setting", "method"])[measure].mean().unstack()
    base = rows.groupby("setting")[_GAINS[measure][1]].mean()
    shown = []
    for setting, found in means.iterrows():
        row = {"setting": setting, "without": f"{base[setting]:.3f}"}
        row |= {name: f"{found[name]:+.1f}" for name in _SHOWN if name in found}
        shown.append(row)
    return markdown(shown)
