"""
How is a stage of one's own written, and is it any good?
========================================================

A second stage says which class is likely for each text before the third one infers how
the labels came about. This one counts votes: after every recorded epoch, each network
votes for the class that it predicts.
"""

# %%
# The stage
# ---------
# Labels come encoded as 0 to K - 1, with -1 for none; texts and errors are taken care
# of.

from numbers import Real

import numpy as np
from sklearn.utils._param_validation import Interval

from skdygen.base import BasePrior


class EpochVotePrior(BasePrior):
    """Believe what the plain model has predicted most often."""

    _parameter_constraints = {
        "smoothing": [Interval(Real, 0, None, closed="neither")],
        "missing_label": "no_validation",
    }

    def __init__(self, smoothing=1.0, *, missing_label=None):
        self.smoothing = smoothing
        self.missing_label = missing_label

    def _fit_prior(self, trajectories, targets):
        return self._prior(trajectories)  # nothing to learn

    def _prior(self, trajectories):
        predicted = trajectories.probabilities.argmax(axis=3)
        votes = np.eye(trajectories.n_classes)[predicted].sum(axis=(1, 2))
        votes += self.smoothing
        return votes / votes.sum(axis=1, keepdims=True)


# %%
# Beside the stages that there are
# --------------------------------
# The dynamics are computed once; everything behind them takes seconds.
# ``ConsensusPrior`` takes the new stage as one of several.

from sklearn.metrics import roc_auc_score

from skdygen import DyGenClassifier
from skdygen.datasets import make_label_noise, make_texts
from skdygen.dynamics import LanguageModelDynamics
from skdygen.priors import ClassifierPrior, ConsensusPrior, TrajectoryKNNPrior

texts, right = make_texts(800, random_state=0)
train, test = slice(0, 500), slice(500, None)
labels = make_label_noise(right[train], kind="symmetric", rate=0.4, random_state=0)

dynamics = LanguageModelDynamics(trainable_layers=0, random_state=0)
recorded = dynamics.fit_transform(texts[train], labels)
replayed = dynamics.transform(texts[test])

priors = {
    "votes": EpochVotePrior(),
    "neighbours, as in the paper": TrajectoryKNNPrior(
        criterion="paper", contamination="auto", view=0
    ),
    "default": ConsensusPrior(),
    "votes and two others": ConsensusPrior(
        [
            ("votes", EpochVotePrior()),
            ("linear", ClassifierPrior(view="initial")),
            ("near", TrajectoryKNNPrior(view="initial", leave_one_out=True)),
        ]
    ),
}
given = np.searchsorted(recorded.classes, labels)
found = {}
for name, prior in priors.items():
    clf = DyGenClassifier("precomputed", prior, random_state=0).fit(recorded, labels)
    quality = clf.label_distributions_[np.arange(len(given)), given]
    found[name] = (
        clf.score(replayed, right[test]),
        roc_auc_score(labels != right[train], 1 - quality),
    )

# %%
# Two things are asked of it: classes of new texts, and an order in which to look at the
# training labels.

import matplotlib.pyplot as plt

fig, axes = plt.subplots(1, 2, figsize=(10, 3), sharey=True, layout="constrained")
titles = ("accuracy on new texts", "AUROC of the ranking of wrong labels")
for ax, title, values in zip(
    axes, titles, zip(*found.values(), strict=True), strict=True
):
    bars = ax.barh(list(found), values, color="#0072b2")
    ax.bar_label(bars, fmt="%.3f", padding=3)
    ax.set(xlabel=title, xlim=(0, 1.1))
axes[0].invert_yaxis()
plt.show()

# %%
# Whether the stage keeps what the other stages rely on is a matter of one line, in a
# script of its own:
# ``skdygen.testing.check_estimator(EpochVotePrior())``.
