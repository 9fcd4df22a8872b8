"""The scripts of docs/beyond_one_machine.md, on two workers or launchers."""

import os
import re
import runpy
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import skdygen
from skdygen import DyGenClassifier
from skdygen.dynamics import LanguageModelDynamics
from tests.conftest import make_word_texts

DOCS = Path(__file__).parents[1] / "docs"
N_FILES = 6


def run(script):
    """Run a script of the page in this process."""
    runpy.run_path(str(DOCS / "code" / script), run_name="__main__")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Labels to fit on, and files of texts to classify, in the working directory."""
    monkeypatch.chdir(tmp_path)
    texts, labels = make_word_texts(40)
    pd.DataFrame({"text": texts, "label": labels}).to_csv("labels.csv", index=False)
    new, _ = make_word_texts(60, seed=1)
    Path("texts").mkdir()
    for i in range(N_FILES):
        part = pd.DataFrame({"row": range(i, 60, N_FILES), "text": new[i::N_FILES]})
        part.to_parquet(f"texts/{i}.parquet")
    return tmp_path


def check_classified(clf):
    """Compare what a script has written with what one process says of the texts."""
    found = pd.read_parquet("classified").set_index("text").sort_index()
    texts = pd.read_parquet("texts")["text"].sort_values()
    assert_array_equal(found.index, texts)
    expected = clf.predict_proba(texts)
    assert_array_equal(found["label"], clf.classes_[expected.argmax(axis=1)])
    assert_allclose(found["probability"], expected.max(axis=1), atol=1e-2)


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # of dask's own
def test_search_and_predict_on_dask(folder):
    dask = pytest.importorskip("dask")
    distributed = pytest.importorskip("distributed")

    def count_loads():
        from unittest.mock import patch

        from skdygen.dynamics import _engine

        patch.object(_engine, "make_backbone", wraps=_engine.make_backbone).start()

    def n_loads():
        from skdygen.dynamics import _engine

        return _engine.make_backbone.call_count

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        dask.config.set({"scheduler-address": cluster.scheduler_address}),
        distributed.Client() as client,
    ):
        run("search_dask.py")
        # Of two folds and the whole; stage 2 twice for each fold.
        assert len(list(folder.glob("cache/**/_fit_stage/*/output.pkl"))) == 3 + 5
        client.run(count_loads)
        run("predict_dask.py")
        assert max(client.run(n_loads).values()) == 1
    assert len(list(folder.glob("classified/*.parquet"))) == N_FILES
    check_classified(skdygen.load("model.skops"))


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # of ray's own
def test_predict_on_ray(folder, tiny_model):
    ray = pytest.importorskip("ray", reason="ray is large, and not in an extra")
    dynamics = LanguageModelDynamics(tiny_model, n_epochs=2, learning_rate=1e-2)
    table = pd.read_csv("labels.csv")
    clf = DyGenClassifier(dynamics, random_state=0).fit(table["text"], table["label"])
    clf.save("model.skops", bundle=True)
    ray.init(num_cpus=3, include_dashboard=False)  # two workers, and one that reads
    try:
        run("predict_ray.py")
    finally:
        ray.shutdown()
    check_classified(clf)


@pytest.mark.long
def test_two_machines_fit_together(folder):
    page = (DOCS / "beyond_one_machine.md").read_text().replace("\\\n", "")
    (command,) = re.findall("accelerate launch .*--num_machines.*", page)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launch = f"{shlex.quote(sys.executable)} -m accelerate.commands.launch"
    for old, new in (
        ("accelerate launch", launch),
        ("HOST", "127.0.0.1"),
        ("29500", port),
        ("fit_together.py", shlex.quote(str(DOCS / "code" / "fit_together.py"))),
    ):
        assert old in command
        command = command.replace(old, new)
    machines = []
    for rank in "01":
        (folder / rank).mkdir()
        (folder / rank / "labels.csv").symlink_to(folder / "labels.csv")
        arguments = shlex.split(command.replace("RANK", rank))
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
        machines.append(subprocess.Popen(arguments, cwd=folder / rank, env=environment))
    assert [machine.wait(timeout=150) for machine in machines] == [0, 0]
    assert not (folder / "1" / "model.skops").exists()  # the other is the main one
    clf = skdygen.load("0/model.skops")
    texts, labels = make_word_texts(60, seed=1)
    assert clf.score(texts, labels) > 0.8
