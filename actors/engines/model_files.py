"""Where a model lies and what tells it apart: a directory in the Hugging Face layout, or a name of the hub.

The digest covers the names and sizes of a directory's files, the contents of all but the weights, and samples spread
over the weights, so that two trainings of one model differ. It reads a few MiB, never the whole model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from actors.engines.contract import EngineUnusable

READ_WHOLE = 16 << 20  # bytes; tokenizers are smaller, shards of weights larger
SAMPLES, SAMPLE = 64, 16 << 10  # so many stretches of a larger file, of so many bytes each
# What lies in model directories and decides nothing.
_BESIDE_THE_POINT = (".md", ".txt.lock", ".lock", ".png", ".log", ".tmp")
_TRAINING_STATE = ("optimizer", "scheduler", "rng_state", "trainer_state", "training_args")


def model_directory(model: str) -> Path | None:
    """The directory of `model`; None for a name of the hub. Raises EngineUnusable where neither is there."""
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise EngineUnusable(
                f"the model directory {model} has no config.json; give a directory in the Hugging Face layout"
            )
        return path
    if "://" in model:
        raise EngineUnusable(
            f"the model {model} is an address; copy it to a directory that every node sees and give that"
        )
    if path.exists() or path.is_absolute() or model.startswith((".", "~")) or len(path.parts) != 2:
        raise EngineUnusable(
            f"the model directory {model} does not exist on this node; give one that every node sees, or a name of the "
            "Hugging Face hub (owner/name)"
        )
    return None


def model_identity(engine: str, model: str, chat_template: str | None = None, **deciding: Any) -> dict[str, Any]:
    """What decides the answers of a model in this process: an engine's identity. Raises EngineUnusable.

    `deciding` are settings that change answers; what is None is left out.
    """
    found: dict[str, Any] = {"engine": engine, "model": shown_name(model), "digest": model_digest(model)}
    if chat_template is not None:
        found["chat_template"] = hashlib.blake2b(template_text(chat_template).encode(), digest_size=16).hexdigest()
    return found | {name: value for name, value in deciding.items() if value is not None}


def template_text(path: str) -> str:
    """The chat template in a file. Raises EngineUnusable."""
    try:
        return Path(path).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise EngineUnusable(f"--chat-template {path} cannot be read on this node: {reason}") from error


def shown_name(model: str) -> str:
    """A directory's last part, or the name on the hub."""
    directory = model_directory(model)
    return model if directory is None else directory.resolve().name


def model_digest(model: str) -> str:
    """What tells this model apart; the same wherever it lies. For a name of the hub, the commit that is cached.

    Raises EngineUnusable.
    """
    directory = model_directory(model)
    if directory is None:
        return _cached_commit(model)
    digest = hashlib.blake2b(digest_size=16)
    for path in _files(directory):
        digest.update(json.dumps([path.name, path.stat().st_size]).encode())
        for part in _parts(path):
            digest.update(part)
    return digest.hexdigest()


def generation_defaults(model: str) -> Mapping[str, Any]:
    """The model's own generation_config.json; empty where it has none. Raises EngineUnusable."""
    directory = model_directory(model)
    path = _cached(model, "generation_config.json") if directory is None else directory / "generation_config.json"
    if path is None or not path.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    except ValueError as error:
        raise EngineUnusable(f"{path} is no JSON: {error}") from error


def _files(directory: Path) -> list[Path]:
    """The files that make the model, by name; what training left beside it is none of them."""
    return sorted(
        path
        for path in directory.iterdir()
        if path.is_file()
        and not path.name.startswith(".")
        and not path.name.endswith(_BESIDE_THE_POINT)
        and not path.name.startswith(_TRAINING_STATE)
    )


def _parts(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= READ_WHOLE:
            yield file.read()
            return
        for place in range(SAMPLES):
            file.seek(place * (size - SAMPLE) // (SAMPLES - 1))
            yield file.read(SAMPLE)


def _cached_commit(model: str) -> str:
    # .../models--owner--name/snapshots/<commit>/config.json
    path = _cached(model, "config.json")
    return "" if path is None else path.parent.name


def _cached(model: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(model, name)
    return Path(path) if isinstance(path, str) else None
