"""Methods, scores, tables, and a whole run on a real data set cut short."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmarks import embeddings, methods, report, rivals, run, task, verified
from benchmarks.data import Split, draw_setting, load_splits, mix, shape
from benchmarks.scores import score_outcome
from skdygen._torch import seeded

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real data sets are not beside this checkout"
)


@needs_data
@pytest.mark.long
def test_run_stops_and_resumes_and_report(tmp_path, monkeypatch, capsys):
    regime = {"n_train": 150, "n_valid": 20, "n_development": 20, "n_test": 60}
    regime["dynamics"] = {"trainable_layers": 0, "n_epochs": 3}
    monkeypatch.setitem(task.REGIMES, "frozen", regime)
    output, cache = tmp_path / "results" / "cells.jsonl", tmp_path / "cache"
    command = ["--data", str(DATA), "--settings", "youtube_wrench", "--seeds", "0"]
    command += ["--output", str(output), "--cache", str(cache)]
    with monkeypatch.context() as context:
        context.setitem(methods.METHODS, "NPC", lambda task: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run.main(command)
    before = output.read_text()
    assert 0 < len(before.splitlines()) < len(methods.METHODS)
    run.main(command)
    rows = run.read_rows(output)
    assert output.read_text().startswith(before)
    assert [row["method"] for row in rows] == list(methods.METHODS)
    monkeypatch.setattr(task, "fit_dynamics", None)  # no fit is made again
    capsys.readouterr()
    run.main(command)
    assert capsys.readouterr().out == ""
    some = ["ablation: first epoch only", "ablation: approximate Dirichlet sample"]
    run.main([*command, "--methods", *some, "every epoch"])

    landing = tmp_path / "index.md"
    landing.write_text("A\n<!-- measured -->\nold\n<!-- end of measured -->\nB\n")
    report.main(["--results", str(output.parent), "--docs", str(tmp_path)])
    page = (tmp_path / "benchmarks.md").read_text()
    accuracy = {row["method"]: row["scores"]["test_accuracy"] for row in rows}
    assert f"| **default** | {accuracy['default']:.3f} |" in page
    points = 100 * (accuracy["cleanlab"] - accuracy["plain"])
    cells = rf"\| cleanlab \| \**{accuracy['cleanlab']:.3f}\** \| "
    assert re.search(cells + re.escape(f"{points:+.1f}"), landing.read_text())
    assert "\nold\n" not in landing.read_text()


@needs_data
@pytest.mark.long
def test_verified_labels_are_drawn_told_and_scored(tmp_path, monkeypatch):
    regime = {"n_train": 150, "n_valid": 20, "n_development": 20, "n_test": 60}
    regime["dynamics"] = {"trainable_layers": 0, "n_epochs": 3}
    monkeypatch.setitem(task.REGIMES, "frozen", regime)
    monkeypatch.setattr(rivals, "_MOST_STEPS", 3)
    command = ["--data", str(DATA), "--settings", "youtube_wrench", "--draws", "2"]
    command += ["--output", str(tmp_path / "rows"), "--cache", str(tmp_path / "cache")]
    command += ["--numbers", "0", "30"]
    verified.main(command)
    rows = run.read_rows(tmp_path / "rows")
    numbers = [verified.n_draws(m, n, 2) for m in verified.METHODS for n in (0, 30)]
    assert len(rows) == sum(numbers)
    for row in rows:
        scores, n_right = row["scores"], 150 * row["scores"]["labels_accuracy"]
        assert n_right == pytest.approx(round(n_right))
        is_told = row["n_verified"] and row["method"] != "default, verified put in"
        if row["method"].startswith("default") and is_told:
            assert 0 < scores["interval_width"] < 1
    verified.main([*command, "--labels", "gold", "--methods", "default"])
    added = run.read_rows(tmp_path / "rows")[len(rows) :]
    assert [row["scores"]["given_labels_accuracy"] for row in added] == [1, 1, 1]
    verified.main([*command, "--page", str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text()
    at_30 = [r for r in rows if r["method"] == "default" and r["n_verified"] == 30]
    gain = 100 * np.mean([r["scores"]["labels_accuracy"] for r in at_30])
    gain -= 100 * at_30[0]["scores"]["given_labels_accuracy"]
    assert f"{gain:+.1f}" in page


def test_a_cell_with_two_rows_is_no_mean_of_both(tmp_path):
    row = {"setting": "a", "regime": "frozen", "seed": 0, "method": "plain"}
    for name in ("first", "second"):
        (tmp_path / f"{name}.jsonl").write_text(
            json.dumps(row | {"scores": {"x": 0.5}})
        )
    with pytest.raises(ValueError, match=r"two rows of the cell .*'plain'"):
        report.load_cells(*tmp_path.glob("*.jsonl"))


@needs_data
def test_splits_share_no_text_and_noise_is_as_asked():
    sizes = {"train": 300, "valid": 50, "development": 80, "test": 90}
    splits = load_splits(DATA, "mr_chatgpt")
    drawn = draw_setting(splits, ("symmetric", 0.4), sizes=sizes, seed=1, embed=None)
    assert {name: len(split) for name, split in drawn.items()} == sizes
    assert 0.3 < (drawn["train"].given != drawn["train"].gold).mean() < 0.5
    others = {*drawn["development"].texts, *drawn["test"].texts}
    assert not others.intersection(drawn["train"].texts)
    as_given = draw_setting(splits, None, sizes=sizes, seed=1, embed=None)["train"]
    assert (as_given.given == as_given.gold).mean() > 0.8


def test_data_sets_are_mixed_and_classes_thinned_out():
    first = Split([f"a{row}" for row in range(400)], np.repeat([0, 1], 200), None)
    second = Split([f"b{row}" for row in range(200)], np.repeat([0, 1], 100), None)
    first.given, second.given = np.full(400, -1), np.full(200, -1)
    (mixed,) = mix([[first], [second]])
    assert np.bincount(mixed.gold).tolist() == [200, 200, 100, 100]
    assert [text[0] for text in mixed.texts] == ["ab"[code // 2] for code in mixed.gold]
    (few,) = shape([mixed], 4, 8)
    assert np.bincount(few.gold).tolist() == [200, 100, 50, 25]
    right = dict(zip(mixed.texts, mixed.gold, strict=True))
    assert [right[text] for text in few.texts] == few.gold.tolist()
    (two,) = shape([mixed], 2, 1)
    assert np.bincount(two.gold).tolist() == [200, 200]


def test_gains_are_told_by_shape():
    cells = pd.DataFrame(
        {
            "setting": ["agnews/2/13:symmetric:0.1"] * 2 + ["trec_wrench"] * 2,
            "method": ["plain", "default"] * 2,
            "test_accuracy": [0.5, 0.625, 0.5, 0.75],
        }
    )
    table = report.shapes(cells)
    assert table.splitlines()[0].endswith("| largest / smallest | symmetric 0.1 |")
    assert table.splitlines()[2:] == ["| agnews | 2 | 13 | +12.5 |"]


def test_shapes_of_data_are_no_part_of_the_comparison():
    """Rivals are not run on them."""
    row = {"regime": "frozen", "seed": 0, "method": "default", "test_accuracy": 0.5}
    row |= {"seconds": 4.0, "peak_memory_megabytes": 1.0, "average_precision": 0.5}
    row |= {"given_labels_accuracy": 0.5, "noise_rate_error": 0.25}
    usual = row | {"setting": "trec_wrench", "labels_accuracy": 0.5625, "auroc": 0.75}
    shaped = row | {"setting": "agnews/2/13:symmetric:0.1", "labels_accuracy": 1.0}
    shaped |= {"auroc": 1.0, "seconds": 1.0, "noise_rate_error": 0.0}
    all_methods = [usual | {"method": name} for name in report.METHODS]
    alone = pd.DataFrame(all_methods)
    both = pd.DataFrame([*all_methods, shaped, shaped | {"method": "plain"}])
    for table in (report.labels, report.summary):
        assert table(both, "frozen") == table(alone, "frozen")
    assert "+6.2" in report.labels(both, "frozen")
    found = [[*report._label_targets(cells, "frozen")] for cells in (both, alone)]
    assert found[0] == found[1]


def test_scores_of_a_known_outcome():
    gold, given = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 0])
    splits = {"train": Split([], gold, given), "test": Split([], gold, None)}
    distributions = np.eye(3)[gold] * 0.7 + 0.1
    outcome = methods.Outcome(
        np.arange(3), {"test": np.eye(3)[[0, 0, 1, 1, 2, 0]]}, seconds=1.0,
        suspicion=1 - distributions[np.arange(6), given], labels=given,
        distributions=distributions, noise_rate=0.25, transition=np.eye(3),
    )  # fmt: skip
    expected = {
        "test_accuracy": 5 / 6,
        "given_labels_accuracy": 4 / 6,
        "labels_accuracy": 4 / 6,
        "most_probable_accuracy": 1,
        "auroc": roc_auc_score([0, 1, 0, 0, 0, 1], [0, 1, 0, 0, 0, 1]),
        "noise_rate_error": 1 / 3 - 0.25,
        # One of two labels of classes 0 and 2 is wrong: half off in a third of texts.
        "transition_error": (0.5 + 0 + 0.5) / 3,
        "brier": 0.2**2 + 2 * 0.1**2,
        "calibration_error": 0.2,
    }
    found = score_outcome(outcome, splits)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_differences_are_paired_and_interval_holds_the_mean():
    means = pd.DataFrame({"plain": [0.3, 0.6], "ours": [0.4, 0.7]})
    differences, intervals = report.difference_to(means, "plain")
    np.testing.assert_allclose(differences["ours"], 10)
    np.testing.assert_allclose(intervals["ours"], 10)


def test_co_teaching_learns_from_what_the_other_finds_easy():
    logits = torch.tensor([[[0.0, 0.0], [3.0, 0.0]], [[0.0, 0.0], [-3.0, 0.0]]])
    loss = rivals.co_teaching_loss(logits, torch.tensor([0, 0]), torch.ones(2), 0.5)
    # The first network finds the second text easier, the second network the first.
    assert loss.item() == pytest.approx((np.log(2) + np.log1p(np.exp(3))) / 2)


def test_co_teaching_forgets_ever_more_and_reads_stored_embeddings(
    tiny_model, word_texts, tmp_path, monkeypatch
):
    texts, _, noisy = word_texts
    points = np.random.RandomState(0).randn(len(texts), 32).astype(np.float16)
    monkeypatch.setattr(embeddings, "encode", lambda texts: points)
    store = embeddings.FrozenStore(tmp_path)
    store.add([*texts])
    monkeypatch.setattr(embeddings.StoredDynamics, "store", store)
    rates = []
    monkeypatch.setattr(
        rivals, "co_teaching_loss", lambda x, *rest: rates.append(rest[-1]) or x.sum()
    )
    params = {"trainable_layers": 0, "n_epochs": 4, "batch_size": 50}
    model = rivals.CoTeaching(tiny_model, **params, random_state=0)
    model.forget_rate = 0.4
    fitted = model.fit_transform(texts, noisy)
    assert rates == pytest.approx(np.repeat([0, 0.2, 0.4, 0.4], 3))
    np.testing.assert_array_equal(fitted.views["initial"], store(texts))
    np.testing.assert_array_equal(
        model.transform(texts[:5]).views["initial"], store(texts[:5])
    )


def test_approximate_sample_is_close_for_small_concentrations():
    alpha = torch.tensor([0.2, 0.3, 0.5]).repeat(20_000, 1)
    with seeded(0):
        y = rivals.ApproximateVAE._network(1, 2, 3).draw(alpha)
    assert torch.allclose(y.sum(-1), torch.ones(20_000))
    assert torch.allclose(y.mean(0), alpha[0], atol=0.03)
