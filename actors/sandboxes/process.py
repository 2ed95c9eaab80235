"""The process sandbox: the limits and the system call filter of the others, and no box around them.

A program in it can read every file that the user can, and look at the user's other processes; it cannot write, fork,
signal or connect. It is for a person's own code, where nothing better can be had.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Sequence
from importlib.metadata import distribution

from actors.sandboxes import fork_server, local_box, runtime
from actors.sandboxes.bubblewrap import ENVIRONMENT, PYTHON_OPTIONS
from actors.sandboxes.seccomp import program_filter
from actors.sandboxes.warm import SHARED_BYTES, WarmSandbox


def start(packages: Sequence[str] = ("numpy",)) -> WarmSandbox:
    """A warm fork server of this Python."""
    given = {
        "filter": base64.b64encode(program_filter()).decode(),
        "processes": None,
        "shared_bytes": SHARED_BYTES,
        "path": sorted({str(distribution(name).locate_file("")) for name in packages}),
        "packages": runtime.modules(packages),
    }
    command = [sys.executable, *PYTHON_OPTIONS, fork_server.__file__, json.dumps(given)]
    return local_box.started("process", command, ENVIRONMENT, None, lambda said: f"the process does not start: {said}")
