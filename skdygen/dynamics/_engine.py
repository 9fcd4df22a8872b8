"""The training loop of the branches."""

import logging
import math
import time
from functools import partial

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import get_linear_schedule_with_warmup

from ..utils._processes import distribute, mean_everywhere, own_share
from ..utils._storage import batches
from ..utils._torch import autocast, fewer_rows
from ._checkpoint import restore_training, training_state
from ._dropout import fast_dropout

logger = logging.getLogger(__name__)

_BATCHES_SORTED_TOGETHER = 50
_STEPS_BETWEEN_CHECKS = 50  # of the loss: each waits for the device


def train(
    branches, inputs, targets, weights, loss, *, n_epochs, batch_size, max_tokens,
    learning_rate, head_learning_rate, weight_decay, warmup, max_grad_norm, device,
    dtype, rng, observe, observed_epochs, resume_from=None, verbose,
):  # fmt: skip
    """Fine-tune all branches together on the same batches.

    Parameters
    ----------
    branches : Branches
        The networks, trained in place.
    inputs : Inputs of n_samples texts
        What they read.
    targets : ndarray of shape (n_samples,)
        Classes as 0..n_classes-1; texts with -1 have no loss.
    weights : ndarray of shape (n_samples,)
        How much the texts count, in proportion to each other.
    loss : callable
        Takes logits (n_branches, n_rows, n_classes), targets (n_rows,), weights
        (n_rows,) and the number of the epoch, from 0; gives a scalar.
    n_epochs, batch_size, max_tokens, learning_rate, head_learning_rate
        As in `LanguageModelDynamics`.
    weight_decay, warmup, max_grad_norm
        As in `LanguageModelDynamics`.
    device : torch.device
        Where to train.
    dtype : torch.dtype or None
        Type of the matrix products, for `torch.autocast`.
    rng : RandomState
        Source of the order of the texts.
    observe : callable or None
        Is given the number of the epoch, and the positions, embeddings and logits of
        each batch that is trained on.
    observed_epochs : collection of int
        The epochs, from 0, in which `observe` is called; none if it is None.
    resume_from : Resumed, default=None
        Where to go on; None begins. The arguments have to be the same as then.
    verbose : int
        Show a progress bar if positive.

    Yields
    ------
    epoch : int
        Number of each epoch, from 0, when it is over.
    get_state : callable
        Gives what `resume_from.training` has to be in order to go on from here.

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    RuntimeError
        If there is not memory enough for a single text, or, where several processes
        fit together, for a batch.
    """
    labelled = np.flatnonzero(targets >= 0)
    targets = torch.from_numpy(targets).to(device)
    weights = weights / weights[labelled].mean()
    weights = torch.from_numpy(weights).float().to(device)
    orders = []
    for _ in range(n_epochs):
        drawn = length_grouped_batches(inputs.lengths[labelled], batch_size, rng)
        orders.append(
            [
                rows
                for batch in drawn
                for rows in inputs.cut(labelled[batch], batch_size, max_tokens)
            ]
        )
    n_steps = sum(map(len, orders))

    parameters = branches.trained_parameters()
    heads = [p for name, p in parameters.items() if _is_head(name)]
    bodies = [p for name, p in parameters.items() if not _is_head(name)]
    optimizer = torch.optim.AdamW(
        [
            {"params": bodies, "lr": learning_rate},
            {"params": heads, "lr": head_learning_rate},
        ],
        weight_decay=weight_decay,
        fused=torch.device(device).type in ("cpu", "cuda"),
    )
    schedule = get_linear_schedule_with_warmup(
        optimizer, num_warmup_steps=int(warmup * n_steps), num_training_steps=n_steps
    )

    get_state = partial(training_state, branches, optimizer, schedule, device)
    first_epoch = 0
    if resume_from is not None:
        first_epoch = resume_from.epoch + 1
        restore_training(resume_from.training, branches, optimizer, schedule, device)

    network = distribute(branches)
    most_rows = batch_size  # whose gradients are computed at once
    progress = tqdm(
        total=n_steps, desc="fine-tuning", unit="batch", disable=not verbose,
        initial=sum(map(len, orders[:first_epoch])),
    )  # fmt: skip
    with progress:
        for epoch, order in enumerate(orders[first_epoch:], start=first_epoch):
            branches.train()
            losses = torch.zeros(len(order), device=device)
            n_tokens, start = 0, time.perf_counter()
            for step, batch in enumerate(order):
                rows, share = own_share(batch)
                targeted = partial(_targeted, loss, targets, weights, epoch, share)
                while True:
                    try:
                        losses[step], seen = _add_gradients(
                            network, inputs, rows, most_rows, targeted, device, dtype
                        )
                        break
                    except RuntimeError as error:
                        if network is not branches:  # the other processes wait
                            raise
                        most_rows = fewer_rows(error, min(most_rows, len(rows)))
                    optimizer.zero_grad(set_to_none=True)
                torch.nn.utils.clip_grad_norm_(branches.parameters(), max_grad_norm)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad(set_to_none=True)
                if epoch in observed_epochs and share:
                    for observed in seen:
                        observe(epoch, *observed)
                n_tokens += inputs.lengths[batch].sum()
                if (step + 1) % _STEPS_BETWEEN_CHECKS == 0:
                    some = mean_everywhere(losses[: step + 1])
                    _check_finite(some, epoch)
                    _show(progress, epoch, n_epochs, some, inputs, n_tokens, start)
                progress.update()
            losses = mean_everywhere(losses)
            _check_finite(losses, epoch)
            mean_loss = losses.mean().item()
            _show(progress, epoch, n_epochs, losses, inputs, n_tokens, start)
            logger.info("epoch %d of %d: loss %.4f", epoch + 1, n_epochs, mean_loss)
            yield epoch, get_state


