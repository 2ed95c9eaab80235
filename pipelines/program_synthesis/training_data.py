"""Choosing training data among examined attempts: no program twice, tasks balanced, split by families of tasks.

What is chosen depends on the attempts, the seed and the options, never on the order in which anything was done. The
table in memory has one record of fixed size for each attempt (see `actors.synthesis.candidates.RECORD`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import xxhash

from actors.priorities import priorities
from actors.synthesis.candidates import RECORD
from actors.synthesis.known_tasks import KnownTasks
from actors.synthesis.row_writer import CHOSEN, chosen_name
from cluster.ledger import Chunks, Pass
from cluster.shards import ChunkSize, RawChunk, Shard

SIDES = ("train", "valid")
Rows = npt.NDArray[np.int64]  # places in the table of attempts
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is asked for. `validation` is the share of families of tasks that go to that side."""

    max_per_task: int | None = None
    balance: bool = True
    validation: float = 0.1
    seed: int = 42


@dataclass(frozen=True, slots=True)
class ChosenAttempts:
    """The source of one output shard: the attempts of one shard, of which those for one side are kept."""

    side: str
    shard: Shard

    @property
    def name(self) -> str:
        return f"{self.side}/{self.shard.name}"

    @property
    def size(self) -> int:
        return self.shard.size

    @property
    def divisible(self) -> bool:
        return True

    def chunks(self, size: ChunkSize) -> Iterator[RawChunk]:
        return self.shard.chunks(size)


@dataclass(frozen=True, slots=True)
class Origin:
    """Of each task, by its number: the first with the same content, and the name of its family."""

    contents: list[int]
    families: list[str]

    @classmethod
    def of(cls, tasks: KnownTasks) -> Origin:
        return cls(tasks.contents(), tasks.families())


class Table:
    """The records of all attempts in input order, with the shard that each lies in."""

    def __init__(self, step: Pass, chunks: Sequence[Chunks], origin: Origin, seed: int) -> None:
        parts = [
            (number, np.frombuffer(payload, RECORD))
            for number, part in enumerate(chunks)
            for _, payload in step.payloads([part])
        ]
        self.shards = [part.shard for part in chunks]
        self.records = np.concatenate([np.zeros(0, RECORD), *(records for _, records in parts)])
        self.shard = np.repeat([number for number, _ in parts], [len(records) for _, records in parts]).astype(np.int64)
        self.content = np.array([*origin.contents, -1], np.int64)[self.records["task"]]
        self.priority = np.zeros(len(self.records), np.uint64)
        for number, name in enumerate(self.shards):
            here = self.shard == number
            self.priority[here] = priorities(seed, name, self.records["line"][here])

    def generations(self) -> npt.NDArray[np.int64]:
        """How many ancestors each attempt has within its task and run."""
        records = self.records
        lineages = np.stack([self.shard.astype(np.uint64), records["lineage"]], axis=1)
        _, lineage = np.unique(lineages, axis=0, return_inverse=True)
        place = (lineage.reshape(-1).astype(np.int64) << 32) + records["attempt"]
        order = np.argsort(place, kind="stable")
        wanted = place - records["attempt"] + records["parent"]
        at = np.minimum(np.searchsorted(place[order], wanted), max(len(order) - 1, 0))
        parent = order[at] if len(order) else order
        has_parent = (records["parent"] > 0) & (place[parent] == wanted)
        found = np.zeros(len(records), np.int64)
        while not np.array_equal(deeper := np.where(has_parent, found[parent] + 1, 0), found):
            found = deeper  # ends: a parent's number is below its child's
        return found

    def different(self) -> Rows:
        """One candidate of each group of equal ones: the shortest, then that of the smallest hash, then the first.

        Equal are programs of a task (and of those with the same content) that are right on the test and have the
        same code, and such that are not and give the same outputs on the training inputs.
        """
        rows = np.flatnonzero(self.records["is_candidate"])
        found = self.records[rows]
        group = (found["same"][:, 0], found["same"][:, 1], found["is_right"], self.content[rows])
        order = np.lexsort((found["line"], self.shard[rows], found["code"], found["length"], *group))
        is_first = np.zeros(len(rows), np.bool_)
        is_first[:1] = True
        for column in group:
            is_first[1:] |= column[order][1:] != column[order][:-1]
        return rows[order][is_first]

    def ranks(self, rows: Rows) -> Rows:
        """Each row's place among those of its task, from 0: right ones first, else at random."""
        order = np.lexsort((self.priority[rows], ~self.records["is_right"][rows], self.content[rows]))
        content = self.content[rows][order]
        starts = np.searchsorted(content, content)
        ranks = np.empty(len(rows), np.int64)
        ranks[order] = np.arange(len(rows)) - starts
        return ranks


