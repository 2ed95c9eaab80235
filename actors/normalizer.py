"""Normalizing rows: the stage that replaces each text by its normal form; every other byte of the row stays."""

from __future__ import annotations

import orjson

from actors import fields
from actors.expressions import Expression
from actors.text_form import TextForm, applier
from cluster.rows import Failure, Rows
from cluster.stage import Stage

TEXT, SCORE = ("text",), ("score",)


class NormalizeText(Stage):
    """Brings the text that `text_expression` names into `form` (None: leaves it).

    A plain path such as `.content` is replaced in place; what any other program gives goes to `.text`. With
    `label_expression` its value goes to `.score`. A text that is no string is quarantined.
    """

    def __init__(
        self, form: TextForm | None, text_expression: str = ".text", label_expression: str | None = None
    ) -> None:
        self.form = form
        self.text = Expression(text_expression)
        self.label = Expression(label_expression) if label_expression is not None else None

    def setup(self) -> None:
        self.normalize = applier(self.form)

    def process(self, rows: Rows) -> Rows:
        texts = [self._text(value) for value in self.text.values(rows.lines)]
        labels = self.label.json(rows.lines) if self.label is not None else None
        normal = iter(self.normalize([text for text in texts if isinstance(text, str)]))
        values = [text if isinstance(text, Failure) else orjson.dumps(next(normal)) for text in texts]
        results = fields.replace(rows.lines, self.text.path or TEXT, values)
        if labels is not None:
            both = [_settled(result, label) for result, label in zip(results, labels, strict=True)]
            lines = [line if isinstance(line, bytes) else b"{}" for line in results]
            results = fields.replace(lines, SCORE, both)
        return rows.settle(results)

    def _text(self, value: object) -> str | Failure:
        if isinstance(value, str):
            return value
        if isinstance(value, Failure):
            return value
        kind = "null" if value is None else f"a value of type {type(value).__name__}"
        return Failure(f"no text: {self.text.program} gives {kind}")


def _settled(result: bytes | Failure | None, label: bytes | Failure) -> bytes | Failure | None:
    return label if isinstance(result, bytes) else result
