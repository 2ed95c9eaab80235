"""The text of every row as bytes, for passes that look at texts and at nothing else."""

from __future__ import annotations

import msgspec

from actors.expressions import Expression
from cluster.rows import Failure, Rows
from cluster.stage import Stage


class ExtractTexts(Stage):
    """Replaces each row by its text in UTF-8, which may hold line ends; a row without a text is quarantined."""

    def __init__(self, text_expression: str) -> None:
        self.text = Expression(text_expression)

    def process(self, rows: Rows) -> Rows:
        texts = [text_of(value, self.text.program) for value in self.text.values(rows.lines)]
        return rows.settle([text.encode() if type(text) is str else text for text in texts])  # type: ignore[misc]


class CheckTexts(Stage):
    """Lets the rows through that have a text, as they are: the rows that `ExtractTexts` lets through."""

    def __init__(self, text_expression: str) -> None:
        self.text = Expression(text_expression)

    def process(self, rows: Rows) -> Rows:
        texts = [text_of(value, self.text.program) for value in self.text.values(rows.lines)]
        return rows.settle([line if type(text) is str else text for line, text in zip(rows.lines, texts, strict=True)])  # type: ignore[misc]


def text_of(value: object, program: str) -> str | Failure:
    """What a text expression gave for a row, if it is a string; otherwise the Failure of the row."""
    if isinstance(value, str | Failure):
        return value
    if value is None:
        return Failure(f"no text: {program} gives null")
    return Failure(f"no text: {program} gives {shown(value)}")


def shown(value: object) -> str:
    """The beginning of a value as JSON, for a message. Unlike orjson, msgspec writes integers of any size."""
    return msgspec.json.encode(value)[:80].decode(errors="ignore")
