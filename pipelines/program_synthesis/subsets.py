"""Subsets of a task set: by a name that always means the same tasks, by a file of ids, or from earlier runs.

A task's size is all its cells, over training and test inputs and outputs; ties go by id. Nothing depends on the order
in which tasks were read.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

import orjson

from actors.synthesis.task import Task
from cluster.errors import GristmillError
from cluster.storage import open_parent
from cluster.storage.interface import printable
from pipelines.program_synthesis.task_sets import SPLITS, TaskSet

CHUNK = 50  # tasks of a random split
SEED = 42
FORMS = (
    "all_<split>",
    "shortest_<split>_<k>",
    "longest_<split>_<k>",
    "middle_<split>_<k>",
    "grid_size_distributed_<k>_<split>",
    "random_split_<1..8>_training",
)
_NAME = re.compile(
    r"(?P<all>all)_(?P<s1>training|evaluation)"
    r"|(?P<by_size>shortest|longest|middle)_(?P<s2>training|evaluation)_(?P<k1>[1-9][0-9]{0,8})"
    r"|(?P<spread>grid_size_distributed)_(?P<k2>[1-9][0-9]{0,8})_(?P<s3>training|evaluation)"
    r"|(?P<random>random_split)_(?P<n>[1-8])_training"
)
_EXAMPLES = [
    *(f"all_{split}" for split in SPLITS),
    *(f"{form}_{split}_30" for form in ("shortest", "longest", "middle") for split in SPLITS),
    *(f"grid_size_distributed_30_{split}" for split in SPLITS),
    *(f"random_split_{number}_training" for number in range(1, 9)),
]


class NoSubset(GristmillError):
    """A subset that there is none of; the message lists the forms, or names the id that is not there."""


def choose(tasks: TaskSet, subset: str, endpoint_url: str | None = None) -> list[Task]:
    """The tasks of a named subset, or of a file of ids: one a line, or a JSON list. Raises NoSubset.

    The order is the subset's own: shortest first, longest first, as shuffled, as in the file.
    """
    found = _NAME.fullmatch(subset)
    if found is None:
        return _of_file(tasks, subset, endpoint_url)
    if found["random"]:
        return _random_split(tasks, subset, int(found["n"]))
    split = found["s1"] or found["s2"] or found["s3"]
    all_tasks = tasks.split(split)
    if not all_tasks:
        raise NoSubset(f"{subset}: {tasks.name} has no {split} tasks")
    if found["all"]:
        return list(all_tasks)
    count = int(found["k1"] or found["k2"])
    if count > len(all_tasks):
        raise NoSubset(f"{subset}: {tasks.name} has {len(all_tasks)} {split} tasks only")
    return _BY_SIZE[found["by_size"] or "spread"](sorted(all_tasks, key=lambda task: (task.size, task.id)), count)


def _longest(ascending: Sequence[Task], count: int) -> list[Task]:
    return sorted(ascending, key=lambda task: (-task.size, task.id))[:count]


def _middle(ascending: Sequence[Task], count: int) -> list[Task]:
    first = len(ascending) // 2 - count // 2
    return list(ascending[first : first + count])


def _spread(ascending: Sequence[Task], count: int) -> list[Task]:
    return [ascending[at * len(ascending) // count] for at in range(count)]


_BY_SIZE: dict[str, Callable[[Sequence[Task], int], list[Task]]] = {
    "shortest": lambda ascending, count: list(ascending[:count]),
    "longest": _longest,
    "middle": _middle,
    "spread": _spread,
}


def _random_split(tasks: TaskSet, subset: str, number: int) -> list[Task]:
    shuffled = sorted(tasks.training, key=lambda task: task.id)
    random.Random(SEED).shuffle(shuffled)
    chunk = shuffled[(number - 1) * CHUNK : number * CHUNK]
    if not chunk:
        raise NoSubset(f"{subset}: {tasks.name} has {len(shuffled)} training tasks, which is fewer splits of {CHUNK}")
    return chunk


# A file of ids


def _of_file(tasks: TaskSet, path: str, endpoint_url: str | None) -> list[Task]:
    storage, name = open_parent(path, endpoint_url)
    try:
        ids = _ids(storage.read(name), path)
    except FileNotFoundError:
        close = get_close_matches(path, _EXAMPLES, 1, 0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise NoSubset(
            f"no subset {printable(path)!r}: {hint}there are {', '.join(FORMS)} (a split is {' or '.join(SPLITS)}), "
            "or the path of a file of ids"
        ) from None
    known = {task.id: task for task in (*tasks.training, *tasks.evaluation)}
    if missing := [each for each in ids if each not in known]:
        others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise NoSubset(f"{path}: {tasks.name} has no task {printable(missing[0])!r}{others}")
    if twice := [each for at, each in enumerate(ids) if each in ids[:at]]:
        raise NoSubset(f"{path}: the task {twice[0]!r} stands there twice")
    return [known[each] for each in ids]


def _ids(data: bytes, path: str) -> list[str]:
    text = data.decode("utf-8-sig", "replace").strip()
    ids = [line.strip() for line in text.splitlines() if line.strip()]
    if text.startswith("["):
        try:
            ids = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise NoSubset(f"{path}: not JSON, though it begins with a bracket: {error}") from None
    if not ids or not all(isinstance(each, str) for each in ids):
        raise NoSubset(f"{path}: no ids in it; write one id a line, or a JSON list of them")
    return ids


# From earlier runs


class Tried(Protocol):
    """What of an attempt decides: `is_right` says that all test outputs are. An `actors.synthesis.attempt.Attempt`."""

    @property
    def task_id(self) -> str: ...

    @property
    def status(self) -> str: ...

    @property
    def is_right(self) -> bool: ...


@dataclass(frozen=True)
class Calibrated:
    """`ids` are solved by a strong run and by no weak one, sorted; `solved_by_weak` are solved by both.

    `not_tried` are solved by a strong run, and no weak run has an answer for them: they say nothing, and are left out.
    """

    ids: tuple[str, ...]
    solved_by_weak: tuple[str, ...]
    not_tried: tuple[str, ...]


def calibrated(strong: Iterable[Tried], weak: Iterable[Tried]) -> Calibrated:
    """The tasks that tell models apart: within reach of the strong, out of reach of the weak."""
    solved = {attempt.task_id for attempt in strong if attempt.is_right}
    answered: set[str] = set()
    weakly: set[str] = set()
    for attempt in weak:
        if not attempt.status.startswith("api_"):
            answered.add(attempt.task_id)
        if attempt.is_right:
            weakly.add(attempt.task_id)
    return Calibrated(
        tuple(sorted(solved & answered - weakly)),
        tuple(sorted(solved & weakly)),
        tuple(sorted(solved - answered - weakly)),
    )
