import pytest
import torch

from skdygen.utils import _torch
from skdygen.utils._torch import (
    autocast,
    autocast_dtype,
    choose_precision,
    one_thread,
    torch_seed,
)

CPU = torch.device("cpu")


def test_precision_that_is_asked_for():
    for precision, dtype in (("fp32", None), ("bf16", torch.bfloat16)):
        assert choose_precision(precision, CPU) == precision
        assert autocast_dtype(precision) is dtype


@pytest.mark.parametrize(
    ("is_native", "is_right", "is_faster", "expected"),
    [
        (True, True, True, "bf16"),
        (True, True, False, "fp32"),
        (True, False, True, "fp32"),
        (False, True, True, "fp32"),
    ],
)
def test_automatic_precision(is_native, is_right, is_faster, expected, monkeypatch):
    _torch._computes_bfloat16.cache_clear()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: is_native)
    monkeypatch.setattr(
        torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False
    )
    monkeypatch.setattr(_torch, "_bfloat16_is_faster", lambda: is_faster)
    if not is_right:
        matmul = torch.Tensor.__matmul__

        def wrong(self, other):
            product = matmul(self, other)
            return product + 1 if product.dtype == torch.bfloat16 else product

        monkeypatch.setattr(torch.Tensor, "__matmul__", wrong)
    assert choose_precision("auto", CPU) == expected
    _torch._computes_bfloat16.cache_clear()


@pytest.mark.parametrize("seconds", [{"bf16": 1, "fp32": 2}, {"bf16": 2, "fp32": 1}])
def test_bfloat16_is_taken_where_it_is_faster(seconds, monkeypatch):
    now = [0.0]

    def product(left, right):
        now[0] += seconds["bf16" if left.dtype == torch.bfloat16 else "fp32"]

    monkeypatch.setattr(torch, "mm", product)
    monkeypatch.setattr(_torch.time, "perf_counter", lambda: now[0])
    assert _torch._bfloat16_is_faster() == (seconds["bf16"] < seconds["fp32"])


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


def test_one_thread():
    """For as long as it lasts, also if it ends in an error."""
    torch.set_num_threads(2)

    def fail():
        with one_thread():
            assert torch.get_num_threads() == 1
            raise RuntimeError

    try:
        with pytest.raises(RuntimeError):
            fail()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)  # as the other tests have it
