"""Write docs/benchmarks.md, its figures and a table from the files of results.

The text is that of `report.md` beside this file; lines such as ``<!-- summary frozen
-->`` are replaced by tables.
"""

import argparse
import re
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from .data import REAL, SETTINGS, SHAPED
from .methods import ABLATIONS, METHODS, REFERENCE
from .run import read_rows
from .task import REGIMES

HERE = Path(__file__).parent
CEILINGS = ("dygen-paper, true rate (oracle)", "gold labels (ceiling)")
ABLATED = [REFERENCE, *(f"ablation: {name}" for name in ABLATIONS)]
RIVALS = [name for name in METHODS if name not in (*CEILINGS, "default")]
_DRAWS = 10_000


def main(arguments=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report", description=__doc__
    )
    parser.add_argument(
        "--results", type=Path, default=HERE / "results", help="folder of *.jsonl"
    )
    parser.add_argument(
        "--docs",
        type=Path,
        default=HERE.parent / "docs",
        help="folder of benchmarks.md, which is written, and index.md, whose table is",
    )
    parser.add_argument("--readme", type=Path, help="file whose table is written, too")
    options = parser.parse_args(arguments)
    cells = load_cells(*sorted(options.results.glob("*.jsonl")))
    text = re.sub(
        r"<!-- (\w+)((?: \w+)*) -->",
        lambda found: _PARTS[found[1]](cells, *found[2].split()),
        (HERE / "report.md").read_text(),
    )
    (options.docs / "benchmarks.md").write_text(text)
    for path in filter(None, (options.docs / "index.md", options.readme)):
        begin, end = "<!-- measured -->\n", "<!-- end of measured -->"
        before, _, rest = path.read_text().partition(begin)
        after = rest.partition(end)[2]
        path.write_text(f"{before}{begin}{headline(cells)}\n{end}{after}")
    images = options.docs / "images"
    images.mkdir(exist_ok=True)
    plt.rcParams["svg.hashsalt"] = "skdygen"  # equal results, equal files
    for regime in REGIMES:
        draw_differences(cells, regime, images / f"benchmark_{regime}.svg")
    draw_ablations(cells, images / "benchmark_ablations.svg")


def load_cells(*paths):
    """Read results.

    Parameters
    ----------
    *paths : Path
        JSON lines files.

    Returns
    -------
    cells : DataFrame
        One row per cell; scores have columns of their own.

    Raises
    ------
    ValueError
        If a cell was run twice: a mean of both would be neither.
    """
    rows = []
    for path in paths:
        rows += [row | row.pop("scores") for row in read_rows(path)]
    cells = pd.DataFrame(rows)
    keys = cells[["setting", "regime", "seed", "method"]]
    repeated = keys[keys.duplicated()]
    if len(repeated):
        cell = repeated.iloc[0].tolist()
        raise ValueError(f"there are two rows of the cell {cell}; delete one.")
    return cells


def _of_all(cells, regime):
    """Cells of the settings that all methods are run on, not of shapes of data."""
    return cells[(cells["regime"] == regime) & cells["setting"].isin(SETTINGS)]


def by_setting(cells, regime, score, methods=None):
    """Mean of a score over the seeds, settings in the rows and methods in the columns.

    Parameters
    ----------
    cells : DataFrame
        Output of `load_cells`.
    regime : str
        Which regime.
    score : str
        Column of `cells`.
    methods : list of str, default=None
        Methods that are wanted; None takes all rivals and ours.

    Returns
    -------
    means : DataFrame
        Only of settings and seeds that every method has run on; settings in the order
        of `SETTINGS`.
    """
    methods = list(METHODS) if methods is None else methods
    chosen = cells[(cells["regime"] == regime) & cells["method"].isin(methods)]
    values = chosen.pivot_table(
        index=["setting", "seed"], columns="method", values=score, sort=False
    )
    means = values.dropna().groupby("setting").mean()
    means = means[[name for name in methods if name in means]]
    return means.loc[[name for name in SETTINGS if name in means.index]]


