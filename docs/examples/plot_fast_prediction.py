"""
What does a fast predictor cost in accuracy?
============================================

By default a prediction passes each text through the language model and the last
recorded epoch of every branch. A ``final_estimator`` is trained
once, on the corrected labels with their probabilities as weights, and then predicts
alone.
"""

# %%
# Three ways to predict
# ---------------------
# As by default; by counted words and logistic regression; and by one network with a
# frozen language model, whose prediction is one pass.

import time

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skdygen import DyGenClassifier
from skdygen.datasets import make_label_noise, make_texts
from skdygen.dynamics import LanguageModelDynamics

texts, right = make_texts(800, random_state=0)
train, test = slice(0, 500), slice(500, None)
labels = make_label_noise(right[train], kind="symmetric", rate=0.4, random_state=0)

final_estimators = {
    "three stages": None,
    "words": make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10)
    ),
    "one network": LanguageModelDynamics(
        trainable_layers=0, n_branches=1, n_epochs=10, random_state=0
    ),
}

# %%
# The dynamics are computed once: with ``memory`` in a temporary folder the second and
# third fit find the first stage there. What predicts is built without the cache, so
# that times are true.

import tempfile

seconds, accuracy, plain = {}, {}, {}
with tempfile.TemporaryDirectory() as cache:
    for name, final in final_estimators.items():
        clf = DyGenClassifier(
            dynamics="frozen",
            final_estimator=final,
            memory=cache,
            random_state=0,
        )
        clf.fit(texts[train], labels).set_params(memory=None)
        start = time.perf_counter()
        accuracy[name] = clf.score(texts[test], right[test])
        seconds[name] = time.perf_counter() - start
        if final is not None:  # the same estimator, trained on the labels as given
            plain[name] = final.fit(texts[train], labels).score(
                texts[test], right[test]
            )

# %%
# Hollow marks, where arrows begin: the same estimator, trained on the labels as given.

import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
for (name, marker), color in zip(
    {"three stages": "o", "words": "s", "one network": "^"}.items(),
    ("#0072b2", "#d55e00", "#009e73"),
    strict=True,
):
    x = 1000 * seconds[name] / len(texts[test])
    ax.plot(x, accuracy[name], marker, color=color, ms=9, label=name)
    if name in plain:
        ax.plot(x, plain[name], marker, color=color, ms=9, mfc="none")
        ax.annotate(
            "", (x, accuracy[name]), (x, plain[name]),
            arrowprops={"arrowstyle": "->", "color": color},
        )  # fmt: skip
ax.set(
    xscale="log", xlabel="milliseconds per text", ylabel="accuracy on new texts",
    title="time and accuracy of a prediction",
)  # fmt: skip
ax.margins(0.15)
ax.legend(frameon=False)
plt.show()

# %%
# A final estimator must be able to learn the task at all; the corrected labels make it
# no cleverer than it is.
for name in final_estimators:
    print(f"{name:<13} {accuracy[name]:.3f}   on the labels as given: ", end="")
    print(f"{plain[name]:.3f}" if name in plain else "")
