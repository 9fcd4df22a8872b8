"""What is made of votes, how annotators are scored, and a run cut short."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmarks import run, task, votes
from benchmarks.data import Split, load_votes
from benchmarks.votes_parts import Correlated, Tempered
from skdygen._votes import encode_votes

from .test_report import DATA, needs_data

GOLD = np.arange(60) % 3


@pytest.fixture
def setting():
    """Give votes of three who are mostly right and of one who never is."""
    table = np.repeat(GOLD[:, None], 4, axis=1)
    for j in range(3):
        table[j::10, j] = (GOLD[j::10] + 1) % 3
    table[:, 3] = (GOLD + 1) % 3
    embedded = np.eye(3)[GOLD] + np.random.RandomState(0).normal(0, 0.2, (60, 3))
    found = encode_votes(pd.DataFrame(table, columns=list("abcd")))[1]
    return SimpleNamespace(
        votes=found, classes=np.arange(3), gold=GOLD, given=found.majority(3), seed=0,
        embedded=dict.fromkeys(("train", "development", "test"), embedded),
        task=SimpleNamespace(keep=lambda what, compute: compute()),
    )  # fmt: skip


@pytest.mark.parametrize("method", ["Dawid-Skene", "MACE", "GLAD", "CROWDLAB"])
def test_one_label_is_made_of_votes_and_verified_ones_are_put_in(setting, method):
    found = votes.METHODS[method](setting, np.arange(10))
    np.testing.assert_array_equal(found["labels"][:10], GOLD[:10])
    assert (found["labels"] == GOLD).mean() >= (setting.given == GOLD).mean()
    assert found["noise_rate"] == (found["labels"] != setting.given).mean()
    assert (found["predicted"]["test"].argmax(axis=1) == GOLD).mean() > 0.9


def test_ties_at_random_are_ties():
    found = encode_votes([[0, 1, None], [1, 1, 0], [2, 2, 2]] * 50)[1]
    setting = SimpleNamespace(votes=found, classes=np.arange(3), seed=0)
    codes = votes.drawn(setting).reshape(50, 3)
    assert set(codes[:, 0]) == {0, 1}
    assert (codes[:, 1:] == [1, 2]).all()


def test_votes_of_annotators_that_err_together_count_for_less():
    rng = np.random.RandomState(0)
    gold = rng.randint(2, size=1000)
    first, other = (np.where(rng.rand(1000) < 0.2, 1 - gold, gold) for _ in range(2))
    found = encode_votes(np.column_stack([first, first, other]))[1]
    judges = [judge().fit(found, np.eye(2)[gold] * 0.98 + 0.01, np.full(1000, -1))
              for judge in (Correlated, Tempered)]  # fmt: skip
    weights = [judge._weights(found).reshape(1000, 3).mean(axis=0) for judge in judges]
    np.testing.assert_allclose(weights[0], [0.5, 0.5, 1], atol=0.05)
    np.testing.assert_allclose(weights[1], 3**-0.5)


def test_annotators_are_scored_by_their_votes_and_intervals(setting):
    right = votes.score_annotators(setting, {"labels": GOLD})
    assert right == {"annotator_error": 0}
    table = pd.DataFrame(
        {"accuracy": [0.2, 0.9, 0.9, 0.9], "accuracy_low": 0.85, "accuracy_high": 0.95},
        index=list("dcba"),
    )
    found = votes.score_annotators(setting, {"labels": GOLD, "annotators": table})
    assert found["annotator_error"] == pytest.approx(0.2 / 4)
    assert found["annotator_intervals_hold"] == 0.75
    assert found["annotator_intervals"] == 1
    table.loc["a", ["accuracy_low", "accuracy_high"]] = np.nan
    found = votes.score_annotators(setting, {"labels": GOLD, "annotators": table})
    assert found["annotator_intervals_hold"] == pytest.approx(2 / 3)
    assert found["annotator_intervals"] == 0.75


def test_rows_of_the_file_are_kept():
    split = Split(list("abcd"), np.arange(4), np.arange(4))
    assert split.take([3, 1, 0]).take([0, 2]).rows.tolist() == [3, 0]
    assert (split + split).rows.tolist() == list(range(8))


@needs_data
@pytest.mark.parametrize("name", ["youtube_wrench", "rte_mturk"])
def test_votes_are_those_on_the_training_texts(name, tmp_path, monkeypatch):
    monkeypatch.setattr(task.FrozenStore, "add", lambda self, texts: None)
    drawn = task.Task(name, "frozen", 1, DATA, tmp_path)
    has_vote = load_votes(DATA, name).notna().any(axis=1)
    assert len(drawn.votes) == len(drawn.train) == has_vote.sum()
    assert (drawn.votes.to_numpy() == drawn.train.given[:, None]).any(axis=1).all()


@needs_data
@pytest.mark.long
def test_votes_are_learnt_and_scored(tmp_path, monkeypatch):
    regime = {"n_train": 150, "n_valid": 20, "n_development": 20, "n_test": 60}
    regime["dynamics"] = {"trainable_layers": 0, "n_epochs": 3}
    monkeypatch.setitem(task.REGIMES, "frozen", regime)
    if importlib.util.find_spec("snorkel") is None:
        monkeypatch.delitem(votes.METHODS, "snorkel")
    command = ["--data", str(DATA), "--settings", "youtube_wrench", "--seeds", "0"]
    command += ["--output", str(tmp_path / "rows"), "--cache", str(tmp_path / "cache")]
    some = list(votes.METHODS)[:3]
    votes.main([*command, "--methods", *some])
    before = (tmp_path / "rows").read_text()
    votes.main([*command, "--methods", *votes.METHODS])
    assert (tmp_path / "rows").read_text().startswith(before)
    rows = run.read_rows(tmp_path / "rows")
    assert len(rows) == 2 * len(votes.METHODS)
    scores = {(row["method"], row["n_verified"]): row["scores"] for row in rows}
    given, kept = (scores[m, 0] for m in ("ours on given labels", "majority"))
    assert kept["labels_accuracy"] == kept["majority_accuracy"]
    assert given["given_labels_accuracy"] != kept["given_labels_accuracy"]
    assert "annotator_intervals_hold" in scores["ours on votes", 50]
    assert scores["majority", 50]["labels_accuracy"] > kept["labels_accuracy"]
    votes.main([*command, "--page", str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text()
    gain = scores["ours on votes", 50]["labels_accuracy"] - kept["labels_accuracy"]
    assert f"{100 * gain:+.1f} ({100 * gain:+.1f}) |" in page
    assert "<!--" not in page
