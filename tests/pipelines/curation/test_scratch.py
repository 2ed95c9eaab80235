"""Columns on the local disk."""

from __future__ import annotations

import errno
import gc
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from pipelines.curation.scratch import NoScratchSpace, column


def test_a_column_is_zeros_on_disk_without_a_name(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = column(np.uint32, 1000, 3)
    assert made.shape == (1000, 3)
    assert not made.any()
    made[7] = 5
    assert made.sum() == 15
    assert isinstance(made, np.memmap)
    assert list(tmp_path.iterdir()) == []


def test_its_room_is_given_back_with_it():
    def held() -> int:
        return sum(1 for link in Path("/proc/self/fd").iterdir() if "gristmill-" in _target(link))

    before = held()
    made = column(np.int64, 10)
    del made
    gc.collect()
    assert held() == before


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""


def test_a_column_without_items_is_fine():
    assert column(np.uint64, 2, 0).shape == (2, 0)


def test_a_full_disk_is_an_error_that_names_the_way_out(monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(NoScratchSpace, match=r"no room for 0\.1 GB .* set TMPDIR"):
        column(np.uint8, 100_000_000)
