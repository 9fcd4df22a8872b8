"""The benchmark's harness, on a real data set cut short."""

import importlib.util
import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

if importlib.util.find_spec("cleanlab") is None:
    pytest.skip("the benchmark needs cleanlab", allow_module_level=True)

from benchmarks import methods, report, run, task
from benchmarks.data import draw_setting, load_splits
from benchmarks.methods import Outcome
from benchmarks.scores import score_outcome
from skdygen.utils._torch import torch_seed
from tests.test_real_data import DATA, pytestmark  # noqa: F401


@pytest.fixture
def short(monkeypatch):
    """Make the regime "frozen" a matter of seconds."""
    regime = {
        "n_train": 150,
        "n_valid": 20,
        "n_development": 20,
        "n_test": 60,
        "dynamics": {"trainable_layers": 0, "n_epochs": 3},
    }
    monkeypatch.setitem(task.REGIMES, "frozen", regime)


def test_run_stops_and_goes_on_and_report(short, tmp_path, monkeypatch, capsys):
    output, cache = tmp_path / "results" / "cells.jsonl", tmp_path / "cache"
    command = ["--data", str(DATA), "--settings", "youtube_wrench", "--seeds", "0"]
    command += ["--output", str(output), "--cache", str(cache)]

    def interrupted(task):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setitem(methods.METHODS, "NPC", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.main(command)
    before = output.read_text()
    assert 0 < len(before.splitlines()) < len(methods.METHODS)

    def none_anew(*args):
        raise AssertionError("a fit that is there is made again")

    n_fits = len(list((cache / "fits").iterdir()))
    run.main(command)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert output.read_text().startswith(before)
    assert [row["method"] for row in rows] == list(methods.METHODS)
    assert len(list((cache / "fits").iterdir())) == n_fits + 1  # that on gold labels
    monkeypatch.setattr(task, "fit_dynamics", none_anew)
    capsys.readouterr()
    run.main(command)
    assert capsys.readouterr().out == ""
    name = "ablation: first epoch only"
    run.main([*command, "--methods", name, "every epoch"])

    (tmp_path / "docs").mkdir()
    report.main(["--results", str(output.parent), "--docs", str(tmp_path / "docs")])
    page = (tmp_path / "docs" / "benchmarks.md").read_text()
    assert "<!--" not in page
    by_method = {row["method"]: row["scores"] for row in rows}
    assert f"{by_method['default']['test_accuracy']:.3f}" in page
    assert (tmp_path / "docs" / "images" / "benchmark_frozen.svg").exists()


def test_a_cell_with_two_rows_is_no_mean_of_both(tmp_path):
    row = {"setting": "a", "regime": "frozen", "seed": 0, "method": "plain"}
    for name in ("first", "second"):
        text = json.dumps(row | {"scores": {"test_accuracy": 0.5}})
        (tmp_path / f"{name}.jsonl").write_text(text)
    with pytest.raises(ValueError, match=r"two rows of the cell .*'plain'"):
        report.load_cells(tmp_path)


def test_splits_share_no_text_and_noise_is_as_asked():
    sizes = {"train": 300, "valid": 50, "development": 80, "test": 90}
    splits = load_splits(DATA, "mr_chatgpt")
    drawn = draw_setting(splits, ("symmetric", 0.4), sizes=sizes, seed=1, embed=None)
    assert {name: len(split) for name, split in drawn.items()} == sizes
    wrong = drawn["train"].given != drawn["train"].gold
    assert 0.3 < wrong.mean() < 0.5
    train = set(drawn["train"].texts)
    assert not train & set(drawn["development"].texts)
    assert not train & set(drawn["test"].texts)
    as_given = draw_setting(splits, None, sizes=sizes, seed=1, embed=None)["train"]
    assert (as_given.given == as_given.gold).mean() > 0.8


def test_scores_of_a_known_outcome():
    gold = np.array([0, 0, 1, 1, 2, 2])
    given = np.array([0, 1, 1, 1, 2, 0])
    splits = {"train": draw(gold, given), "test": draw(gold, None)}
    distributions = np.eye(3)[[0, 0, 1, 1, 2, 2]] * 0.7 + 0.1
    found = score_outcome(
        Outcome(
            classes=np.arange(3),
            predicted={"test": np.eye(3)[[0, 0, 1, 1, 2, 0]]},
            seconds=1.0,
            suspicion=1 - distributions[np.arange(6), given],
            labels=given,
            distributions=distributions,
            noise_rate=0.25,
            transition=np.eye(3),
        ),
        splits,
    )
    assert found["test_accuracy"] == pytest.approx(5 / 6)
    assert found["given_labels_accuracy"] == pytest.approx(4 / 6)
    assert found["labels_accuracy"] == pytest.approx(4 / 6)
    assert found["most_probable_accuracy"] == 1
    assert found["auroc"] == roc_auc_score([0, 1, 0, 0, 0, 1], [0, 1, 0, 0, 0, 1])
    assert found["noise_rate_error"] == pytest.approx(1 / 3 - 0.25)
    # One of two labels of classes 0 and 2 is wrong: half off in a third of the texts.
    assert found["transition_error"] == pytest.approx((0.5 + 0 + 0.5) / 3)
    assert found["brier"] == pytest.approx(0.2**2 + 2 * 0.1**2)
    assert found["calibration_error"] == pytest.approx(0.2)


def draw(gold, given):
    from benchmarks.data import Split

    return Split([""] * len(gold), gold, given)


def test_differences_are_paired_and_interval_holds_the_mean():
    rows = [
        {"setting": s, "regime": "frozen", "seed": seed, "method": m, "x": v + 0.1 * m}
        for s, v in (("trec_wrench", 0.3), ("noisyagnews", 0.6))
        for seed in (0, 1)
        for m in (0, 1)
    ]
    means = report.by_setting(pd.DataFrame(rows), "frozen", "x", [0, 1])
    differences, intervals = report.difference_to(means, 0)
    np.testing.assert_allclose(differences[1], 10)
    np.testing.assert_allclose(intervals[1], 10)


def test_co_teaching_learns_from_what_the_other_finds_easy():
    from benchmarks import rivals

    rng = np.random.RandomState(0)
    logits = torch.tensor(rng.randn(2, 10, 3), requires_grad=True)
    targets = torch.tensor(rng.randint(3, size=10))
    model = rivals.CoTeaching(n_epochs=4)
    model.forget_rate = 0.4
    losses = -logits.detach().log_softmax(-1)[:, torch.arange(10), targets].numpy()
    for epoch, n_kept in [(0, 10), (1, 8), (2, 6), (3, 6)]:
        expected = [
            losses[m][np.argsort(losses[1 - m])[:n_kept]].mean() for m in (0, 1)
        ]
        loss = model._loss(logits, targets, torch.ones(len(targets)), epoch)
        assert loss.item() == pytest.approx(np.mean(expected))
    loss.backward()
    is_used = logits.grad.abs().sum(-1) > 0
    assert is_used.sum(dim=1).tolist() == [6, 6]


def test_approximate_sample_is_close_for_small_concentrations():
    from benchmarks.rivals import ApproximateVAE

    alpha = torch.tensor([0.2, 0.3, 0.5]).repeat(20_000, 1)
    with torch_seed(0):
        y = ApproximateVAE()._make_network(1, 2, 3).draw(alpha)
    assert torch.allclose(y.sum(-1), torch.ones(20_000))
    assert torch.allclose(y.mean(0), alpha[0], atol=0.03)
