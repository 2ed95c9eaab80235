"""Which process something belongs to, as a word that another process can read to tell whether its owner still lives.

A process is named by the machine's boot, its namespace of process numbers, its number and the clock tick that it began
at: numbers are given again, and those of another container mean nothing here.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


def owner() -> str:
    """This process's word, without spaces or slashes. Linux only."""
    return f"{_numbering()}-{os.getpid()}-{_begun('self')}"


def is_dead(word: str) -> bool:
    """Whether the owner has ended; False too where that cannot be seen from here, and for what is no such word."""
    numbering, _, process = word.rpartition("-")[0].rpartition("-")
    if numbering != _numbering() or not process.isdigit():
        return False
    return _begun(process) != word.rpartition("-")[2]


@cache
def _numbering() -> str:
    """The boot and the namespace in which process numbers mean the same as they do here."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"


def _begun(process: str) -> str:
    """The tick that a process began at, "" where there is none."""
    try:
        told = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    fields = told.rpartition(")")[2].split()  # from the third on: a name may hold anything
    return "" if fields[0] in "ZX" else fields[19]
