"""A lock that keeps a second command off the same place, as far as its storage has locks at all.

It goes with the process that holds it, however that ends. A file system without locks, and an object store, let
everybody in: there it is the user's own care.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.storage import LocalStorage, Storage


@contextmanager
def locked(storage: Storage, name: str) -> Iterator[bool]:
    """Hold the lock `name` while the block lasts; False where another process, or another block, holds it."""
    if not isinstance(storage, LocalStorage):
        yield True
        return
    path = storage.local_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield _is_taken(descriptor)
    finally:
        os.close(descriptor)


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # no locks here
    return True
