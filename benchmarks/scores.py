"""How well a method did, by the right labels."""

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    roc_auc_score,
)

_BINS = 10


def score_outcome(outcome, splits):
    """Score what a method gives.

    Parameters
    ----------
    outcome : Outcome
        Of a method.
    splits : dict of str to Split
        "train", "development" and "test".

    Returns
    -------
    scores : dict of str to float
        Without those that the method gives nothing for.
    """
    scores = {}
    for part, probabilities in outcome.predicted.items():
        gold = splits[part].gold
        found = outcome.classes[probabilities.argmax(axis=1)]
        scores[f"{part}_accuracy"] = accuracy_score(gold, found)
        scores[f"{part}_macro_f1"] = f1_score(
            gold, found, average="macro", zero_division=0.0
        )
    train = splits["train"]
    is_wrong = train.given != train.gold
    scores["given_labels_accuracy"] = 1 - is_wrong.mean()
    if outcome.suspicion is not None:
        scores["auroc"] = roc_auc_score(is_wrong, outcome.suspicion)
        scores["average_precision"] = average_precision_score(
            is_wrong, outcome.suspicion
        )
    if outcome.labels is not None:
        scores["labels_accuracy"] = accuracy_score(train.gold, outcome.labels)
    if outcome.noise_rate is not None:
        scores["noise_rate"] = outcome.noise_rate
        scores["noise_rate_error"] = abs(outcome.noise_rate - is_wrong.mean())
    if outcome.distributions is not None:
        scores |= _score_distributions(outcome, train)
    if outcome.transition is not None:
        scores["transition_error"] = _transition_error(outcome, train)
    return {name: float(value) for name, value in scores.items()}


def _score_distributions(outcome, train):
    """Accuracy of the most probable label, Brier score and calibration error."""
    distributions = outcome.distributions
    # A right label outside the classes seen in training has no column.
    is_right = train.gold[:, None] == outcome.classes
    confidence = distributions.max(axis=1)
    is_hit = outcome.classes[distributions.argmax(axis=1)] == train.gold
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [
        abs(confidence[bins == b].sum() - is_hit[bins == b].sum()) for b in set(bins)
    ]
    return {
        "most_probable_accuracy": is_hit.mean(),
        "brier": ((distributions - is_right) ** 2).sum(axis=1).mean(),
        "calibration_error": sum(gaps) / len(is_hit),
    }


def _transition_error(outcome, train):
    """Total variation between estimated and counted rows, mean over the texts."""
    classes = outcome.classes
    gold = np.searchsorted(classes, train.gold).clip(max=len(classes) - 1)
    given = np.searchsorted(classes, train.given)
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (gold, given), 1)
    share = counts.sum(axis=1) / counts.sum()
    rows = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    return float(share @ np.abs(rows - outcome.transition).sum(axis=1) / 2)
