"""Grading rows: every row gets one new object with the answer to a rubric, and keeps all its other bytes.

The object holds the rubric's criteria, its score and `_meta`, which says what graded, in which version, and how much
of the text it saw. Nothing in it depends on the clock or the machine's speed, so that a row graded again is the
same row. Which engine answers is given by the engine object: anything with `name`, `meta()` and `grade(text, is_cut)`
that costs nothing to ask one row at a time.
"""

from __future__ import annotations

from typing import Any

import orjson

from actors.engines.grade import Grade
from actors.engines.static_analysis import StaticAnalysis
from actors.expressions import Expression
from actors.fields import replace
from actors.texts import text_of
from cluster.rows import Failure, Rows
from cluster.stage import Stage


class GradeRows(Stage):
    """Sets the field `field` (default: the rubric's name) of every row to its grade by the embedded grader.

    `text_expression` is the jq program of the text; a row for which it gives no string is quarantined. Of a text
    longer than `max_text_length` characters only the head is graded, and `_meta.truncated` says so. The number of
    rows with each score is counted as `score N`. Raises `ValueError` for an unknown rubric or a length below 1,
    `ExpressionError` for a program that jq does not compile.
    """

    def __init__(
        self,
        rubric: str,
        field: str | None = None,
        text_expression: str = ".text",
        max_text_length: int | None = None,
    ) -> None:
        if max_text_length is not None and max_text_length < 1:
            raise ValueError(f"max_text_length={max_text_length}: give a number of characters of at least 1")
        self._engine = StaticAnalysis(rubric)
        self._field = field or rubric
        self._text = Expression(text_expression)
        self._max_text_length = max_text_length

    def process(self, rows: Rows) -> Rows:
        values: list[bytes | Failure | None] = []
        for value in self._text.values(rows.lines):
            text = text_of(value, self._text.program)
            values.append(text if isinstance(text, Failure) else self._answer(text, rows))
        return rows.settle(replace(rows.lines, (self._field,), values))

    def _answer(self, text: str, rows: Rows) -> bytes:
        head = text if self._max_text_length is None else text[: self._max_text_length]
        grade = self._engine.grade(head, is_cut=len(head) < len(text))
        rows.count(f"score {grade.score}")
        if len(head) < len(text):
            rows.count("truncated")
        return orjson.dumps(grade.to_dict() | {"_meta": self._meta(grade, len(head), len(text))})

    def _meta(self, grade: Grade, kept: int, length: int) -> dict[str, Any]:
        truncated = {"kept_characters": kept, "of_characters": length} if kept < length else None
        return self._engine.meta() | {"subject": grade.subject, "truncated": truncated}
