"""The conditional variational auto-encoder and its training loop."""

import logging
import math

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches
from torch import nn
from torch.distributions import Dirichlet, kl_divergence
from torch.nn import functional

from .._progress import bar, tasks

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 1024


class BranchLinear(nn.Module):
    """One linear map per branch on ``[w; y]``, kept as its two blocks of columns."""

    def __init__(self, n_branches, n_features, n_classes):
        super().__init__()
        bound = 1 / math.sqrt(n_features + n_classes)

        def uniform(*shape):
            return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

        self.from_features = uniform(n_branches, n_features, n_classes)
        self.from_label = uniform(n_branches, n_classes, n_classes)
        self.bias = uniform(n_branches, 1, n_classes)

    def forward(self, w, y):
        """Map features (n_branches, n_rows, n_features) and labels (..., n_classes)."""
        return w @ self.from_features + y @ self.from_label + self.bias


class ConditionalVAE(nn.Module):
    """q(y | y~, w) and p(y~ | y, w) of all branches; equations in `DirichletVAE`."""

    def __init__(self, n_branches, n_features, n_classes):
        super().__init__()
        self.encoder = BranchLinear(n_branches, n_features, n_classes)
        self.decoder = BranchLinear(n_branches, n_features, n_classes)
        self.n_classes = n_classes

    def forward(self, w, given):
        """Encode, draw a true label, decode; both (n_branches, n_rows, n_classes)."""
        alpha = functional.softplus(self.encoder(w, given)) + 1 + 1 / self.n_classes
        return alpha, self.decoder(w, self.draw(alpha))

    def draw(self, alpha):
        """Draw from Dirichlet distributions, with exact gradients."""
        # Arguments are not validated: train_vae checks the loss, with a clear error.
        return Dirichlet(alpha, validate_args=False).rsample()


def vae_loss(alpha, logits, given, weights, alpha_prior, coregularization):
    """Negative evidence lower bound of all branches, pulled towards their mean."""
    # alpha and logits (n_branches, n_rows, n_classes), given and alpha_prior (n_rows,
    # n_classes), weights (n_rows,); sum over classes, mean over branches and rows.
    reconstruction = functional.binary_cross_entropy_with_logits(
        logits, given.expand_as(logits), reduction="none"
    ).sum(-1)
    divergence = kl_divergence(
        Dirichlet(alpha, validate_args=False),
        Dirichlet(alpha_prior, validate_args=False),
    )
    loss = (weights * (reconstruction + divergence)).mean()
    if coregularization and len(alpha) > 1:
        a = (alpha - 1) / (alpha - 1).sum(-1, keepdim=True)
        a_mean = a.mean(0)
        pull = (a_mean * (a_mean.log() - a.log())).sum(-1)
        loss = loss + coregularization * (weights * pull).mean()
    return loss


def train_vae(
    vae, trajectories, targets, alpha_prior, shift, scale, *, n_epochs, batch_size,
    learning_rate, coregularization, n_warmup_epochs, rng, verbose,
):  # fmt: skip
    """Train in place on the texts with a label; the first epochs without the pull."""
    labelled = targets.labelled
    weights = targets.weights / targets.weights[labelled].mean()
    weights = torch.from_numpy(weights.astype(np.float32))
    alpha_prior = torch.from_numpy(alpha_prior.astype(np.float32))
    one_hot = torch.eye(vae.n_classes)
    optimizer = torch.optim.Adam(vae.parameters(), lr=learning_rate)

    epochs = bar(range(n_epochs), desc="denoising", verbose=verbose)
    for epoch in tasks("epoch", epochs):
        strength = 0.0 if epoch < n_warmup_epochs else coregularization
        order = rng.permutation(labelled)
        for part in gen_batches(len(order), batch_size):
            rows = np.sort(order[part])  # mapped files are read forwards
            w = standardize(trajectories.embeddings[rows], shift, scale)
            given = one_hot[targets.codes[rows]]
            alpha, logits = vae(torch.from_numpy(w), given)
            loss = vae_loss(
                alpha, logits, given, weights[rows], alpha_prior[rows], strength
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if not math.isfinite(loss.item()):
                raise FloatingPointError(
                    f"the loss of epoch {epoch + 1} is not finite; use a smaller "
                    f"learning_rate for the denoiser."
                )
        logger.debug("epoch %d: loss of the last batch %.4f", epoch + 1, loss.item())


def by_branch(embeddings):
    """Flatten to (n_branches, n_samples, n_epochs * n_features), float32."""
    n_samples, n_branches = embeddings.shape[:2]
    flat = embeddings.reshape(n_samples, n_branches, -1).astype(np.float32)
    return np.swapaxes(flat, 0, 1)


def standardize(embeddings, shift, scale):
    """Standardised trajectories, (n_branches, n_samples, n_epochs * n_features)."""
    w = (by_branch(embeddings) - shift[:, None]) / scale[:, None]
    return w.astype(np.float32)


def weighted_moments(embeddings, targets):
    """Mean and scale of labelled texts, (n_branches, n_epochs * n_features) each."""
    n_branches, n_epochs, n_features = embeddings.shape[1:]
    moments = StandardScaler()
    for part in gen_batches(len(targets.labelled), _ROWS_AT_ONCE):
        rows = targets.labelled[part]
        flat = embeddings[rows].reshape(len(rows), -1).astype(np.float64)
        moments.partial_fit(flat, sample_weight=targets.weights[rows])
    # One scale for all features of a branch and epoch: their proportions, which the
    # distances between texts live in, stay as they are.
    variance = moments.var_.reshape(n_branches, n_epochs, n_features).mean(-1)
    scale = np.sqrt(np.where(variance > 0, variance, 1.0))
    return moments.mean_.reshape(n_branches, -1), scale.repeat(n_features, axis=1)
