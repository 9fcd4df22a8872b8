"""Write docs/performance.md and its figures from the files of results.

The text is that of `performance.md` beside this file; lines such as ``<!-- growth -->``
are replaced by tables.
"""

import argparse
import re
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from .data import REAL
from .methods import LAYERS, RECORDINGS
from .report import (
    by_setting,
    difference_to,
    load_cells,
    markdown,
    number,
    save_figure,
)
from .run import read_rows
from .serving import table
from .task import REGIMES

HERE = Path(__file__).parent
# Part, numerator, denominator, target if there is one, and whether it is a ceiling.
RATIOS = (
    ("trainer", "DyGenClassifier, all layers", "Trainer, once per branch", 0.3, True),
    ("trainer", "the same in float32", "Trainer, once per branch", None, True),
    ("dropout", "training", "the same with torch's dropout", None, True),
    ("compiled", "fine-tuning, compiled", "fine-tuning", None, True),
    ("compiled", "fine-tuning, compiled before", "fine-tuning", None, True),
    ("published", "published procedure", "DyGenClassifier", 12, False),
    ("prediction", "predict", "SentenceTransformer.encode", 1.5, True),
    (
        "prediction",
        "predict by a final_estimator",
        "SentenceTransformer.encode",
        1.1,
        True,
    ),
    ("prediction", "predict", "encode in our precision", None, True),
    (
        "prediction",
        "predict by a final_estimator",
        "encode in our precision",
        None,
        True,
    ),
    ("search", "GridSearchCV", "3 fine-tunes, 36 denoisers", 1.3, True),
    ("arithmetic", "training, 10^9 operations/s", "matrix product", 0.55, False),
    ("frozen", "frozen fit, beyond encoding", "encoding", None, True),
)

# Contenders of benchmarks.scaling, and what each looks among.
NEIGHBORS = {
    "some": "10,000 of {} clean texts, the default",
    "exact": "all {}",
    "approximate": "all {}, approximate",
}

# Parts of benchmarks.scaling, and what is fitted there.
TEXTS = {
    "frozen texts": "frozen",
    "trained texts": "three layers, epochs: {}",
    "static texts": "static vectors",
}
AGAIN = {"frozen again": "frozen", "trained again": "three layers, epochs: {}"}
KINDS = {"symmetric": "at random", "asymmetric": "to the next class"}


_GPU = """\
## On a GPU

By `python -m benchmarks.speed --device cuda`, in bfloat16 where the package takes it:

{table}

Medians over the rounds, which are of whole calls, with all that the CPU does in them.
In fits, a text counts once per epoch and branch; *Trainer* is one fine-tune, with the
same precision and batches as the fit. `encode` computes in float32. Operations are
those of matrix products and of attention, padding included, and stand beside a product
of 8,192 x 8,192 in bfloat16 in the same run. Memory is the peak of what tensors take,
weights included.

{setup}

"""


def main(arguments=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.performance", description=__doc__
    )
    parser.add_argument(
        "--results", type=Path, default=HERE / "results", help="folder of results"
    )
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs")
    options = parser.parse_args(arguments)
    folder = options.results / "performance"
    rows = read_rows(folder / "speed.jsonl")
    speed = [row for row in rows if "device" not in row]
    scaling = read_rows(folder / "scaling.jsonl")
    served = read_rows(folder / "serving.jsonl")
    serving = [row for row in served if "backend" not in row]
    speed = {row["part"]: row for row in speed}  # the last of each part counts
    cells = load_cells(*(folder / f"{n}.jsonl" for n in ("layers", "recordings")))
    curve = layer_curve(cells, speed)
    images = options.docs / "images"
    images.mkdir(exist_ok=True)
    plt.rcParams["svg.hashsalt"] = "skdygen"  # equal results, equal files
    parts = {
        "ratios": markdown([*ratios(speed), *shares(speed)]),
        "layers": markdown(layer_rows(curve))
        + draw_layers(curve, images / "performance_layers.svg"),
        "recordings": markdown(list(recordings(cells))),
        "growth": markdown(growth(scaling))
        + draw_growth(scaling, images / "performance_growth.svg"),
        "votes": markdown(votes(scaling)),
        "memory": memory(scaling),
        "frozen": frozen(scaling),
        "neighbors": markdown(neighbors(scaling)),
        "texts": texts(scaling),
        "again": markdown(again(scaling)),
        "compiling": compiling(scaling),
        "serving": table(serving),
        "backend": backends([row for row in served if "backend" in row]),
        "gpu": gpu(rows),
        "setup": setup([*speed.values(), *scaling, *serving]),
    }
    text = re.sub(
        r"<!-- (\w+) -->",
        lambda found: parts[found[1]],
        (HERE / "performance.md").read_text(),
    )
    (options.docs / "performance.md").write_text(text)


