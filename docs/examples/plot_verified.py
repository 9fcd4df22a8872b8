"""
What do fifty verified labels give?
===================================

Nothing in the labels says how many of them are wrong, or whom to believe where they
and the model differ. A few labels that somebody has verified do.
"""

# %%
# Data
# ----
# Mistakes with a system: three labels in ten have turned into the next class in the
# alphabet. The right ones stand in for the person who verifies.

from skdygen.datasets import make_label_noise, make_texts

texts, right = make_texts(1000, random_state=0)
labels = make_label_noise(right, kind="asymmetric", rate=0.3, random_state=0)

# %%
# Fit, verify, refit
# ------------------
# ``store_trajectories`` keeps what the first stage has recorded. A refit then trains
# nothing of it again.

import time

from skdygen import DyGenClassifier
from skdygen.dynamics import IncrementalDynamics

clf = DyGenClassifier(IncrementalDynamics(), store_trajectories=True, random_state=0)
clf.fit(texts, labels)
table = clf.labels_to_check(50, random_state=0)
table.head().round(3)

# %%
# Texts are drawn the more likely the more the opinions on them differ; ``probability``
# says how likely that was. What is read goes into the column ``verified``.

from copy import deepcopy

table["verified"] = right[table.index]
start = time.perf_counter()
refitted = deepcopy(clf).refit(table)
print(f"refit: {time.perf_counter() - start:.1f} s")
low, high = refitted.noise_rate_interval_
print(f"wrong labels: estimated {refitted.noise_rate_:.2f}, {low:.2f} to {high:.2f}")

# %%
# The curve
# ---------
# The same with more and fewer labels, five draws of each. The dotted line is what it
# comes to if the verified labels are put in and the others stay as they are.

import numpy as np
import pandas as pd

numbers = [0, 25, 50, 100, 200]
rows = []
for n_verified in numbers:
    for draw in range(5 if n_verified else 1):
        fitted, known = clf, labels.copy()
        if n_verified:
            table = clf.labels_to_check(n_verified, random_state=draw)
            table["verified"] = right[table.index]
            known[table.index] = table["verified"]
            fitted = deepcopy(clf).refit(table)
        interval = getattr(fitted, "noise_rate_interval_", (np.nan, np.nan))
        rows.append(
            {
                "n_verified": n_verified,
                "corrected": (fitted.transduction_ == right).mean(),
                "put in": (known == right).mean(),
                "noise_rate": fitted.noise_rate_,
                "low": interval[0],
                "high": interval[1],
            }
        )
found = pd.DataFrame(rows)
means = found.groupby("n_verified").mean()

import matplotlib.pyplot as plt

fig, (left, middle) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
left.plot(means["corrected"], color="#0072b2", label="corrected, mean")
left.plot(means["put in"], ":", color="0.5", label="verified put in")
left.plot(
    found["n_verified"], found["corrected"], "o", ms=4, color="#0072b2", label="by draw"
)
left.set(
    xlabel="verified labels", ylabel="share of right labels", xticks=numbers,
    title="training texts",
)  # fmt: skip
left.legend(frameon=False, loc="center right")

proven = found[found["n_verified"] > 0]
at = proven["n_verified"] + 3 * (proven.groupby("n_verified").cumcount() - 2)
ends = (proven["noise_rate"] - proven["low"], proven["high"] - proven["noise_rate"])
middle.errorbar(
    at, proven["noise_rate"], ends, fmt="o", ms=4, capsize=2, color="#0072b2",
    label="estimate, interval",
)  # fmt: skip
middle.plot(0, clf.noise_rate_, "D", color="#d55e00", label="none verified")
middle.axhline(0.3, color="0.5", ls="--", lw=1, label="true share")
middle.set(
    xlabel="verified labels", ylabel="share of wrong labels", xticks=numbers,
    ylim=(0, 0.8), title="noise rate, by draw",
)  # fmt: skip
middle.legend(frameon=False, loc="upper right")
plt.show()

# %%
# On the left, every draw lifts the corrected labels far above putting the labels in.
# That is not promised: with few verified labels chance has a say in whether corrections
# have made these better; if they have not, few or none are made.
#
# On the right, nothing is promised of the estimate that comes without verified labels,
# and here it happens to be not far off. Where the model has learnt the mistakes it is
# too low, and nothing shows it. Intervals hold the true share in 95 % of all draws,
# whatever the model has learnt; they shrink with the number of labels, as those of a
# sample do.
#
# Guarantee
# ---------
# With enough labels it can be said which of the others need not be read.

fitted = deepcopy(clf)
for _ in range(4):
    table = fitted.labels_to_check(50, random_state=0)
    table["verified"] = right[table.index]
    fitted.refit(table)
accepted = fitted.accept_labels(max_error=0.05, confidence=0.95)
wrong = accepted & (fitted.transduction_ != right)
print(f"accepted {accepted.sum()} of {len(labels)}; wrong among them: {wrong.sum()}")
