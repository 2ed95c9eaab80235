"""The processes of this machine, as /proc shows them."""

from __future__ import annotations

import os
from pathlib import Path


def below(root: int) -> dict[int, str]:
    """The live processes below a process, with their command lines."""
    parents, commands = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                command = Path(f"/proc/{entry}/cmdline").read_text().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] not in "ZX":
                parents[int(entry)], commands[int(entry)] = int(fields[1]), command
    found, edge = {}, {root}
    while edge:
        edge = {pid for pid, parent in parents.items() if parent in edge}
        found |= {pid: commands[pid] for pid in edge}
    return found


def descriptors_of(pid: int) -> int:
    """How many are open; those of a process that is another user's are not to be seen, and count as none."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0
