"""What trainings with torch share: modes, seeds, device, precision and processes."""

import logging
import os
import re
from contextlib import ExitStack, contextmanager, nullcontext

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch.nn.parallel import DistributedDataParallel
from tqdm.std import TqdmDefaultWriteLock

from ._memmap import parts

logger = logging.getLogger(__name__)

# Units that multiply in bfloat16, by the names that torch has for them.
_BFLOAT16_UNITS = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")

# Another thread can hold the lock of all progress bars, hidden ones too, when a process
# forks. In the child it would be held for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TqdmDefaultWriteLock.th_lock._at_fork_reinit)


@contextmanager
def usual_modes():
    """Have torch as it is by default, whatever modes the caller has set.

    Gradients are computed, nothing is cast unasked, and tensors are made on the CPU
    in float32.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":  # which slows every call of torch
            stack.enter_context(torch.device("cpu"))
        if dtype != torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        yield


@contextmanager
def seeded(seed, device="cpu"):
    """Seed torch in a block of `usual_modes`, and give back the random state after."""
    device = torch.device(device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), usual_modes():
        seed_torch(seed, device)
        yield


@contextmanager
def one_thread():
    """Have torch compute with one thread in a block of many small operations.

    Threads gain little there, and where a core has other work, each operation waits
    until all of them have had their turn.
    """
    n_threads = torch.get_num_threads()
    if n_threads == 1:  # perhaps for a block in another thread, which puts it back
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def seed_torch(seed, device):
    """Seed the CPU and a device, and leave other devices alone."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        with _current(device):
            getattr(torch, device.type).manual_seed(seed)


def _current(device):
    """Return the context in which a GPU is the one that torch takes by default."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def what_is_wrong_with(device):
    """Say why torch cannot compute on a device; None if it can."""
    try:
        torch.zeros(1, device=device).item()  # of "meta", which has no numbers, none
    # Torch without CUDA asserts that it has it; other devices come with modules.
    except (RuntimeError, AssertionError, ImportError) as error:
        return re.split(r"\n|\. ", str(error))[0]
    return None


def find_device(name):
    """Return the device of a parameter `device`, or raise an error that says why not.

    "auto" is the accelerator that torch finds; of several processes, that which has
    been made the current one of this process.
    """
    own = torch.accelerator.current_accelerator(check_available=True)
    own = own or torch.device("cpu")
    if n_processes() > 1 and own.type != "cpu":
        own = torch.device(own.type, torch.accelerator.current_device_index())
    if name == "auto":
        return own
    reason = what_is_wrong_with(name)
    if reason is not None:
        raise ValueError(
            f"device={name!r} cannot be used here: {reason}; use device='auto', which "
            f"a fitted classifier is told by dynamics_.set_params(device='auto')."
        )
    device = torch.device(name)
    is_own = device.type == own.type and device.index in (None, own.index)
    if n_processes() > 1 and not is_own:
        raise ValueError(
            f"device={name!r} cannot be that of {n_processes()} processes; use "
            f"device='auto', which takes {own} here. To keep to the CPU, start them "
            f"with CUDA_VISIBLE_DEVICES=''."
        )
    return device


def choose_precision(precision, device):
    """Resolve a parameter `precision` to "bf16" or "fp32".

    "auto" takes bfloat16 where torch says that the device multiplies in it.
    """
    if precision != "auto":
        return precision
    is_native = False
    if device.type == "cuda":
        with _current(device):
            is_native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu" and torch.backends.mkldnn.is_available():
        found = getattr(torch.cpu, "get_capabilities", dict)()  # older: none
        is_native = any(found.get(unit) for unit in _BFLOAT16_UNITS)
    return "bf16" if is_native else "fp32"


def autocast(precision, device):
    """Return the context in which a device computes in "bf16", or in "fp32"."""
    return torch.autocast(
        device.type,
        dtype=torch.bfloat16,
        enabled=precision == "bf16",
        cache_enabled=False,  # inside a caller's autocast it would outlive a step
    )


def n_epochs_without_pull(share, n_epochs):
    """Count the epochs without co-regularisation: at least one, unless `share` is 0."""
    return max(1, round(share * n_epochs)) if share else 0


def fewer_rows(error, n_rows):
    """Halve a number of texts that needs too much memory; raise any other error."""
    if n_rows == 1 or not should_reduce_batch_size(error):
        raise error
    fewer = -(-n_rows // 2)
    logger.warning("out of memory with %d texts at once; trying %d.", n_rows, fewer)
    return fewer


def n_processes():
    """Count the processes that fit together: those of an initialised torch.distributed.

    The user or accelerate has initialised it; what a launcher has put into the
    environment does not count.
    """
    is_group = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if is_group else 1


def process_index():
    """Return which of the processes that fit together this is; 0 is the main one."""
    return torch.distributed.get_rank() if n_processes() > 1 else 0


def same_everywhere(value):
    """Return what the main process has, which can be any object."""
    values = [value]
    if n_processes() > 1:
        torch.distributed.broadcast_object_list(values)
    return values[0]


def from_all(value):
    """Return a list of what each process has, which can be any object."""
    values = [value] * n_processes()
    if len(values) > 1:
        torch.distributed.all_gather_object(values, value)
    return values


def mean_everywhere(value):
    """Return the mean of a tensor over the processes."""
    if n_processes() > 1:
        value = value.clone()
        torch.distributed.all_reduce(value)
    return value / n_processes()


def distribute(module):
    """Return a module whose gradients are the mean over the processes."""
    if n_processes() == 1:
        return module
    # Poolers of language models have weights that no embedding depends on.
    return DistributedDataParallel(module, find_unused_parameters=True)


def own_rows(rows):
    """Return the part of some rows that this process computes; it can be empty."""
    return rows[process_index() :: n_processes()]


def own_share(rows):
    """Return this process's part of a batch, never empty, and the weight of its mean.

    By that weight the mean over the processes becomes the mean over all rows.
    """
    own = own_rows(rows)
    weight = n_processes() * len(own) / len(rows)
    return (own if len(own) else rows[:1]), weight


def merge_rows(array, rows):
    """Fill in the rows of an array that other processes have computed."""
    if n_processes() == 1:
        return
    for part in parts(len(array)):
        own = rows[(part.start <= rows) & (rows < part.stop)]
        for others, values in from_all((own, np.asarray(array[own]))):
            array[others] = values
