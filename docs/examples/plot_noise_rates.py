"""
Does it beat plain training as the noise grows?
===============================================

The same texts with more and more wrong labels: accuracy on clean test texts of the
plain network, and of the classifier that is made of its dynamics.
"""

# %%
# Every classifier brings its rival along: the first stage by itself, ``dynamics_``, is
# the network as trained on the labels as given.

from skdygen import DyGenClassifier
from skdygen.datasets import make_label_noise, make_texts

texts, right = make_texts(600, random_state=0)
train, test = slice(0, 400), slice(400, None)

rates = [0.0, 0.2, 0.4, 0.6]
found = {"plain network": [], "DyGenClassifier": []}
shares = {"as given": [], "corrected": [], "most probable": []}
for rate in rates:
    labels = make_label_noise(right[train], "symmetric", rate, random_state=0)
    clf = DyGenClassifier(dynamics="frozen", random_state=0)
    clf.fit(texts[train], labels)
    found["plain network"].append(clf.dynamics_.score(texts[test], right[test]))
    found["DyGenClassifier"].append(clf.score(texts[test], right[test]))
    most_probable = clf.classes_[clf.label_distributions_.argmax(axis=1)]
    shares["as given"].append((labels == right[train]).mean())
    shares["corrected"].append((clf.transduction_ == right[train]).mean())
    shares["most probable"].append((most_probable == right[train]).mean())

# %%
# On the left, predictions for new texts. On the right, the training labels: as they
# were given, after careful correction, and by the most probable class always.

import matplotlib.pyplot as plt

fig, (left, middle) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, curves in ((left, found), (middle, shares)):
    for (name, values), style in zip(curves.items(), ("o--", "s-", "^:"), strict=False):
        ax.plot(rates, values, style, label=name)
    ax.set(xlabel="share of wrong labels", xticks=rates)
    ax.legend(frameon=False, loc="lower left")
left.set(ylabel="accuracy", title="new texts")
middle.set(ylabel="share of right labels", title="training texts")
plt.show()

# %%
# Where all labels are right there is nothing to gain, and taking the most probable
# class always does harm; this is what the careful correction is for. It also holds back
# at the other end: a model that disagrees with half of the labels, even where it is
# most sure of itself, is not believed, and the labels stay as they are. On data of
# others, with real mistakes, the `benchmarks <../benchmarks.html>`_ have the figures.