def difference_to(means, reference):
    """Difference to one method in points, and the mean with an interval.

    Parameters
    ----------
    means : DataFrame
        Output of `by_setting`.
    reference : str
        Name of the method that is subtracted.

    Returns
    -------
    differences : DataFrame
        In points.
    intervals : DataFrame
        Lower and upper end per method: 95 % of the means of settings drawn with
        replacement.
    """
    differences = 100 * means.sub(means[reference], axis=0)
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(means), size=(_DRAWS, len(means)))
    ends = np.quantile(differences.to_numpy()[drawn].mean(axis=1), [0.025, 0.975], 0)
    return differences, pd.DataFrame(ends, ["lower", "upper"], differences.columns)


def is_real(means):
    """Tell which settings have real mistakes."""
    return means.index.isin(REAL)


def summary(cells, regime):
    """Table of all methods: how much better than plain, how often, at which cost."""
    means = by_setting(cells, regime, "test_accuracy")
    if means.empty:
        return markdown([])
    differences, intervals = difference_to(means, "plain")
    ranks = means[[*RIVALS, "default"]].rank(axis=1, ascending=False).mean()
    chosen = _of_all(cells, regime)
    rows = []
    for name in means:
        points = differences[name]
        cost = chosen[chosen["method"] == name]
        lower, upper = intervals[name]
        rows.append(
            {
                "method": f"**{name}**" if name == "default" else name,
                "real": f"{means[name][is_real(means)].mean():.3f}",
                "made": number(means[name][~is_real(means)].mean()),
                "minus plain, real": f"{points[is_real(means)].mean():+.1f}",
                "minus plain, made": number(points[~is_real(means)].mean(), "+.1f"),
                "minus plain, all (95 %)": f"{points.mean():+.1f} "
                f"({lower:+.1f} to {upper:+.1f})",
                "worst": f"{points.min():+.1f}",
                "wins/ties/losses": "/".join(
                    str(int(n))
                    for n in (
                        (points > 0.05).sum(),
                        (points.abs() <= 0.05).sum(),
                        (points < -0.05).sum(),
                    )
                ),
                "mean rank": f"{ranks[name]:.1f}" if name in ranks else "",
                "seconds": f"{cost['seconds'].median():.1f}",
            }
        )
    return markdown(rows)


def headline(cells):
    """Short table of test accuracy: means, and the worst beside plain training.

    The best of each column is bold.
    """
    columns = {}
    for regime in REGIMES:
        means = by_setting(cells, regime, "test_accuracy")
        for part, chosen in (("real", is_real(means)), ("made", ~is_real(means))):
            if len(means) and chosen.any():
                title = f"{regime}, {part} mistakes ({chosen.sum()})"
                columns[title] = means[chosen].mean()
        if len(means):
            points = 100 * means.sub(means["plain"], axis=0)
            points["plain"] = np.nan  # nothing to say
            columns[f"{regime}, worst minus plain"] = points.min()
    table = pd.DataFrame(columns)
    best = table.loc[[*RIVALS, "default"]].max()
    rows = []
    for name, values in table.iterrows():
        if name == CEILINGS[0]:
            continue
        cells_of = {}
        for title, value in values.items():
            cell = number(value, "+.1f" if title.endswith("plain") else ".3f")
            is_best = name not in CEILINGS and value == best[title]
            cells_of[title] = f"**{cell}**" if is_best else cell
        rows.append({"method": f"**{name}**" if name == "default" else name} | cells_of)
    return markdown(rows)


def per_setting(cells, regime):
    """Table of test accuracy, mean and standard deviation over the seeds."""
    means = by_setting(cells, regime, "test_accuracy")
    if means.empty:
        return markdown([])
    chosen = cells[(cells["regime"] == regime) & cells["method"].isin(means)]
    spread = chosen.pivot_table(
        index="setting", columns="method", values="test_accuracy", aggfunc="std"
    ).reindex_like(means)
    rows = []
    for setting, values in means.iterrows():
        best = values[[*RIVALS, "default"]].max()
        row = {"setting": f"{setting}"}
        for name in means:
            cell = f"{values[name]:.3f}"
            if name not in CEILINGS and values[name] == best:
                cell = f"**{cell}**"
            if pd.notna(spread.loc[setting, name]):
                cell += f" ± {spread.loc[setting, name]:.3f}"
            row[name] = cell
        rows.append(row)
    return markdown(rows)


