"""Training a classifier from what a run has at hand: files to local disk, train, publish the model whole.

Each function is one task on the cluster. It works in a temporary directory and publishes the finished model with
its card last, so that a model directory is complete or not there; killed, it is simply started again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from actors.classifiers.card import Card
from actors.text_form import TextForm
from actors.training_rows import training_rows
from cluster.ledger import Chunks, Pass
from cluster.shards import Shard
from cluster.storage import LocalStorage, Storage, open_storage


def _described(card: Card) -> bytes:
    import msgspec

    return msgspec.json.encode(card)


def _local_file(source: Shard, folder: Path) -> Path:
    if isinstance(source.source, LocalStorage):
        return source.source.local_path(source.path)
    target = folder / source.name.replace("/", "_")
    source.source.fetch(source.path, target)
    return target


def train_fasttext(
    files: list[Shard],
    valid: list[Shard],
    output: Storage,
    params: Any,
    autotune_seconds: int | None,
    form: TextForm | None,
    max_length: int | None,
) -> bytes:
    """Train on fastText files (train.txt of one or several datasets) and publish model.bin, card.json, README.md."""
    from actors.classifiers.fasttext import Autotune, train

    with tempfile.TemporaryDirectory(prefix="gristmill-") as name:
        folder = Path(name)
        trained = [_local_file(source, folder) for source in files]
        autotune = None
        if autotune_seconds is not None:
            autotune = Autotune(_local_file(valid[0], folder), autotune_seconds)
        card = train(trained, folder / "model", params, normalization=form, max_length=max_length, autotune=autotune)
        output.publish_tree("", folder / "model")
        return _described(card)


def train_model2vec(
    step: Pass,
    chunks: list[Chunks],
    valid: list[Chunks],
    output: Storage,
    params: Any,
    regression: bool,
    form: TextForm | None,
    max_length: int | None,
    endpoint_url: str | None,
) -> bytes:
    """Train on the texts and labels that a pass kept, and publish the model. The training texts are held in memory."""
    from dataclasses import replace

    from actors.classifiers.model2vec import train

    texts, labels = _gathered(step, chunks)
    validation = _gathered(step, valid) if valid else None
    with tempfile.TemporaryDirectory(prefix="gristmill-") as name, _base(params.base_model, endpoint_url) as base:
        card = train(
            texts,
            labels,
            Path(name) / "model",
            replace(params, base_model=base),
            validation=validation,
            regression=regression,
            normalization=form,
            max_length=max_length,
        )
        output.publish_tree("", Path(name) / "model")
        return _described(card)


def distill_model2vec(model_name: str, output: Storage, arguments: dict[str, Any], endpoint_url: str | None) -> bytes:
    """Distil a sentence transformer and publish the static model."""
    from actors.classifiers.distillation import distill

    with tempfile.TemporaryDirectory(prefix="gristmill-") as name, _base(model_name, endpoint_url) as base:
        card = distill(base, Path(name) / "model", **arguments)
        output.publish_tree("", Path(name) / "model")
        return _described(card)


@contextmanager
def _base(model_name: str, endpoint_url: str | None) -> Iterator[str]:
    """A base model's local directory where it lies on object storage; otherwise the name as it is."""
    if not model_name.startswith("s3://"):
        yield model_name
        return
    with open_storage(model_name, endpoint_url).localize() as path:
        yield str(path)


def _gathered(step: Pass, chunks: list[Chunks]) -> tuple[list[str], list[Any]]:
    texts: list[str] = []
    labels: list[Any] = []
    for _, payload in step.payloads(chunks):
        more, their = training_rows(payload)
        texts += more
        labels += their
    return texts, labels


def card_summary(card: bytes) -> dict[str, Any]:
    """What a summary says of a trained model."""
    found = orjson.loads(card)
    kept = {
        name: found[name] for name in ("kind", "task", "labels", "normalization", "reproducible") if found.get(name)
    }
    return kept | {"training": found.get("training", {})}
