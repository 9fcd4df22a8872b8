"""Ways to choose the labels to verify that the package does not have."""

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state

from skdygen._verified import inclusion_probabilities

_N_STRATA = 5  # of quality, for each given class
_N_NEIGHBORS = 20


def stratified(setting, n, draw):
    """Draw by given class and fifth of quality, most where most is in doubt.

    As many of each stratum as its size times the root of its mean p (1 - p) says
    (Neyman, 1934), p being the quality; by systematic sampling, stratum after stratum.
    """
    rng, quality = check_random_state(draw), setting.unverified.label_quality_
    n_texts = len(quality)
    fifths = np.argsort(np.argsort(quality)) * _N_STRATA // n_texts
    _, strata = np.unique(setting.given * _N_STRATA + fifths, return_inverse=True)
    variances = np.bincount(strata, quality * (1 - quality)) / np.bincount(strata)
    sizes = np.sqrt(variances[strata].clip(min=1e-6))
    probabilities = inclusion_probabilities(sizes, n)
    order = rng.permutation(n_texts)
    order = order[np.argsort(strata[order], kind="stable")]
    steps = np.cumsum(probabilities[order])
    steps[-1] = n  # rounding
    drawn = order[np.searchsorted(steps, rng.uniform() + np.arange(n), side="right")]
    return pd.DataFrame({"index": drawn, "probability": probabilities[drawn]})


def expected_change(setting, n, draw):
    """Take, one by one, the texts from which most doubt of their like could be lifted.

    A text lifts the doubt of one of its nearest by as much as the two are alike, less
    what one that was taken before has lifted; nothing is left to chance.
    """
    doubt = 1 - setting.unverified.label_distributions_.max(axis=1)
    embedded = setting.embedded["train"]
    search = NearestNeighbors(
        n_neighbors=min(_N_NEIGHBORS, len(doubt)), metric="cosine"
    )
    distances, nearest = search.fit(embedded).kneighbors(embedded)
    alike, lifted = 1 - distances, np.zeros(len(doubt))
    taken = []
    for _ in range(n):
        gains = (alike - lifted[nearest]).clip(min=0) * doubt[nearest]
        gains = gains.sum(axis=1)
        gains[taken] = -1
        taken.append(gains.argmax())
        near = nearest[taken[-1]]
        lifted[near] = np.maximum(lifted[near], alike[taken[-1]])
    return pd.DataFrame({"index": taken, "probability": 1.0})


STRATEGIES = {"stratified": stratified, "expected change": expected_change}