def labels(cells, regime):
    """Table of what methods say of the training labels."""
    rows = []
    chosen = _of_all(cells, regime)
    for name in METHODS:
        of_method = chosen[chosen["method"] == name].groupby("setting")
        mean = of_method.mean(numeric_only=True)
        if mean.empty or mean["auroc"].isna().all():
            continue
        gain = 100 * (mean["labels_accuracy"] - mean["given_labels_accuracy"])
        real = mean.index.isin(REAL)
        row = {"method": f"**{name}**" if name == "default" else name}
        row["AUROC, real"] = number(mean["auroc"][real].mean())
        row["AUROC, all"] = number(mean["auroc"].mean())
        row["AP, all"] = number(mean["average_precision"].mean())
        row["corrected minus given, mean"] = number(gain.mean(), "+.1f")
        row["worst"] = number(gain.min(), "+.1f")
        for score, title in (
            ("most_probable_accuracy", "most probable label"),
            ("noise_rate_error", "error of rate"),
            ("transition_error", "error of transitions"),
            ("brier", "Brier"),
            ("calibration_error", "ECE"),
        ):
            row[title] = number(mean[score].mean()) if score in mean else ""
        rows.append(row)
    return markdown(rows)


def labels_per_setting(cells, regime):
    """Table of the default's labels, setting by setting."""
    chosen = cells[(cells["regime"] == regime)]
    if chosen.empty:
        return markdown([])
    ours = chosen[chosen["method"] == "default"].groupby("setting")
    mean = ours.mean(numeric_only=True)
    cleanlab = chosen[chosen["method"] == "cleanlab"].groupby("setting")
    auroc = cleanlab["auroc"].mean()
    rows = [
        {
            "setting": setting,
            "given": number(mean["given_labels_accuracy"][setting]),
            "corrected": number(mean["labels_accuracy"][setting]),
            "most probable": number(mean["most_probable_accuracy"][setting]),
            "AUROC": number(mean["auroc"][setting]),
            "cleanlab's": number(auroc.get(setting, np.nan)),
            "wrong": number(1 - mean["given_labels_accuracy"][setting]),
            "estimated": number(mean["noise_rate"][setting]),
        }
        for setting in SETTINGS
        if setting in mean.index
    ]
    return markdown(rows)


def targets(cells):
    """Table of the targets and what was reached."""
    rows = []
    for regime, least in (("frozen", 4.0), ("finetuned", 1.5)):
        if len(by_setting(cells, regime, "test_accuracy")):
            rows += _accuracy_targets(cells, regime, least)
            rows += _label_targets(cells, regime)
    return markdown(rows)


def _accuracy_targets(cells, regime, least):
    means = by_setting(cells, regime, "test_accuracy")
    ours, real = means["default"], is_real(means)
    gain = 100 * (ours - means["plain"])
    yield target(regime, "default minus plain, real", gain[real].mean(), least)
    for part, chosen, needed in (("made", ~real, 3.1), ("real", real, 1.48)):
        if chosen.any():
            best = means.loc[chosen, RIVALS].mean().idxmax()
            difference = 100 * (ours - means[best])[chosen].mean()
            what = f"default minus best rival ({best}), {part}"
            yield target(regime, what, difference, needed)
    what = f"default minus plain, worst ({gain.idxmin()})"
    yield target(regime, what, gain.min(), -0.5)
    difference = 100 * (ours - means["dygen-paper"]).mean()
    yield target(regime, "default minus dygen-paper", difference, 1.5)


