"""What a model says of labelled rows: the stage of an evaluation.

A row leaves as the JSON array [line, truth, outputs, snippet]: the truth is a list of label names (for a regression
a number), the outputs are the probabilities in the order of the model's labels (for a regression one number), and
the snippet is the beginning of the text where the model is wrong, null elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import orjson

from actors.classifier import Model, load_model
from actors.classifiers.fasttext_lines import LABEL_PREFIX, clean_label
from actors.classifiers.model2vec import Model2VecRegressor
from actors.expressions import Expression
from actors.labels import label_name
from actors.text_form import TextForm, applier
from cluster.rows import Failure, Rows
from cluster.stage import Stage

SNIPPET = 400  # characters of a text that a report shows


@dataclass(frozen=True, slots=True)
class Labelled:
    """A row that can be judged: its text, and its true labels or number."""

    text: str
    truth: list[str] | float


class JudgeRows(Stage):
    """Runs the model over labelled rows.

    `form` is what is left to do to the texts to bring them into the model's normal form. With `fasttext_lines` the rows are
    not JSON but the lines of a fastText file.
    """

    def __init__(
        self,
        model_dir: str,
        endpoint_url: str | None,
        text_expression: str,
        label_expression: str,
        form: TextForm | None,
        max_length: int | None = None,
        tokenizer: str | None = None,
        fasttext_lines: bool = False,
    ) -> None:
        self.model_dir, self.endpoint_url = model_dir, endpoint_url
        self.text, self.label = Expression(text_expression), Expression(label_expression)
        self.form, self.max_length = form, max_length
        self.tokenizer, self.fasttext_lines = tokenizer, fasttext_lines

    def setup(self) -> None:
        self.model: Model = load_model(self.model_dir, self.endpoint_url)
        self.cut = self.max_length or self.model.card.max_length
        self.normalize = applier(None if self.fasttext_lines else self.form, self.tokenizer)

    def process(self, rows: Rows) -> Rows:
        found = self._from_lines(rows) if self.fasttext_lines else self._from_json(rows)
        good = [row for row in found if isinstance(row, Labelled)]
        texts = [row.text[: self.cut] for row in good]
        outputs = iter(self._outputs(self.normalize(texts)))
        results: list[bytes | Failure | None] = []
        for number, row in zip(rows.numbers, found, strict=True):
            results.append(row if isinstance(row, Failure) else self._record(number, row, next(outputs)))
        return rows.settle(results)

    def _outputs(self, texts: list[str]) -> list[Any]:
        if not texts:
            return []
        if isinstance(self.model, Model2VecRegressor):
            return [[float(value)] for value in self.model.values(texts)]
        return list(self.model.probabilities(texts))

    def _record(self, number: int, row: Labelled, output: Any) -> bytes:
        wrong = False
        if isinstance(row.truth, list):
            wrong = self.model.card.labels[int(np.argmax(output))] not in row.truth
        snippet = row.text[:SNIPPET] if wrong else None
        try:
            return orjson.dumps([number, row.truth, output, snippet], option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError:  # a lone surrogate in the text
            snippet = row.text[:SNIPPET].encode("utf-8", "replace").decode()
            return orjson.dumps([number, row.truth, output, snippet], option=orjson.OPT_SERIALIZE_NUMPY)

    def _from_json(self, rows: Rows) -> list[Labelled | Failure]:
        pairs = zip(self.text.values(rows.lines), self.label.values(rows.lines), strict=True)
        return [self._labelled(text, label) for text, label in pairs]

    def _labelled(self, text: object, label: object) -> Labelled | Failure:
        if isinstance(text, Failure):
            return text
        if not isinstance(text, str):
            return Failure(f"no text: {self.text.program} gives a value of type {type(text).__name__}")
        if isinstance(self.model, Model2VecRegressor):
            if isinstance(label, bool) or not isinstance(label, int | float) or not math.isfinite(label):
                return label if isinstance(label, Failure) else Failure(f"label {label!r} is no number")
            return Labelled(text, float(label))
        name = label_name(label, self.label.program)
        if isinstance(name, Failure):
            return name
        try:
            return Labelled(text, [clean_label(name) if self.model.card.kind == "fasttext" else name])
        except ValueError as error:
            return Failure(str(error))

    def _from_lines(self, rows: Rows) -> list[Labelled | Failure]:
        found: list[Labelled | Failure] = []
        for line in rows.lines:
            words = line.decode().split(" ")
            count = next((i for i, word in enumerate(words) if not word.startswith(LABEL_PREFIX)), len(words))
            labels = [word.removeprefix(LABEL_PREFIX) for word in words[:count]]
            text = " ".join(words[count:])
            found.append(Labelled(text, labels) if labels else Failure(f"no {LABEL_PREFIX} at the start of the line"))
        return found


def judged_rows(record: bytes) -> list[Any]:
    """The rows of a chunk as `TrainingRows` kept them: [line, truth, outputs, snippet] each."""
    import zstandard

    rows: list[Any] = msgspec.json.decode(zstandard.ZstdDecompressor().decompress(record))
    return rows
