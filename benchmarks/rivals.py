"""Methods of others that the package does not have."""

import math
import time
from unittest.mock import patch

import numpy as np
import torch
from cleanlab.classification import CleanLearning
from cleanlab.count import num_label_issues
from torch.nn import functional

from skdygen._torch import seeded
from skdygen.denoisers import DirichletVAE
from skdygen.denoisers._vae import ConditionalVAE
from skdygen.dynamics import _engine

from .embeddings import StoredDynamics
from .task import PLAIN, Fit


class CoTeaching(StoredDynamics):
    """Two networks, each trained on the texts with the smallest loss of the other.

    Equations of Han et al., "Co-teaching", NeurIPS 2018; the share of texts that are
    left out rises to `forget_rate` in the first half of the epochs.
    """

    forget_rate = 0.0

    def _fit(self, X, targets, *, record):
        n_seen = 0

        def loss(logits, codes, weights, _):
            nonlocal n_seen
            epoch = n_seen // len(targets.labelled)
            n_seen += len(codes)
            rise = min(1.0, epoch / max(1, self.n_epochs // 2))
            return co_teaching_loss(logits, codes, weights, self.forget_rate * rise)

        with patch.object(_engine, "coregularized_loss", loss):
            return super()._fit(X, targets, record=record)


def co_teaching_loss(logits, codes, weights, forget_rate):
    """Loss of each network on the texts that the other finds easiest."""
    n_kept = math.ceil((1 - forget_rate) * len(codes))
    losses = torch.stack(
        [functional.cross_entropy(x, codes, reduction="none") for x in logits]
    )
    losses = weights * losses
    kept = losses.detach().flip(0).topk(n_kept, dim=1, largest=False).indices
    return losses.gather(1, kept).mean()


class ApproximateNetwork(ConditionalVAE):
    """Draws gamma variables by what their inverse distribution function is near 0.

    Joo et al., "Dirichlet Variational Autoencoder", 2020.
    """

    def draw(self, alpha):
        """Draw, and normalise."""
        log_gamma = (
            torch.rand_like(alpha).clamp(min=1e-6).log()
            + alpha.log()
            + torch.lgamma(alpha)
        ) / alpha
        return log_gamma.softmax(dim=-1)


class ApproximateVAE(DirichletVAE):
    """`DirichletVAE` with the approximate sample that published code has."""

    _network = ApproximateNetwork


def fit_co_teaching(task):
    """Fit co-teaching, told the rate that cleanlab estimates from frozen embeddings."""
    codes = np.searchsorted(task.classes, task.train.given)
    rate = num_label_issues(codes, task.out_of_fold) / len(codes)
    return task.fit(_make_co_teaching, forget_rate=rate, coregularization=0.0)


def _make_co_teaching(forget_rate, **params):
    dynamics = CoTeaching(n_branches=2, **params)
    dynamics.forget_rate = forget_rate
    return dynamics


def fit_cleanlab(task):
    """Fit the plain model on what cleanlab leaves.

    In the regime "frozen" all is cleanlab's own procedure, five folds of the model
    itself; in the other its held-out probabilities come from frozen embeddings.

    Returns
    -------
    fit : Fit
        Of the model fitted last.
    issues : DataFrame
        What `CleanLearning.find_label_issues` gives.
    """
    params = task.settings["dynamics"] | {"random_state": task.seed} | PLAIN
    probabilities = None if task.regime == "frozen" else task.out_of_fold
    return task.keep(
        ["cleanlab", params], lambda: _fit_cleanlab(task.splits, probabilities, params)
    )


def _fit_cleanlab(splits, probabilities, params):
    train = splits["train"]
    classes, codes = np.unique(train.given, return_inverse=True)
    # A column: where a fold lacks a class cleanlab stacks rows, as of a matrix.
    texts = np.array(train.texts, dtype=object)[:, None]
    start = time.perf_counter()
    seed = params["random_state"]
    state = np.random.get_state()
    with seeded(seed):  # cleanlab seeds the global states of torch and numpy
        learning = CleanLearning(StoredDynamics(**params), seed=seed, verbose=False)
        issues = learning.find_label_issues(texts, codes, pred_probs=probabilities)
        learning.fit(texts, codes, label_issues=issues)
    np.random.set_state(state)
    seconds = time.perf_counter() - start
    model = learning.clf
    predicted = {}
    for part in ("development", "test"):
        predicted[part] = np.zeros((len(splits[part]), len(classes)))
        found = model.predict_proba(splits[part].texts)
        predicted[part][:, model.classes_] = found  # a class can be pruned away
    return Fit(classes, None, {}, predicted, seconds), issues
