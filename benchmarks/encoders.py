"""What encoders are worth: methods on frozen embeddings by each, and the time it takes.

``python -m benchmarks.encoders --data FOLDER --encoder mpnet=FOLDER e5=FOLDER`` writes
a row for each setting, seed, encoder and method; those that are there are not computed
again, and embeddings are kept. The default model needs no folder. Others are those of
sentence-transformers, or hold one of the packages of `encoder_files`, which makes them.
``--regime finetuned`` trains layers of models instead of a hidden layer on embeddings.
``--page`` writes what the rows say.
"""

import argparse
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np

from .data import REAL, SETTINGS, load_splits
from .embeddings import FrozenStore, make_encoder
from .encoder_files import load_encoder
from .encoders_page import COMPARED, PAPER_DATA, PAPER_METHODS, RESULTS, write_page
from .methods import CHECKED
from .methods import METHODS as RIVALS
from .run import describe_machine, rows_so_far, run_cell
from .task import Task

HERE = Path(__file__).parent
REGIMES = ("encoders", "finetuned")
METHODS = RIVALS | CHECKED
# How much of a long text is read at once, and how often.
LONG = "20newsgroups_raw"
READINGS = {
    "128 tokens": {"max_windows": 1},
    "8 windows of 128, the default": {},
    "8 windows of 256, max_length=None": {"max_length": None},
    "all, in windows of 128": {"max_windows": 1000},
}
_N_TIMED, _N_LONG = 50, 20


def main(arguments=None):
    """Run the command line."""
    options = parse(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    if options.page is not None:
        write_page(options.page)
        return
    options.output.mkdir(parents=True, exist_ok=True)
    if options.lengths:
        for words in options.lengths:
            run_length(words, options)
        return
    encoders = {"MiniLM": None} | dict(options.encoder)
    done = {cell_of(row) for row in rows_so_far(options.output / "encoders.jsonl")}
    for seed in options.seeds:
        for setting in options.settings:
            for encoder, folder in encoders.items():
                wanted = [
                    name
                    for name in options.methods
                    if (options.regime, setting, seed, encoder, name) not in done
                ]
                if wanted:
                    run_encoder(setting, seed, encoder, folder, wanted, options)


def parse(arguments):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.encoders", description=__doc__
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument(
        "--encoder", nargs="+", type=_named_folder, default=[], metavar="NAME=FOLDER"
    )
    parser.add_argument("--regime", choices=REGIMES, default="encoders")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    parser.add_argument(
        "--paper", action="store_true", help="settings and methods of the paper's table"
    )
    parser.add_argument(
        "--lengths", nargs="+", type=int, help="numbers of words to embed instead"
    )
    parser.add_argument("--page", type=Path, help="file to write instead")
    parser.add_argument(
        "--output", type=Path, default=RESULTS / "encoders", help="folder of rows"
    )
    parser.add_argument("--cache", type=Path, default=HERE / "cache")
    options = parser.parse_args(arguments)
    if options.page is None and options.data is None:
        parser.error("--data is needed to compute rows")
    of_paper = [name for name in SETTINGS if name.partition(":")[0] in PAPER_DATA]
    usual = (of_paper, PAPER_METHODS) if options.paper else (REAL, COMPARED)
    options.settings = options.settings or usual[0]
    options.methods = options.methods or usual[1]
    return options


def _named_folder(value):
    """Read NAME=FOLDER."""
    name, _, folder = value.partition("=")
    if not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"{value} is not NAME=FOLDER")
    return name, folder


def cell_of(row):
    """Give what makes a cell."""
    return tuple(row[k] for k in ("regime", "setting", "seed", "encoder", "method"))


def run_encoder(setting, seed, encoder, folder, methods, options):
    """Run methods on the embeddings of one encoder, and write a row for each."""
    model = None if folder is None else load_encoder(folder)
    store = FrozenStore(options.cache / "encoders", encoder, model)
    cache = options.cache / "one encoder"
    task = Task(setting, options.regime, seed, options.data, cache, store)
    texts = task.train.texts[:_N_TIMED]
    facts = {
        "encoder": encoder,
        "n_features": len(store[texts[0]]),
        "n_words": float(np.mean([len(text.split()) for text in texts])),
        "encoding_seconds_per_1000": 1000 * encoding_seconds(texts, model) / len(texts),
    }
    for name in methods:
        row = run_cell(task, name, METHODS[name]) | facts
        write_row(row, options.output / "encoders.jsonl")
        accuracy = row["scores"]["test_accuracy"]
        print(f"{setting}, seed {seed}, {encoder}, {name}: {accuracy:.3f}", flush=True)
    shutil.rmtree(cache / "fits")


def run_length(n_words, options):
    """Time the beginnings of long texts, read in several ways, and write a row each."""
    # Few messages are so long: they are put behind each other.
    words = " ".join(load_splits(options.data, LONG)[0].texts).split()
    starts = max(options.lengths) * np.arange(_N_LONG)
    texts = [" ".join(words[start : start + n_words]) for start in starts]
    for reading, params in READINGS.items():
        seconds = 1000 * encoding_seconds(texts, **params) / len(texts)
        row = {"reading": reading, "n_words": n_words, "n_texts": len(texts)}
        row |= {"seconds_per_1000": seconds} | describe_machine()
        write_row(row, options.output / "lengths.jsonl")
        print(f"{reading}, {n_words} words: {seconds:.1f} s for 1,000", flush=True)


def write_row(row, path):
    """Add a row to a file of results."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def encoding_seconds(texts, model=None, **params):
    """Seconds of a core that the frozen stage takes to embed texts, once ready."""
    params |= {} if model is None else {"model": model}
    stage = make_encoder(views=[], **params).fit(texts[:2], [0, 1])
    stage.transform(texts[:2])
    start = time.process_time()  # what else runs here does not count
    stage.transform(texts)
    return time.process_time() - start


if __name__ == "__main__":
    main()