def ratios(speed):
    """Rows of the comparisons: median seconds, and median ratio of a round."""
    for part, left, right, target, at_most in RATIOS:
        if part not in speed:
            continue
        rounds = pd.DataFrame(speed[part]["rounds"])
        ratio = (rounds[left] / rounds[right]).median()
        yield _row(left, right, rounds, ratio, target, at_most)


def shares(speed):
    """Rows of what recording and denoising take of a fit of all layers."""
    if "shares" not in speed:
        return
    rounds = pd.DataFrame(speed["shares"]["rounds"])
    by_passes = ", recording='evaluation'"
    for way in ("", by_passes):
        whole = rounds[f"stage 1{way}"] + rounds["stages 2 and 3"]
        rounds[f"the whole fit{way}"] = whole
    for name, way, target in (
        ("stages 2 and 3", "", 0.05),
        ("recording", "", 0.1),
        (f"recording{by_passes}", by_passes, 0.1),
    ):
        whole = f"the whole fit{way}"
        ratio = (rounds[name] / rounds[whole]).median()
        yield _row(name, whole, rounds, ratio, target, True)


def _row(left, right, rounds, ratio, target, at_most):
    goal = reached = ""
    if target is not None:
        goal = f"{'at most' if at_most else 'at least'} {target:g}"
        is_reached = ratio <= target if at_most else ratio >= target
        reached = "reached" if is_reached else "missed"
    return {
        "": left,
        "median": f"{rounds[left].median():.1f}",
        "against": right,
        "its median": f"{rounds[right].median():.1f}",
        "ratio": f"{ratio:.2f}",
        "target": goal,
        " ": reached,
    }


def gpu(rows):
    """Section on fits and predictions on GPUs; nothing if there are no such rows."""
    # The last of each part and machine counts.
    last = {(r["machine"], r["part"]): r for r in rows if "device" in r}
    if not last:
        return ""
    table = markdown([line for row in last.values() for line in gpu_rows(row)])
    return _GPU.format(table=table, setup=setup([*last.values()]))


def gpu_rows(row):
    """Lines on one part of a run on a device, beside the last of its contenders."""
    rounds = pd.DataFrame(row["rounds"])
    *_, rival = row["texts"]
    rates = {name: n_texts / rounds[name] for name, n_texts in row["texts"].items()}
    for name, rate in rates.items():
        reached = row["operations"][name] / rounds[name]
        share = (reached / rounds["matrix product"]).median()
        megabytes = row["megabytes"][name]
        yield {
            "": name,
            "texts per second": f"{rate.median():,.0f}",
            "against": rival,
            "ratio": f"{(rate / rates[rival]).median():.2f}",
            "peak GPU memory, MB": "" if megabytes is None else f"{megabytes:,.0f}",
            "10^12 operations/s": f"{reached.median() / 1e12:.2f}",
            "share of the matrix product's": f"{100 * share:.1f} %",
        }