def _show(progress, epoch, n_epochs, losses, inputs, n_tokens, start):
    """Show the mean loss of this epoch, and its speed since `start`."""
    unit = "tokens/s" if inputs.has_tokens else "texts/s"  # a text of one row counts 1
    speed = n_tokens / (time.perf_counter() - start)
    postfix = {"loss": f"{losses.mean().item():.4f}", unit: f"{speed:,.0f}"}
    progress.set_postfix({"epoch": f"{epoch + 1}/{n_epochs}", **postfix})


def _targeted(loss, targets, weights, epoch, share, logits, rows):
    """Loss of some texts, as part of the mean over the processes."""
    return share * loss(logits.float(), targets[rows], weights[rows], epoch)


def _add_gradients(network, inputs, rows, most_rows, loss, device, dtype):
    """Add up the gradients of a batch, computed for `most_rows` texts at a time.

    Returns the loss, and positions, embeddings and logits of each part.
    """
    total, seen = 0.0, []
    for part in batches(len(rows), most_rows):
        few = rows[part]
        with autocast(dtype, device), fast_dropout(device):
            embeddings, logits = network(inputs.batch(few, device))
        part_loss = len(few) / len(rows) * loss(logits, few)
        part_loss.backward()
        total = total + part_loss.detach()
        seen.append((few, embeddings.detach(), logits.detach()))
    return total, seen


def _check_finite(losses, epoch):
    """Raise an error if one of the first batches of an epoch has no finite loss."""
    wrong = (~torch.isfinite(losses)).nonzero()
    if len(wrong):
        first = int(wrong[0])
        raise FloatingPointError(
            f"the loss of batch {first + 1} in epoch {epoch + 1} is "
            f"{losses[first].item()}; use a smaller learning_rate, or "
            f"precision='fp32'."
        )


def coregularized_loss(logits, targets, weights, regularization):
    """Cross-entropy of each branch, and how far the branches are from their mean.

    Equations 1 to 3 of Zhou and Chen (2021), as used in stage 1 of DyGen:
    ``mean_m CE(p_m, y) + regularization * mean_m KL(p_bar || p_m)`` with
    ``p_bar = mean_m p_m``.

    Parameters
    ----------
    logits : Tensor of shape (n_branches, n_rows, n_classes)
        Unnormalised log-probabilities.
    targets : Tensor of shape (n_rows,)
        Classes.
    weights : Tensor of shape (n_rows,)
        Factors of the terms of each row.
    regularization : float
        Strength of the second term.

    Returns
    -------
    loss : Tensor of shape ()
        Mean over the rows.
    """
    log_p = logits.log_softmax(-1)
    rows = torch.arange(len(targets), device=targets.device)
    loss = -(weights * log_p[:, rows, targets]).mean()
    if regularization and len(logits) > 1:
        log_mean = log_p.logsumexp(0) - math.log(len(log_p))
        kl = (log_mean.exp() * (log_mean - log_p)).sum(-1)
        loss = loss + regularization * (weights * kl).mean()
    return loss


def length_grouped_batches(lengths, batch_size, rng):
    """Draw batches of texts of like length, all in a random order.

    Parameters
    ----------
    lengths : ndarray of shape (n_samples,)
        Number of tokens of each text.
    batch_size : int
        Number of texts in a batch; the last one drawn may be smaller.
    rng : RandomState
        Source of the order.

    Returns
    -------
    batches : list of ndarray
        Positions of the texts of each batch; each text is in exactly one.
    """
    order = rng.permutation(len(lengths))
    drawn = []
    for pool in batches(len(order), batch_size * _BATCHES_SORTED_TOGETHER):
        pooled = order[pool]
        pooled = pooled[np.argsort(lengths[pooled], kind="stable")]
        drawn += [pooled[part] for part in batches(len(pooled), batch_size)]
    return [drawn[i] for i in rng.permutation(len(drawn))]


def _is_head(name):
    return ".head." in name or ".body.layers." in name
