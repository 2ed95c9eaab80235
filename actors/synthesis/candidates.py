"""Examining attempts for training data: which of them qualify, and what choosing among them has to know of each.

A program qualifies when it ran on every training input with a valid grid. It is executed again here, cleaned, on the
inputs of its task and on changed ones: that shows whether cleaning left its answers alone, and whether it answers from
its input at all. Every attempt becomes one record of fixed size, also those left out, since later ones may descend
from them; nothing is written or chosen here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import orjson
import xxhash

from actors.sandboxes.contract import DEFAULT_LIMITS, Limits
from actors.synthesis.attempt import Attempt
from actors.synthesis.cleaning import clean
from actors.synthesis.executing_again import execute_again
from actors.synthesis.grids import Grid, is_grid
from actors.synthesis.judging import predictions
from actors.synthesis.known_tasks import KnownTasks
from actors.synthesis.program_text import FUNCTION
from actors.synthesis.task import Task
from actors.synthesis.transduction import changed_inputs, independence_reason, static_reason
from cluster.resources import Resources
from cluster.rows import Failure, Rows
from cluster.stage import AsyncStage, Summarizer

if TYPE_CHECKING:
    from actors.synthesis.solver import Executor

RECORD = np.dtype(
    [
        ("line", "<i8"),  # of the shard
        ("task", "<i4"),  # its number in KnownTasks, -1 for none of them
        ("attempt", "<i4"),
        ("parent", "<i4"),  # the attempt that it was to improve, 0 for none
        ("is_candidate", "?"),
        ("is_right", "?"),  # on all test inputs
        ("is_cleaned", "?"),  # its code is the cleaned one
        ("length", "<i4"),  # characters of the code
        ("code", "<u8"),  # a hash of it
        ("same", "<u8", 2),  # of two candidates of a task with the same one, one goes
        ("lineage", "<u8"),  # a hash of the task and the run, within which attempts descend from one another
    ]
)
_ATTEMPTS = msgspec.json.Decoder(Attempt)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which attempts are used. `models` are patterns as in file names; none means all."""

    models: tuple[str, ...] = ()
    keep_transductive: bool = False

    def model(self, name: str) -> bool:
        return not self.models or any(fnmatchcase(name, pattern) for pattern in self.models)


@dataclass(frozen=True, slots=True)
class _Examined:
    code: str
    is_cleaned: bool
    transductive: str | None


class ExamineAttempts(AsyncStage):
    """Replaces every attempt by its RECORD. What is left out is counted with the reason.

    Quarantines what is no attempt, and programs that do not answer as the attempt says that they did.
    """

    def __init__(
        self,
        tasks: KnownTasks,
        wanted: Wanted,
        executor: Executor,
        resources: Resources,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.tasks, self.wanted, self.executor = tasks, wanted, executor
        self.resources, self.limits = resources, limits

    async def process_async(self, rows: Rows) -> Rows:
        pairs = zip(rows.lines, rows.numbers, strict=True)
        results = await asyncio.gather(*(self._record(line, number, rows) for line, number in pairs))
        return rows.settle(results)

    async def _record(self, line: bytes, number: int, rows: Rows) -> bytes | Failure:
        try:
            attempt = _ATTEMPTS.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return Failure(f"no attempt: {error}")
        found = self._left_out(attempt)
        if found is None:
            task = self.tasks.tasks[self.tasks.number(attempt.dataset, attempt.task_id) or 0]
            examined = await self._examine(attempt, task)
            if isinstance(examined, Failure):
                rows.count("left out: unsteady")
                return examined
            if not examined.is_cleaned:
                rows.count("cleaning given up")
            if examined.transductive is not None:
                rows.count(f"transductive: {examined.transductive.partition(':')[0]}")
            if examined.transductive is None or self.wanted.keep_transductive:
                return self._encoded(attempt, number, examined)
            found = "transductive"
        rows.count(f"left out: {found}")
        return self._encoded(attempt, number, None)

    def _left_out(self, attempt: Attempt) -> str | None:
        """Why an attempt does not qualify; None if it does as far as can be told without running it."""
        if not self.wanted.model(attempt.model):
            return "another model"
        number = self.tasks.number(attempt.dataset, attempt.task_id)
        if number is None:
            return "another task"
        if attempt.program is None:
            return "no program"
        task = self.tasks.tasks[number]
        told = (len(attempt.predicted_train), len(attempt.predicted_test))
        if told != (len(task.train), len(task.test)) or not all(map(is_grid, attempt.predicted_train)):
            return "did not run on all training inputs"
        return None

    async def _examine(self, attempt: Attempt, task: Task) -> _Examined | Failure:
        """The code to keep: the cleaned one if it answers as the attempt did, else the original if that does."""
        assert attempt.program is not None
        inputs, told = task.inputs, [*attempt.predicted_train, *attempt.predicted_test]
        changed = changed_inputs(inputs)
        cleaned = clean(attempt.program)
        for code in dict.fromkeys((cleaned, attempt.program)):
            execution = await execute_again(self.executor, code, FUNCTION, [*inputs, *changed], told, self.limits)
            answers = predictions(execution.outcomes)
            own, others = answers[: len(inputs)], answers[len(inputs) :]
            if own == told:
                reason = static_reason(code, own) or independence_reason(inputs, own, others) or attempt.transductive
                return _Examined(code, code == cleaned, reason)
        wrong = [n for n, (old, new) in enumerate(zip(told, own, strict=True), 1) if old != new]
        return Failure(
            f"executed again it answers otherwise than its attempt says, on inputs {', '.join(map(str, wrong))}"
        )

    def _encoded(self, attempt: Attempt, line: int, examined: _Examined | None) -> bytes:
        record = np.zeros((), RECORD)
        number = self.tasks.number(attempt.dataset, attempt.task_id)
        parent = attempt.parent_attempt or 0
        record["line"], record["attempt"] = line, attempt.attempt
        record["parent"] = parent if parent < attempt.attempt else 0
        record["task"] = -1 if number is None else number
        record["lineage"] = xxhash.xxh3_64_intdigest(f"{attempt.dataset}\0{attempt.task_id}\0{attempt.run}".encode())
        if examined is not None:
            code = examined.code.encode("utf-8", "surrogatepass")
            task = self.tasks.tasks[record["task"]]
            is_right = list(attempt.predicted_test) == [pair.output for pair in task.test]
            record["is_candidate"], record["is_right"], record["is_cleaned"] = True, is_right, examined.is_cleaned
            record["length"], record["code"] = len(examined.code), xxhash.xxh3_64_intdigest(code)
            record["same"] = _halves(code if is_right else _drawn(attempt.predicted_train))
        return record.tobytes()


def _drawn(grids: Iterable[Grid | None]) -> bytes:
    return orjson.dumps(list(grids))


def _halves(data: bytes) -> Sequence[int]:
    digest = xxhash.xxh3_128_intdigest(data)
    return digest >> 64, digest & (2**64 - 1)


class JoinRecords(Summarizer):
    """Keeps the records as they are."""

    def encode(self, rows: Rows) -> bytes:
        return b"".join(rows.lines)
