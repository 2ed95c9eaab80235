"""Ballots from anybody's file of attempts: rows with a task, predictions and what was right in training.

Wanted of a row are `task_id`, `predicted_test` (a grid for each test input) and `train` (for each training pair
{"correct": true or false}); `run`, `attempt` and `transductive` may be absent. Other fields are passed over, and
predictions may be whatever a program returned: what is no valid grid has no vote. Neither has a row that predicts for
another number of test inputs than most rows at its task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
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
    """The ballots on one task in one run, in the order of their rows.

    `odd` of them predict for another number of test inputs than most at the task, and so have no prediction that counts.
    """

    task_id: str
    run: int
    ballots: tuple[Ballot, ...]
    odd: int = 0


def read_ballots(files: Iterable[Shard]) -> list[TaskBallots]:
    """The ballots in files, by task and run in the order in which they are first met.

    Raises UnreadableAttempts for a line that is none of these rows, and for an attempt that is there twice.
    """
    found: dict[tuple[str, int], dict[int, Ballot]] = {}
    told: dict[tuple[str, int, int], int] = {}  # for how many test inputs an attempt predicts
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
        told[row.task_id, row.run, attempt] = len(row.predicted_test or [])
    usual = _usual(told)
    return [
        _without_odd(TaskBallots(task, run, tuple(ballots.values())), told, usual)
        for (task, run), ballots in found.items()
    ]


def _usual(told: dict[tuple[str, int, int], int]) -> dict[str, int]:
    """For how many test inputs most attempts at each task predict, in all runs; ties by first attempt."""
    lengths: dict[str, Counter[int]] = {}
    for (task, _, _), length in told.items():
        if length:
            lengths.setdefault(task, Counter())[length] += 1
    return {task: counted.most_common(1)[0][0] for task, counted in lengths.items()}


def _without_odd(found: TaskBallots, told: dict[tuple[str, int, int], int], usual: dict[str, int]) -> TaskBallots:
    """The same without the predictions that cannot be for the task's test inputs."""
    lengths = {ballot.attempt: told[found.task_id, found.run, ballot.attempt] for ballot in found.ballots}
    odd = {attempt for attempt, length in lengths.items() if length and length != usual[found.task_id]}
    ballots = tuple(replace(each, prediction=None) if each.attempt in odd else each for each in found.ballots)
    return replace(found, ballots=ballots, odd=len(odd))
