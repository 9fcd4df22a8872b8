"""
One rater's word on real reviews
================================

Twenty people have read each of these sentences of reviews on Amazon [1]_, and said
whether it is positive, negative or neither. Most projects can pay one of them. How
wrong is one, and which labels are worth a second reader?

.. [1] C.J. Hutto, E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment
   Analysis of Social Media Text", ICWSM 2014.
"""

# %%
# Data
# ----
# What most of the twenty said stands in for the right label.

import pandas as pd

reviews = pd.read_csv("reviews.csv")[:500]
given, right = reviews["first_rater"], reviews["sentiment"]
print(f"labels that most raters share: {(given == right).mean():.3f}")

# %%
# Whom to ask again
# -----------------
# The labels that look most wrong are read first. Among them are twice as many wrong
# ones as among as many drawn at random.

import matplotlib.pyplot as plt

from skdygen import DyGenClassifier

clf = DyGenClassifier(dynamics="frozen", random_state=0, store_trajectories=True)
clf.fit(reviews["text"], given)
is_wrong = (given != right).to_numpy()
order = clf.label_quality_.argsort()

_, ax = plt.subplots(layout="constrained")
n_read = range(1, len(order) + 1)
ax.plot(n_read, is_wrong[order].cumsum(), label="worst quality first")
ax.plot(n_read, is_wrong.mean() * pd.Series(n_read), ":", label="at random")
ax.set(xlabel="labels read", ylabel="wrong labels found")
ax.legend()
plt.show()

# %%
# To read is not to replace: sentences differ by what they are about more than by what
# they praise, and as long as nobody has looked few labels are replaced.

print(f"labels that look wrong: {len(clf.label_issues())}")
print(f"labels replaced:        {(clf.transduction_ != given).sum()}")

# %%
# How many are wrong
# ------------------
# The model's guess is not to be relied on. Fifty labels that are read, drawn by chance
# and the doubtful ones more often, give an interval that holds the share in 95 % of all
# cases:

checked = clf.labels_to_check(50, random_state=0)
checked["verified"] = right.loc[checked.index]
print(f"guess:    {clf.noise_rate_:.2f}")
clf.refit(checked)
low, high = clf.noise_rate_interval_
print(f"interval: {low:.2f} to {high:.2f}")
print(f"truth:    {is_wrong.mean():.2f}")
