"""Columns too large for memory, in files without a name on the local disk.

The operating system keeps what is in use in memory and takes the disk for the rest; the files are gone with the
process, however it ends. The room is reserved when a column is made, so a full disk is an error here and not a crash
later.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.errors import GristmillError


class NoScratchSpace(GristmillError):
    """The local disk has no room for what a reduction has to lay out."""


def column(dtype: npt.DTypeLike, *shape: int) -> npt.NDArray[Any]:
    """An array of zeros, one item at least along every axis. Raises NoScratchSpace."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if not size:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(prefix="gristmill-") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise NoScratchSpace(
                f"{tempfile.gettempdir()} has no room for {size / 1e9:,.1f} GB that are needed for a while "
                f"({error.strerror}): set TMPDIR to a directory on a larger disk"
            ) from error
        return np.memmap(file, dtype, "r+", shape=shape)
