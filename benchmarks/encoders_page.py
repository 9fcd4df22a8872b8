"""Tables of what encoders are worth, and of long texts, from rows of results."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from .methods import CHECKED
from .report import by_setting as by_settings
from .report import difference_to, load_cells, markdown, number
from .run import read_rows

HERE = Path(__file__).parent
RESULTS = HERE / "results"
_TITLES = {
    "MiniLM": "MiniLM: English, small",
    "mpnet": "mpnet: English, strong",
    "e5": "e5: multilingual, small",
    "USE": "USE: multilingual, fast",
    "static": "static: English, words only",
}
_LONG = "20newsgroups_raw"
# The best rival is that of the settings with real mistakes, see report.md.
COMPARED = ("plain", "cleanlab", "default", "gold labels (ceiling)", "tf-idf")
# Of the paper: its data sets, those with made mistakes first, and what is compared.
_MADE = (_LONG, "agnews")
_RULES = ("trec_wrench", "semeval_wrench", "chemprot_wrench")
PAPER_DATA = (*_MADE, *_RULES)
_EARLIER = ("plain", "co-teaching", "coreg", "NPC")
_OURS = ("default", *CHECKED)
PAPER_METHODS = (*_EARLIER, "dygen-paper", "dygen-paper, true rate (oracle)", *_OURS)
_CLAIM = {"made": 3.10, "rules": 1.48}  # points over the best earlier method


def write_page(path, results=RESULTS):
    """Write the page of the documentation: the text of encoders.md, with its tables."""
    folder = results / "encoders"
    table = pd.DataFrame(
        [row | row["scores"] for row in read_rows(folder / "encoders.jsonl")]
    )
    frozen = table[table["regime"] == "encoders"]
    compared = frozen[frozen["method"].isin(COMPARED)]
    cells = load_cells(results / "frozen.jsonl", folder / "ceilings.jsonl")
    lengths = pd.DataFrame(read_rows(folder / "lengths.jsonl"))
    parts = {
        "choice": lambda: choice(compared),
        "setup": lambda: setup(compared),
        "by_setting": lambda method: by_setting(compared, method),
        "paper": lambda what: of_paper(choose(table, *what.split())),
        "long": lambda: long_texts(cells),
        "ceilings": lambda: ceilings(cells),
        "lengths": lambda: by_length(lengths),
    }
    text = re.sub(
        r"<!-- (\w+)(?: (.*))? -->",
        lambda found: parts[found[1]](*filter(None, found.groups()[1:])),
        (HERE / "encoders.md").read_text(),
    )
    path.write_text(text)


def by_setting(table, method, score="test_accuracy"):
    """Score of a method, settings in the rows and encoders in the columns."""
    settings = complete(table)["setting"]
    means = _means(table[table["setting"].isin(settings)], method, score)
    rows = [
        {"setting": setting} | {name: number(value) for name, value in found.items()}
        for setting, found in means.iterrows()
    ]
    return markdown(rows)


def choice(table):
    """What each encoder gives and takes: means over settings, and seconds."""
    table = complete(table)
    rows = []
    methods = list(dict.fromkeys(table["method"]))
    gain = difference_to(_means(table, "default", "test_accuracy"), "MiniLM")[1]
    for name in _named(table):
        of_encoder = table[table["encoder"] == name]
        seconds = of_encoder.groupby("setting")["encoding_seconds_per_1000"].mean()
        row = {
            "encoder": _TITLES.get(name, name),
            "numbers per text": of_encoder["n_features"].iloc[0],
            "seconds per 1,000 texts": number(
                seconds.mean(), ".0f" if seconds.mean() >= 10 else ".2g"
            ),
        }
        for method in methods:
            found = _means(table, method, "test_accuracy")[name]
            title = f"**{method}**" if method == "default" else method
            row[title] = number(found.mean())
        development = _means(table, "default", "development_accuracy")[name]
        row["default, development"] = number(development.mean())
        lower, upper = gain[name]
        shown = f"{lower:+.1f} to {upper:+.1f}"
        row["default minus MiniLM's (95 %)"] = "" if name == "MiniLM" else shown
        rows.append(row)
    return markdown(rows)


def setup(table):
    """Sentence on what was run."""
    table = complete(table)
    settings, rows = table["setting"].unique(), table.drop_duplicates("setting")
    return (
        f"Mean test accuracy over the {len(settings)} settings "
        f"{', '.join(settings)}, {table['seed'].nunique()} seed(s), the same texts for "
        f"all: {_range(rows['n_train'])} to train on, {_range(rows['n_development'])} "
        f"for development, {_range(rows['n_test'])} to test, of "
        f"{_range(rows['n_words'].round().astype(int))} words on average. "
        f"{table['machine'].iloc[-1]}, one thread; commits "
        f"{', '.join(sorted(table['commit'].unique()))}."
    )


def complete(table):
    """Rows of the settings that every encoder has run on with every method.

    Encoders that have run on less than half as many as others are left out.
    """
    counts = table.groupby("encoder")["setting"].nunique()
    table = table[table["encoder"].isin(counts.index[counts >= counts.max() / 2])]
    cells = table.pivot_table(
        index="setting", columns=["encoder", "method"], values="test_accuracy"
    )
    return table[table["setting"].isin(cells.dropna().index)]


def choose(table, encoder, regime):
    """Rows of an encoder in a regime."""
    return table[(table["encoder"] == encoder) & (table["regime"] == regime)]


def of_paper(table):
    """The paper's methods on its data sets, and gains over the best earlier one."""
    data = table["setting"].str.partition(":")[0]
    means = table.groupby(["method", data])["test_accuracy"].mean().unstack()
    means = means.reindex(index=PAPER_METHODS, columns=PAPER_DATA).dropna()
    for kind, names in (("made", _MADE), ("rules", _RULES)):
        means[kind] = means[list(names)].mean(axis=1)
    rows = [
        {"method": method} | {name: number(value) for name, value in row.items()}
        for method, row in means.iterrows()
    ]
    for method in ("dygen-paper", *_OURS):
        gains = 100 * (means.loc[method] - means.loc[list(_EARLIER)].max())
        row = {name: f"{gain:+.1f}" for name, gain in gains.items()}
        rows.append({"method": f"{method}, over the best earlier"} | row)
    claim = {name: f"{points:+.1f}" for name, points in _CLAIM.items()}
    rows.append({"method": "what the paper claims"} | dict.fromkeys(means, "") | claim)
    return markdown(rows)


