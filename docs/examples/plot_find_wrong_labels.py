"""
Which labels are wrong, and how sure is it?
===========================================

A classifier is fitted on messages of customers, three in ten of which carry a wrong
label, and asked for the labels that it does not believe.
"""

# %%
# Data
# ----
# The messages are made, and so are the mistakes: any label has turned into any other
# class with equal chance. ``right`` is kept for the comparison at the end.

from skdygen.datasets import make_label_noise, make_texts

texts, right = make_texts(600, random_state=0)
labels = make_label_noise(right, kind="symmetric", rate=0.3, random_state=0)

# %%
# Fit
# ---
# With ``dynamics="frozen"`` a small head is trained on a language model that stays as
# it is, which takes seconds.

from skdygen import DyGenClassifier

clf = DyGenClassifier(dynamics="frozen", random_state=0).fit(texts, labels)
issues = clf.label_issues()
issues.head(8).round(3)

# %%
# ``quality`` is the probability of the given label, ``confidence`` that of the
# suggested one. They differ in what they are good for: the first orders the labels to
# look at, the second says whether the suggestion can be taken.
#
# The picture shows the quality of every label. Labels that look wrong are those with a
# more probable class; only some of them are replaced in ``transduction_``.

import matplotlib.pyplot as plt

from skdygen.inspection import LabelQualityDisplay

LabelQualityDisplay.from_estimator(clf, y_true=right)
plt.show()

# %%
# The right labels say how far that can be relied on. The second picture is read from
# the left: of the labels with the lowest quality nearly all are wrong, and who reads on
# finds more and more of the wrong ones among more and more right ones.

is_wrong = labels != right
listed = issues.index
first = listed[: is_wrong.sum() // 2]
print(f"wrong labels                        {is_wrong.sum()}")
print(f"labels that look wrong              {len(listed)}")
print(f"  of which are wrong                {is_wrong[listed].sum()}")
print(f"  the same among the first {len(first):>3}      {is_wrong[first].sum()}")
print(f"right labels, as given              {(labels == right).mean():.3f}")
print(f"right labels, corrected             {(clf.transduction_ == right).mean():.3f}")
