"""
Keyword rules on real reviews
=============================

Which product is a sentence of a review about? Four rules, written in a minute, name
one in about half of them, and are wrong in one of five. The sentences are from reviews
on Amazon (collected for [1]_), in a file that lies beside this example.

.. [1] C.J. Hutto, E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment
   Analysis of Social Media Text", ICWSM 2014.
"""

# %%
# Rules
# -----
# A *player* plays discs or songs, and both cameras and screens have a *picture*: such
# mistakes follow from the words. Texts of which no rule says anything are left out.

import numpy as np
import pandas as pd

from skdygen.votes import majority_vote

reviews = pd.read_csv("reviews.csv")
train, test = reviews[:900], reviews[900:]
rules = {
    "camera": "camera|picture|photo|lens|zoom|flash",
    "dvd player": "dvd|disc|player|movie|tv",
    "phone": "phone|call|ring|nokia",
    "mp3 player": "mp3|ipod|song|music|headphone|software",
}
votes = pd.DataFrame(
    {
        product: np.where(train["text"].str.contains(rf"\b(?:{words})"), product, None)
        for product, words in rules.items()
    }
)
given = pd.Series(majority_vote(votes), index=train.index).dropna()
train = train.loc[given.index]
right = train["product"]
print(f"texts with a label: {len(given)} of 900, right: {(given == right).mean():.3f}")

# %%
# Fit
# ---
# The first stage alone is plain training on the labels of the rules.

from skdygen import DyGenClassifier

clf = DyGenClassifier(dynamics="frozen", random_state=0, store_trajectories=True)
clf.fit(train["text"], given)
plain = clf.dynamics_.score(test["text"], test["product"])
print(f"test accuracy, plain:   {plain:.3f}")
print(f"test accuracy, default: {clf.score(test['text'], test['product']):.3f}")

# %%
# What looks wrong is: few labels, since the model has learnt the rules, too.

issues = clf.label_issues()
is_wrong = issues["given"] != right.loc[issues.index]
print(f"{is_wrong.sum()} of {len(issues)} are wrong")
issues[["given", "suggested", "quality", "text"]].head(6).round(3)

# %%
# Fifty labels
# ------------
# Somebody reads fifty, here by looking into ``right``. The labels of the others are
# then corrected by what they teach, and the share of wrong ones has an interval.

checked = clf.labels_to_check(50, random_state=0)
checked["verified"] = right.loc[checked.index]
before = (clf.transduction_ == right).mean()
clf.refit(checked)
low, high = clf.noise_rate_interval_
print(f"right labels, before:   {before:.3f}")
print(f"right labels, after:    {(clf.transduction_ == right).mean():.3f}")
print(f"test accuracy:          {clf.score(test['text'], test['product']):.3f}")
print(f"wrong among all labels: between {low:.2f} and {high:.2f}")

# %%
# How the rules err, as it is estimated now, and as it is:

import matplotlib.pyplot as plt

from skdygen.inspection import NoiseTransitionDisplay

_, axes = plt.subplots(ncols=2, figsize=(10, 4), layout="constrained")
NoiseTransitionDisplay.from_estimator(clf, ax=axes[0])
axes[0].set_title("estimated")
NoiseTransitionDisplay.from_predictions(given, right, ax=axes[1])
axes[1].set(title="counted, with the right labels", ylabel="right label")
plt.show()
