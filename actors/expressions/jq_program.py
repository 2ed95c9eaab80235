"""A compiled jq program over the `jq` bindings: the first output for one JSON text.

It compiles on first use in each process, so that whatever holds it can be sent to another one. Numbers pass
through the bindings as doubles. The text must be one valid JSON value; that is not checked here.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from cluster.errors import GristmillError
from cluster.rows import Failure

_LONGEST_REASON = 500  # a program may raise the whole row as its error


class ExpressionError(GristmillError, ValueError):
    """A program that jq does not compile; the message is one line with the program and jq's reason."""


class JqProgram:
    """One program, compiled when it is first needed."""

    def __init__(self, program: str) -> None:
        self.program = program
        self._compiled: Any = None

    def __reduce__(self) -> tuple[type[JqProgram], tuple[str]]:
        return JqProgram, (self.program,)

    def compile(self) -> None:
        """Compile now; raises `ExpressionError`."""
        import jq

        if "\0" in self.program:
            # jq would read only what stands before it.
            raise ExpressionError(f"jq program {self.program!r} holds a NUL character")
        try:
            self._compiled = jq.compile(self.program)
        except ValueError as error:
            raise ExpressionError(f"jq program {self.program!r} does not compile: {_reason(error)}") from None

    def first(self, text: str) -> object | Failure:
        """The first output as a Python value, or a `Failure` that names the program."""
        if self._compiled is None:
            self.compile()
        try:
            for output in self._compiled.input_text(text):
                return output  # type: ignore[no-any-return]
        except ValueError as error:
            reason = " ".join(str(error).split())[:_LONGEST_REASON]
            return Failure(f"jq program {self.program!r} fails: {reason}")
        return Failure(f"jq program {self.program!r} yields nothing")


def json_text(value: object) -> bytes:
    """The JSON text of an output of jq."""
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer beyond 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _reason(error: ValueError) -> str:
    """jq's message in one line, without the drawing of the program below it."""
    first_line = str(error).partition("\n")[0]
    return first_line.removeprefix("jq: error: ").replace("<top-level>, ", "").rstrip(":")
