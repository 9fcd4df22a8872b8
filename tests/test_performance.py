"""The harness that measures speed and growth, on a handful of texts."""

import argparse
import importlib.util
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsTransformer

if importlib.util.find_spec("cleanlab") is None:
    pytest.skip("the benchmark needs cleanlab", allow_module_level=True)

from benchmarks import performance, scaling, speed
from benchmarks.methods import LAYERS, RECORDINGS
from benchmarks.published import fit_published
from benchmarks.run import read_rows
from skdygen.datasets import make_texts
from skdygen.dynamics import LanguageModelDynamics
from skdygen.dynamics._recording import kept_epochs
from skdygen.priors import _approximate
from skdygen.utils._torch import torch_seed


def rounds(part, *seconds):
    return {"part": part, "rounds": list(seconds), "n_texts": 9, "n_epochs": 5}


def test_ratios_are_medians_of_rounds():
    ours, theirs = "DyGenClassifier, all layers", "Trainer, once per branch"
    in_float32 = "the same in float32"
    trainer = rounds(
        "trainer",
        {ours: 1.0, in_float32: 4.0, theirs: 4.0},
        {ours: 3.0, in_float32: 4.0, theirs: 5.0},
        {ours: 9.0, in_float32: 5.0, theirs: 10.0},
    )
    row, without_target = performance.ratios({"trainer": trainer})
    assert row["ratio"] == "0.60"
    assert (row["median"], row["its median"]) == ("3.0", "5.0")
    assert row[" "] == "missed"
    assert (without_target["ratio"], without_target["target"]) == ("0.80", "")
    whole = {
        "stage 1": 9.5,
        "recording": 1.2,
        "stage 1, recording='evaluation'": 19.5,
        "recording, recording='evaluation'": 1.4,
        "stages 2 and 3": 0.5,
    }
    denoising, recording, otherwise = performance.shares(
        {"shares": rounds("shares", whole)}
    )
    assert (denoising["ratio"], denoising[" "]) == ("0.05", "reached")
    assert (recording["ratio"], recording[" "]) == ("0.12", "missed")
    assert (otherwise["ratio"], otherwise[" "]) == ("0.07", "reached")


def test_exponent():
    found = pd.DataFrame({"seconds": [1.0, 10.0, 100.0]}, index=[10, 100, 1000])
    assert performance.exponent(found) == pytest.approx(1.0)
    found["seconds"] **= 2
    assert performance.exponent(found) == pytest.approx(2.0)


def test_the_published_procedure_learns(tiny_model, word_texts):
    texts, labels, _ = word_texts
    with torch_seed(0):
        posterior = fit_published(
            tiny_model, texts[:80], labels[:80], texts[80:], n_branches=2, n_epochs=10,
            batch_size=8, max_length=12, seed=0, learning_rate=1e-2,
        )  # fmt: skip
    found = np.unique(labels)[posterior.argmax(axis=1)]
    assert (found == labels[80:]).mean() > 0.9


def test_made_trajectories_are_as_said(tmp_path):
    trajectories, true, given = scaling.make_trajectories(500, str(tmp_path))
    default = LanguageModelDynamics()
    kept = kept_epochs(
        default.trajectory_epochs, default.n_epochs, default.trainable_layers
    )
    assert trajectories.embeddings.shape == (500, default.n_branches, len(kept), 384)
    assert (given == true).mean() == pytest.approx(0.7, abs=0.01)
    assert len(list(tmp_path.iterdir())) == 3  # mapped


def test_neighbors_are_compared(tmp_path, monkeypatch):
    texts, names = make_texts(400, random_state=0)
    codes = np.unique(names, return_inverse=True)[1]
    monkeypatch.setattr(scaling, "pooled_texts", lambda _: (texts, codes))
    # Compiling would take most of the time; that it is right is tested with the priors.
    monkeypatch.setattr(
        _approximate,
        "_make_index",
        lambda points, n: KNeighborsTransformer(n_neighbors=n - 1).fit(points),
    )
    row = scaling.neighbors(300, argparse.Namespace(data=None, cache=tmp_path))
    assert row["n_clean"] == 150
    assert row["recall, approximate"] > 0.9
    # At this size the default asks all clean texts, and looks at all of them.
    right = row["accuracy, exact"]
    assert row["accuracy, some"] == right > 0.6
    assert row["accuracy, approximate"] == pytest.approx(right, abs=0.1)
    row |= {"part": "neighbors", "n_texts": 300}
    some, exact, approximate = performance.neighbors([row])
    assert exact["neighbours among"] == "all 150"
    assert some["recall"] == exact["recall"] == ""
    assert approximate["recall"] == f"{row['recall, approximate']:.3f}"
    with pytest.raises(SystemExit):
        scaling.main(["--parts", "neighbors", "--output", str(tmp_path / "rows")])


def test_measure_and_report(tmp_path):
    results, docs = tmp_path / "results", tmp_path / "docs"
    docs.mkdir()
    folder = results / "performance"
    command = ["--n-texts", "12", "--n-epochs", "1", "--rounds", "1"]
    command += ["--output", str(folder / "speed.jsonl")]
    speed.main([*command, "--parts", "shares", "layers"])
    command = ["--sizes", "200", "400", "--temp-folder", str(tmp_path)]
    command += ["--output", str(folder / "scaling.jsonl")]
    scaling.main([*command, "--parts", "stages 2 and 3"])
    rows = read_rows(folder / "scaling.jsonl")
    assert [row["n_texts"] for row in rows] == [200, 400]
    assert all(row["accuracy"] > 0.5 for row in rows)  # of ten classes
    assert all(row["peak_private_megabytes"] > 0 for row in rows)
    cells = [
        {
            "setting": "trec_wrench",
            "regime": "finetuned",
            "seed": 0,
            "method": name,
            "seconds": 10.0,
            "scores": {"test_accuracy": 0.5 + 0.1 * ("default" in name)},
        }
        for name in LAYERS
    ]
    cells += [
        {
            "setting": "trec_wrench",
            "regime": "frozen",
            "seed": 0,
            "method": name,
            "scores": {
                "development_accuracy": 0.9 - 0.01 * i,
                "test_accuracy": 0.5 + 0.01 * i,
                "most_probable_accuracy": 0.6,
                "auroc": 0.7,
            },
        }
        for i, name in enumerate(RECORDINGS)
    ]
    (results / "cells.jsonl").write_text("\n".join(map(json.dumps, cells)))
    performance.main(["--results", str(results), "--docs", str(docs)])
    page = (docs / "performance.md").read_text()
    assert "<!--" not in page
    assert "| all | 0.500 | 0.600 | +10.0 |" in page
    assert "| 400 |" in page
    row = "| three of the epochs | -1.0 | +1.0 (+1.0 to +1.0) | +1.0 | +0.0 | +0.000 |"
    assert row in page
    for name in ("growth", "layers"):
        assert (docs / "images" / f"performance_{name}.svg").exists()
