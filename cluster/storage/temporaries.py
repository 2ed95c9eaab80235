"""Names of files that are still being written, and whether their writer is still alive.

`.<base>.<machine>-<pid>-<random>.part`: hidden, recognizable, unique, and traceable to the process.
`machine` stands for the boot and the process namespace, since a pid means nothing on another node or in
another container. A recycled pid makes a leftover look alive; it is then removed by a later sweep.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
import socket
import time
from pathlib import Path

_NAME = re.compile(r"\..*\.([0-9a-f]{8})-([0-9]+)-[0-9a-f]{12}\.part", re.DOTALL)
_LONGEST_BASE = 80  # bytes; with what is added it stays under the 143 of encrypted file systems
_FOREIGN_LIFETIME = 24 * 3600.0  # s; no single object takes longer to write


def temporary_name(base: str) -> str:
    """A fresh name for the unfinished content of the file `base`."""
    stem = base.encode("utf-8", "surrogateescape")[:_LONGEST_BASE].decode("utf-8", "ignore")
    return f".{stem}.{_machine()}-{os.getpid()}-{secrets.token_hex(6)}.part"


def is_temporary(base: str) -> bool:
    """Whether a file of this name (without folders) is somebody's unfinished content."""
    return base.endswith(".part") and _NAME.fullmatch(base) is not None


def is_abandoned(base: str, modified: float) -> bool:
    """Whether the writer of a temporary file is gone.

    `modified` in seconds since the epoch: the writer on another machine counts as gone after a day of
    silence.
    """
    found = _NAME.fullmatch(base)
    if found is None:
        return False
    if found[1] != _machine():
        return time.time() - modified > _FOREIGN_LIFETIME
    try:
        os.kill(int(found[2]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False


@functools.cache
def _machine() -> str:
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    except OSError:
        pass  # not Linux: the host name has to do
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
