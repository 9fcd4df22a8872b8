"""The command that times predictions."""

import json

from benchmarks import serving
from skdygen import DyGenClassifier
from skdygen.dynamics import IncrementalDynamics


def test_command(tmp_path, monkeypatch, capsys):
    clf = DyGenClassifier(IncrementalDynamics(), random_state=0)
    monkeypatch.setattr(serving, "make_classifiers", lambda: {"quick": clf})
    monkeypatch.setattr(serving, "RESULTS", tmp_path / "serving.jsonl")
    monkeypatch.setattr(serving, "NUMBERS", {1: 1, 40: 1})
    monkeypatch.setattr(
        serving,
        "in_own_process",
        lambda path, way: serving.measure(path, way == "warm"),
    )
    serving.main(["--n-texts", "60"])
    (row,) = map(json.loads, serving.RESULTS.read_text().splitlines())
    assert row["name"] == "quick"
    assert row["warm"].keys() == {"load", "first", "1", "40", "megabytes"}
    assert "| quick |" in capsys.readouterr().out
