"""A model directory that appears whole or not at all.

A model is made in a hidden directory beside its destination and moved there when it is finished, the card last.
What a killed training left behind is removed by the next one for the same destination; two at once are refused.
An earlier model is only replaced when asked to. Nothing here survives a power failure any better than the file
system does.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from actors.classifiers.card import CARD_FILE, ModelError

_LOCK_FILE = ".lock"


@contextmanager
def new_model_directory(output_dir: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """An empty directory to make a model in; when the block ends without an error it becomes `output_dir`.

    `output_dir` may exist and hold other files, which stay. Raises `ModelError` before anything is made when it
    holds a model and `overwrite` is false, cannot be written, or another training is at work on it.
    """
    output_dir = output_dir.expanduser().resolve()
    if (output_dir / CARD_FILE).exists() and not overwrite:
        raise ModelError(f"{output_dir} already holds a model; choose another output directory, or ask to overwrite it")
    staging = _staging_place(output_dir)
    try:
        staging.mkdir(parents=True, exist_ok=True)
        lock = os.open(staging / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ModelError(
            f"{output_dir} cannot be written ({error.strerror}); choose another output directory"
        ) from error
    try:
        _take(lock, output_dir)
        _empty(staging)
        try:
            yield staging
            _publish(staging, output_dir)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    finally:
        os.close(lock)


def check_space(directory: Path, need: int, lower: str) -> None:
    """Raise `ModelError` unless `need` bytes are free; `lower` names what would make the model smaller."""
    free = shutil.disk_usage(directory).free
    if free < need:
        raise ModelError(
            f"the model needs about {need / 1e9:.1f} GB and {directory.parent} has {free / 1e9:.1f} GB free; "
            f"make room, or lower {lower}"
        )


def _staging_place(output_dir: Path) -> Path:
    """Beside the destination, or inside it when a move from beside could not work at the end of the training."""
    name = f".{output_dir.name}.training"
    if not output_dir.exists():
        return output_dir.parent / name
    if not output_dir.is_dir() or not os.access(output_dir, os.W_OK):
        raise ModelError(f"{output_dir} is not a directory that can be written; choose another output directory")
    beside = output_dir.parent
    movable = beside.stat().st_dev == output_dir.stat().st_dev and os.access(beside, os.W_OK)
    return (beside if movable else output_dir) / name


def _take(lock: int, output_dir: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ModelError(
            f"another training is writing {output_dir}; wait for it, or choose another directory"
        ) from error
    except OSError:
        return  # a file system without locks: two trainings at once are then the user's own care


def _empty(staging: Path) -> None:
    for path in staging.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK_FILE:
            path.unlink()


def _publish(staging: Path, output_dir: Path) -> None:
    (staging / _LOCK_FILE).unlink()
    for path in staging.iterdir():
        path.chmod(0o644)  # safetensors makes files that only their owner can read
    if not output_dir.exists():
        staging.rename(output_dir)
        return
    with suppress(FileNotFoundError):
        (output_dir / CARD_FILE).unlink()
    for path in sorted(staging.iterdir(), key=lambda path: (path.name == CARD_FILE, path.name)):
        path.replace(output_dir / path.name)
    staging.rmdir()
