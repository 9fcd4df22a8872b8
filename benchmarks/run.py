"""Run methods on settings; every finished cell is a line of a file of results.

A cell is a setting, a regime, a seed and a method. Cells that are there already are
not run again, so that a run that was stopped resumes where it was. Fine-tuned models
that several methods need are kept in a cache.
"""

import argparse
import json
import os
import platform
import subprocess
import threading
import time
from importlib.metadata import version
from pathlib import Path

import psutil
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._testing import ignore_warnings

from .data import SETTINGS, SHAPED
from .methods import ABLATIONS, CEILINGS, LAYERS, METHODS, RECORDINGS
from .scores import score_outcome
from .task import REGIMES, Task

HERE = Path(__file__).parent
PACKAGES = (
    "skdygen",
    "torch",
    "scikit-learn",
    "sentence-transformers",
    "transformers",
    "cleanlab",
    "crowd-kit",
    "numpy",
)


def main(arguments=None):
    """Run the command line."""
    options = parse(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    ablations = {f"ablation: {name}": method for name, method in ABLATIONS.items()}
    available = METHODS | ablations | LAYERS | RECORDINGS | CEILINGS
    names = options.methods
    if names is None:
        names = {
            None: METHODS,
            "ablations": ablations,
            "layers": LAYERS,
            "recordings": RECORDINGS,
            "ceilings": CEILINGS,
        }[options.group]
    done, parameters = finished(options.output), REGIMES[options.regime]
    for seed in options.seeds:
        for setting in options.settings:
            cell = (setting, options.regime, seed)
            wanted = [n for n in names if cell_key(*cell, n, parameters) not in done]
            if wanted:
                task = Task(setting, options.regime, seed, options.data, options.cache)
            for name in wanted:
                row = run_cell(task, name, available[name])
                with options.output.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(
                    f"{options.regime}, seed {seed}, {setting}, {name}: "
                    f"{row['seconds']:.0f} s",
                    flush=True,
                )


def parse(arguments):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data")
    parser.add_argument("--regime", choices=list(REGIMES), default="frozen")
    parser.add_argument(
        "--settings", nargs="+", choices=SETTINGS + SHAPED, default=SETTINGS,
        metavar="SETTING",
        help='data sets, or "data set:kind of noise:rate"; default: those published',
    )  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--methods", nargs="+", help="by name; default: all rivals")
    for group, text in (
        ("ablations", "run all ablations instead"),
        ("layers", "run plain and default by the number of trained layers instead"),
        ("recordings", "run what is recorded of the training instead"),
        ("ceilings", "run others than plain training on the right labels instead"),
    ):
        parser.add_argument(
            f"--{group}", dest="group", action="store_const", const=group, help=text
        )
    parser.add_argument("--output", type=Path, default=HERE / "results" / "cells.jsonl")
    parser.add_argument("--cache", type=Path, default=HERE / "cache")
    return parser.parse_args(arguments)


def cell_key(setting, regime, seed, method, parameters):
    """Give what makes a cell, parameters of its regime included."""
    return json.dumps([setting, regime, seed, method, parameters])


def finished(path):
    """Read the keys of the cells in a file of results."""
    if not path.exists():
        return set()
    parts = ("setting", "regime", "seed", "method", "parameters")
    return {cell_key(*(row[part] for part in parts)) for row in read_rows(path)}


def read_rows(path):
    """Read a file of results."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows_so_far(path):
    """Read what a run has written before it stopped; make the folder for the rest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return read_rows(path) if path.exists() else []


def run_cell(task, name, method):
    """Run one method on one task and score it.

    Parameters
    ----------
    task : Task
        Texts and labels.
    name : str
        Name of the method.
    method : callable
        Takes the task and gives an Outcome.

    Returns
    -------
    row : dict
        Can be written as JSON.
    """
    start = time.perf_counter()
    with PeakMemory() as peak, ignore_warnings(category=ConvergenceWarning):
        outcome = method(task)
    return {
        "setting": task.setting,
        "regime": task.regime,
        "seed": task.seed,
        "method": name,
        "parameters": REGIMES[task.regime],
        "n_train": len(task.train),
        "n_development": len(task.splits["development"]),
        "n_test": len(task.splits["test"]),
        "n_classes": len(task.classes),
        "scores": score_outcome(outcome, task.splits),
        "seconds": outcome.seconds,  # fits that were shared or kept are counted
        "seconds_now": time.perf_counter() - start,
        "peak_memory_megabytes": peak.megabytes,
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())),
        **describe_machine(),
    }


class PeakMemory(threading.Thread):
    """Watch the resident memory of this process, in megabytes.

    What is private leaves out pages of mapped files, which the system takes back when
    it needs them.
    """

    def __init__(self):
        super().__init__(daemon=True)
        self.megabytes = self.private_megabytes = 0.0
        self._stop_now = threading.Event()

    def run(self):
        """Look at it twenty times a second."""
        process = psutil.Process()
        while True:
            memory = process.memory_info()
            private = memory.rss - getattr(memory, "shared", 0)
            self.megabytes = max(self.megabytes, memory.rss / 1e6)
            self.private_megabytes = max(self.private_megabytes, private / 1e6)
            if self._stop_now.wait(0.05):
                return

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self._stop_now.set()
        self.join()


def describe_machine():
    """Give commit, versions, CPU and GPU, to stand in a row of results."""
    return {
        "commit": commit_of(HERE),
        "versions": {name: version(name) for name in PACKAGES},
        "machine": ", ".join([_cpu(), f"{os.cpu_count()} cores", *_accelerators()]),
    }


def commit_of(folder):
    """Give the commit that a checkout is at."""
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip()


def _accelerators():
    return {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}


def _cpu():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
