"""What to do where a fit has corrected nothing, and why it has not."""

import numpy as np

from .._decisions import NEAR_CHANCE, foretold


def why_none_corrected(clf, n_issues, path):
    """Say in one line why no label was corrected, and what to do now."""
    targets, threshold = clf._targets, clf.correction_threshold
    if not n_issues:
        why = "no label looks wrong"
    elif threshold != "auto":
        why = f"no other class has a probability of {threshold:g}"
    elif len(targets.checked):
        why = "the suggestions make the verified labels no better"
    elif np.isnan(clf.noise_rate_) or foretold(clf._untouched(), targets) < NEAR_CHANCE:
        why = "the texts hardly foretell the labels"
    else:
        why = "the model is not sure enough, as with mistakes that follow a rule"
    what = f"let somebody check 50: skdygen check {path} --n 50, with the same columns"
    if len(targets.checked):
        what = "read those that look wrong, worst first: --sort"
    if threshold != "auto" and n_issues:
        what = f"a lower --threshold corrects more; {what}"
    return f"{why}; {what}"
