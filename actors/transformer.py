"""New rows from two jq programs, one for the text and one for the label: the stage of transform-dataset.

Both programs give objects, and the new row is the text's members followed by the label's, the label's value in
place of the text's under the same key. With `keep_fields` these members are set in the original row instead,
whose other bytes stay as they are. A row goes to quarantine, with the program named, where a program fails or
gives something else than an object, or where a value of the label is null.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from actors.expressions import Expression
from actors.expressions.jq_program import ExpressionError, JqProgram, json_text
from actors.expressions.native import Batch, compile_changes, compile_texts
from actors.expressions.rows import reject_invalid_utf8, row_text
from actors.expressions.syntax import NotNative, NotNull, Object
from actors.fields import merge, spelled, splice
from cluster.rows import Failure, Rows
from cluster.stage import Stage


class TransformRows(Stage):
    """Replaces every row by the merged outputs of its two programs, or merges them into it.

    Raises `ExpressionError` for a program that jq does not compile.
    """

    def __init__(
        self,
        text_transform: str = "{text: .text}",
        label_transform: str = "{score: .score}",
        keep_fields: bool = False,
    ) -> None:
        self._text = Expression(text_transform)
        self._label = Expression(label_transform)
        self._keep_fields = keep_fields
        self._fused: Batch | None = None
        self._joint: JqProgram | None = None

    def setup(self) -> None:
        if not self._text.native and not self._label.native:
            self._joint = _joint_program(self._text.program, self._label.program)
        merged = _merged(self._text.tree, self._label.tree)
        if merged is None:
            return
        self._keys = [orjson.dumps(key) for key, _ in merged.members]
        try:
            self._fused = compile_changes(merged) if self._keep_fields else compile_texts(merged)
        except NotNative:
            self._fused = None

    def process(self, rows: Rows) -> Rows:
        if self._fused is None:
            return rows.settle(self._one_by_one(rows.lines))
        results = self._fused(rows.lines, lambda line: self._one_by_one([line])[0])
        if self._keep_fields:
            results = [
                splice(line, [(key, *change) for key, change in zip(self._keys, result, strict=True)])
                if type(result) is tuple
                else result
                for line, result in zip(rows.lines, results, strict=True)
            ]
        return rows.settle(reject_invalid_utf8(rows.lines, results))

    def _one_by_one(self, lines: list[bytes]) -> list[bytes | Failure]:
        """The new rows, by one program after the other."""
        members = self._members(lines)
        return merge(lines, members) if self._keep_fields else [_joined(row) for row in members]

    def _members(self, lines: list[bytes]) -> list[Mapping[str, bytes] | Failure]:
        if self._joint is not None:
            return [self._members_by_jq(line, self._joint) for line in lines]
        pairs = zip(self._text.members(lines), self._label.members(lines), strict=True)
        return [self._checked(text, label) for text, label in pairs]

    def _members_by_jq(self, line: bytes, joint: JqProgram) -> Mapping[str, bytes] | Failure:
        """The members by both programs in one, so that jq parses the row once."""
        row = row_text(line)
        match joint.first(row) if isinstance(row, str) else row:
            case [[dict(text)], [dict(label)]]:
                return self._checked(_texts(text), _texts(label))
        # One program after the other tells which of them is to blame.
        return self._checked(self._text.members([line])[0], self._label.members([line])[0])

    def _checked(
        self, text: Mapping[str, bytes] | Failure, label: Mapping[str, bytes] | Failure
    ) -> Mapping[str, bytes] | Failure:
        if isinstance(text, Failure):
            return text
        if isinstance(label, Failure):
            return label
        null = next((key for key, value in label.items() if value == b"null"), None)
        if null is not None:
            return Failure(f"jq program {self._label.program!r} gives null for the label {spelled((null,))}")
        return {**text, **label}


def _joint_program(text: str, label: str) -> JqProgram | None:
    """The first outputs of two programs as `[[text], [label]]`, if they may stand inside another program."""
    # The line feeds end a comment at the end of a program.
    joint = JqProgram(f"[[limit(1; ({text}\n))], [limit(1; ({label}\n))]]")
    try:
        joint.compile()
    except ExpressionError:
        return None
    return joint


def _texts(members: dict[str, object]) -> dict[str, bytes]:
    return {key: json_text(value) for key, value in members.items()}


def _merged(text: object, label: object) -> Object | None:
    """One construction for both, if both are native constructions without a key in common."""
    if not isinstance(text, Object) or not isinstance(label, Object):
        return None
    if {key for key, _ in text.members} & {key for key, _ in label.members}:
        return None
    return Object(text.members + tuple((key, NotNull(node)) for key, node in label.members))


def _joined(members: Mapping[str, bytes] | Failure) -> bytes | Failure:
    if isinstance(members, Failure):
        return members
    return b"{" + b",".join(orjson.dumps(key) + b":" + value for key, value in members.items()) + b"}"
