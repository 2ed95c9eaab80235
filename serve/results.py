"""A model's outputs as JSON, one object for each text, with the numbers exactly as `infer-*` writes them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import orjson

from actors.classifier import numbers_as_json
from serve.models import ServedModel


def results(model: ServedModel, outputs: npt.NDArray[np.float32], top_k: int | None = None) -> list[bytes]:
    """One JSON object for each row of the outputs.

    A classifier's has `label`, the most probable, its `probability`, and the `probabilities` of all labels in
    alphabetical order, or of the `top_k` most probable ones, the most probable first. A regressor's has `value`. With a
    calibration there is `calibrated`, the score.
    """
    if not len(outputs):
        return []
    if model.is_regressor:
        rows = [b'{"value":%b' % number for number in numbers_as_json(outputs)]
    elif top_k is None or top_k >= len(model.labels):
        rows = _all_labels(model.labels, outputs)
    else:
        rows = _top_labels(model.labels, outputs, top_k)
    scores = model.calibrated(outputs)
    if scores is None:
        return [row + b"}" for row in rows]
    numbers = numbers_as_json(scores[:, None])
    return [b'%b,"calibrated":%b}' % pair for pair in zip(rows, numbers, strict=True)]


def _all_labels(labels: tuple[str, ...], outputs: npt.NDArray[np.float32]) -> list[bytes]:
    keys = [orjson.dumps(label) for label in labels]
    inner = b",".join(key.replace(b"%", b"%%") + b":%b" for key in keys)
    template = b'{"label":%b,"probability":%b,"probabilities":{' + inner + b"}"
    best = outputs.argmax(axis=1).tolist()
    numbers = [row.split(b",") for row in numbers_as_json(outputs)]
    return [template % (keys[top], row[top], *row) for top, row in zip(best, numbers, strict=True)]


def _top_labels(labels: tuple[str, ...], outputs: npt.NDArray[np.float32], top_k: int) -> list[bytes]:
    keys = [orjson.dumps(label) for label in labels]
    best = np.argsort(-outputs, axis=1, kind="stable")[:, :top_k].tolist()
    rows = []
    for order, numbers in zip(best, numbers_as_json(outputs), strict=True):
        row = numbers.split(b",")
        inner = b",".join(b"%b:%b" % (keys[place], row[place]) for place in order)
        rows.append(b'{"label":%b,"probability":%b,"probabilities":{%b}' % (keys[order[0]], row[order[0]], inner))
    return rows
