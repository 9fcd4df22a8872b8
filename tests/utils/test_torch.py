import pytest
import torch

from skdygen.utils import _torch
from skdygen.utils._torch import autocast, autocast_dtype, torch_seed

CPU = torch.device("cpu")


def test_precision_that_is_asked_for():
    assert autocast_dtype("fp32", CPU) is None
    assert autocast_dtype("bf16", CPU) is torch.bfloat16


@pytest.mark.parametrize(
    ("is_native", "is_right", "is_faster", "expected"),
    [
        (True, True, True, torch.bfloat16),
        (True, True, False, None),
        (True, False, True, None),
        (False, True, True, None),
    ],
)
def test_automatic_precision(is_native, is_right, is_faster, expected, monkeypatch):
    _torch._computes_bfloat16.cache_clear()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: is_native)
    monkeypatch.setattr(
        torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False
    )
    product = torch.mm

    def slow(left, right):
        is_slow = left.dtype == (torch.float32 if is_faster else torch.bfloat16)
        for _ in range(20 if is_slow else 1):
            found = product(left, right)
        return found

    monkeypatch.setattr(torch, "mm", slow)
    if not is_right:
        matmul = torch.Tensor.__matmul__

        def wrong(self, other):
            product = matmul(self, other)
            return product + 1 if product.dtype == torch.bfloat16 else product

        monkeypatch.setattr(torch.Tensor, "__matmul__", wrong)
    assert autocast_dtype("auto", CPU) is expected
    _torch._computes_bfloat16.cache_clear()


def test_autocast():
    left = torch.ones(4, 4)
    with autocast(torch.bfloat16, CPU):
        assert (left @ left).dtype == torch.bfloat16
    with autocast(None, CPU):
        assert (left @ left).dtype == torch.float32


def test_seed_is_local():
    before = torch.get_rng_state()
    with torch_seed(3):
        one = torch.rand(3)
    with torch_seed(3):
        assert torch.equal(torch.rand(3), one)
    assert torch.equal(torch.get_rng_state(), before)
