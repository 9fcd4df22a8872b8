"""
Labels of several language models
=================================

Three language models have labelled the same texts and say how sure they are. Each is
an annotator. What they disagree on shows who errs where; what all of them get wrong
nothing but a person can see, and reading a hundred labels says how much that is.
"""

# %%
# Three models
# ------------
# Made up here: mistakes on texts that are near to another class. Two of the models were
# trained alike, and share many of theirs; all three take some returns for deliveries. A
# model is a little less sure where it is wrong.

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer

from skdygen.datasets import make_label_noise, make_texts

texts, right = make_texts(900, random_state=0)
train, test = slice(0, 600), slice(600, None)
words = TfidfVectorizer(max_features=500).fit_transform(texts[train]).toarray()
rng = np.random.RandomState(0)


def label(rate, seed):
    """Make the labels that a model gives."""
    said = make_label_noise(right[train], "instance", rate, words, random_state=seed)
    return np.where((right[train] == "returns") & is_unclear, "delivery", said)


is_unclear = rng.rand(600) < 0.4
small = label(0.25, 1)
votes = pd.DataFrame(
    {
        "small": small,
        "small, newer": np.where(rng.rand(600) < 0.6, small, label(0.2, 2)),
        "large": label(0.15, 3),
    }
)
is_right = votes.eq(right[train], axis=0)
sure = pd.DataFrame(
    np.where(is_right, rng.beta(20, 2, votes.shape), rng.beta(14, 3, votes.shape)),
    columns=votes.columns,
)
all_wrong = ~is_right.any(axis=1)
print(f"all three agree: {(votes.nunique(axis=1) == 1).mean():.2f}")
print(f"none is right:   {all_wrong.mean():.2f}")

# %%
# Fit
# ---
# For comparison, a fit on the majority's labels. Then somebody verifies a hundred,
# which the classifier draws.

from skdygen import DyGenClassifier
from skdygen.votes import majority_vote

clf = DyGenClassifier(dynamics="frozen", store_trajectories=True, random_state=0)
majority = majority_vote(votes)
rows = {"majority": {"labels": (majority == right[train]).mean()}}


def look(name):
    """Note what is right."""
    rows[name] = {
        "labels": (clf.transduction_ == right[train]).mean(),
        "where none was": (clf.transduction_ == right[train])[all_wrong].mean(),
        "new texts": clf.score(texts[test], right[test]),
    }


clf.fit(texts[train], majority)
look("fit on the majority")
clf.fit(texts[train], votes=votes, vote_confidence=sure)
look("fit on votes")
believed = clf.annotator_quality()["accuracy"]
to_check = clf.labels_to_check(100, random_state=0)
to_check["verified"] = right[train][to_check.index]  # what a person would say
clf.refit(to_check)
look("100 verified")
pd.DataFrame(rows).T.round(3)

# %%
# Model by model
# --------------
# A confusion that all models share is not to be seen in their votes. What was verified
# shows it, and says at 95 % how often a model is right.

quality = clf.annotator_quality()
quality.round(2)

# %%
# The crosses are known here only.

import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(8, 2.8), layout="constrained")
at = np.arange(len(quality))
ends = quality[["accuracy_low", "accuracy_high"]].to_numpy()
ax.hlines(at, *ends.T, color="#0072b2", lw=5, alpha=0.4, label="95 % interval")
ax.plot(quality["accuracy"], at, "o", color="#0072b2", label="100 verified")
ax.plot(believed, at, "s", color="#e69f00", label="nothing verified")
ax.plot(is_right.mean(), at, "kx", ms=9, mew=2, label="in truth")
ax.set_yticks(at, quality.index)
ax.margins(y=0.2)
ax.invert_yaxis()
ax.set(xlabel="share of the labels of a model that are right", xlim=(0.4, 1.02))
ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)
plt.show()
