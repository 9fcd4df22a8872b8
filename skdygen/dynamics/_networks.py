"""The networks that are trained together, their loss, and how weights are kept."""

import math
from contextlib import contextmanager, nullcontext

import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_LEVELS = 2**16  # probabilities of dropout are rounded to multiples of 1 / _LEVELS


class Branches(nn.Module):
    """Several networks, each a `Branch`, that read the same batches."""

    def __init__(self, branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.n_features = branches[0].head.in_features

    def forward(self, features):
        """Embeddings (n_branches, n_rows, n_features), logits (..., n_classes)."""
        on_cpu = self.branches[0].head.weight.device.type == "cpu"
        with FastDropout() if self.training and on_cpu else nullcontext():
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
    Logits are (n_branches, n_rows, n_classes), weights (n_rows,), targets codes of
    classes (n_rows,) or distributions (n_rows, n_classes).
    """
    log_p = logits.log_softmax(-1)
    rows = torch.arange(len(targets), device=targets.device)
    log_likelihood = (
        log_p[:, rows, targets] if targets.ndim == 1 else (log_p * targets).sum(-1)
    )
    loss = -(weights * log_likelihood).mean()
    if coregularization and len(logits) > 1:
        log_mean = log_p.logsumexp(0) - math.log(len(log_p))
        kl = (log_mean.exp() * (log_mean - log_p)).sum(-1)
        loss = loss + coregularization * (weights * kl).mean()
    return loss


def is_head(name):
    """Tell whether a parameter of `Branches` is of a class head or hidden layer."""
    _, _, part, *rest = name.split(".")  # branches.0.head.weight
    return part == "head" or rest[0] == "layers"


class FastDropout(TorchFunctionMode):
    """A context in which dropout costs little on a CPU.

    torch draws a floating-point number for each value there, which can take longer than
    the product in front of it, and has no fused attention with dropout: a sixth of a
    fit. Here 16 random bits decide over each value.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is functional.dropout:
            return _dropout(*args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        return func(*args, **kwargs)


def _dropout(input, p=0.5, training=True, inplace=False):
    """Do as `torch.nn.functional.dropout` does."""
    if inplace or not training or not 0 < p < 1:
        return functional.dropout(input, p, training, inplace)
    return input * draw_mask(input, p)


def _attention(query, key, value, attn_mask=None, dropout_p=0.0, *rest, **kwargs):
    """Do as `torch.nn.functional.scaled_dot_product_attention` does."""
    scale = kwargs.get("scale")
    if (
        not 0 < dropout_p < 1
        or rest
        or any(v for k, v in kwargs.items() if k != "scale")
    ):
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, *rest, **kwargs
        )
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * scale) @ key.transpose(-2, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = scores.softmax(-1)
    return (weights * draw_mask(weights, dropout_p)) @ value


def draw_mask(like, p):
    """Draw what dropout multiplies with: 0 with probability p, and of mean 1."""
    n_dropped = min(round(p * _LEVELS), _LEVELS - 1)
    words = torch.empty(-(-like.numel() // 4), dtype=torch.int64)
    words.random_(-(2**63), None)  # all 64 bits
    bits = words.view(torch.int16)[: like.numel()].view(like.shape)
    mask = (bits >= n_dropped - _LEVELS // 2).to(like.dtype)
    return mask.mul_(_LEVELS / (_LEVELS - n_dropped))