def is_validation(seed: int, family: str, share: float) -> bool:
    """The side of a family of tasks, from its name alone: it stays there when others come and go."""
    return xxhash.xxh3_64_intdigest(f"{seed}\0{family}".encode()) < share * 2**64


def thinned(ranks: Rows, priority: Numbers, limit: int) -> Flags:
    """Keep `limit` rows, all tasks' first ones before any task's second."""
    kept = np.zeros(len(ranks), np.bool_)
    kept[np.lexsort((priority, ranks))[:limit]] = True
    return kept


def decide_training_data(step: Pass, chunks: list[Chunks], origin: Origin, choice: Choice) -> bytes:
    """Choose, and publish for every output shard which lines become rows; returns the shards and tables as JSON."""
    table = Table(step, chunks, origin, choice.seed)
    different = table.different()
    ranks = table.ranks(different)
    if choice.max_per_task is not None:
        within = ranks < choice.max_per_task
        rows, ranks = different[within], ranks[within]
    else:
        rows = different
    task_is_valid = np.array(
        [is_validation(choice.seed, name, choice.validation) for name in origin.families], np.bool_
    )
    side = task_is_valid[table.records["task"][rows]].astype(np.int64)
    is_solved = np.isin(table.content, table.content[different[table.records["is_right"][different]]])
    kept = np.ones(len(rows), np.bool_)
    for number in range(len(SIDES)) if choice.balance else ():
        kinds = [np.flatnonzero((side == number) & (is_solved[rows] == solved)) for solved in (True, False)]
        smaller = min(len(kind) for kind in kinds)
        for kind in kinds if smaller else ():
            kept[kind] = thinned(ranks[kind], table.priority[rows[kind]], smaller)
    chosen, side = rows[kept], side[kept]
    plan: dict[str, Any] = {
        "outputs": list(_publish(step, table, chosen, side)),
        "duplicates": int(table.records["is_candidate"].sum()) - len(different),
        "over_max_per_task": len(different) - len(rows),
        "left_out_by_balance": len(rows) - len(chosen),
        "table": _overview(table, different, chosen, task_is_valid, is_solved),
    }
    return orjson.dumps(plan)


def _publish(step: Pass, table: Table, chosen: Rows, side: Rows) -> Iterator[tuple[str, int]]:
    """Lay out the chosen lines of every output shard; yields each one's side and the number of its input shard."""
    generations = table.generations()
    for number, name in enumerate(SIDES):
        for shard, shard_name in enumerate(table.shards):
            rows = np.sort(chosen[(side == number) & (table.shard[chosen] == shard)])
            if not len(rows):
                continue
            lines = np.zeros(len(rows), CHOSEN)
            lines["line"], lines["is_cleaned"] = table.records["line"][rows], table.records["is_cleaned"][rows]
            lines["generation"] = generations[rows]
            step.output.publish(chosen_name(step, f"{name}/{shard_name}"), lines.tobytes())
            yield name, shard


def _overview(
    table: Table, different: Rows, chosen: Rows, task_is_valid: Flags, is_solved: Flags
) -> list[dict[str, Any]]:
    """For each side, and for tasks with and without a right program: tasks, candidates, different ones, rows."""
    candidates = np.flatnonzero(table.records["is_candidate"])

    def part(rows: Rows, number: int, solved: bool) -> Rows:
        here = (task_is_valid[table.records["task"][rows]] == bool(number)) & (is_solved[rows] == solved)
        chosen: Rows = rows[here]
        return chosen

    return [
        {
            "split": name,
            "tasks": "with a right program" if solved else "without one",
            "number": len(np.unique(table.content[part(candidates, number, solved)])),
            "candidates": len(part(candidates, number, solved)),
            "different": len(part(different, number, solved)),
            "rows": len(part(chosen, number, solved)),
            "right": int(table.records["is_right"][part(chosen, number, solved)].sum()),
        }
        for number, name in enumerate(SIDES)
        for solved in (True, False)
    ]
