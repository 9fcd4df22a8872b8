from contextlib import contextmanager

import pytest
import torch

from skdygen import _torch
from skdygen._torch import (
    autocast,
    choose_precision,
    fewer_rows,
    find_device,
    one_thread,
)

CPU = torch.device("cpu")


@contextmanager
def other_defaults():
    """Have tensors made in float64, on a device that stands for a GPU."""
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            yield
            assert torch.empty(1).device.type == "meta"
            assert torch.empty(1).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def another_device():
    """Have tensors made on another device, as scripts set it once and for all."""
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic():
    """Have what torch cannot compute alike each time end in an error."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def cast_unasked():
    return torch.autocast("cpu", torch.bfloat16)


MODES = [
    other_defaults, another_device, deterministic, cast_unasked, torch.inference_mode,
    torch.no_grad,
]  # fmt: skip


def test_precision_that_is_asked_for():
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        assert choose_precision(precision, CPU) == precision
        left = torch.ones(4, 4)
        with autocast(precision, CPU):
            assert (left @ left).dtype == dtype


def test_no_cast_weight_outlives_a_step_in_the_autocast_of_a_caller():
    weights, products = torch.ones(4, 4, requires_grad=True), []
    with cast_unasked():
        for _ in range(2):
            with autocast("bf16", CPU):
                products.append((torch.ones(4, 4) @ weights)[0, 0].item())
            with torch.no_grad():
                weights.mul_(2)
    assert products == [4, 8]


@pytest.mark.parametrize(
    ("capabilities", "has_mkldnn", "expected"),
    [
        ({"avx2": True, "amx_bf16": True}, True, "bf16"),
        ({"avx2": True, "avx512_bf16": True}, True, "bf16"),
        ({"bf16": True}, True, "bf16"),
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, True, "fp32"),
        (None, True, "fp32"),
        ({"amx_bf16": True}, False, "fp32"),
    ],
)
def test_automatic_precision(capabilities, has_mkldnn, expected, monkeypatch):
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: capabilities, raising=False
    )
    if capabilities is None:  # of a torch that does not say
        monkeypatch.delattr(torch.cpu, "get_capabilities")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: has_mkldnn)
    assert choose_precision("auto", CPU) == expected


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


def test_fewer_rows():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
    assert fewer_rows(error, 5) == 3
    with pytest.raises(torch.OutOfMemoryError):
        fewer_rows(error, 1)
    with pytest.raises(RuntimeError, match="another"):
        fewer_rows(RuntimeError("another"), 5)


def test_devices(monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: gpu)
    assert find_device("auto") == gpu
    assert find_device("cpu") == CPU
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: 1)
    monkeypatch.setattr(_torch, "n_processes", lambda: 2)
    assert find_device("auto") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="device='cpu' cannot be that of 2 processes"):
        find_device("cpu")
    for name in ("gpu", "cuda:99", "meta", "hpu"):
        with pytest.raises(ValueError, match=f"device='{name}' cannot be used here"):
            find_device(name)
