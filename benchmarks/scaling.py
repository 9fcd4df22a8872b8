"""How time and memory grow with the number of texts.

Stages 2 and 3 are run on made trajectories as wide as a default run gives, which lie in
a mapped file; the first stage on short texts; neighbours and a few whole fits on real
texts, for which the data sets of the benchmark are needed; and fits and predictions of
many real texts on those of `benchmarks.texts`, which says where these are to be had.
Every size has a process of its own.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from pynndescent import PyNNDescentTransformer
from scipy import sparse
from sklearn.base import clone
from sklearn.neighbors import NearestNeighbors

from skdygen import DyGenClassifier, Trajectories
from skdygen._memmap import allocate, parts
from skdygen.datasets import make_label_noise
from skdygen.dynamics import LanguageModelDynamics, _engine
from skdygen.priors import TrajectoryKNNPrior
from skdygen.votes import majority_vote

from .data import SETTINGS, load_splits
from .embeddings import FrozenStore
from .run import PeakMemory, describe_machine, rows_so_far
from .texts import glosses, messages

HERE = Path(__file__).parent
N_BRANCHES, N_EPOCHS, N_FEATURES, N_CLASSES = 2, 2, 384, 10
N_NEIGHBORS = 10
N_PROBES = 200
N_HELD_OUT = 5000
N_VERIFIED = 50


def main(arguments=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--sizes", nargs="+", type=int, help="numbers of texts")
    parser.add_argument("--temp-folder", default=tempfile.gettempdir())
    parser.add_argument("--data", type=Path, help="folder of data sets")
    parser.add_argument("--cache", type=Path, default=HERE / "cache")
    parser.add_argument("--texts", type=Path, help="folder for benchmarks.texts")
    parser.add_argument("--static", type=Path, help="by benchmarks.encoder_files")
    parser.add_argument("--n-epochs", type=int, default=1, help="of trained layers")
    parser.add_argument("--missing", action="store_true", help="skip what has a row")
    parser.add_argument(
        "--output",
        type=Path,
        default=HERE / "results" / "performance" / "scaling.jsonl",
    )
    options = parser.parse_args(arguments)
    if options.data is None and {"neighbors", "frozen"} & {*options.parts}:
        parser.error("neighbors and frozen need --data; --parts says what else to run")
    of_texts = [part for part in options.parts if part in TEXTS | AGAIN]
    if options.texts is None and of_texts:
        parser.error(f"{', '.join(of_texts)} need --texts, see benchmarks/texts.py")
    if options.static is None and "static texts" in options.parts:
        parser.error("static texts need --static, see benchmarks/encoder_files.py")
    os.environ["HF_HUB_OFFLINE"] = "1"
    done = rows_so_far(options.output) if options.missing else []
    done = {(row["part"], row["n_texts"]) for row in done}
    for part in options.parts:
        measure, sizes = PARTS[part]
        for size in options.sizes or sizes:
            if (part, size) in done:
                continue
            # A fresh process: peaks of memory would be those of the size before.
            with ProcessPoolExecutor(
                1, mp_context=multiprocessing.get_context("spawn")
            ) as executor:
                found = executor.submit(measure, size, options).result()
            row = {"part": part, "n_texts": size, **found}
            row["threads"] = torch.get_num_threads()
            print(row, flush=True)
            with options.output.open("a") as file:
                file.write(json.dumps(row | describe_machine()) + "\n")


def make_trajectories(n_samples, folder):
    """Make mapped trajectories of texts around the centre of their class.

    Returns
    -------
    trajectories : Trajectories of n_samples texts
        Of classes 0 to 9.
    true, given : ndarray of shape (n_samples,)
        Classes, and labels 30 % of which are wrong.
    """
    rng = np.random.default_rng(0)
    true = rng.integers(N_CLASSES, size=n_samples)
    given = make_label_noise(true, "symmetric", 0.3, random_state=0)
    storage = {"max_nbytes": 0, "temp_folder": folder}
    shape = (n_samples, N_BRANCHES, N_EPOCHS)
    embeddings = allocate((*shape, N_FEATURES), np.float16, **storage)
    probabilities = allocate((*shape, N_CLASSES), np.float32, **storage)
    initial = allocate((n_samples, N_FEATURES), np.float16, **storage)
    centers = rng.standard_normal((N_CLASSES, N_FEATURES), dtype=np.float32)
    for part in parts(n_samples):
        moved = centers[true[part]]
        inner = (len(moved), N_BRANCHES, N_EPOCHS, N_FEATURES)
        moved = moved + 6 * rng.standard_normal(moved.shape, dtype=np.float32)
        wobble = rng.standard_normal(inner, dtype=np.float32)
        embeddings[part] = moved[:, None, None] + wobble
        initial[part] = moved + wobble[:, 0, 0]
        believed = 0.1 + 0.9 * np.eye(N_CLASSES)[given[part]]
        believed /= believed.sum(axis=1, keepdims=True)
        probabilities[part] = believed[:, None, None]
    trajectories = Trajectories(embeddings, probabilities, views={"initial": initial})
    return trajectories, true, given


def stages_2_and_3(n_samples, options):
    """Fit the default second and third stage."""
    trajectories, true, given = make_trajectories(n_samples, options.temp_folder)
    with PeakMemory() as peak:
        start = time.perf_counter()
        clf = DyGenClassifier("precomputed", random_state=0).fit(trajectories, given)
        seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "peak_private_megabytes": peak.private_megabytes,
        "accuracy": float((clf.label_distributions_.argmax(axis=1) == true).mean()),
        "given_accuracy": float((given == true).mean()),
    }


def votes(n_samples, options):
    """Fit the same stages on votes, and on their majority.

    There are 100 annotators, each right in 40 to 90 % of its votes; 3 % of the table
    are filled.
    """
    trajectories, true, _ = make_trajectories(n_samples, options.temp_folder)
    rng = np.random.default_rng(0)
    rows, who = rng.integers((n_samples, 100), size=(3 * n_samples, 2)).T
    is_right = rng.random(len(rows)) < np.linspace(0.4, 0.9, 100)[who]
    said = np.where(is_right, true[rows], rng.integers(N_CLASSES, size=len(rows)))
    first = np.unique(rows * 100 + who, return_index=True)[1]  # one vote on a text
    table = sparse.csr_array((said[first], (rows[first], who[first])))
    clf = DyGenClassifier("precomputed", missing_label=-1, random_state=0)
    found = {}
    for name, labels in (
        ("majority", {"y": majority_vote(table, missing_label=-1)}),
        ("votes", {"votes": table}),
    ):
        with PeakMemory() as peak:
            start = time.perf_counter()
            clf.fit(trajectories, **labels)
            found[f"seconds, {name}"] = time.perf_counter() - start
        found[f"peak_private_megabytes, {name}"] = peak.private_megabytes
        found[f"accuracy, {name}"] = float((clf.transduction_ == true).mean())
    return found


def frozen(n_samples, options):
    """Fit a whole classifier with a frozen model on short questions, or on news."""
    name = "trec_wrench" if n_samples <= 2000 else "noisyagnews"
    train = load_splits(options.data, name)[0]
    train = train.take(np.flatnonzero(pd.notna(train.given))[:n_samples])
    clf = DyGenClassifier(dynamics="frozen", random_state=0)
    with PeakMemory() as peak:
        start = time.perf_counter()
        clf.fit(train.texts, train.given)
        seconds = time.perf_counter() - start
    n_words = sum(len(text.split()) for text in train.texts) / n_samples
    found = {"data": name, "words": n_words, "seconds": seconds}
    return found | {"peak_private_megabytes": peak.private_megabytes}


def frozen_texts(n_samples, options):
    """Fit and predict definitions with the frozen default model."""
    clf = DyGenClassifier(LanguageModelDynamics(trainable_layers=0), random_state=0)
    return whole(clf, glosses, n_samples, options)


def trained_texts(n_samples, options):
    """Fit and predict definitions with three trained layers."""
    stage = LanguageModelDynamics(n_epochs=options.n_epochs)
    clf = DyGenClassifier(stage, random_state=0)
    return whole(clf, glosses, n_samples, options)


def static_texts(n_samples, options):
    """Fit and predict messages with static vectors of words."""
    stage = LanguageModelDynamics(str(options.static), trainable_layers=0)
    clf = DyGenClassifier(stage, random_state=0)
    return whole(clf, messages, n_samples, options)


def whole(clf, read, n_samples, options):
    """Fit the first texts, 30 % of whose labels are wrong, and predict the last ones.

    Seconds are those of a core, which what else runs here hardly changes. The "plain"
    accuracy is that of the first stage by itself; "verified" are those of all once the
    labels that `labels_to_check` draws are known.
    """
    texts, gold, new, right = split(*read(options.texts), n_samples)
    clf.set_params(dynamics__temp_folder=options.temp_folder, store_trajectories=True)
    given = make_label_noise(gold, "symmetric", 0.3, random_state=0)
    with PeakMemory() as before:
        pass
    found = {
        "n_predicted": len(new),
        "n_classes": len(set(given)),
        "words": sum(len(text.split()) for text in texts) / n_samples,
        "n_epochs": clf.dynamics.n_epochs,
        "given_accuracy": float((given == gold).mean()),
        "private_megabytes, before": before.private_megabytes,
    }
    for name, call in (
        ("fit", lambda: clf.fit(texts, given)),
        ("predict", lambda: clf.predict(new)),
    ):
        with PeakMemory() as peak, timed_encoding() as encoding:
            start, start_wall = time.process_time(), time.perf_counter()
            result = call()
            found[f"seconds, {name}"] = time.process_time() - start
            found[f"wall seconds, {name}"] = time.perf_counter() - start_wall
        found[f"seconds, {name}, encoding"] = sum(encoding)
        found[f"peak_private_megabytes, {name}"] = peak.private_megabytes
    found["accuracy, corrected"] = float((clf.transduction_ == gold).mean())
    most_probable = clf.classes_[clf.label_distributions_.argmax(axis=1)]
    found["accuracy, most probable"] = float((most_probable == gold).mean())
    found["accuracy, predicted"] = float((result == right).mean())
    found["accuracy, plain"] = float((clf.dynamics_.predict(new) == right).mean())
    to_check = clf.labels_to_check(N_VERIFIED, random_state=0)
    start = time.process_time()
    clf.refit(to_check.assign(verified=gold[to_check["index"]]))
    found["seconds, refit"] = time.process_time() - start
    found["accuracy, verified corrected"] = float((clf.transduction_ == gold).mean())
    found["accuracy, verified"] = float((clf.predict(new) == right).mean())
    return found


def split(texts, gold, n_samples):
    """Give the first texts and right labels, and the last ones of each."""
    if len(texts) < n_samples + N_HELD_OUT:
        raise ValueError(f"there are {len(texts)} texts; {N_HELD_OUT} are held out")
    new, right = texts[-N_HELD_OUT:], gold[-N_HELD_OUT:]
    return texts[:n_samples], gold[:n_samples], new, right


def frozen_again(n_samples, options):
    """Fit a small head on definitions, and once more on what is corrected."""
    store = FrozenStore(options.cache / "frozen")
    texts, gold = glosses(options.texts)
    store.add(texts)  # all of them, the same for every size
    stage = LanguageModelDynamics(
        store.__call__, trainable_layers=0, temp_folder=options.temp_folder
    )
    rates = {"symmetric": 0.3, "asymmetric": 0.4}
    return again(stage, split(texts, gold, n_samples), rates)


def trained_again(n_samples, options):
    """Train three layers on definitions, and once more on what is corrected."""
    params = {"n_epochs": options.n_epochs, "temp_folder": options.temp_folder}
    data = split(*glosses(options.texts), n_samples)
    return again(LanguageModelDynamics(**params), data, {"symmetric": 0.3})


def again(stage, data, rates):
    """Predict by the first stage, by all, and by the first on the corrected labels.

    The last is the first stage as the `final_estimator`. The data are those of `split`.
    """
    texts, gold, new, right = data
    stage.set_params(random_state=0)
    found = {"n_epochs": stage.n_epochs}
    for kind, rate in rates.items():
        given = make_label_noise(gold, kind, rate, random_state=0)
        clf = DyGenClassifier(stage, random_state=0).fit(texts, given)
        corrected = clf.transduction_
        codes = np.searchsorted(clf.classes_, corrected)
        weights = clf.label_distributions_[np.arange(len(codes)), codes]
        final = clone(stage).fit(texts, corrected, sample_weight=weights)
        predicted = {
            "plain": clf.dynamics_.predict(new),
            "default": clf.predict(new),
            "once more": final.predict(new),
        }
        found[kind] = {
            "rate": rate,
            "given": float((given == gold).mean()),
            "corrected": float((corrected == gold).mean()),
            **{name: float((y == right).mean()) for name, y in predicted.items()},
        }
    return found


@contextlib.contextmanager
def timed_encoding():
    """Collect the seconds of a core that backbones take to encode texts, in a list."""
    seconds, make_backbone = [], _engine.make_backbone

    def make_timed(*args, **kwargs):
        backbone = make_backbone(*args, **kwargs)
        encode = backbone.encode

        def timed(texts):
            start = time.process_time()
            inputs = encode(texts)
            seconds.append(time.process_time() - start)
            return inputs

        backbone.encode = timed
        return backbone

    with mock.patch.object(_engine, "make_backbone", make_timed):
        yield seconds


def stage_1(n_samples, options):
    """Fine-tune three layers for one epoch on texts of three words."""
    rng = np.random.RandomState(0)
    words = np.array(["red", "blue", "old", "new", "big", "small", "slow", "warm"])
    texts = [" ".join(row) for row in words[rng.randint(8, size=(n_samples, 3))]]
    labels = np.array([text.split()[0] for text in texts])
    dynamics = LanguageModelDynamics(
        trainable_layers=3, n_epochs=1, temp_folder=options.temp_folder, random_state=0
    )
    with PeakMemory() as peak:
        start = time.perf_counter()
        dynamics.fit_transform(texts, labels)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_private_megabytes": peak.private_megabytes}


def neighbors(n_samples, options):
    """Compare neighbours among some clean texts, among all, and approximate ones.

    The texts are of all data sets, in their embeddings by the frozen default model;
    their classes are those of all data sets, and 30 % of the labels are wrong.
    """
    texts, true = pooled_texts(options.data)
    if len(texts) < n_samples:
        raise ValueError(f"there are {len(texts)} texts, fewer than {n_samples}")
    chosen = np.random.RandomState(0).permutation(len(texts))[:n_samples]
    true = true[chosen]
    given = make_label_noise(true, "symmetric", 0.3, random_state=0)
    store = FrozenStore(options.cache / "frozen")
    store.add(texts)
    embeddings = store([texts[i] for i in chosen])
    n_classes = len(set(true))
    trajectories = Trajectories(
        embeddings[:, None, None], np.full((n_samples, 1, 1, n_classes), 1 / n_classes)
    )
    # Its own search_epsilon, 0.1, finds fewer.
    index = PyNNDescentTransformer(
        n_neighbors=N_NEIGHBORS + 1, search_epsilon=0.2, random_state=0
    )
    few = embeddings[:500].astype(np.float32)
    start = time.perf_counter()
    clone(index).fit(few).transform(few)
    found = {"seconds, compiling": time.perf_counter() - start}
    settings = {"contamination": 0.5, "leave_one_out": True, "voting": "soft"}
    for name, params in (
        ("some", {}),
        ("exact", {"max_samples": None}),
        ("approximate", {"neighbors": index, "max_samples": None}),
    ):
        prior = TrajectoryKNNPrior(**settings, **params)
        start = time.perf_counter()
        voted = prior.fit_transform(trajectories, given).prior
        found[f"seconds, {name}"] = time.perf_counter() - start
        found[f"accuracy, {name}"] = float((voted.argmax(axis=1) == true).mean())
    found["n_clean"] = len(prior.clean_indices_)
    points = embeddings[prior.clean_indices_].astype(np.float32)
    found["recall, approximate"] = recall(prior.neighbors_, points)
    return found


def recall(index, points):
    """Share of the nearest other points that an index of points finds, of some."""
    some = np.linspace(0, len(points) - 1, min(N_PROBES, len(points)), dtype=int)
    some = points[some]
    exact = NearestNeighbors(n_neighbors=N_NEIGHBORS + 1, algorithm="brute").fit(points)
    farthest = exact.kneighbors(some)[0][:, -1] * (1 + 1e-3)  # in single precision
    found = index.transform(some).tocoo()
    n_near = (found.data <= farthest[found.row]).sum()
    # A point finds itself, which is no merit.
    return float((n_near - len(some)) / (len(some) * N_NEIGHBORS))


def pooled_texts(folder):
    """Read the different texts of all data sets, and number the classes of all.

    Returns
    -------
    texts : list of str of length n_samples
        All splits.
    classes : ndarray of shape (n_samples,)
        Those of one data set differ from those of the others.
    """
    classes, names = {}, {}
    for name in sorted({setting.partition(":")[0] for setting in SETTINGS}):
        for split in load_splits(folder, name):
            for text, label in zip(split.texts, split.gold, strict=True):
                classes[text] = names.setdefault((name, label), len(names))
    return list(classes), np.array(list(classes.values()))


TEXTS = {
    "frozen texts": (frozen_texts, (1000, 10_000, 100_000)),
    "trained texts": (trained_texts, (1000, 10_000, 100_000)),
    "static texts": (static_texts, (10_000, 100_000, 1_000_000)),
}
AGAIN = {
    "frozen again": (frozen_again, (10_000, 100_000)),
    "trained again": (trained_again, (10_000,)),
}
PARTS = {
    "stages 2 and 3": (stages_2_and_3, (10_000, 30_000, 100_000, 300_000, 1_000_000)),
    "votes": (votes, (10_000, 100_000)),
    "stage 1": (stage_1, (64, 100_000)),
    "frozen": (frozen, (1_200, 5_000)),
    "neighbors": (neighbors, (30_000, 100_000)),
    **TEXTS,
    **AGAIN,
}


if __name__ == "__main__":
    main()
