"""Compare two checkouts of this package: ``python -m benchmarks.paired OLD NEW``.

The same fits, predictions and search on the same made texts, each in a process of its
own, the checkouts in turn. Medians are printed, and their ratio; on a busy machine
those of the CPU seconds are the ones to compare. A row for each task goes to a file.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from .data import make_split
from .run import commit_of, describe_machine

HERE = Path(__file__).parent
# By parameters that all checkouts have.
LAYERS = {"frozen": 0, "three layers": 3, "all layers": "all", "search": 3}
GRID = {"prior__criterion": ["relative", "paper"], "prior__contamination": [0.3, 0.5]}


def main(arguments=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paired", description=__doc__
    )
    parser.add_argument("checkouts", nargs=2, type=Path, metavar=("OLD", "NEW"))
    parser.add_argument("--tasks", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--n-texts", type=int, default=150)
    parser.add_argument("--n-epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--output", type=Path, default=HERE / "results" / "performance" / "paired.jsonl"
    )
    options = parser.parse_args(arguments)
    checkouts = dict(zip(("old", "new"), options.checkouts, strict=True))
    about = {key: getattr(options, key) for key in ("n_texts", "n_epochs")}
    about["threads"] = os.environ.get("OMP_NUM_THREADS", "all")
    about |= describe_machine()
    about["commit"] = {which: commit_of(checkouts[which]) for which in checkouts}
    train, new = make_split(options.n_texts), make_split(options.n_texts, seed=1)
    task = {"texts": train.texts, "given": train.given.tolist()}
    task |= {"new": new.texts, "new_gold": new.gold.tolist()}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for name in options.tasks:
        task["params"] = {
            "dynamics__trainable_layers": LAYERS[name],
            "dynamics__n_epochs": options.n_epochs,
        }
        task["grid"] = GRID if name == "search" else None
        rounds = []
        for i in range(options.rounds):
            order = list(checkouts)[:: 1 if i % 2 == 0 else -1]
            rounds.append({which: measure(task, checkouts[which]) for which in order})
        with options.output.open("a") as file:
            file.write(json.dumps({"task": name, "rounds": rounds} | about) + "\n")
        found = {which: pd.DataFrame([r[which] for r in rounds]) for which in checkouts}
        medians = pd.DataFrame({which: found[which].median() for which in checkouts})
        medians["new / old"] = medians["new"] / medians["old"]
        print(name, medians.round(3).to_string(), sep="\n", flush=True)
    print(about)


def measure(task, checkout):
    """Measure one task with the package of a checkout; give numbers by name."""
    process = subprocess.run(
        [sys.executable, HERE / "paired_process.py"],
        input=json.dumps(task),
        env=os.environ | {"PYTHONPATH": str(checkout.resolve()), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    file, found = json.loads(process.stdout)
    if not Path(file).is_relative_to(checkout.resolve()):
        raise RuntimeError(f"{file} was measured, which is not in {checkout}")
    return found


if __name__ == "__main__":
    main()
