"""
How are the labels of several annotators combined?
==================================================

Each text has been labelled by three people who do not always agree. The majority's
label is the given one; how many agreed says how much it should count.
"""

# %%
# Three annotators
# ----------------
# One is right nine times out of ten, one seven times, one every other time.

import numpy as np
import pandas as pd

from skdygen.datasets import make_label_noise, make_texts

texts, right = make_texts(700, random_state=0)
train, test = slice(0, 450), slice(450, None)
votes = pd.DataFrame(
    {
        name: make_label_noise(right[train], "symmetric", rate, random_state=seed)
        for seed, (name, rate) in enumerate([("ada", 0.1), ("ben", 0.3), ("cem", 0.5)])
    }
)
votes.head()

# %%
# The majority's label; where all three differ, one of the three at random. The weight
# is the share of the votes for it.

majority = votes.mode(axis=1)
tied = majority.count(axis=1) > 1
drawn = np.random.RandomState(0).randint(votes.shape[1], size=len(votes))
labels = majority[0].where(~tied, votes.to_numpy()[np.arange(len(votes)), drawn])
agreement = votes.eq(labels, axis=0).mean(axis=1)
is_right = (labels == right[train]).to_numpy()
pd.DataFrame(
    {
        "texts": agreement.round(2).value_counts(),
        "right": pd.Series(is_right).groupby(agreement.round(2)).mean().round(3),
    }
).rename_axis("agreement")

# %%
# With weights and without
# ------------------------

from skdygen import DyGenClassifier
from skdygen.dynamics import LanguageModelDynamics

clf = DyGenClassifier(LanguageModelDynamics(trainable_layers=0), random_state=0)
fits = {
    "majority": (labels, None),
    "majority, weighted": (labels, agreement),
    "best annotator alone": (votes["ada"], None),
    "worst annotator alone": (votes["cem"], None),
}
rows = {}
for name, (given, weights) in fits.items():
    clf.fit(texts[train], given, sample_weight=weights)
    most_probable = clf.classes_[clf.label_distributions_.argmax(axis=1)]
    rows[name] = {
        "labels as given": (given == right[train]).mean(),
        "labels corrected": (clf.transduction_ == right[train]).mean(),
        "new texts": clf.score(texts[test], right[test]),
    }
table = pd.DataFrame(rows).T
table.round(3)

# %%
# In a picture

import matplotlib.pyplot as plt

ax = table.plot.barh(figsize=(8, 4.2), color=["0.7", "#e69f00", "#0072b2"])
ax.invert_yaxis()
ax.set(xlabel="share that is right", xlim=(0, 1))
ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
ax.figure.set_layout_engine("constrained")
plt.show()

# %%
# Weights tell the stages which labels to rely on; they need not change much, since
# labels that contradict the others of their kind are left aside in any case. And where
# annotators are better than the model, correction can only do harm: a reason to look at
# suggestions before they are taken.
#
# Who is reliable is not modelled here. If many annotators differ much, estimate that
# first and pass the result as labels and weights; what to use is in the `guide
# <../weak_labels.html>`_.
