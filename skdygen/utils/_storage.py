"""Arrays in memory while they are small, mapped from a temporary file when not."""

import os
import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np
from joblib.disk import memstr_to_bytes

_PREFIX = "skdygen-"


def allocate(shape, dtype, *, max_nbytes=None, temp_folder=None):
    """Return an array to be filled.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array.
    dtype : dtype
        Type of its elements.
    max_nbytes : int, str or None, default=None
        Size above which the array is mapped from a temporary file, in bytes or in
        joblib's notation ("100M", "1G"). None keeps every array in memory.
    temp_folder : str or Path, default=None
        Folder of the temporary file; None takes the system's.

    Returns
    -------
    array : ndarray or memmap of the given shape
        Its values are undefined. The file of a memmap is removed with the last
        reference to it.

    Raises
    ------
    OSError
        If there is no room for the file.
    """
    n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if isinstance(max_nbytes, str):
        max_nbytes = memstr_to_bytes(max_nbytes)
    if max_nbytes is None or n_bytes <= max_nbytes:
        return np.empty(shape, dtype=dtype)
    folder = tempfile.mkdtemp(prefix=_PREFIX, dir=temp_folder)
    try:
        array = np.memmap(Path(folder) / "array", mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):
            # A full disk is an error now, not the end of the process later.
            with open(array.filename, "rb+") as file:
                os.posix_fallocate(file.fileno(), 0, n_bytes)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise OSError(
            f"{n_bytes} bytes cannot be written to {folder} ({error}); set "
            f"temp_folder to a folder with room for them, or raise max_nbytes."
        ) from error
    # Views of a memmap keep the mapping alive, not the memmap object itself.
    weakref.finalize(array._mmap, shutil.rmtree, folder, ignore_errors=True)
    return array


def check_max_nbytes(max_nbytes):
    """Raise a clear error if a size is a string that joblib cannot read."""
    if isinstance(max_nbytes, str):
        try:
            memstr_to_bytes(max_nbytes)
        except ValueError as error:
            raise ValueError(
                f"max_nbytes={max_nbytes!r} is not a size; use bytes, or a number with "
                f"K, M or G such as '500M'."
            ) from error


def folder_of_mapped(array):
    """Return where a copy of a mapped array, or of a part of it, is to be allocated.

    Parameters
    ----------
    array : ndarray
        Any array.

    Returns
    -------
    folder : Path or None
        The folder that `allocate` was given; the system's for temporary files if the
        array was mapped by somebody else. None if it is in memory.
    """
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and array.filename is not None:
            folder = Path(array.filename).parent
            is_ours = folder.name.startswith(_PREFIX)
            return folder.parent if is_ours else Path(tempfile.gettempdir())
        array = array.base
    return None


def batches(n_samples, batch_size):
    """Yield the slices that cut `n_samples` rows into batches."""
    for start in range(0, n_samples, batch_size):
        yield slice(start, min(start + batch_size, n_samples))
