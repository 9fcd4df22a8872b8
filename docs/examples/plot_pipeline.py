"""
What can stand before and behind a stage?
=========================================

The stages are transformers of scikit-learn, and what they hand on, ``Trajectories``, is
to scikit-learn a matrix with a row for each text. So anything can stand before the
first stage, and anything behind it.
"""

# %%
# Before: cleaning the texts
# --------------------------
# A step that takes texts and gives texts. Here every message gets a footer first, as in
# real mail, and the step takes it off again.

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdygen import DyGenClassifier
from skdygen.datasets import make_label_noise, make_texts
from skdygen.dynamics import LanguageModelDynamics

texts, right = make_texts(700, random_state=0)
footer = (
    " -- Sent from my phone. Please consider the parcel before printing this invoice."
)
texts = np.array([text + footer for text in texts], dtype=object)
train, test = slice(0, 500), slice(500, None)
labels = make_label_noise(right[train], kind="symmetric", rate=0.3, random_state=0)


def without_footer(texts):
    """Cut texts where a footer begins."""
    return [text.partition(" -- ")[0] for text in texts]


model = make_pipeline(
    FunctionTransformer(without_footer),
    DyGenClassifier(dynamics="frozen", random_state=0),
)
model.fit(texts[train], labels)

# %%
# A pipeline passes on what its last step can do. What only the classifier knows is
# asked of the step.

accuracy = {"cleaning, three stages": model.score(texts[test], right[test])}
model[-1].label_issues().head(3).round(3)

# %%
# Behind: any classifier on the dynamics
# --------------------------------------
# The embeddings of all recorded epochs, side by side. Behind the first stage a pipeline
# calls ``fit_transform`` in its fit, which gives the dynamics as recorded, and
# ``transform`` for new texts, which replays them.

from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

dynamics = LanguageModelDynamics(trainable_layers=0, random_state=0)
clean = without_footer(texts)
recorded = dynamics.fit_transform(clean[train], labels)
replayed = dynamics.transform(clean[test])
print(recorded, recorded.shape)

behind = {
    "network itself": None,
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(C=1e-3)),
    "20 neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier(20)),
}
for name, classifier in behind.items():
    if classifier is None:
        accuracy[name] = dynamics.score(clean[test], right[test])
    else:
        classifier.fit(recorded, labels)
        accuracy[name] = classifier.score(replayed, right[test])

# %%
# Here the stages were called one by one, so that the dynamics are computed once for
# all; ``make_pipeline(dynamics, StandardScaler(), LogisticRegression())`` does the same
# in one.

import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
bars = ax.barh(list(accuracy), list(accuracy.values()), color="#0072b2")
ax.bar_label(bars, fmt="%.3f", padding=3)
ax.set(xlabel="accuracy on new texts", xlim=(0, 1))
ax.invert_yaxis()
plt.show()
