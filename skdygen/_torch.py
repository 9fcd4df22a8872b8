"""Small torch helpers: random state and threads."""

from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed, device="cpu"):
    """Seed torch in a block, with gradients; give the caller's random state back."""
    devices = [device] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad():
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def one_thread():
    """Compute with one thread in a block: many small operations gain from it."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
