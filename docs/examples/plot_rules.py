"""
What if rules label only some of the texts?
===========================================

Keyword rules are quick to write, wrong on texts that use a word otherwise, and silent
on the rest. Where several speak on the same text, they tell of each other which one to
believe; a few verified labels tell the rest.
"""

# %%
# Twelve rules
# ------------
# Each looks for its words and names one class, or says nothing, a null. A column of
# votes for each rule:

import numpy as np
import pandas as pd

from skdygen.datasets import make_texts

rules = {
    "charged": ("billing", "charged", "invoice"),
    "paid": ("billing", "receipt for", "card", "paid"),
    "refund": ("returns", "refund", "exchange"),
    "back": ("returns", "send the", "return", "back"),
    "broke": ("technical", "turn on", "broke", "noise"),
    "crashes": ("technical", "manual", "crash", "checkout"),
    "parcel": ("delivery", "parcel", "courier"),
    "tracking": ("delivery", "shipped", "tracking", "my home"),
    "log in": ("account", "log in", "login", "password"),
    "name": ("account", "profile", "user name", "email"),
    "colour": ("product", "colour", "kinds of"),
    "stock": ("product", "recommend", "stock", "made of"),
}


def speak(label, *words):
    """Make a rule that names a class if it finds one of its words."""
    return lambda text: label if any(word in text.lower() for word in words) else None


texts, right = make_texts(900, random_state=0)
train, test = slice(0, 600), slice(600, None)
votes = pd.DataFrame(
    {name: map(speak(*rule), texts[train]) for name, rule in rules.items()}
)
n_votes = votes.notna().sum(axis=1)
print(f"texts with a vote:       {(n_votes > 0).mean():.2f}")
print(f"texts with several:      {(n_votes > 1).mean():.2f}")
is_right = votes.eq(right[train], axis=0).to_numpy()
print(f"right among all votes:   {is_right.sum() / n_votes.sum():.2f}")

# %%
# Fit
# ---
# Texts without a vote take part in everything but the losses. For comparison, a fit on
# the label that most rules give, and one after somebody has verified 150 labels.

from skdygen import DyGenClassifier
from skdygen.votes import majority_vote

clf = DyGenClassifier(
    dynamics="frozen",
    missing_label="",
    store_trajectories=True,
    random_state=0,
)
rows = {}


def look(name):
    """Note how many labels are right."""
    found_right = clf.transduction_ == right[train]
    rows[name] = {
        "with a vote": found_right[n_votes > 0].mean(),
        "without": found_right[n_votes == 0].mean(),
        "new texts": clf.score(texts[test], right[test]),
    }


majority = majority_vote(votes, missing_label="")
rows["majority"] = {"with a vote": (majority == right[train])[n_votes > 0].mean()}
clf.fit(texts[train], majority)
look("fit on the majority")
clf.fit(texts[train], votes=votes)
look("fit on votes")
believed = clf.annotator_quality()["accuracy"]
to_check = clf.labels_to_check(150, random_state=0)
to_check["verified"] = right[train][to_check.index]  # what a person would say
clf.refit(to_check)
look("150 verified")
pd.DataFrame(rows).T.round(2)

# %%
# Rule by rule
# ------------
# How often is a rule right? What is believed when nothing is verified may be far off:
# the words by which a rule goes astray are what a network learns from it. Verified
# labels say how far that may be, at 95 %. The crosses are known here only.

import matplotlib.pyplot as plt

quality = clf.annotator_quality()

fig, ax = plt.subplots(figsize=(8, 5), layout="constrained")
at = np.arange(len(quality))
ends = quality[["accuracy_low", "accuracy_high"]].to_numpy()
ax.hlines(at, *ends.T, color="#0072b2", lw=5, alpha=0.4, label="95 % interval")
ax.plot(quality["accuracy"], at, "o", color="#0072b2", label="150 verified")
ax.plot(believed, at, "s", color="#e69f00", label="nothing verified")
truth = is_right.sum(axis=0) / quality["n_votes"]
ax.plot(truth, at, "kx", ms=9, mew=2, label="in truth")
ax.set_yticks(at, [f"“{name}”, {n} votes" for name, n in quality["n_votes"].items()])
ax.invert_yaxis()
ax.set(xlabel="share of the votes of a rule that are right", xlim=(0, 1.02))
ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)
plt.show()

# %%
# More on rules is in the `guide <../weak_labels.html>`_.
