"""Time predictions of saved classifiers, as a server makes them.

Each classifier is saved with its language model inside and loaded in a process of its
own, with `warm=True` and without: what the first prediction takes, what 1, 32 and 1,000
texts take (the fastest of several rounds, since others may compute here, too), and how
much memory the process has come to. On one thread it is the processor's time, which
others do not lengthen. With `--backend` it is the frozen one only, by
torch and by that backend of sentence-transformers, with the model exported before.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import psutil
import torch
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import skdygen
from skdygen import DyGenClassifier
from skdygen.datasets import make_label_noise, make_texts
from skdygen.dynamics import LanguageModelDynamics
from skdygen.dynamics._hub import find_model

from .run import describe_machine, rows_so_far

RESULTS = Path(__file__).parent / "results" / "performance" / "serving.jsonl"
NUMBERS = {1: 9, 32: 5, 1000: 3}  # texts, and rounds of them
BACKENDS = {"openvino": ("openvino", "optimum-intel")}  # and packages behind them


def make_classifiers():
    """Classifiers to be timed, by name."""
    finetuned = DyGenClassifier(dynamics="finetuned", random_state=0)
    final = make_pipeline(TfidfVectorizer(), LogisticRegression())
    return {
        "finetuned": finetuned.set_params(dynamics__n_epochs=2),
        "frozen": DyGenClassifier(dynamics="frozen", random_state=0),
        "frozen, `final_estimator` on words": DyGenClassifier(
            dynamics="frozen", final_estimator=final, random_state=0
        ),
    }


def make_for_backend(backend, folder):
    """The frozen classifier by torch and, exported to a folder, by another backend."""
    # Here, since skops is slow to import where transformers 5.5 came before scipy.
    from sentence_transformers import SentenceTransformer

    frozen = make_classifiers()["frozen"]
    source, _ = find_model(LanguageModelDynamics().model)
    SentenceTransformer(str(source), backend=backend).save(folder)
    other = clone(frozen).set_params(dynamics__model=folder)
    return {"frozen": frozen, f'frozen, `backend="{backend}"`': other}


def main(arguments=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=__doc__
    )
    parser.add_argument("--n-texts", type=int, default=300, help="that are fitted on")
    parser.add_argument("--backend", choices=BACKENDS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    if options.measure:
        print(json.dumps(measure(options.measure[0], options.measure[1] == "warm")))
        return
    texts, right = make_texts(options.n_texts, random_state=0)
    given = make_label_noise(right, rate=0.3, random_state=0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "exported"
        classifiers = make_classifiers()
        if options.backend is not None:
            classifiers = make_for_backend(options.backend, str(exported))
        for i, (name, clf) in enumerate(classifiers.items()):
            path = Path(folder) / f"{i}.skops"
            clf.fit(texts, given)
            needs_model = hasattr(clf.dynamics_, "snapshots_")
            is_exported = needs_model and clf.dynamics_.model == str(exported)
            is_bundled = needs_model and clf.final_estimator is None
            clf.save(path, bundle=is_bundled and not is_exported)
            files = [path, *(exported.rglob("*") if is_exported else ())]
            n_bytes = sum(file.stat().st_size for file in files if file.is_file())
            found = {way: in_own_process(path, way) for way in ("cold", "warm")}
            row = {"name": name, "megabytes_file": n_bytes / 1e6, **found}
            row |= {"threads": torch.get_num_threads(), **describe_machine()}
            if options.backend is not None:
                row["backend"] = options.backend
                packages = BACKENDS[options.backend]
                row["versions"] |= {name: version(name) for name in packages}
            rows.append(row)
            print(row, flush=True)
    kept = [r for r in rows_so_far(RESULTS) if r.get("backend") != options.backend]
    with RESULTS.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in [*kept, *rows])
    print(table(rows))


def in_own_process(path, way):
    """Measure a saved classifier in another process."""
    command = [sys.executable, "-m", "benchmarks.serving", "--measure", path, way]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def measure(path, is_warm):
    """Time a saved classifier, and tell the memory of this process, in megabytes."""
    texts, _ = make_texts(max(NUMBERS), random_state=1)
    clock = choose_clock()
    start = clock()
    clf = skdygen.load(path, warm=is_warm)
    found = {"load": clock() - start}
    found["first"] = seconds(clf, texts[:1])
    for n, n_rounds in NUMBERS.items() if is_warm else ():
        found[str(n)] = min(seconds(clf, texts[:n]) for _ in range(n_rounds))
    return found | {"megabytes": psutil.Process().memory_info().rss / 1e6}


def seconds(clf, texts):
    """Seconds that a prediction takes."""
    clock = choose_clock()
    start = clock()
    clf.predict_proba(texts)
    return clock() - start


def choose_clock():
    """Clock of the processor for one thread, which work of others does not move."""
    is_alone = torch.get_num_threads() == 1
    return time.process_time if is_alone else time.perf_counter


def table(rows):
    """Write what was measured as a table."""
    heads = ["classifier", "load, s", "first prediction, ms", "the same, warm"]
    heads += [f"{n:,} text{'s' * (n > 1)}, ms" for n in NUMBERS]
    heads += ["memory, MB", "file, MB"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        warm = row["warm"]
        cells = [row["name"], f"{warm['load']:.1f}"]
        times = [row["cold"]["first"], warm["first"], *(warm[str(n)] for n in NUMBERS)]
        cells += [f"{1000 * time:,.0f}" for time in times]
        lines.append(
            [*cells, f"{warm['megabytes']:,.0f}", f"{row['megabytes_file']:.0f}"]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
