"""The texts and labels of a chunk, in normal form, as a training task reads them."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import zstandard

from actors.expressions import Expression
from actors.labels import label_name
from actors.text_form import TextForm, applier
from cluster.rows import Failure, Rows
from cluster.stage import Stage, Summarizer


class LabelledTexts(Stage):
    """Quarantines rows without a usable text or label, and puts the others' texts in normal form.

    A row leaves as the JSON array [text, label]: the label's name, or with `regression` a number.
    """

    def __init__(
        self,
        text_expression: str,
        label_expression: str,
        form: TextForm | None,
        max_length: int | None,
        regression: bool,
    ) -> None:
        self.text, self.label = Expression(text_expression), Expression(label_expression)
        self.form, self.max_length, self.regression = form, max_length, regression

    def setup(self) -> None:
        self.normalize = applier(self.form)

    def process(self, rows: Rows) -> Rows:
        texts, labels = self.text.values(rows.lines), self.label.values(rows.lines)
        pairs = [self._pair(text, label) for text, label in zip(texts, labels, strict=True)]
        wanted = [pair[0] for pair in pairs if not isinstance(pair, Failure)]
        normal = iter(self.normalize(wanted))
        encode = msgspec.json.encode
        return rows.settle([pair if isinstance(pair, Failure) else encode([next(normal), pair[1]]) for pair in pairs])

    def _pair(self, text: object, label: object) -> tuple[str, object] | Failure:
        if isinstance(text, Failure):
            return text
        if not isinstance(text, str):
            return Failure(f"no text: {self.text.program} gives a value of type {type(text).__name__}")
        name = self._number(label) if self.regression else label_name(label, self.label.program)
        return name if isinstance(name, Failure) else (text[: self.max_length], name)

    def _number(self, label: object) -> float | Failure:
        if isinstance(label, Failure):
            return label
        if isinstance(label, bool) or not isinstance(label, int | float) or not math.isfinite(label):
            return Failure(f"--regression needs a number from {self.label.program}, found {label!r}")
        return float(label)


class TrainingRows(Summarizer):
    """Keeps the rows of a chunk for the training task."""

    def encode(self, rows: Rows) -> bytes:
        return zstandard.ZstdCompressor(level=1).compress(b"[" + b",".join(rows.lines) + b"]")


def training_rows(record: bytes) -> tuple[list[str], list[Any]]:
    """What `TrainingRows` kept of a chunk: texts and labels, aligned."""
    pairs = msgspec.json.decode(zstandard.ZstdDecompressor().decompress(record))
    return [text for text, _ in pairs], [label for _, label in pairs]
