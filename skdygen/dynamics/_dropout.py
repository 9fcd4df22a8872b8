"""Dropout that a processor computes fast."""

import math
from contextlib import nullcontext

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

_LEVELS = 2**16  # probabilities are rounded to multiples of 1 / _LEVELS


def fast_dropout(device):
    """Return a context in which dropout costs little on a processor.

    torch draws one floating-point number per value there, which can take longer than
    the product in front of it. Inside the context 16 random bits decide over each
    value. Other devices keep torch's own.

    Parameters
    ----------
    device : torch.device
        Where the networks are.

    Returns
    -------
    context : context manager
        To be entered around a forward pass.
    """
    on_processor = torch.device(device).type == "cpu"
    return _FastDropout() if on_processor else nullcontext()


class _FastDropout(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is nn.functional.dropout:
            return _dropout(*args, **kwargs)
        if func is nn.functional.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        return func(*args, **kwargs)


def _dropout(input, p=0.5, training=True, inplace=False):
    if inplace or not training or not 0 < p < 1:
        return nn.functional.dropout(input, p, training, inplace)
    return input * draw_mask(input, p)


def _attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
    enable_gqa=False,
):  # fmt: skip
    """Do with dropout what torch does, which has no kernel for it on a processor."""
    if not 0 < dropout_p < 1 or is_causal or enable_gqa:
        return nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal,
            scale=scale, enable_gqa=enable_gqa,
        )  # fmt: skip
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * scale) @ key.transpose(-2, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = scores.softmax(-1)
    return (weights * draw_mask(weights, dropout_p)) @ value


def draw_mask(like, p):
    """Draw what dropout multiplies with.

    Parameters
    ----------
    like : Tensor
        Gives shape and type; on a processor.
    p : float
        Share that is dropped.

    Returns
    -------
    mask : Tensor
        0 with probability `p` (to within 2 ** -17), and else so that the mean is 1.
    """
    n_dropped = min(round(p * _LEVELS), _LEVELS - 1)
    words = torch.empty(-(-like.numel() // 4), dtype=torch.int64)
    words.random_(-(2**63), None)  # all 64 bits
    bits = words.view(torch.int16)[: like.numel()].view(like.shape)
    mask = (bits >= n_dropped - _LEVELS // 2).to(like.dtype)
    return mask.mul_(_LEVELS / (_LEVELS - n_dropped))
