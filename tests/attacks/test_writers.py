"""Two processes that write one file, and threads and forks that predict."""

import multiprocessing
import os

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import Parallel, delayed
from numpy.testing import assert_array_equal

import skdygen
from skdygen import DyGenClassifier, Trajectories
from skdygen._cli import _tables
from skdygen.dynamics import IncrementalDynamics, LanguageModelDynamics
from skdygen.inspection import _html_report
from tests.attacks import FORKSERVER, cases
from tests.conftest import make_word_texts

pytestmark = pytest.mark.long

TEXTS, LABELS = make_word_texts(40)
LABELS[::7] = LABELS[1]
WORDS = [f"word {i}" for i in range(300)]


def write_model(path, number):
    clf = DyGenClassifier(class_weight=dict.fromkeys(WORDS, number))
    return lambda: clf.save(path, overwrite=True)


def read_model(path):
    return skdygen.load(path).class_weight.values()


def write_trajectories(path, number):
    array = np.full((4000, 2, 3, 2), number / 2)
    made = Trajectories(array, np.full_like(array, 0.5))
    return lambda: made.save(path)


def read_trajectories(path):
    return np.ravel(Trajectories.load(path).embeddings) * 2


def write_table(path, number):
    table = pd.DataFrame({"word": WORDS, "number": number})
    return lambda: _tables.write_table(table, path)


def read_table(path):
    return _tables.read_table(path)["number"].astype(int)


def write_report(path, number):
    dynamics = IncrementalDynamics(n_epochs=2)
    clf = DyGenClassifier(dynamics, store_trajectories=True, random_state=0)
    clf.fit(TEXTS, LABELS)
    _html_report._draw = lambda *_: {}  # which would take a second
    _html_report._render = lambda **_: f"{number}" * 10**6
    return lambda: _html_report.write_report(clf, path, TEXTS, overwrite=True)


def read_report(path):
    content = path.read_text()
    assert len(content) == 10**6
    return map(int, set(content))


def write_again_and_again(write, path, number, barrier):
    """Write a file that says the number everywhere, as often as there are rounds."""
    write = write(path, number)
    write()
    barrier.wait(timeout=60)
    for _ in cases(100):
        write()


@pytest.mark.parametrize(
    ("name", "write", "read"),
    [
        ("model.skops", write_model, read_model),
        ("trajectories", write_trajectories, read_trajectories),
        ("report.html", write_report, read_report),
        *((f"table{s}", write_table, read_table) for s in (".csv", ".jsonl.gz")),
        *((f"table{s}", write_table, read_table) for s in (".parquet", ".xlsx")),
    ],
)
def test_two_writers_of_one_file(name, write, read, tmp_path):
    """At any time it is whole, and one of theirs."""
    path, barrier, found = tmp_path / name, FORKSERVER.Barrier(3), []
    children = [
        FORKSERVER.Process(target=write_again_and_again, args=(write, path, n, barrier))
        for n in range(2)
    ]
    for child in children:
        child.start()
    barrier.wait(timeout=60)
    while not found or any(child.is_alive() for child in children):
        (number,) = set(read(path))
        found.append(number)
    assert [child.exitcode for child in children] == [0, 0]
    assert set(found) <= {0, 1}
    assert [path.name for path in tmp_path.iterdir()] == [name]
    print(f"{name}: read {len(found)} times, {np.mean(found):.2f} by the second")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_threads_and_forks_that_predict(tiny_model):
    params = {"n_epochs": 1, "trainable_layers": 1, "random_state": 0}
    dynamics = LanguageModelDynamics(tiny_model, **params)
    dynamics.fit(TEXTS, LABELS)
    expected = dynamics.predict_proba(TEXTS)

    def predict(number):
        if number % 20 == 10:  # while the others predict
            child = multiprocessing.get_context("fork").Process(target=check)
            child.start()
            child.join(timeout=60)
            child.kill()  # if it waits for ever
            child.join()
            assert child.exitcode == 0, f"fork {number}"
        check()

    def check():
        assert_array_equal(dynamics.predict_proba(TEXTS), expected)

    with torch.random.fork_rng():  # random numbers belong to all threads
        Parallel(n_jobs=8, prefer="threads")(delayed(predict)(i) for i in range(40))
