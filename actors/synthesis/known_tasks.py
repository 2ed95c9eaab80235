"""The tasks that training data are built from, and which of them are one and the same for a split.

A task can occur in several data sets, under its id with other pairs, or with the same inputs under another id. All
occurrences that are linked so have to lie on one side of a split; what they have in common is their family.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import orjson
import xxhash

from actors.synthesis.grids import Grid
from actors.synthesis.task import Task


@dataclass(frozen=True)
class KnownTasks:
    """Tasks of one or several data sets, each with its number; picklable."""

    tasks: tuple[Task, ...]
    numbers: Mapping[tuple[str, str], int] = field(repr=False)  # (data set, id) → its place in `tasks`
    datasets: tuple[str, ...]

    @classmethod
    def of(cls, sets: Mapping[str, Sequence[Task]]) -> KnownTasks:
        """The tasks of data sets by the names that attempts call them by."""
        pairs = [(name, task) for name, tasks in sets.items() for task in tasks]
        numbers = {(name, task.id): number for number, (name, task) in enumerate(pairs)}
        return cls(tuple(task for _, task in pairs), numbers, tuple(sets))

    def digest(self) -> str:
        """Of all tasks with all that is in them."""
        return xxhash.xxh3_128_hexdigest(msgspec.json.encode(self.tasks))

    def number(self, dataset: str, task_id: str) -> int | None:
        """A task's number, None for one that is not among them. Attempts that name no data set mean the only one."""
        name = self.datasets[0] if not dataset and len(self.datasets) == 1 else dataset
        return self.numbers.get((name, task_id))

    def contents(self) -> list[int]:
        """For each task the number of the first with the same inputs."""
        first: dict[bytes, int] = {}
        return [first.setdefault(content_of(task.inputs), number) for number, task in enumerate(self.tasks)]

    def families(self) -> list[str]:
        """For each task its family's name, which is the smallest id in it."""
        family = Families()
        for task in self.tasks:
            family.link(task.id, content_of(task.inputs))
        return [family.name_of(task.id) for task in self.tasks]


class Families:
    """Ids of tasks linked by equal contents; a union-find over them."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self._with: dict[bytes, str] = {}  # content → an id that has it

    def link(self, task_id: str, content: bytes) -> None:
        """Say that the task of this id has this content."""
        self._parents.setdefault(task_id, task_id)
        one, other = self._root(task_id), self._root(self._with.setdefault(content, task_id))
        self._parents[max(one, other)] = min(one, other)

    def name_of(self, task_id: str) -> str:
        """The smallest id of the family."""
        return self._root(task_id)

    def _root(self, task_id: str) -> str:
        while (parent := self._parents[task_id]) != task_id:
            self._parents[task_id] = task_id = self._parents[parent]
        return task_id


def content_of(inputs: Iterable[Grid]) -> bytes:
    """16 bytes that are the same for the same inputs in any order, whichever of them are asked for."""
    return xxhash.xxh3_128_digest(b"\n".join(sorted(orjson.dumps(grid) for grid in inputs)))
