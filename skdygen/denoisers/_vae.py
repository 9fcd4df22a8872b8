"""The conditional variational auto-encoder and its training loop."""

import logging
import math

import numpy as np
import torch
from torch import nn
from torch.distributions import Dirichlet, kl_divergence
from torch.nn import functional
from tqdm.auto import tqdm

from ..utils._storage import batches

logger = logging.getLogger(__name__)


class BranchLinear(nn.Module):
    """One linear map per branch on ``[w; y]``, kept as its two blocks of columns.

    Parameters
    ----------
    n_branches, n_features, n_classes : int
        Sizes; the map goes from n_features + n_classes to n_classes.
    """

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
    """q(y | y~, w) and p(y~ | y, w) of all branches; equations in `DirichletVAE`.

    Parameters
    ----------
    n_branches, n_features, n_classes : int
        Sizes.
    """

    def __init__(self, n_branches, n_features, n_classes):
        super().__init__()
        self.encoder = BranchLinear(n_branches, n_features, n_classes)
        self.decoder = BranchLinear(n_branches, n_features, n_classes)
        self.n_classes = n_classes

    def forward(self, w, given):
        """Encode, draw a true label, and decode the given one.

        Parameters
        ----------
        w : Tensor of shape (n_branches, n_rows, n_features)
            Trajectories.
        given : Tensor of shape (n_rows, n_classes)
            Given labels, one-hot.

        Returns
        -------
        alpha : Tensor of shape (n_branches, n_rows, n_classes)
            Concentrations of q(y | y~, w).
        logits : Tensor of shape (n_branches, n_rows, n_classes)
            Of p(y~ | y, w) at a reparameterised draw of y.
        """
        alpha = functional.softplus(self.encoder(w, given)) + 1 + 1 / self.n_classes
        return alpha, self.decoder(w, self.draw(alpha))

    def draw(self, alpha):
        """Draw from Dirichlet distributions, with exact gradients."""
        # Arguments are not validated: train_vae checks the loss, with a clear error.
        return Dirichlet(alpha, validate_args=False).rsample()


def vae_loss(alpha, logits, given, weights, alpha_prior, regularization):
    """Negative evidence lower bound of all branches, pulled towards their mean.

    Parameters
    ----------
    alpha : Tensor of shape (n_branches, n_rows, n_classes)
        Concentrations of the posterior.
    logits : Tensor of shape (n_branches, n_rows, n_classes)
        Of the decoded given labels.
    given : Tensor of shape (n_rows, n_classes)
        Given labels, one-hot.
    weights : Tensor of shape (n_rows,)
        Factors of the terms of each row.
    alpha_prior : Tensor of shape (n_rows, n_classes)
        Concentrations of the prior.
    regularization : float
        Strength of the pull.

    Returns
    -------
    loss : Tensor of shape ()
        Sum over classes, mean over branches and rows.
    """
    target = given.expand_as(logits)
    reconstruction = functional.binary_cross_entropy_with_logits(
        logits, target, reduction="none"
    ).sum(-1)
    divergence = kl_divergence(
        Dirichlet(alpha, validate_args=False),
        Dirichlet(alpha_prior, validate_args=False),
    )
    loss = (weights * (reconstruction + divergence)).mean()
    if regularization and len(alpha) > 1:
        a = (alpha - 1) / (alpha - 1).sum(-1, keepdim=True)
        a_mean = a.mean(0)
        pull = (a_mean * (a_mean.log() - a.log())).sum(-1)
        loss = loss + regularization * (weights * pull).mean()
    return loss


def train_vae(
    vae, read_features, codes, weights, alpha_prior, *, n_epochs, n_warmup_epochs,
    batch_size, learning_rate, regularization, rng, verbose,
):  # fmt: skip
    """Train the auto-encoder in place.

    Parameters
    ----------
    vae : ConditionalVAE
        The network.
    read_features : callable
        Gives the trajectories of some rows, (n_branches, n_rows, n_features).
    codes : ndarray of shape (n_samples,)
        Given classes as 0..n_classes-1.
    weights : ndarray of shape (n_samples,)
        How much each text counts, in proportion to each other.
    alpha_prior : ndarray of shape (n_samples, n_classes)
        Concentrations of the prior.
    n_epochs, batch_size, learning_rate, regularization
        As in `DirichletVAE`.
    n_warmup_epochs : int
        Number of epochs without the pull towards the mean.
    rng : RandomState
        Source of the order of the rows.
    verbose : int
        Show a progress bar if positive.

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    """
    one_hot = torch.eye(vae.n_classes)
    weights = torch.from_numpy(weights / weights.mean()).float()
    alpha_prior = torch.from_numpy(alpha_prior.astype(np.float32))
    optimizer = torch.optim.Adam(vae.parameters(), lr=learning_rate)

    for epoch in tqdm(range(n_epochs), desc="denoising", disable=not verbose):
        strength = 0.0 if epoch < n_warmup_epochs else regularization
        order = rng.permutation(len(codes))
        for part in batches(len(order), batch_size):
            rows = np.sort(order[part])
            w, given = read_features(rows), one_hot[codes[rows]]
            alpha, logits = vae(w, given)
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
