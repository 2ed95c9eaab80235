"""Classifying rows: the stage that adds a model's label probabilities to each row, and nothing else.

A text is cut and normalized as the model's card says its training texts were. The model is loaded once per actor.
Probabilities stand in the labels' alphabetical order, clipped to [0, 1] and rounded to six decimals, so they may add
up to 1 only to within that. A regressor adds one number, rounded alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from actors import fields
from actors.classifiers.card import ModelError, read_card
from actors.classifiers.fasttext import MODEL_FILE, FastTextClassifier
from actors.classifiers.model2vec import HEAD_FILE, Model2VecClassifier, Model2VecRegressor
from actors.expressions import Expression
from actors.text_form import TextForm, applier, needed
from actors.texts import text_of
from cluster.rows import Rows
from cluster.stage import Stage
from cluster.storage import open_storage

Classifier = FastTextClassifier | Model2VecClassifier
Model = Classifier | Model2VecRegressor

_DECIMALS = 6


def load_classifier(model_dir: Path) -> Model:
    """Load the model in `model_dir`, of whatever kind its card says. Raises `ModelError`."""
    card = read_card(model_dir)
    if card is None:
        return _load_without_card(model_dir)
    if card.kind == "fasttext":
        return FastTextClassifier.load(model_dir)
    if card.kind == "static-embeddings":
        raise ModelError(f"{model_dir} holds embeddings without a classifier; train one on them with train-model2vec")
    return Model2VecRegressor.load(model_dir) if card.task == "regression" else Model2VecClassifier.load(model_dir)


def _load_without_card(model_dir: Path) -> Model:
    if (model_dir / MODEL_FILE).is_file():
        return FastTextClassifier.load(model_dir)
    if (model_dir / HEAD_FILE).is_file():
        return Model2VecClassifier.load(model_dir)
    raise ModelError(f"no model in {model_dir}; give the directory that train-fasttext or train-model2vec wrote")


def load_model(model_dir: str, endpoint_url: str | None = None) -> Model:
    """Load a model from a directory or an s3:// prefix. Raises `ModelError`."""
    with open_storage(model_dir, endpoint_url).localize() as path:
        return load_classifier(path)


class ClassifyRows(Stage):
    """Stage: sets `column` of every row to `{label: probability, …}`; the other bytes of the row stay as they were.

    `column` is a key, or a path of keys. `text_expression` gives the text; a row where it gives no string is
    quarantined. `max_length`, in characters, overrides the card's. `done` is the normal form that the texts are in
    already; what the model's own form wants beyond it is done here. `tokenizer` says where the tokenizer of that form
    is now, if it moved.
    """

    def __init__(
        self,
        model_dir: str,
        column: str | tuple[str, ...],
        text_expression: str = ".text",
        max_length: int | None = None,
        done: TextForm | None = None,
        tokenizer: str | None = None,
        endpoint_url: str | None = None,
    ) -> None:
        self.model_dir, self.endpoint_url = model_dir, endpoint_url
        self.column = (column,) if isinstance(column, str) else column
        self.text_expression = text_expression
        self.max_length = max_length
        self.done = done
        self.tokenizer = tokenizer

    def setup(self) -> None:
        """Load the model and its normalizer. Raises `ModelError`, and what `actors.normalizers.restored` raises."""
        self._model = load_model(self.model_dir, self.endpoint_url)
        self._expression = Expression(self.text_expression)
        self._length = self._model.card.max_length if self.max_length is None else self.max_length
        form = needed(self._model.card.normalization, self.done, f"the model {self.model_dir}", "the dataset")
        self._normalize = applier(form, self.tokenizer)
        self._encode = probabilities_as_json(self._model.card.labels)

    def process(self, rows: Rows) -> Rows:
        """Classify the rows of one chunk, as one batch."""
        texts = [text_of(value, self.text_expression) for value in self._expression.values(rows.lines)]
        outputs = iter(self._outputs([text[: self._length] for text in texts if isinstance(text, str)]))
        values = [next(outputs) if isinstance(text, str) else text for text in texts]
        return rows.settle(fields.replace(rows.lines, self.column, values))

    def _outputs(self, texts: list[str]) -> list[bytes]:
        if not texts:
            return []
        texts = self._normalize(texts)
        if isinstance(self._model, Model2VecRegressor):
            return numbers_as_json(self._model.values(texts)[:, None])
        return self._encode(self._model.probabilities(texts))


def probabilities_as_json(labels: Sequence[str]) -> Callable[[npt.NDArray[np.float32]], list[bytes]]:
    """A function from probabilities of shape (rows, labels) to one JSON object per row."""
    keys = [orjson.dumps(label).replace(b"%", b"%%") for label in labels]
    template = b"{" + b",".join(key + b":%b" for key in keys) + b"}"

    def encode(probabilities: npt.NDArray[np.float32]) -> list[bytes]:
        rows = numbers_as_json(np.clip(probabilities, 0.0, 1.0))
        return [template % tuple(row.split(b",")) for row in rows]

    return encode


def numbers_as_json(values: npt.NDArray[Any]) -> list[bytes]:
    """Each row's numbers as JSON, with commas between them: all rows are written by one call, then parted."""
    if not len(values):
        return []
    rounded = np.ascontiguousarray(np.round(values.astype(np.float64), _DECIMALS) + 0.0)  # + 0.0: no -0.0
    return orjson.dumps(rounded, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")
