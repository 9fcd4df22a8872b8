"""Arrays that may be larger than memory: mapped from files, read in parts."""

import os
import shutil
import tempfile
import weakref
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from joblib.disk import memstr_to_bytes
from sklearn.utils import gen_batches

_MOST_ROWS_IN_MEMORY = 2**26  # bytes
_ROWS_AT_ONCE = 4096
_TEMP_PREFIX = "skdygen-"
_OPEN_FILES = "/proc/{}/fd"


def parts(n_rows):
    """Yield slices of the rows of a large array, of not too many at once."""
    return gen_batches(n_rows, _ROWS_AT_ONCE)


def allocate_together(kinds, *, max_nbytes=None, temp_folder=None):
    """Return arrays to be filled, each of a (shape, dtype); see `allocate`.

    All are mapped if they have more than `max_nbytes` together.
    """
    n_bytes = sum(_n_bytes(*kind) for kind in kinds)
    if max_nbytes is not None and n_bytes > _read_size(max_nbytes):
        max_nbytes = 0
    return [
        allocate(*kind, max_nbytes=max_nbytes, temp_folder=temp_folder)
        for kind in kinds
    ]


def allocate(shape, dtype, *, max_nbytes=None, temp_folder=None):
    """Return an array to be filled, of any values.

    One of more than `max_nbytes` (as for joblib, such as "100M"; None: no limit) is
    mapped from a file in `temp_folder`, which goes with the last reference to it; on
    Linux its data also if the process is killed. An OSError says that there is no room
    for the file.
    """
    n_bytes = _n_bytes(shape, dtype)
    if max_nbytes is None or n_bytes <= _read_size(max_nbytes):
        return np.empty(shape, dtype=dtype)
    check_temp_folder(temp_folder)
    folder = tempfile.mkdtemp(prefix=_TEMP_PREFIX, dir=temp_folder)
    try:
        array = np.memmap(Path(folder) / "array", mode="w+", dtype=dtype, shape=shape)
        file = _leave_a_link(array.filename, n_bytes)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise OSError(
            f"{n_bytes} bytes cannot be written to {folder} ({error}); set "
            f"temp_folder to a folder with room for them, or raise max_nbytes."
        ) from error
    # Views of a memmap keep the mapping alive, not the memmap object itself.
    weakref.finalize(array._mmap, _remove, folder, file, os.getpid())
    return array


def _n_bytes(shape, dtype):
    """Size of an array."""
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def _read_size(max_nbytes):
    """Size in bytes, given so or as for joblib."""
    return memstr_to_bytes(max_nbytes) if isinstance(max_nbytes, str) else max_nbytes


def _leave_a_link(path, n_bytes):
    """Reserve room for a mapped file, and have it go with this process if it can.

    It then has no name any more, and its place is taken by a link to the open file,
    which is returned: other processes read by that. If this one is killed, the link is
    all that is left.
    """
    with ExitStack() as stack:
        file = stack.enter_context(open(path, "rb+"))
        if hasattr(os, "posix_fallocate"):
            # A full disk is an error now, not the end of the process later.
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        if not os.path.isdir(_OPEN_FILES.format("self")):
            return None  # only Linux has such links
        link = f"{path}.link"
        try:
            os.symlink(f"{_OPEN_FILES.format(os.getpid())}/{file.fileno()}", link)
        except OSError:  # some file systems have none
            return None
        os.replace(link, path)
        stack.pop_all()
        return file


def _remove(folder, file, pid):
    """Remove what belongs to a mapped array; a forked child leaves it to its parent."""
    if file is not None:
        file.close()
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)


def allocate_in(folder, shape, dtype):
    """Return an array to be filled, in memory if it is small or there is no folder."""
    max_nbytes = None if folder is None else _MOST_ROWS_IN_MEMORY
    return allocate(shape, dtype, max_nbytes=max_nbytes, temp_folder=folder)


def take(array, rows):
    """Rows of an array; many rows of a mapped array are mapped too."""
    folder = folder_of_mapped(array)
    if isinstance(rows, slice) or folder is None:
        return array[rows]
    rows = np.arange(len(array))[rows]
    if not len(rows):
        return array[rows]
    taken = allocate_in(folder, (len(rows), *array.shape[1:]), array.dtype)
    for part in parts(len(rows)):
        taken[part] = array[rows[part]]
    return taken


def folder_of_mapped(array):
    """Folder for copies of a mapped array, as given to `allocate`; None in memory."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and array.filename is not None:
            folder = Path(array.filename).parent
            is_ours = folder.name.startswith(_TEMP_PREFIX)
            return folder.parent if is_ours else Path(tempfile.gettempdir())
        array = array.base
    return None


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


def check_temp_folder(folder):
    """Raise an error if there is a folder in which no file can be made."""
    if folder is not None and not (
        os.path.isdir(folder) and os.access(folder, os.W_OK)
    ):
        raise OSError(
            f"temp_folder={os.fspath(folder)!r} is no folder that can be written to; "
            f"make it, or use None for the system's."
        )
