"""The attempts that a run of tasks is to make, as the sources of its pass: one for each repetition.

The lines are made where they are read, from the tasks alone, so that (run, task, attempt) stands at the same place in
every attempt at the pass. The tasks lie beside the pass as its plan: they are not sent around with every source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from actors.synthesis.task import Task
from cluster.ledger import Pass
from cluster.shards import ChunkSize, RawChunk

_TASKS = msgspec.json.Decoder(list[msgspec.Raw])
CHUNK_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """The source of the shard `run-<run>.jsonl.zst`: `attempts` at each task, ordered by task, then attempt.

    `plan` holds the tasks. A chunk is `together` attempts at one task, or what is left of them, whatever the chunk size;
    `size` is counted in bytes of the tasks' JSON, once for each attempt.
    """

    plan: Pass
    run: int
    attempts: int
    together: int
    size: int

    @property
    def name(self) -> str:
        return f"run-{self.run}.jsonl.zst"

    @property
    def divisible(self) -> bool:
        return True

    def chunks(self, size: ChunkSize) -> Iterator[RawChunk]:
        index, line, read = 0, 1, 0
        for task in _TASKS.decode(self.plan.load_plan() or b"[]"):
            for first in range(1, self.attempts + 1, self.together):
                numbers = range(first, min(first + self.together, self.attempts + 1))
                read += len(bytes(task)) * len(numbers)
                yield RawChunk(index, line, b"".join(self._line(bytes(task), number) for number in numbers), read)
                index, line = index + 1, line + len(numbers)

    def _line(self, task: bytes, attempt: int) -> bytes:
        return b'{"task":%b,"run":%d,"attempt":%d}\n' % (task, self.run, attempt)


def planned_runs(plan: Pass, tasks: Sequence[Task], runs: int, attempts: int, in_series: bool) -> list[PlannedRun]:
    """The sources of all runs. Attempts in series are one chunk for each task; the others, a few.

    The plan's tasks are written where they are not there yet.
    """
    written = [msgspec.json.encode(task) for task in tasks]
    if plan.load_plan() is None:
        plan.save_plan(b"[" + b",".join(written) + b"]")
    size = sum(map(len, written)) * attempts
    together = attempts if in_series else min(attempts, CHUNK_ATTEMPTS)
    return [PlannedRun(plan, run, attempts, together, size) for run in range(1, runs + 1)]