def long_texts(cells):
    """Ours beside tf-idf on long texts, accuracies and the difference in points."""
    rows = []
    names = ["plain", "cleanlab", "tf-idf", "default"]
    test, development = (
        by_settings(cells, "frozen", score, names)
        for score in ("test_accuracy", "development_accuracy")
    )
    for setting in [name for name in test.index if name.startswith(_LONG)]:
        row = {"setting": setting.removeprefix(f"{_LONG}:").replace(":", " ")}
        row |= {name: number(value) for name, value in test.loc[setting].items()}
        for part, means in (("test", test), ("development", development)):
            points = 100 * (means["default"] - means["tf-idf"])[setting]
            row[f"default minus tf-idf, {part}"] = f"{points:+.1f}"
        rows.append(row)
    return markdown(rows)


def ceilings(cells):
    """What right labels give to plain training, to tf-idf and to ours."""
    chosen = cells[cells["setting"].str.startswith(_LONG)]
    titles = {
        "gold labels (ceiling)": "plain",
        "tf-idf on gold labels": "tf-idf",
        "default on gold labels": "default",
    }
    rows = []
    for method, title in titles.items():
        # They are the same in all settings; of the first seed there are all.
        found = chosen[(chosen["method"] == method) & (chosen["seed"] == 0)].iloc[0]
        row = {"right labels": title, "test": number(found["test_accuracy"])}
        row["development"] = number(found["development_accuracy"])
        rows.append(row)
    return markdown(rows)


def by_length(lengths):
    """Seconds by number of words, and how they grow with it."""
    rows = []
    for name, found in lengths.groupby("reading", sort=False):
        means = found.groupby("n_words")["seconds_per_1000"].mean()
        row = {"read": name} | {f"{n:,} words": f"{s:.3g}" for n, s in means.items()}
        exponents = np.diff(np.log(means)) / np.diff(np.log(means.index))
        row["greatest exponent"] = f"{exponents.max():.2f}"
        rows.append(row)
    return markdown(rows)


def _means(table, method, score):
    """Mean of a score over seeds, settings in the rows, encoders in the columns."""
    chosen = table[table["method"] == method]
    means = chosen.pivot_table(
        index="setting", columns="encoder", values=score, sort=False
    )
    return means.reindex(columns=_named(table))


def _named(table):
    """Names of encoders, those that have a title first."""
    found = list(dict.fromkeys(table["encoder"]))
    return [name for name in _TITLES if name in found] + [
        name for name in found if name not in _TITLES
    ]


def _range(values):
    low, high = values.min(), values.max()
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
