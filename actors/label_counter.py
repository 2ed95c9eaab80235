"""How often each label occurs: what is kept of a chunk is every distinct label with its count."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import orjson

from actors.expressions import Expression
from actors.labels import label_name
from actors.texts import shown, text_of
from cluster.rows import Failure, Rows
from cluster.stage import Stage, Summarizer

LABEL_TYPES = ("text", "ordinal", "value")


class ExtractLabels(Stage):
    """Replaces each row by the JSON array [label, key length]; a row that has no label is quarantined.

    A label of type `text` is its name (see actors.labels), of type `ordinal` a whole number (numbers are cut, strings
    are read), of type `value` a finite number. The length is that of the key's text in characters, null without a key
    expression.
    """

    def __init__(self, label_expression: str, label_type: str = "text", key_expression: str | None = None) -> None:
        self.label, self.label_type = Expression(label_expression), label_type
        self.key = Expression(key_expression) if key_expression is not None else None

    def process(self, rows: Rows) -> Rows:
        labels = [self._label(value) for value in self.label.values(rows.lines)]
        keys = [None] * len(rows) if self.key is None else self.key.values(rows.lines)
        return rows.settle([self._record(label, key) for label, key in zip(labels, keys, strict=True)])

    def _label(self, value: object) -> str | int | float | Failure:
        if self.label_type == "text" or isinstance(value, Failure) or value is None:
            return label_name(value, self.label.program)
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            return Failure(f"no {self.label_type} label: {self.label.program} gives {shown(value)}")
        return int(number) if self.label_type == "ordinal" else number + 0.0  # + 0.0: no -0.0

    def _record(self, label: str | int | float | Failure, key: object) -> bytes | Failure:
        if isinstance(label, Failure):
            return label
        if self.key is None:
            return orjson.dumps([label, None])
        text = text_of(key, self.key.program)
        return text if isinstance(text, Failure) else orjson.dumps([label, len(text)])


class CountLabels(Summarizer):
    """Counts what `ExtractLabels` left."""

    def encode(self, rows: Rows) -> bytes:
        labels: Counter[Any] = Counter()
        lengths: Counter[int] = Counter()
        for line in rows.lines:
            label, length = orjson.loads(line)
            labels[label] += 1
            if length is not None:
                lengths[length] += 1
        return orjson.dumps([sorted(labels.items()), sorted(lengths.items())])


def label_counts(record: bytes) -> tuple[list[tuple[Any, int]], list[tuple[int, int]]]:
    """What `CountLabels` kept of a chunk: (label, rows) and (key length, rows), each in ascending order."""
    labels, lengths = orjson.loads(record)
    return labels, lengths
