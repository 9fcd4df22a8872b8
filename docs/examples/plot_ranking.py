"""
How good is the ranking of suspicious labels?
=============================================

Right labels are needed to answer that, so that it is a question for benchmarks, or for
a part of your data that has been reviewed at random. They only score: every ranking
below comes from the noisy labels alone.
"""

# %%
# Four rankings
# -------------
# One fit of the first stage serves all of them: the dynamics are computed once and the
# other stages read them. The labels have turned into the next class in the alphabet,
# which is harder to see than mistakes in all directions.

import numpy as np

from skdygen import DyGenClassifier, make_paper_classifier
from skdygen.datasets import make_label_noise, make_texts
from skdygen.dynamics import LanguageModelDynamics

texts, right = make_texts(600, random_state=0)
labels = make_label_noise(right, kind="asymmetric", rate=0.3, random_state=0)
is_wrong = labels != right

dynamics = LanguageModelDynamics(trainable_layers=0, random_state=0)
recorded = dynamics.fit_transform(texts, labels)

default = DyGenClassifier("precomputed", random_state=0).fit(recorded, labels)
paper = make_paper_classifier(dynamics="precomputed", random_state=0)
paper.fit(recorded, labels)

# %%
# Of a probability of each class comes a ranking: the less probable the given label, the
# more suspicious it is. Beside the posteriors stand the plain network after its last
# epoch, which has seen the wrong labels, and logistic regression on the embeddings from
# before the training, which in cross-validation has not.

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

given = np.searchsorted(recorded.classes, labels)
probabilities = {
    "default": default.label_distributions_,
    "paper": paper.label_distributions_,
    "plain network": recorded.probabilities[:, :, -1].mean(axis=1),
    "held-out logistic regression": cross_val_predict(
        LogisticRegression(), recorded.views["initial"], labels, method="predict_proba"
    ),
}
suspicion = {
    name: 1 - p[np.arange(len(given)), given] for name, p in probabilities.items()
}

# %%
# Precision and recall
# --------------------
# A point of a curve is a place where one stops to read the list: the share of the wrong
# labels that have been found by then, and the share of those read that were wrong.

import matplotlib.pyplot as plt
from sklearn.metrics import PrecisionRecallDisplay

_, ax = plt.subplots(figsize=(6, 4.5), layout="constrained")
for (name, scores), style in zip(
    suspicion.items(), ("-", "--", "-.", ":"), strict=True
):
    PrecisionRecallDisplay.from_predictions(
        is_wrong, scores, name=name, ax=ax, curve_kwargs={"linestyle": style}
    )
ax.axhline(is_wrong.mean(), color="0.6", lw=1)
ax.set(
    xlabel="share of the wrong labels found",
    ylabel="share of the found that are wrong",
)
plt.show()

# %%
# One corpus, made at run time, and one seed: how the rankings compare on data of others
# is in the benchmarks.
