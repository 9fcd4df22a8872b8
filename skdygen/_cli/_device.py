"""Whether a device can be used, before anything is read to it."""

from ._errors import CommandError


def check_device(device):
    """Raise an error if torch cannot compute there; "auto" always can."""
    if device == "auto":
        return
    from ..utils._torch import what_is_wrong_with

    reason = what_is_wrong_with(device)
    if reason is not None:
        raise CommandError(
            f"--device {device} cannot be used: {reason}; use --device cpu."
        )
