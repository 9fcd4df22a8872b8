"""Whether a device can be used, before anything is read to it."""

from ._errors import CommandError


def check_device(device):
    """Raise an error if torch cannot compute there; "auto" always can."""
    if device == "auto":
        return
    import torch

    try:
        torch.empty(1, device=device)
    # Torch without CUDA asserts that it has it.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise CommandError(
            f"--device {device} cannot be used: {reason}; use --device cpu."
        ) from error
