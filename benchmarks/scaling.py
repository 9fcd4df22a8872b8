"""How time and memory grow with the number of texts.

Stages 2 and 3 are run on made trajectories as wide as a default run gives, which lie in
a mapped file; the first stage on short texts. Every size has a process of its own.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from sklearn.neighbors import KNeighborsTransformer

from skdygen import DyGenClassifier, Trajectories
from skdygen.datasets import make_label_noise
from skdygen.dynamics import LanguageModelDynamics
from skdygen.priors import TrajectoryKNNPrior
from skdygen.utils._storage import allocate, batches

from .run import PeakMemory, describe_machine

HERE = Path(__file__).parent
N_BRANCHES, N_EPOCHS, N_FEATURES, N_CLASSES = 2, 2, 384, 10
_ROWS_AT_ONCE = 4096


def main(arguments=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--sizes", nargs="+", type=int, help="numbers of texts")
    parser.add_argument("--temp-folder", default=tempfile.gettempdir())
    parser.add_argument(
        "--output",
        type=Path,
        default=HERE / "results" / "performance" / "scaling.jsonl",
    )
    options = parser.parse_args(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for part in options.parts:
        measure, sizes = PARTS[part]
        for size in options.sizes or sizes:
            # A fresh process: peaks of memory would be those of the size before.
            with ProcessPoolExecutor(
                1, mp_context=multiprocessing.get_context("spawn")
            ) as executor:
                found = executor.submit(measure, size, options.temp_folder).result()
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
    for part in batches(n_samples, _ROWS_AT_ONCE):
        moved = centers[true[part]]
        inner = (len(moved), N_BRANCHES, N_EPOCHS, N_FEATURES)
        moved = moved + 6 * rng.standard_normal(moved.shape, dtype=np.float32)
        wobble = rng.standard_normal(inner, dtype=np.float32)
        embeddings[part] = moved[:, None, None] + wobble
        initial[part] = moved + wobble[:, 0, 0]
        believed = 0.1 + 0.9 * np.eye(N_CLASSES)[given[part]]
        believed /= believed.sum(axis=1, keepdims=True)
        probabilities[part] = believed[:, None, None]
    trajectories = Trajectories(embeddings, probabilities, initial=initial)
    return trajectories, true, given


def stages_2_and_3(n_samples, folder):
    """Fit the default second and third stage."""
    trajectories, true, given = make_trajectories(n_samples, folder)
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


def stage_1(n_samples, folder):
    """Fine-tune three layers for one epoch on texts of three words."""
    rng = np.random.RandomState(0)
    words = np.array(["red", "blue", "old", "new", "big", "small", "slow", "warm"])
    texts = [" ".join(row) for row in words[rng.randint(8, size=(n_samples, 3))]]
    labels = np.array([text.split()[0] for text in texts])
    dynamics = LanguageModelDynamics(
        trainable_layers=3, n_epochs=1, temp_folder=folder, random_state=0
    )
    with PeakMemory() as peak:
        start = time.perf_counter()
        dynamics.fit_transform(texts, labels)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_private_megabytes": peak.private_megabytes}


def neighbors(n_samples, folder):
    """Compare the neighbours among some clean texts with approximate ones among all."""
    from pynndescent import PyNNDescentTransformer

    trajectories, true, given = make_trajectories(n_samples, folder)
    some = trajectories.initial[:500].astype(float)
    PyNNDescentTransformer().fit(some).transform(some)  # compiles most of it
    settings = {"contamination": 0.5, "query": "leave-one-out", "voting": "soft"}
    found = {}
    for name, params in (
        ("some", {}),
        ("all", {"max_samples": None}),
        (
            "approximate",
            {
                "max_samples": None,
                "neighbors": PyNNDescentTransformer(n_neighbors=11, random_state=0),
            },
        ),
    ):
        prior = TrajectoryKNNPrior(**settings, **params)
        start = time.perf_counter()
        voted = prior.fit_transform(trajectories, given).prior
        found[f"seconds, {name}"] = time.perf_counter() - start
        found[f"accuracy, {name}"] = float((voted.argmax(axis=1) == true).mean())
    probe = prior._space(trajectories, slice(0, 1000))
    exact = KNeighborsTransformer(mode="distance", n_neighbors=10)
    exact.fit(prior._space(trajectories, prior.clean_indices_))
    expected = exact.transform(probe).toarray() > 0
    nearest = prior.neighbors_.transform(probe).toarray() > 0
    found["recall, approximate"] = float((expected & nearest).sum() / expected.sum())
    return found


PARTS = {
    "stages 2 and 3": (stages_2_and_3, (10_000, 30_000, 100_000, 300_000, 1_000_000)),
    "stage 1": (stage_1, (64, 100_000)),
    "neighbors": (neighbors, (30_000,)),
}


if __name__ == "__main__":
    main()
