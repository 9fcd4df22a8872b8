"""
What does the noise look like?
==============================

Which class is taken for which is often more useful to know than the labels one by one:
it shows which two classes the instructions for annotators do not tell apart.
"""

# %%
# Mistakes with a pattern
# -----------------------
# A third of the messages about deliveries is tagged "returns", a fifth of those about
# bills "account"; all other labels are right.

import numpy as np

from skdygen.datasets import make_texts

texts, right = make_texts(900, random_state=0)
labels = right.copy()
rng = np.random.RandomState(0)
for true, given, share in (
    ("delivery", "returns", 1 / 3),
    ("billing", "account", 1 / 5),
):
    members = np.flatnonzero(right == true)
    labels[rng.choice(members, round(share * len(members)), replace=False)] = given

# %%
# Estimated
# ---------

import matplotlib.pyplot as plt

from skdygen import DyGenClassifier
from skdygen.inspection import NoiseTransitionDisplay

clf = DyGenClassifier(dynamics="frozen", random_state=0).fit(texts, labels)

# %%
# Each row is a class that the posterior suggests, each column a label that was given;
# the diagonal are the labels that are believed. Beside it, what was really done to the
# labels.

fig, axes = plt.subplots(1, 2, figsize=(13, 6), layout="constrained")
estimated = NoiseTransitionDisplay.from_estimator(clf, ax=axes[0])
axes[0].set_title("estimated")
counted = NoiseTransitionDisplay.from_predictions(labels, right, ax=axes[1])
axes[1].set(title="counted, with the right labels", ylabel="right label")
plt.show()

# %%
# In words: the pairs that stand out.

matrix, classes = clf.noise_transition_matrix_, clf.classes_
off_diagonal = matrix - np.diag(np.diag(matrix))
for cell in np.argsort(-off_diagonal, axis=None)[:3]:
    true, given = np.unravel_index(cell, matrix.shape)
    print(f"{classes[true]} given as {classes[given]}: {matrix[true, given]:.2f}")

# %%
# The smaller numbers off the diagonal are no mistakes of the annotators but of the
# model, which does not know every message's class. What is clearly larger than the rest
# of the matrix is worth a look.
print(f"share of wrong labels: estimated {clf.noise_rate_:.2f}, ", end="")
print(f"counted {(labels != right).mean():.2f}")
