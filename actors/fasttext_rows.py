"""Rows to fastText's training lines: label expression, text expression, cut, normal form, one physical line."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from actors.classifiers.fasttext_lines import clean_label, fasttext_line
from actors.expressions import Expression
from actors.labels import label_name
from actors.text_form import TextForm, applier
from actors.texts import shown
from cluster.rows import Failure, Rows
from cluster.shards import encode, split_of
from cluster.stage import Stage, Summarizer


class FastTextRows(Stage):
    """Replaces each row by its fastText line.

    `edges` (from quantile binning) turn numeric labels into `bin_0`, `bin_1` …: the bin is the number of edges at
    or below the label. With `multi_label` the label is an object {name: 0 or 1} and the line has every name that is 1.
    """

    def __init__(
        self,
        form: TextForm | None,
        text_expression: str,
        label_expression: str,
        max_length: int | None,
        edges: list[float] | None = None,
        multi_label: bool = False,
    ) -> None:
        self.text, self.label = Expression(text_expression), Expression(label_expression)
        self.form, self.max_length = form, max_length
        self.edges, self.multi_label = edges, multi_label

    def setup(self) -> None:
        self.normalize = applier(self.form)

    def process(self, rows: Rows) -> Rows:
        texts = self.text.values(rows.lines)
        labels = [self._labels(value) for value in self.label.values(rows.lines)]
        results: list[bytes | Failure | None] = []
        wanted: list[str] = []
        for text, names in zip(texts, labels, strict=True):
            problem = _problem(text, names, self.text.program)
            results.append(problem)
            if problem is None:
                wanted.append(text[: self.max_length])  # type: ignore[index]
        normal = iter(self.normalize(wanted))
        for position, names in enumerate(labels):
            if results[position] is None:
                results[position] = fasttext_line(names, next(normal)).encode()  # type: ignore[arg-type]
                for name in names:  # type: ignore[union-attr]
                    rows.count(f"label {name}")
        return rows.settle(results)

    def _labels(self, value: object) -> list[str] | Failure:
        """The clean label names of one row."""
        if self.multi_label:
            return _switched_on(value, self.label.program)
        if self.edges is not None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                return (
                    value if isinstance(value, Failure) else Failure(f"label {value!r} is no number, --auto needs one")
                )
            return [f"bin_{bisect_right(self.edges, float(value))}"]
        name = label_name(value, self.label.program)
        return name if isinstance(name, Failure) else _clean([name])


def _switched_on(value: object, program: str) -> list[str] | Failure:
    if isinstance(value, Failure):
        return value
    if not isinstance(value, dict) or not all(flag in (0, 1) for flag in value.values()):
        return Failure(f"--multi-label needs an object of 0 and 1 from {program}, found {shown(value)}")
    return _clean([name for name, flag in value.items() if flag])


def _clean(names: list[str]) -> list[str] | Failure:
    try:
        return [clean_label(name) for name in names]
    except ValueError as error:
        return Failure(str(error))


def _problem(text: object, labels: list[str] | Failure, program: str) -> Failure | None:
    if isinstance(text, Failure):
        return text
    if isinstance(labels, Failure):
        return labels
    if not isinstance(text, str):
        return Failure(f"no text: {program} gives {shown(text)}")
    return None


class TextLines(Summarizer):
    """Keeps the lines of a chunk as compressed text, to be put together into one plain file per split."""

    def encode(self, rows: Rows) -> bytes:
        return encode(b"\n".join((*rows.lines, b"")), ".zst") if rows.lines else b""


class NumericLabels(Summarizer):
    """Keeps the distinct numeric labels of a chunk of the train split (or of a dataset without splits), with counts."""

    def __init__(self, label_expression: str) -> None:
        self.label = Expression(label_expression)

    def encode(self, rows: Rows) -> bytes:
        if split_of(rows.shard) not in (None, "train"):
            return b""
        found = [
            float(value)
            for value in self.label.values(rows.lines)
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        values, counts = np.unique(np.array(found, np.float64), return_counts=True)
        return values.tobytes() + counts.astype(np.int64).tobytes()


def numeric_labels(record: bytes) -> tuple[np.ndarray, np.ndarray]:
    """What `NumericLabels` kept of a chunk: distinct values (ascending) and how often each occurs."""
    half = len(record) // 2
    return np.frombuffer(record[:half], np.float64), np.frombuffer(record[half:], np.int64)
