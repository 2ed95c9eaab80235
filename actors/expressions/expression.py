"""A jq program applied to JSON rows: the first output for every row, natively where that is sure, by jq elsewhere.

The result is jq's, as a JSON value, except that a number copied from the row by a native program keeps its exact
spelling, where jq's bindings turn it into a double (9007199254740993 becomes ...992, 1e400 the largest double).
Every row must be one JSON object in UTF-8, by the strict grammar: jq alone would also take NaN, 007 or several
values in a line. Nothing is raised for a row: what is wrong with it is its `Failure`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from actors.expressions import exact, native, syntax
from actors.expressions.jq_program import ExpressionError, JqProgram, json_text
from actors.expressions.rows import reject_invalid_utf8, row_text
from cluster.rows import Failure

__all__ = ["Expression", "ExpressionError"]


_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Expression:
    """One jq program. It may be sent to another process, where it compiles again on first use.

    `path` is the field that the program names if it is a plain path (`()` for `.`), else None; `native` says
    whether rows are evaluated without jq. Raises `ExpressionError` for a program that jq does not compile.
    """

    def __init__(self, program: str) -> None:
        jq_program = JqProgram(program)
        jq_program.compile()
        self._set_up(jq_program)

    def _set_up(self, jq_program: JqProgram) -> None:
        self.program = jq_program.program
        self._jq = jq_program
        self._values: native.Batch | None = None
        self._texts: native.Batch | None = None
        self._members: native.Batch | None = None
        self.path: tuple[str, ...] | None = None
        try:
            self.tree: syntax.Node | None = syntax.parse(self.program)
            self.path = _field(self.tree)
            self._values = native.compile_values(self.tree)
        except (syntax.NotNative, RecursionError):
            self.tree = None
        self.native = self.tree is not None

    def __getstate__(self) -> JqProgram:
        return self._jq

    def __setstate__(self, state: JqProgram) -> None:
        self._set_up(state)

    def __repr__(self) -> str:
        return f"Expression({self.program!r})"

    def values(self, lines: Sequence[bytes]) -> list[object | Failure]:
        """The first output for each row as a Python value, null being None, or the row's `Failure`."""
        if self._values is None:
            return [self._jq_first(line) for line in lines]
        return reject_invalid_utf8(lines, self._values(lines, self._doubtful_value))

    def json(self, lines: Sequence[bytes]) -> list[bytes | Failure]:
        """The first output for each row as a JSON text, or the row's `Failure`."""
        if self.tree is None:
            return [self._jq_text(line) for line in lines]
        if self._texts is None:
            self._texts = native.compile_texts(self.tree)
        return reject_invalid_utf8(lines, self._texts(lines, self._doubtful_text))

    def members(self, lines: Sequence[bytes]) -> list[Mapping[str, bytes] | Failure]:
        """The first output for each row, an object, as the JSON texts of its members in order.

        A row for which the program gives something else than an object is a `Failure`.
        """
        if isinstance(self.tree, syntax.Object):
            if self._members is None:
                self._members = native.compile_members(self.tree)
            keys = [key for key, _ in self.tree.members]
            texts = reject_invalid_utf8(lines, self._members(lines, self._doubtful_members))
            return [dict(zip(keys, row, strict=True)) if type(row) is tuple else row for row in texts]
        return [self._split(text) for text in self.json(lines)]

    def _doubtful_value(self, line: bytes) -> object | Failure:
        text = self._exact(line)
        if not isinstance(text, bytes):
            return self._jq_first(line) if text is None else text
        try:
            value: object = msgspec.json.decode(text)
            return value
        except (msgspec.DecodeError, ValueError):
            # A number beyond double: jq's answer is the largest double.
            return self._jq_first(line)

    def _doubtful_text(self, line: bytes) -> bytes | Failure:
        text = self._exact(line)
        return self._jq_text(line) if text is None else text

    def _doubtful_members(self, line: bytes) -> Mapping[str, bytes] | Failure:
        return self._split(self._doubtful_text(line))

    def _exact(self, line: bytes) -> bytes | Failure | None:
        """The output by exact evaluation, None where only jq can tell, a `Failure` for what is no row."""
        assert self.tree is not None
        text = row_text(line)
        if isinstance(text, Failure):
            return text
        try:
            return exact.evaluate(self.tree, line)
        except syntax.NotNative:
            return None

    def _jq_first(self, line: bytes) -> object | Failure:
        text = row_text(line)
        return self._jq.first(text) if isinstance(text, str) else text

    def _jq_text(self, line: bytes) -> bytes | Failure:
        value = self._jq_first(line)
        return value if isinstance(value, Failure) else json_text(value)

    def _split(self, text: bytes | Failure) -> Mapping[str, bytes] | Failure:
        if isinstance(text, Failure):
            return text
        try:
            return {key: bytes(raw) for key, raw in _decode_members(text).items()}
        except msgspec.ValidationError:
            return Failure(f"jq program {self.program!r} gives {_kind(text)} instead of an object")


def _field(tree: syntax.Node) -> tuple[str, ...] | None:
    if isinstance(tree, syntax.Path) and all(isinstance(key, str) for key in tree.keys):
        return tuple(str(key) for key in tree.keys)
    return None


def _kind(text: bytes) -> str:
    return {b'"': "a string", b"[": "an array", b"t": "a boolean", b"f": "a boolean", b"n": "null"}.get(
        text[:1], "a number"
    )