def layer_curve(cells, speed):
    """Accuracy on real mistakes and seconds of a fit by the number of trained layers.

    Parameters
    ----------
    cells : DataFrame
        Output of `load_cells`.
    speed : dict of str to dict
        The rows of `benchmarks.speed` by part.

    Returns
    -------
    curve : DataFrame
        One row for each number of layers, with the columns plain, default, seconds
        of default (of the fits behind the accuracy), worst (setting, default minus
        plain) and seconds (on made texts, NaN if not measured).
    """
    accuracy = by_setting(cells, "short", "test_accuracy", list(LAYERS))
    accuracy = accuracy[accuracy.index.isin(REAL)]
    fits = by_setting(cells, "short", "seconds", list(LAYERS)).loc[accuracy.index]
    seconds = {}
    if "layers" in speed:
        seconds = pd.DataFrame(speed["layers"]["rounds"]).median().to_dict()
    rows = {}
    for name in LAYERS:
        method, _, n_layers = name.removesuffix(" layers").partition(", ")
        if name not in accuracy:
            continue
        row = rows.setdefault(n_layers, {"seconds": seconds.get(n_layers, np.nan)})
        row[method] = accuracy[name].mean()
        if method == "default":
            row["seconds of default"] = fits[name].mean()
            gain = accuracy[name] - accuracy[f"plain, {n_layers} layers"]
            row["worst"] = 100 * gain.min()
    return pd.DataFrame.from_dict(rows, orient="index")


def layer_rows(curve):
    """Rows of the table of `layer_curve`."""
    return [
        {
            "`trainable_layers`": n_layers,
            "plain": f"{row['plain']:.3f}",
            "default": f"{row['default']:.3f}",
            "default minus plain, worst setting": f"{row['worst']:+.1f}",
            "seconds of these fits": f"{row['seconds of default']:.0f}",
            "seconds on made texts": number(row["seconds"], ".0f"),
        }
        for n_layers, row in curve.iterrows()
    ]


def recordings(cells):
    """Rows on what is recorded: accuracy of all, and differences to every epoch."""
    for regime in REGIMES:
        means = by_setting(cells, regime, "test_accuracy", list(RECORDINGS))
        if means.empty or list(means) != list(RECORDINGS):
            continue
        scores = {
            score: by_setting(cells, regime, score, list(RECORDINGS))
            for score in (
                "development_accuracy", "test_accuracy", "most_probable_accuracy",
                "auroc",
            )
        }  # fmt: skip
        differences, intervals = difference_to(means, "every epoch")
        for name in RECORDINGS:
            change = {
                score: (of_score[name] - of_score["every epoch"]).mean()
                for score, of_score in scores.items()
            }
            lower, upper = intervals[name]
            yield {
                "regime": f"{regime} ({len(means)} settings)",
                "recorded": name,
                "development accuracy": f"{100 * change['development_accuracy']:+.1f}",
                "test accuracy (95 %)": f"{100 * change['test_accuracy']:+.1f} "
                f"({lower:+.1f} to {upper:+.1f})",
                "worst": f"{differences[name].min():+.1f}",
                "most probable label": f"{100 * change['most_probable_accuracy']:+.1f}",
                "AUROC": f"{change['auroc']:+.3f}",
            }


def growth(scaling):
    """Rows on stages 2 and 3 by the number of texts."""
    found = _growth(scaling)
    rows = []
    for n_texts, row in found.iterrows():
        rows.append(
            {
                "texts": f"{n_texts:,}",
                "seconds": f"{row['seconds']:.0f}",
                "seconds per 1,000": f"{1000 * row['seconds'] / n_texts:.2f}",
                "peak private memory, MB": f"{row['peak_private_megabytes']:.0f}",
                "right labels, given": f"{row['given_accuracy']:.3f}",
                "most probable": f"{row['accuracy']:.3f}",
            }
        )
    return rows


def votes(scaling):
    """Rows on what votes add to stages 2 and 3."""
    found = {row["n_texts"]: row for row in scaling if row["part"] == "votes"}
    return [
        {
            "texts": f"{n_texts:,}",
            **{
                f"{what}, {name}": f"{row[f'{key}, {name}']:{form}}"
                for what, key, form in (
                    ("seconds", "seconds", ".0f"),
                    ("peak private memory, MB", "peak_private_megabytes", ".0f"),
                    ("right labels", "accuracy", ".3f"),
                )
                for name in ("majority", "votes")
            },
        }
        for n_texts, row in sorted(found.items())
    ]


