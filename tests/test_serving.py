"""The service of docs/serving.md, asked over the loopback."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from numpy.testing import assert_allclose

from skdygen import DyGenClassifier
from skdygen.dynamics import LanguageModelDynamics
from tests.conftest import make_word_texts

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

FOLDER = Path(__file__).parents[1] / "docs" / "code"


def ask(url, **question):
    data = json.dumps(question).encode() if question else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@contextmanager
def serve(model, classes):
    """Serve a saved model of these classes; give the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = str(FOLDER.parents[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "serve:app", "--port", str(port)],
        cwd=FOLDER, env=os.environ | {"MODEL": str(model), "PYTHONPATH": root},
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                assert ask(f"{address}/health") == {"classes": classes}
                break
            except urllib.error.URLError:
                assert process.poll() is None
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def service(tiny_model, tmp_path):
    """Serve a classifier; give it and the address."""
    texts, labels = make_word_texts(120)
    dynamics = LanguageModelDynamics(tiny_model, trainable_layers=0, n_epochs=3)
    clf = DyGenClassifier(dynamics, random_state=0).fit(texts, labels)
    clf.save(tmp_path / "model.skops", bundle=True)
    with serve(tmp_path / "model.skops", ["animal", "fruit"]) as address:
        yield clf, address


@pytest.mark.long
def test_service(service):
    clf, address = service
    texts, _ = make_word_texts(90, seed=1)
    url = f"{address}/classify"
    expected = clf.predict_proba(texts)
    best = expected.max(axis=1)
    found = ask(url, texts=texts)
    assert [row["label"] for row in found] == clf.predict(texts).tolist()
    assert_allclose([row["probability"] for row in found], best, atol=1e-5)
    middle = float(best.mean())
    found = ask(url, texts=texts, reject=middle)
    assert [row["label"] is None for row in found] == (best < middle).tolist()
    # Requests at the same time get each their own.
    parts = [texts[i : i + 1 + i % 3] for i in range(60)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda part: ask(url, texts=part), parts))
    for part, answer in zip(parts, answers, strict=True):
        assert [row["label"] for row in answer] == clf.predict(part).tolist()
    for wrong in ({"texts": []}, {"texts": ["a"] * 1001}, {"texts": [1]}):
        with pytest.raises(urllib.error.HTTPError, match="422"):
            ask(url, **wrong)

    # What one sends that cannot be read does not touch the others.
    def try_to_ask(text):
        try:
            return len(ask(url, texts=[text]))
        except urllib.error.HTTPError as error:
            return error.code

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(try_to_ask, ["a b", "a \ud800 b"] * 20))
    assert found == [1, 422] * 20
    assert len(ask(url, texts=["still there"])) == 1