def _label_targets(cells, regime):
    cells = _of_all(cells, regime)
    ours = cells[cells["method"] == "default"].groupby("setting")
    mean = ours.mean(numeric_only=True)
    change = 100 * (mean["labels_accuracy"] - mean["given_labels_accuracy"])
    yield target(regime, "corrected minus given labels, mean", change.mean(), 5)
    yield target(regime, "the same, worst", change.min(), 0)
    auroc = mean["auroc"]
    yield target(regime, "AUROC of the noise ranking", auroc.mean(), 0.82, ".3f")
    theirs = cells[cells["method"] == "cleanlab"].groupby("setting")["auroc"].mean()
    difference = (auroc - theirs)[[name for name in REAL if name in theirs.index]]
    what = f"AUROC minus cleanlab's, worst real ({difference.idxmin()})"
    yield target(regime, what, difference.min(), 0, "+.3f")
    error = mean["noise_rate_error"].mean()
    yield target(regime, "error of the noise rate", error, 0.08, ".3f", at_most=True)


def ablations(cells, regime):
    """Table of ours with one part changed, as differences to `REFERENCE`."""
    means = by_setting(cells, regime, "test_accuracy", ABLATED)
    if means.empty or REFERENCE not in means:
        return markdown([])
    differences, intervals = difference_to(means, REFERENCE)
    development = by_setting(cells, regime, "development_accuracy", ABLATED)
    found = by_setting(cells, regime, "most_probable_accuracy", ABLATED)
    auroc = by_setting(cells, regime, "auroc", ABLATED)
    rows = []
    for name in means:
        points = differences[name]
        lower, upper = intervals[name]
        row = {"changed": name.removeprefix("ablation: ")}
        if name == REFERENCE:
            row["changed"] = "nothing (accuracies)"
            row["test (95 %)"], row["worst"] = f"{means[name].mean():.3f}", ""
            row["development"] = f"{development[name].mean():.3f}"
            row["most probable label"] = f"{found[name].mean():.3f}"
            row["AUROC"] = f"{auroc[name].mean():.3f}"
        else:
            row["test (95 %)"] = f"{points.mean():+.1f} ({lower:+.1f} to {upper:+.1f})"
            row["worst"] = f"{points.min():+.1f}"
            for what, values in (
                ("development", development),
                ("most probable label", found),
            ):
                row[what] = f"{100 * (values[name] - values[REFERENCE]).mean():+.1f}"
            row["AUROC"] = f"{(auroc[name] - auroc[REFERENCE]).mean():+.3f}"
        rows.append(row)
    return markdown(rows)


def shapes(cells):
    """What the default gains on plain training, by shape of the data and by noise."""
    wanted = cells[cells["setting"].isin(SHAPED)]
    means = wanted.groupby(["setting", "method"])["test_accuracy"].mean().unstack()
    shown = {}
    for setting in [name for name in SHAPED if name in means.index]:
        shape, _, noise = setting.partition(":")
        names = ("data", "classes", "largest / smallest")
        row = shown.setdefault(shape, dict(zip(names, shape.split("/"), strict=True)))
        gain = means.loc[setting, "default"] - means.loc[setting, "plain"]
        row[noise.replace(":", " ")] = f"{100 * gain:+.1f}"
    columns = {name: "" for row in shown.values() for name in row}
    return markdown([columns | row for row in shown.values()])


def setup(cells, regime):
    """Sentence on what was run, from the results themselves."""
    chosen = _of_all(cells, regime)
    return _setup(chosen[chosen["method"].isin(METHODS)])


def setup_ablations(cells, regime):
    """Sentence on what the ablations were run with."""
    is_ablation = cells["method"].str.startswith("ablation: ")
    return _setup(cells[is_ablation & (cells["regime"] == regime)])


