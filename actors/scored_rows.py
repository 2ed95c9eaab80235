"""Predictions beside labels, as numbers: what a calibration is fitted on and judged by."""

from __future__ import annotations

import math

import numpy as np
import orjson

from actors.expressions import Expression
from actors.texts import shown
from cluster.rows import Failure, Rows
from cluster.stage import Stage, Summarizer


class ScoredRows(Stage):
    """Replaces each row by the JSON array [label, input, …].

    The prediction is a number, or an object of numbers (probabilities by label), of which `names` are taken in
    order. Rows without numbers are quarantined.
    """

    def __init__(self, prediction_expression: str, label_expression: str, names: list[str]) -> None:
        self.prediction, self.label = Expression(prediction_expression), Expression(label_expression)
        self.names = names

    def process(self, rows: Rows) -> Rows:
        pairs = zip(self.prediction.values(rows.lines), self.label.values(rows.lines), strict=True)
        return rows.settle([self._row(prediction, label) for prediction, label in pairs])

    def _row(self, prediction: object, label: object) -> bytes | Failure:
        if isinstance(prediction, Failure):
            return prediction
        if isinstance(label, Failure):
            return label
        inputs = [prediction]
        if isinstance(prediction, dict):
            inputs = [prediction.get(name) for name in self.names]
        elif len(self.names) > 1:
            return Failure(f"{self.prediction.program} gives no object with {', '.join(self.names)}")
        if not all(map(_is_number, inputs)):
            return Failure(f"{self.prediction.program} gives no number: {shown(prediction)}")
        if not _is_number(label):
            return Failure(f"{self.label.program} gives no number: {shown(label)}")
        return orjson.dumps([float(label), *map(float, inputs)])  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class NumberRows(Summarizer):
    """Keeps arrays of numbers as float64."""

    def encode(self, rows: Rows) -> bytes:
        return np.array([orjson.loads(line) for line in rows.lines], np.float64).tobytes()


def number_rows(record: bytes, columns: int) -> np.ndarray:
    """What `NumberRows` kept of a chunk: (rows, columns) float64."""
    return np.frombuffer(record, np.float64).reshape(-1, columns)