def _growth(scaling):
    chosen = pd.DataFrame([r for r in scaling if r["part"] == "stages 2 and 3"])
    if chosen.empty:
        return chosen
    return chosen.groupby("n_texts").last().sort_index()


def exponent(seconds):
    """Slope of log seconds over log texts, the index, by least squares."""
    return np.polyfit(np.log(seconds.index.astype(float)), np.log(seconds), 1)[0]


def memory(scaling):
    """Sentence on time and memory of stage 1."""
    found = {row["n_texts"]: row for row in scaling if row["part"] == "stage 1"}
    if len(found) < 2:
        return "Not run yet."
    few, many = min(found), max(found)
    peaks = {n: row["peak_private_megabytes"] for n, row in found.items()}
    return (
        f"Stage 1 (three layers, one epoch, texts of three words) took on {many:,} "
        f"texts {found[many]['seconds']:.0f} seconds and {peaks[many]:.0f} MB of "
        f"private memory at its peak, on {few} texts {peaks[few]:.0f} MB: "
        f"{peaks[many] - peaks[few]:.0f} MB more (target: at most 1,074)."
    )


def frozen(scaling):
    """Sentences on whole fits with a frozen model."""
    last = {row["n_texts"]: row for row in scaling if row["part"] == "frozen"}
    return " ".join(
        f"On {n_texts:,} texts of {row['words']:.0f} words ({row['data']}) "
        f'`DyGenClassifier(dynamics="frozen")` took {row["seconds"]:.0f} seconds and '
        f"{row['peak_private_megabytes']:,.0f} MB of private memory at its peak."
        for n_texts, row in sorted(last.items())
    )


def neighbors(scaling):
    """Rows on the neighbours of some clean texts, of all, and approximate ones."""
    last = {row["n_texts"]: row for row in scaling if row["part"] == "neighbors"}
    return [
        {
            "texts": f"{n_texts:,}",
            "neighbours among": among.format(f"{row['n_clean']:,}"),
            "seconds": f"{row[f'seconds, {name}']:.1f}",
            "votes that are right": f"{row[f'accuracy, {name}']:.3f}",
            "recall": number(row.get(f"recall, {name}", np.nan), ".3f"),
        }
        for n_texts, row in sorted(last.items())
        for name, among in NEIGHBORS.items()
    ]


def backends(rows):
    """Table of the frozen classifier by several backends, and what that was with."""
    return f"{table(rows)}\n{setup(rows)}" if rows else "Not run yet."


def texts(scaling):
    """Table of whole fits and predictions of real texts, and how their time grows."""
    rows, grown = [], []
    for part, name in TEXTS.items():
        found = pd.DataFrame([row for row in scaling if row["part"] == part])
        if found.empty:
            continue
        found = found.groupby("n_texts").last().sort_index()
        for n_texts, row in found.iterrows():
            each = 1000 * row["seconds, predict"] / row["n_predicted"]
            megabytes = row["peak_private_megabytes, fit"]
            rows.append(
                {
                    "fit": name.format(row["n_epochs"]),
                    "texts": f"{n_texts:,}",
                    "words": f"{row['words']:.0f}",
                    "classes": row["n_classes"],
                    "seconds of a fit": f"{row['seconds, fit']:,.0f}",
                    "of these, encoding": f"{row['seconds, fit, encoding']:,.0f}",
                    "of 1,000 predictions": f"{each:.2f}",
                    "peak private memory, MB": f"{megabytes:,.0f}",
                    "right: given": f"{row['given_accuracy']:.3f}",
                    "corrected": f"{row['accuracy, corrected']:.3f}",
                    "most probable": f"{row['accuracy, most probable']:.3f}",
                    "test: plain": f"{row['accuracy, plain']:.3f}",
                    "default": f"{row['accuracy, predicted']:.3f}",
                    "50 verified: corrected": number(
                        row.get("accuracy, verified corrected", np.nan)
                    ),
                    "50 verified: test": number(row.get("accuracy, verified", np.nan)),
                }
            )
        if len(found) > 1:
            whole = exponent(found["seconds, fit"])
            tail = exponent(found["seconds, fit"].iloc[-2:])
            grown.append(f"{whole:.2f} ({part}; {tail:.2f} of the last two)")
    if not rows:
        return "Not run yet."
    return markdown(rows) + (
        f"\n\nSeconds of a fit grow as the number of texts to the power of "
        f"{', '.join(grown)}."
    )