def _setup(cells):
    if cells.empty:
        return "Not run yet."
    seeds = cells.groupby("setting")["seed"].nunique()
    dynamics = cells["parameters"].iloc[-1]["dynamics"]
    versions = cells["versions"].iloc[-1]
    return (
        f"{len(seeds)} settings with {_range(seeds)} seed(s), "
        f"{_range(cells['n_train'])} training and {_range(cells['n_test'])} test "
        f"texts; stage 1 with {', '.join(f'{k}={v}' for k, v in dynamics.items())}, "
        f"other parameters by default; {' or '.join(sorted(set(cells['machine'])))}, "
        f"{_range(cells['threads'])} thread(s) per run; "
        f"{', '.join(f'{k} {v}' for k, v in versions.items())}; commits "
        f"{', '.join(sorted(cells['commit'].unique()))}."
    )


def draw_differences(cells, regime, path):
    """Draw the difference to plain fine-tuning, a dot for each setting."""
    means = by_setting(cells, regime, "test_accuracy")
    if means.empty:
        return
    differences, intervals = difference_to(means, "plain")
    names = [name for name in differences if name != "plain"][::-1]
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    real = is_real(means)
    for y, name in enumerate(names):
        points = differences[name]
        first = {} if y else {"label": "real mistakes"}
        axes.plot(points[real], np.full(real.sum(), y), "x", color="0.25", **first)
        first = {} if y else {"label": "made mistakes"}
        hollow = {"mfc": "none", "mec": "0.55"}
        axes.plot(points[~real], np.full((~real).sum(), y), "o", **hollow, **first)
        axes.plot(intervals[name], [y, y], "-", color="#0072b2", lw=2)
        first = {} if y else {"label": "mean, 95 % interval"}
        axes.plot(points.mean(), y, "D", color="#0072b2", **first)
    axes.axvline(0, color="0.3", lw=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("test accuracy minus that of plain fine-tuning, points")
    axes.set_ylim(-0.6, len(names) + 0.6)
    axes.legend(loc="upper right", ncols=3, fontsize=8, frameon=False)
    save_figure(figure, path)


def draw_ablations(cells, path, regime="frozen"):
    """Draw what changing one part costs or gains."""
    means = by_setting(cells, regime, "test_accuracy", ABLATED)
    if means.empty or REFERENCE not in means or len(means.columns) == 1:
        return
    differences, intervals = difference_to(means, REFERENCE)
    # Chance level would hide all others.
    names = [n for n in differences if n not in (REFERENCE, "ablation: uniform prior")]
    names = names[::-1]
    figure, axes = plt.subplots(figsize=(7, 6.5), layout="constrained")
    for y, name in enumerate(names):
        axes.plot(intervals[name], [y, y], "-", color="#0072b2", lw=2)
        axes.plot(differences[name].mean(), y, "D", color="#0072b2")
    axes.axvline(0, color="0.3", lw=0.8)
    axes.set_yticks(range(len(names)), [n.removeprefix("ablation: ") for n in names])
    axes.set_xlabel("test accuracy minus that with nothing changed, points")
    save_figure(figure, path)


def save_figure(figure, path):
    """Write a figure without the date, so that equal results give equal files."""
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def target(regime, what, value, needed, form="+.1f", *, at_most=False):
    """Row of a table of targets."""
    missing = value - needed if at_most else needed - value
    return {
        "regime": regime,
        "what": what,
        "target": f"{'at most' if at_most else 'at least'} {needed:g}",
        "measured": f"{value:{form}}",
        "": "reached" if missing < 1e-9 else f"short by {missing:.2g}",
    }


def _range(values):
    low, high = values.min(), values.max()
    return f"{low}" if low == high else f"{low} to {high}"


def number(value, form=".3f"):
    return "" if pd.isna(value) else f"{value:{form}}"


def markdown(rows):
    """Write a table, from a list of dicts with the same keys."""
    if not rows:
        return "Not run yet."
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(str(row[c]) for c in columns) + " |" for row in rows]
    return "\n".join(lines)


_PARTS = {
    "summary": summary,
    "per_setting": per_setting,
    "labels": labels,
    "labels_per_setting": labels_per_setting,
    "targets": targets,
    "ablations": ablations,
    "shapes": shapes,
    "setup": setup,
    "setup_ablations": setup_ablations,
}


if __name__ == "__main__":
    main()
