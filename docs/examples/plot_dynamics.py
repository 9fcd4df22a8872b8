"""
How do wrongly labelled texts move while a model is trained?
============================================================

This is what the method rests on: a text that is labelled wrongly begins among those of
the class that it belongs to, and the training draws it to the class of its label, late
or never.
"""

# %%
# A fit that records
# ------------------
# Every epoch is recorded, and the embedding from before the training.

from skdygen import DyGenClassifier
from skdygen.datasets import make_label_noise, make_texts
from skdygen.dynamics import LanguageModelDynamics

texts, right = make_texts(600, random_state=0)
labels = make_label_noise(right, kind="symmetric", rate=0.3, random_state=0)

dynamics = LanguageModelDynamics(trainable_layers=0, random_state=0)
recorded = dynamics.fit_transform(texts, labels)
recorded

# %%
# Only the first stage has been trained so far. The other two read its trajectories.

clf = DyGenClassifier("precomputed", random_state=0).fit(recorded, labels)
worst = clf.label_issues(texts).head(2)
for i, row in worst.iterrows():
    print(f"{i}: given {row['given']}, in truth {right[i]}\n   {row['text']}")

# %%
# Distances along the training
# ----------------------------
# Lines are medians, bands hold half of the texts. On the left, labels that look right:
# their texts are nearer to their own class from the start, and more and more so. On the
# right, labels that look wrong: the suggested class is the nearer one. The thin lines
# are the two texts above.

import matplotlib.pyplot as plt

from skdygen.inspection import DynamicsDisplay, TrajectoryMapDisplay

DynamicsDisplay.from_estimator(clf, recorded, index=worst["index"])
plt.show()

# %%
# Maps
# ----
# The same in two dimensions, before the training, after its first epoch and after its
# last. Above, the given labels; below, the suggested ones. Ringed texts look wrong.

TrajectoryMapDisplay.from_estimator(
    clf, recorded, epochs=("initial", 0, -1), max_samples=300
)
plt.show()

# %%
# The picture is made without right labels. With them, it can be asked whether the texts
# on the right of the first picture are there for a reason.

looks_wrong = clf.label_issues().index
print(f"wrong among all labels:             {(labels != right).mean():.2f}")
print(
    f"wrong among those that look wrong:  {(labels != right)[looks_wrong].mean():.2f}"
)