def again(scaling):
    """Table of what predicts new texts best: one stage, all, or one after all."""
    last = {(row["part"], row["n_texts"]): row for row in scaling}
    return [
        {
            "fit": name.format(row["n_epochs"]),
            "texts": f"{n_texts:,}",
            "wrong": f"{found['rate']:.0%}, {KINDS[kind]}",
            "right: given": f"{found['given']:.3f}",
            "corrected": f"{found['corrected']:.3f}",
            "test: plain": f"{found['plain']:.3f}",
            "default": f"{found['default']:.3f}",
            "once more": f"{found['once more']:.3f}",
        }
        for part, name in AGAIN.items()
        for (of_part, n_texts), row in sorted(last.items())
        if of_part == part
        for kind, found in row.items()
        if kind in KINDS
    ]


def compiling(scaling):
    """Seconds that compiling takes before the first index of approximate neighbours."""
    seconds = [r["seconds, compiling"] for r in scaling if r["part"] == "neighbors"]
    return f"{np.mean(seconds):.0f}" if seconds else "(not run yet)"


def setup(rows):
    """Sentence on where this was measured, from the results themselves."""
    machines = sorted({row["machine"] for row in rows})
    commits = sorted({row["commit"] for row in rows})
    threads = sorted({str(row["threads"]) for row in rows})
    versions = ", ".join(f"{k} {v}" for k, v in rows[-1]["versions"].items())
    sizes = ", ".join(
        f"{row['part']}: {row['n_texts']} texts, {row['n_epochs']} epochs, "
        f"{len(row['rounds'])} rounds"
        for row in rows
        if "rounds" in row
    )
    return (
        f"{'; '.join(machines)}; {', '.join(threads)} threads; {versions}; commits "
        f"{', '.join(commits)}." + (f" {sizes}." if sizes else "")
    )


def draw_growth(scaling, path):
    """Draw time and memory of stages 2 and 3, and give the line that shows it."""
    found = _growth(scaling)
    if len(found) < 2:
        return ""
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
    axes[0].loglog(found.index, found["seconds"], "o-", color="#0072b2")
    axes[0].set_ylabel("seconds")
    axes[0].set_title(f"grows as n to the {exponent(found['seconds']):.2f}", fontsize=9)
    axes[1].semilogx(
        found.index, found["peak_private_megabytes"] / 1000, "o-", color="#0072b2"
    )
    axes[1].set_ylabel("peak private memory, GB")
    axes[1].set_ylim(0)
    for axis in axes:
        axis.set_xlabel("texts")
        axis.grid(alpha=0.3)
    save_figure(figure, path)
    return f"\n\n![Time and memory of stages 2 and 3](images/{path.name})"


def draw_layers(curve, path):
    """Draw accuracy over cost by trained layers, and give the line that shows it."""
    if curve.empty or curve["seconds of default"].isna().all():
        return ""
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    axes.plot(curve["seconds of default"], curve["default"], "D-", color="#0072b2")
    for n_layers, row in curve.iterrows():
        axes.annotate(
            n_layers, (row["seconds of default"], row["default"]), xytext=(0, 6),
            textcoords="offset points", ha="center", fontsize=8,
        )  # fmt: skip
    axes.set_xlabel("seconds of a fit (numbers: layers trained)")
    axes.set_ylabel("test accuracy, real mistakes")
    axes.margins(x=0.15, y=0.2)
    save_figure(figure, path)
    return f"\n\n![Accuracy over cost](images/{path.name})"


if __name__ == "__main__":
    main()
