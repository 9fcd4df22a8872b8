"""Files that are whole or not there."""

import hashlib
import json
import os
from contextlib import contextmanager

_BYTES_AT_ONCE = 2**20


def sha256(path):
    """Return the checksum of a file, in hexadecimal."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BYTES_AT_ONCE):
            found.update(block)
    return found.hexdigest()


def sha256_of_json(tree):
    """Return the checksum of what JSON can hold, in hexadecimal."""
    canonical = json.dumps(tree, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


@contextmanager
def written_beside(path):
    """Have a file written under another name, and put it in its place when it is whole.

    Parameters
    ----------
    path : Path
        Where it will be; what is there is replaced in one step.

    Yields
    ------
    beside : Path
        Where to write.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_safetensors(arrays, path, metadata=None):
    """Write named arrays to a file.

    Parameters
    ----------
    arrays : dict of str to ndarray
        The arrays.
    path : Path
        The file.
    metadata : dict of str to str, default=None
        What else it holds.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file(arrays, path, metadata=metadata)
    except SafetensorError as error:  # whatever the system says comes as this
        raise OSError(f"{path} cannot be written: {error}") from error
