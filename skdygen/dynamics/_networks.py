"""The networks that are trained together, their loss, and how weights are kept."""

import math
from contextlib import contextmanager

import torch
from safetensors.torch import load, save
from torch import nn


class Branches(nn.Module):
    """Several networks, each a `Branch`, that read the same batches."""

    def __init__(self, branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.n_features = branches[0].head.in_features

    def forward(self, features):
        """Embeddings (n_branches, n_rows, n_features), logits (..., n_classes)."""
        outputs = [branch(dict(features)) for branch in self.branches]
        embeddings, logits = zip(*outputs, strict=True)
        return torch.stack(embeddings), torch.stack(logits)

    def trained_parameters(self):
        """Return the parameters that training changes, by name."""
        return {
            name: parameter
            for name, parameter in self.named_parameters()
            if parameter.requires_grad
        }

    def snapshot(self):
        """Return the trained weights in half precision, as safetensors bytes."""
        return save(
            {
                name: parameter.detach().half().cpu().contiguous()
                for name, parameter in self.trained_parameters().items()
            }
        )

    @torch.no_grad()
    def load(self, snapshot):
        """Take over the weights of a snapshot."""
        weights = load(snapshot)
        for name, parameter in self.trained_parameters().items():
            parameter.copy_(weights[name])

    @contextmanager
    def restored(self, snapshot):
        """Have the weights of a snapshot inside a ``with`` block."""
        parameters = self.trained_parameters().values()
        current = [parameter.detach().clone() for parameter in parameters]
        self.load(snapshot)
        try:
            yield self
        finally:
            with torch.no_grad():
                for parameter, value in zip(parameters, current, strict=True):
                    parameter.copy_(value)


class Branch(nn.Module):
    """One network: a body that adds "sentence_embedding", dropout and a linear head."""

    def __init__(self, body, n_features, n_classes, dropout):
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(n_features, n_classes)

    def forward(self, features):
        """Return embedding and logits of a batch."""
        embedding = self.body(features)["sentence_embedding"]
        return embedding, self.head(self.dropout(embedding))

    def train(self, mode=True):
        """Set the training mode; what is not trained stays in evaluation mode."""
        super().train(mode)
        for module in self.body.modules():
            parameters = list(module.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                module.eval()
        return self


class HiddenLayer(nn.Module):
    """The body when no layer is trained: one hidden layer on a frozen embedding.

    Its output is the embedding whose dynamics count.
    """

    def __init__(self, n_inputs, n_features):
        super().__init__()
        self.layers = nn.Sequential(
            # Frozen embeddings often have unit length; a head learns faster from
            # features of unit variance.
            nn.LayerNorm(n_inputs, elementwise_affine=False),
            nn.Linear(n_inputs, n_features),
            nn.ReLU(),
        )

    def forward(self, features):
        """Replace the frozen embedding by the hidden layer's output."""
        return {"sentence_embedding": self.layers(features["sentence_embedding"])}


def coregularized_loss(logits, targets, weights, coregularization):
    """Cross-entropy of each branch, and how far the branches are from their mean.

    Equations 1 to 3 of Zhou and Chen (2021), as used in stage 1 of DyGen:
    ``mean_m CE(p_m, y) + coregularization * mean_m KL(p_bar || p_m)`` with
    ``p_bar = mean_m p_m``; the mean over rows, whose terms are multiplied by weights.
    Logits are (n_branches, n_rows, n_classes), targets and weights (n_rows,).
    """
    log_p = logits.log_softmax(-1)
    rows = torch.arange(len(targets), device=targets.device)
    loss = -(weights * log_p[:, rows, targets]).mean()
    if coregularization and len(logits) > 1:
        log_mean = log_p.logsumexp(0) - math.log(len(log_p))
        kl = (log_mean.exp() * (log_mean - log_p)).sum(-1)
        loss = loss + coregularization * (weights * kl).mean()
    return loss


def is_head(name):
    """Tell whether a parameter is of a class head or hidden layer, by its name."""
    return ".head." in name or ".body.layers." in name
