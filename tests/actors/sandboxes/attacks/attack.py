"""One hostile program, as data: what it is, and what has to become of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

ANY = object()  # a value that is not looked at

# What programs of these lists may use: it says whether a call was possible.
POSSIBLE = """
import ctypes, os, signal, sys, time

LIBC = ctypes.CDLL(None, use_errno=True)

def possible(call, *arguments):
    try:
        result = call(*arguments)
    except (OSError, ValueError, AttributeError, RuntimeError):
        return False
    return result != -1
"""


@dataclass(frozen=True)
class Attack:
    """`ends` are the statuses that an input may end with; `value` is what it returns where that is "ok"."""

    name: str
    program: str
    ends: tuple[str, ...]
    value: Any = ANY
    inputs: tuple[Any, ...] = ([[1, 2], [3, 4]],)
    output: Callable[[str], bool] | None = None  # whether what it printed is right
    after: str | None = None  # a program that is run next, and has to return []
    safe_without_a_box: bool = True  # in `process`: where the filter did not hold, the machine would bear it

    def __str__(self) -> str:
        return self.name


def attack(name: str, program: str, *ends: str, **rest: Any) -> Attack:
    return Attack(name, dedent(program), ends, **rest)


def attempts(name: str, body: str, **rest: Any) -> Attack:
    """A program whose `transform` collects in `found` what was possible; nothing may have been."""
    lines = "".join(f"    {line}\n" for line in dedent(body).strip().splitlines())
    program = f"{POSSIBLE}\ndef transform(grid):\n    found = []\n{lines}    return found\n"
    return Attack(name, program, ("ok",), value=[], **rest)
