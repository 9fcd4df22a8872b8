"""
What if rules label only some of the texts?
===========================================

Keyword rules are quick to write, wrong on texts that use a word otherwise, and silent
on the rest. Silence is no class: ``missing_label`` names the value that stands for it.
"""

# %%
# Six rules
# ---------
# A message gets the label of the first rule that finds one of its words; "" if none
# does.

import numpy as np

from skdygen.datasets import make_texts

rules = {
    "billing": ("charged", "invoice", "receipt for"),
    "returns": ("refund", "send the", "return"),
    "technical": ("turn on", "noise", "broke", "manual"),
    "delivery": ("parcel", "courier", "shipped", "tracking"),
    "account": ("log in", "password", "profile", "user name"),
    "product": ("colour", "recommend", "kinds of", "stock"),
}


def label_by_rule(text):
    """Return the label of the first rule that matches, or none."""
    for label, words in rules.items():
        if any(word in text.lower() for word in words):
            return label
    return ""


texts, right = make_texts(900, random_state=0)
train, test = slice(0, 600), slice(600, None)
labels = np.array([label_by_rule(text) for text in texts[train]])
has_label = labels != ""
print(f"labelled:                {has_label.mean():.2f}")
print(f"right among these:       {(labels == right[train])[has_label].mean():.2f}")

# %%
# Fit
# ---
# Texts without a label take part in everything but the losses. For comparison, the
# plain network that was trained on the labels, which is the first stage by itself.

from skdygen import DyGenClassifier
from skdygen.dynamics import LanguageModelDynamics

clf = DyGenClassifier(
    LanguageModelDynamics(trainable_layers=0), missing_label="", random_state=0
)
clf.fit(texts[train], labels)
print(
    f"new texts, plain network:    {clf.dynamics_.score(texts[test], right[test]):.3f}"
)
print(f"new texts, DyGenClassifier:  {clf.score(texts[test], right[test]):.3f}")

# %%
# Rule by rule
# ------------
# How far is a rule believed? That is the share of its labels that are the most probable
# class of their text. Beside it, what only right labels tell: the share that is right.

import matplotlib.pyplot as plt

most_probable = clf.classes_[clf.label_distributions_.argmax(axis=1)]
found_right = labels == right[train]
share, believed, accuracy = [], [], []
for name in rules:
    ruled = labels == name
    share.append(ruled.sum())
    believed.append((most_probable == labels)[ruled].mean())
    accuracy.append(found_right[ruled].mean())

fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
at = np.arange(len(rules))
ax.bar(at - 0.2, believed, 0.38, label="believed", color="#0072b2")
ax.bar(at + 0.2, accuracy, 0.38, label="right", color="#e69f00", hatch="//")
ax.set_xticks(at, [f"{name}\n{n} texts" for name, n in zip(rules, share, strict=True)])
ax.set(
    ylabel="share of the labels of a rule", ylim=(0, 1.2), yticks=np.linspace(0, 1, 6)
)
ax.legend(frameon=False, loc="upper center", ncols=2)
plt.show()

# %%
# A rule that is believed far more than it is right has taught the network its mistakes:
# they are the same on all texts that look alike, and nothing in the labels contradicts
# them. A rule that is believed less than the others is the one to read first.
#
# Texts without a label get one in ``transduction_``.

unlabelled = (clf.transduction_ == right[train])[~has_label]
print(
    f"right among texts without a label: {unlabelled.mean():.2f} of {len(unlabelled)}"
)
