"""Several processes that fit together, as torchrun or accelerate starts them.

Only `fit` and `fit_transform` talk between processes: each trains on its share of every
batch and records its share of the texts. What they fit is the same in every process.
"""

import atexit
import os

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object, reduce
from torch.nn.parallel import DistributedDataParallel

from ._storage import batches
from ._torch import seed_torch

_ROWS_AT_ONCE = 4096


def state():
    """Return accelerate's state: this process, how many there are, and its device."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    is_alone = several and not torch.distributed.is_initialized()
    # accelerate has to be told that processes without a GPU belong together.
    found = PartialState(cpu=several and not torch.cuda.is_available())
    if is_alone and torch.distributed.is_initialized():
        # The group was made here. Its threads, if left, may abort a process at exit.
        atexit.register(found.destroy_process_group)
    return found


def same_everywhere(value):
    """Return what the main process has, which can be any object."""
    if state().num_processes == 1:
        return value
    return broadcast_object_list([value])[0]


def from_all(value):
    """Return a list of what each process has, which can be any object."""
    return gather_object([value]) if state().num_processes > 1 else [value]


def own(values):
    """Return what this process has given to `from_all`."""
    return values[state().process_index]


def same_random_state(rng):
    """Return a random state that all processes have in common.

    Parameters
    ----------
    rng : RandomState
        Of this process.

    Returns
    -------
    rng : RandomState
        Draws what the main process's would; it itself if there is one process.
    """
    if state().num_processes == 1:
        return rng
    common = np.random.RandomState()
    common.set_state(same_everywhere(rng.get_state()))
    return common


def draw_apart(device):
    """Let torch draw other numbers in each process, such as those of dropout."""
    index = state().process_index
    if index:
        seed_torch(torch.initial_seed() + index, device)


def distribute(module):
    """Return a module whose gradients are the mean over the processes."""
    if state().num_processes == 1:
        return module
    # Poolers of language models have weights that no embedding depends on.
    return DistributedDataParallel(module, find_unused_parameters=True)


def own_rows(rows):
    """Return the part of some rows that this process computes; it can be empty."""
    return rows[state().process_index :: state().num_processes]


def own_share(rows):
    """Return the part of a batch that this process trains on, and its weight.

    Parameters
    ----------
    rows : ndarray of shape (n_rows,)
        Positions of texts, the same in every process.

    Returns
    -------
    own : ndarray
        At least one position.
    weight : float
        By which a mean over these rows has to be multiplied for the mean over the
        processes to be that over all rows.
    """
    own = own_rows(rows)
    weight = state().num_processes * len(own) / len(rows)
    return (own if len(own) else rows[:1]), weight


def mean_everywhere(value):
    """Return the mean of a tensor over the processes."""
    if state().num_processes == 1:
        return value
    return reduce(value, "mean")


def merge(array, is_own):
    """Fill in the rows of an array that other processes have computed.

    Parameters
    ----------
    array : ndarray of shape (n_samples, ...)
        Changed in place.
    is_own : ndarray of shape (n_samples,) of bool
        Rows that this process has computed; each row has exactly one such process.
    """
    if state().num_processes == 1:
        return
    for part in batches(len(array), _ROWS_AT_ONCE):
        block = np.where(
            is_own[part].reshape(-1, *[1] * (array.ndim - 1)), array[part], 0
        )
        block = torch.from_numpy(block.astype(np.float32)).to(state().device)
        array[part] = reduce(block, "sum").cpu().numpy()
