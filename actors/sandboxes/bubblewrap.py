"""The bubblewrap sandbox: namespaces of its own for users, processes, network, IPC and host name; one read-only root.

The root is the tree of `runtime`, and there is nothing else: no /proc, no /dev, no /tmp, nowhere to write, no
capability. Works as root, who becomes nobody first (limits on processes do not hold for root), and without privileges
where the kernel lets users make namespaces.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from actors.sandboxes import local_box, runtime
from actors.sandboxes.contract import SandboxUnusable
from actors.sandboxes.seccomp import program_filter
from actors.sandboxes.warm import SHARED_BYTES, WarmSandbox

NOBODY = 65534
# Beside the program's threads there are the fork server and the child's first thread.
OWN_PROCESSES = 2
# One seed of hashes, so that a program that iterates over a set answers the same every time; and one arena of malloc,
# since each thread's own would take a good part of the address space that a program may have.
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "LC_ALL": "C.UTF-8",
}
PYTHON_OPTIONS = ("-P", "-s", "-S", "-B", "-X", "utf8")


def start(packages: Sequence[str] = ("numpy",)) -> WarmSandbox:
    """A warm sandbox. Raises SandboxUnusable with the way out."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxUnusable("there is no bubblewrap here: apt-get install bubblewrap, or --isolation docker")
    tree = runtime.runtime(packages)
    given = {
        "filter": base64.b64encode(program_filter()).decode(),
        "processes": OWN_PROCESSES,
        "shared_bytes": SHARED_BYTES,
        "path": [runtime.PACKAGES],
        "packages": runtime.modules(packages),
    }
    command = [bwrap, *options(tree), "--", runtime.PYTHON, *PYTHON_OPTIONS, runtime.SERVER, json.dumps(given)]
    user = NOBODY if os.geteuid() == 0 else None
    return local_box.started("bubblewrap", command, {}, user, _explain)


@cache
def is_allowed() -> bool:
    """Whether there is a bubblewrap here that may make namespaces: Ubuntu forbids them to users, containers to all."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return False
    command = [bwrap, "--unshare-all", "--unshare-user", "--ro-bind", "/", "/", "--cap-drop", "ALL", "/bin/true"]
    user = NOBODY if os.geteuid() == 0 else None
    try:
        tried = subprocess.run(command, user=user, cwd="/", capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return tried.returncode == 0


def options(tree: Path) -> list[str]:
    """What the box is made of. The fork server is the first process in it, and the box ends with that one."""
    box = [
        "--unshare-all", "--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "sandbox",
        "--ro-bind", str(tree), "/", "--remount-ro", "/", "--chdir", "/", "--cap-drop", "ALL", "--die-with-parent",
        "--new-session", "--as-pid-1", "--clearenv",
    ]  # fmt: skip
    for name, value in ENVIRONMENT.items():
        box += ["--setenv", name, value]
    return box


def _explain(said: str) -> str:
    hint = ""
    if "namespace" in said.lower() or "permission" in said.lower() or "not permitted" in said.lower():
        hint = "; this machine does not let a user make namespaces (see docs/sandboxes.md), or use --isolation docker"
    return f"bubblewrap does not start: {said}{hint}"
