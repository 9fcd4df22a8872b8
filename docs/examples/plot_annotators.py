"""
How often is each annotator right?
==================================

Five people have labelled some of the texts each, and do not always agree. From what
they say and from what the texts say it can be told how often each of them is right,
though nobody knows the right labels. That corrects more labels than a majority can.
"""

# %%
# Five annotators
# ---------------
# The best is right nine times out of ten, the last one four times; "dan" mixes up two
# classes. Each has seen half of the texts. A text has a row in the table of votes, an
# annotator a column; a null is no vote.

import numpy as np
import pandas as pd

from skdygen.datasets import make_label_noise, make_texts

texts, right = make_texts(900, random_state=0)
train, test = slice(0, 600), slice(600, None)
rates = {"ada": 0.1, "ben": 0.3, "cem": 0.4, "eve": 0.6}
votes = pd.DataFrame(
    {
        name: make_label_noise(right[train], "symmetric", rate, random_state=seed)
        for seed, (name, rate) in enumerate(rates.items())
    }
)
votes.insert(3, "dan", np.where(right[train] == "returns", "delivery", right[train]))
has_seen = np.random.RandomState(0).rand(*votes.shape) < 0.5
votes = votes.where(has_seen)
votes.head()

# %%
# Votes and majority
# ------------------
# ``votes=`` takes them as they are. For comparison, a fit on the majority's labels,
# which knows nothing of who gave them.

from skdygen import DyGenClassifier
from skdygen.votes import majority_vote

majority = majority_vote(votes, missing_label="")
clf = DyGenClassifier(
    dynamics="frozen",
    store_trajectories=True,
    missing_label="",
    random_state=0,
)
rows = {}
for name, labels in {"majority": {"y": majority}, "votes": {"votes": votes}}.items():
    clf.fit(texts[train], **labels)
    rows[name] = {
        "labels, majority's": (majority == right[train]).mean(),
        "labels, corrected": (clf.transduction_ == right[train]).mean(),
        "new texts": clf.score(texts[test], right[test]),
    }
pd.DataFrame(rows).T.round(3)

# %%
# Annotator by annotator
# ----------------------
# What each is believed to get right, and what it says most often in the place of what.

clf.annotator_quality().round(2)

# %%
# How far that may be off is known once somebody has verified some labels: a hundred,
# which the classifier draws.

to_check = clf.labels_to_check(100, random_state=0)
to_check["verified"] = right[train][to_check.index]  # what a person would say
quality = clf.refit(to_check).annotator_quality()
quality.round(2)

# %%
# The bars are intervals at 95 %. Right labels of all texts are known here only.

import matplotlib.pyplot as plt

is_right = votes.eq(right[train], axis=0).where(votes.notna())
fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
at = np.arange(len(quality))
ends = quality[["accuracy_low", "accuracy_high"]].to_numpy()
ax.hlines(at, *ends.T, color="#0072b2", lw=5, alpha=0.4, label="95 % interval")
ax.plot(quality["accuracy"], at, "o", color="#0072b2", label="estimated")
ax.plot(is_right.mean(), at, "kx", ms=9, mew=2, label="in truth")
ax.set_yticks(at, quality.index)
ax.invert_yaxis()
ax.set(xlabel="share of votes that are right", xlim=(0, 1))
ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
plt.show()

# %%
# Where annotators share a mistake, as rules and language models do, neither a majority
# nor the texts can tell, and all of them look better than they are. `Verified labels
# <../trust.html>`_ can, beside votes as well; what else is to be known of votes is in
# the `guide <../weak_labels.html>`_.
