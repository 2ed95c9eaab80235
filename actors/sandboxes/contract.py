"""The one contract of every sandbox: a program and its inputs in, one outcome for each input out.

The program is source code that nobody trusts. It runs in a process of its own that starts fresh for it, without
network, files, other processes or secrets, and ends with it, whatever it did. Nothing that it hands back is evaluated:
a value is JSON, checked on this side. What is right is never told to a sandbox; comparing happens outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec
import orjson

from cluster.errors import Halt

# Levels of lists and objects in an input. Pickle, by which inputs reach an executor, takes somewhat more, by what else is
# on the stack.
DEEPEST_INPUT = 400

Status = Literal[
    "ok",
    "wrong_type",  # it returned what is no JSON value: an object, NaN, a generator, a circle
    "exception",
    "timeout",
    "memory",
    "output_limit",  # it printed, or returned, more than it may
    "killed",  # its process ended before it returned: a crash, os._exit, a forbidden system call
    "sandbox_failure",  # the sandbox broke, twice, with nothing else in it
]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a program may use. Seconds are of CPU time for each input, and `wall_factor` times that on the clock.

    `memory` is what it may take beyond what Python itself needs; sizes are in bytes. Output is what is printed on both
    streams together, over all inputs; a result is one input's value as JSON.
    """

    cpu_seconds: float = 0.5
    wall_factor: float = 4.0
    memory: int = 512 << 20
    threads: int = 16
    output_bytes: int = 1 << 20
    result_bytes: int = 1 << 20
    open_files: int = 32


DEFAULT_LIMITS = Limits()


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one input. `json` is set where the status is "ok": the value as checked JSON in one line.

    It is kept like that since as objects it can be many times as large, and a program chooses what it returns.
    `message` is one line: an exception's type and text, the signal that ended the process. Times are in milliseconds;
    the CPU time of an input that returned is what the program's own process measured.
    """

    status: Status
    json: bytes = b"null"
    message: str = ""
    cpu_ms: float = 0.0
    wall_ms: float = 0.0

    @property
    def value(self) -> Any:
        """The value as plain data, made anew each time; None where there is none."""
        return msgspec.json.decode(self.json)


class Execution(msgspec.Struct, frozen=True, omit_defaults=True):
    """One program's run over its inputs: an outcome for each, in order, and what it printed (cut at its limit)."""

    outcomes: tuple[Outcome, ...]
    output: str = ""

    def told(self, times: bool = True) -> bytes:
        """All of it as JSON in one line; without `times`, which are never the same twice, if they are not wanted."""
        outcomes = []
        for each in self.outcomes:
            told = {"status": each.status, "value": orjson.Fragment(each.json), "message": each.message}
            outcomes.append(told | {"cpu_ms": each.cpu_ms, "wall_ms": each.wall_ms} if times else told)
        return orjson.dumps({"outcomes": outcomes, "output": self.output})


def returned(value: Any, cpu_ms: float = 0.0, wall_ms: float = 0.0) -> Outcome:
    """The outcome of an input for which the program returned this value.

    Raises ValueError (or its subclass) for what a writer of JSON does not take: integers of more than 64 bits, halves
    of surrogate pairs, lists hundreds of levels deep.
    """
    try:
        return Outcome("ok", orjson.dumps(value), cpu_ms=cpu_ms, wall_ms=wall_ms)
    except TypeError as error:
        raise ValueError(str(error)) from error


def is_too_deep(value: Any) -> bool:
    """Whether the value has more levels than an input may have."""
    try:
        orjson.dumps(value)  # by far the quickest way to tell of almost all that they are not
        return False
    except TypeError:
        pass
    level, levels = [value], 0
    while level := [each for each in level if isinstance(each, list | dict)]:
        levels += 1
        if levels > DEEPEST_INPUT:
            return True
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return False


class SandboxUnusable(Halt):
    """This isolation cannot be had here, or does not isolate; the message says what is missing or what was possible."""


class SandboxBroken(Exception):
    """A warm sandbox does not answer as it should and has to be replaced; the program in it may have done that."""


class Sandbox(Protocol):
    """One warm sandbox, which takes one program at a time. Not thread-safe.

    `execute` raises SandboxBroken, after which only `close` may be called.
    """

    name: str

    def execute(self, program: str, function: str, inputs: Sequence[Any], limits: Limits) -> Execution:
        """Define the program, then call its `function` with each input, in order; inputs are JSON values.

        An input whose call is ended from outside (timeout, killed) does not take the next ones with it: these are
        run in a fresh process.
        """
        ...

    def close(self) -> None:
        """End every process of the sandbox and remove what it left; may be called twice."""
        ...
