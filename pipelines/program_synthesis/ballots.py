"""Ballots from anybody's file of attempts: rows with a task, predictions and what was right in training.

Wanted of a row are `task_id`, `predicted_test` (a grid for each test input) and `train` (for each training pair
{"correct": true or false}); `run`, `attempt` and `transductive` may be absent. Other fields are passed over, and
predictions may be whatever a program returned: what is no valid grid has no vote.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from cluster.shards import Shard
from pipelines.program_synthesis.attempts import UnreadableAttempts, read_rows
from pipelines.program_synthesis.votes import Ballot, joint_prediction


class Mark(msgspec.Struct, frozen=True):
    """Whether one training output is right."""

    correct: bool


class Row(msgspec.Struct, frozen=True):
    """What is read of a row. `attempt` counts from 1 within its task and run where the row does not say it."""

    task_id: str
    predicted_test: list[Any] | None
    train: list[Mark]
    run: int = 1
    attempt: int | None = None
    transductive: str | bool | None = None


@dataclass(frozen=True, slots=True)
class TaskBallots:
    """The ballots on one task in one run, in the order of their rows."""

    task_id: str
    run: int
    ballots: tuple[Ballot, ...]


def read_ballots(files: Iterable[Shard]) -> list[TaskBallots]:
    """The ballots in files, by task and run in the order in which they are first met.

    Raises UnreadableAttempts for a line that is none of these rows, and for an attempt that is there twice.
    """
    found: dict[tuple[str, int], dict[int, Ballot]] = {}
    for row in read_rows(list(files), Row):
        ballots = found.setdefault((row.task_id, row.run), {})
        attempt = row.attempt if row.attempt is not None else len(ballots) + 1
        if attempt in ballots:
            raise UnreadableAttempts(
                f"task {row.task_id!r}, run {row.run}: attempt {attempt} is there twice; rows of several runs need "
                'their numbers in the field "run", and attempts theirs in "attempt"'
            )
        ballots[attempt] = Ballot(
            attempt,
            joint_prediction(row.predicted_test or []),
            sum(mark.correct for mark in row.train),
            len(row.train),
            bool(row.transductive),
        )
    return [TaskBallots(task, run, tuple(ballots.values())) for (task, run), ballots in found.items()]
