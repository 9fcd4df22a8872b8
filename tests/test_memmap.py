import os
import sys
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdygen._memmap import allocate


@pytest.mark.skipif(sys.platform != "linux", reason="its data keep a name elsewhere")
def test_nothing_large_is_left_by_a_kill(tmp_path, monkeypatch):
    """All that is in the folder is a link to what is gone with the process."""
    array = allocate((1000,), np.float64, max_nbytes=0, temp_folder=tmp_path)
    array[:] = np.arange(1000)
    (path,) = tmp_path.glob("*/*")
    assert path.is_symlink()
    assert_array_equal(np.fromfile(path), array)  # by which others read
    n_open = len(os.listdir("/proc/self/fd"))
    del array
    assert len(os.listdir("/proc/self/fd")) == n_open - 2  # the mapping's own, too
    assert list(tmp_path.iterdir()) == []
    # Its place on the disk is taken at once, and not while it is filled.
    array = allocate((100_000,), np.float64, max_nbytes=0, temp_folder=tmp_path)
    (path,) = tmp_path.glob("*/*")
    assert 512 * path.stat().st_blocks >= array.nbytes
    del array
    # Where there are no links, a name stays as long as the array.
    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", Mock(side_effect=PermissionError))
        array = allocate((9,), np.float64, max_nbytes=0, temp_folder=tmp_path)
    (path,) = tmp_path.glob("*/*")
    assert (path.is_symlink(), path.stat().st_size) == (False, array.nbytes)
    del array
    assert list(tmp_path.iterdir()) == []
    # A forked child does not remove what its parent has.
    array = allocate((9,), np.float64, max_nbytes=0, temp_folder=tmp_path)
    monkeypatch.setattr(os, "getpid", lambda: 0)
    del array
    assert len(list(tmp_path.glob("*/*"))) == 1
