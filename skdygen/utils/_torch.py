"""Small torch helpers: random state, device, precision."""

import functools
import logging
import threading
import time
from contextlib import contextmanager, nullcontext

import torch
from accelerate.utils.memory import should_reduce_batch_size

logger = logging.getLogger(__name__)

_LEAST_GAIN = 1.2  # units gain 2 and more, detours lose
# Random numbers and the number of threads belong to the process: of threads that fit at
# the same time one has them at a time.
_having_torch = threading.RLock()


@contextmanager
def torch_seed(seed, device="cpu"):
    """Seed torch inside a ``with`` block and give the caller's random state back.

    Other threads wait for its end before they enter such a block.

    Parameters
    ----------
    seed : int
        The seed.
    device : torch.device, default="cpu"
        Whose random numbers are drawn besides those of the processor.
    """
    is_cuda = torch.device(device).type == "cuda"
    devices = [torch.device(device)] if is_cuda else []
    with _having_torch, torch.random.fork_rng(devices), default_tensors():
        seed_torch(seed, device)
        yield


def seed_torch(seed, device):
    """Seed the processor and a device, and leave other devices alone."""
    torch.default_generator.manual_seed(seed)
    device = torch.device(device)
    if device.type != "cpu":
        with _current(device):
            getattr(torch, device.type).manual_seed(seed)


@contextmanager
def default_tensors():
    """Have torch make tensors on the processor, in single precision, in a block.

    As it does unless the user has told it otherwise.
    """
    is_default = torch.get_default_device().type == "cpu"
    dtype = torch.get_default_dtype()
    # Inside of the context of a device every call of torch costs more.
    with nullcontext() if is_default else torch.device("cpu"):
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


@contextmanager
def one_thread():
    """Have torch compute with one thread inside a ``with`` block.

    For many small operations: threads gain little there, and where a processor has
    other work, each operation waits until all of them have had their turn.
    """
    with _having_torch:
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(n_threads)


def what_is_wrong_with(device):
    """Say why torch cannot compute on a device.

    Parameters
    ----------
    device : str or torch.device
        Its name.

    Returns
    -------
    reason : str or None
        None if it can.
    """
    try:
        torch.empty(1, device=device)
    # Torch without CUDA asserts that it has it.
    except (RuntimeError, AssertionError) as error:
        return str(error).split("\n")[0]
    return None


def choose_precision(precision, device):
    """Resolve a `precision` parameter.

    Parameters
    ----------
    precision : {"auto", "bf16", "fp32"}
        "auto" takes bfloat16 where the device computes it natively, a small product
        comes out right and, on a processor, sooner; float32 elsewhere.
    device : torch.device
        Where the computation will take place.

    Returns
    -------
    precision : {"bf16", "fp32"}
        The precision of the matrix products.
    """
    if precision == "auto":
        return "bf16" if _computes_bfloat16(torch.device(device)) else "fp32"
    return precision


def autocast_dtype(precision):
    """Return the type for `torch.autocast`: bfloat16, or None for plain float32."""
    return torch.bfloat16 if precision == "bf16" else None


def autocast(dtype, device):
    """Return the context in which a device computes in `dtype` (None: float32)."""
    return torch.autocast(
        torch.device(device).type, dtype=dtype, enabled=dtype is not None
    )


def fewer_rows(error, n_rows):
    """Say how many texts to compute together when so many need too much memory.

    Parameters
    ----------
    error : RuntimeError
        What was raised; raised again if it says something else, or if there is only
        one text.
    n_rows : int
        How many texts there were.

    Returns
    -------
    n_rows : int
        Half as many.
    """
    if n_rows == 1 or not should_reduce_batch_size(error):
        raise error
    fewer = -(-n_rows // 2)
    logger.warning(
        "out of memory with %d texts at once; going on with %d.", n_rows, fewer
    )
    return fewer


@functools.cache
def _computes_bfloat16(device):
    """Whether bfloat16 is native on a device, by its word and by a check of it."""
    if device.type == "cuda":
        with _current(device):
            native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        # True also where the units are missing and bfloat16 is computed by detours.
        native = (
            torch.backends.mkldnn.is_available()
            and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        )
    else:
        native = False
    if not native:
        return False
    with default_tensors():
        generator = torch.Generator().manual_seed(0)
        left = torch.randn(64, 256, generator=generator)
        right = torch.randn(256, 64, generator=generator)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        product = (left.to(device) @ right.to(device)).float().cpu()
    # A product of 256 terms rounded to 8 bits has an error of about 16 / 256.
    exact = left @ right
    error = (product - exact).abs().max().item()
    if not error < 0.5:
        logger.warning(
            "bfloat16 products are wrong on %s (error %.3g); using float32.",
            device,
            error,
        )
        return False
    return device.type != "cpu" or _bfloat16_is_faster()


def _current(device):
    """Return the context in which a GPU is the one that torch means without a word."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _bfloat16_is_faster():
    """Time a product as the layers have them, in both types."""
    with default_tensors():
        left, right = torch.ones(512, 384), torch.ones(384, 1536)
    halves = left.bfloat16(), right.bfloat16()
    seconds = {"bf16": [], "fp32": []}
    for _ in range(10):  # in turn, and the best counts: others use the processor too
        for name, factors in (("bf16", halves), ("fp32", (left, right))):
            start = time.perf_counter()
            torch.mm(*factors)
            seconds[name].append(time.perf_counter() - start)
    ratio = min(seconds["fp32"]) / min(seconds["bf16"])
    logger.info("bfloat16 products take 1 / %.1f of the time of float32", ratio)
    return ratio > _LEAST_GAIN
