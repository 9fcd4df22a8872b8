"""Dropout on a CPU does what torch's does."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from skdygen._torch import seeded
from skdygen.dynamics._networks import FastDropout, draw_mask


@pytest.fixture(autouse=True)
def with_a_seed():
    with seeded(0):
        yield


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.01, 0.5, 0.9])
def test_share_and_mean(p, dtype):
    mask = draw_mask(torch.empty(300, 1001, dtype=dtype), p)
    assert mask.dtype == dtype
    dropped = (mask == 0).double().mean().item()
    assert dropped == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / mask.numel()))
    kept = mask[mask != 0].float()
    assert_allclose(kept, 1 / (1 - p), rtol=1e-2 if dtype == torch.bfloat16 else 1e-4)
    assert draw_mask(torch.empty(1000), 1 - 1e-9).isfinite().all()


def test_values_are_dropped_independently():
    mask = (draw_mask(torch.empty(100_000, 8), 0.3) == 0).double().numpy()
    found = np.corrcoef(mask, rowvar=False)
    lagged = np.corrcoef(mask[:-1, 0], mask[1:, 0])[0, 1]
    assert_allclose(found, np.eye(8), atol=5 / np.sqrt(len(mask)))
    assert abs(lagged) < 5 / np.sqrt(len(mask))


def test_modules_drop_while_they_are_trained_only():
    layer, ones = nn.Dropout(0.5), torch.ones(1000)
    with FastDropout():
        assert set(layer(ones).tolist()) == {0.0, 2.0}
        assert torch.equal(layer.eval()(ones), ones)
        assert torch.equal(nn.functional.dropout(ones, 0.0), ones)
        assert not nn.functional.dropout(ones, 1.0).any()
        inplace = ones.clone()
        nn.functional.dropout(inplace, 0.5, inplace=True)
        assert set(inplace.tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("kind", ["none", "bool", "float"])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention_is_that_of_torch_when_almost_nothing_is_dropped(kind, scale):
    query, key, value = (torch.randn(2, 3, 5, 4, requires_grad=True) for _ in range(3))
    seen = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    seen[1, ..., 3:] = False
    added = torch.zeros(seen.shape).masked_fill(~seen, -torch.inf)
    mask = {"none": None, "bool": seen, "float": added}[kind]
    expected = scaled_dot_product_attention(query, key, value, mask, scale=scale)
    with FastDropout():
        found = scaled_dot_product_attention(
            query, key, value, mask, dropout_p=1e-9, scale=scale
        )
    assert_allclose(found.detach(), expected.detach(), rtol=1e-4, atol=1e-6)
    gradients = [
        torch.autograd.grad(output.square().sum(), (query, key, value))
        for output in (found, expected)
    ]
    for mine, theirs in zip(*gradients, strict=True):
        assert_allclose(mine, theirs, rtol=1e-3, atol=1e-5)


def test_attention_drops_weights():
    query, key = torch.zeros(2, 1, 1, 400, 8)
    value = torch.eye(400)[None, None]
    with FastDropout():
        weights = scaled_dot_product_attention(query, key, value, dropout_p=0.25)
    dropped = (weights == 0).double().mean().item()
    assert dropped == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / 160_000))
    assert_allclose(weights[weights != 0], 1 / 400 / 0.75, rtol=1e-4)


@pytest.mark.parametrize("params", [{"is_causal": True}, {"enable_gqa": True}])
def test_other_attention_is_left_to_torch(params):
    query, found = torch.randn(1, 2, 3, 4), []
    for context in (FastDropout(), nullcontext()):
        torch.manual_seed(0)
        with context:
            found.append(
                scaled_dot_product_attention(*[query] * 3, None, 0.5, **params)
            )
    assert torch.equal(*found)
