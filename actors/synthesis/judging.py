"""Judging: what a program returned is compared with what is right, on plain checked data, far from the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.sandboxes.contract import Execution, Outcome
from actors.synthesis.attempt import PairResult
from actors.synthesis.grids import Grid, is_grid
from actors.synthesis.task import Pair, Task

MESSAGE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Judgement:
    """A result and a prediction for each pair, in the task's order; a prediction that is no grid is None."""

    train: tuple[PairResult, ...]
    test: tuple[PairResult, ...]
    predicted_train: tuple[Grid | None, ...]
    predicted_test: tuple[Grid | None, ...]


def judge(task: Task, execution: Execution) -> Judgement:
    """Judge the outcomes of the task's inputs, which come first in the execution; what follows them is left alone.

    Raises ValueError where there are fewer outcomes than inputs.
    """
    first, last = len(task.train), len(task.train) + len(task.test)
    if len(execution.outcomes) < last:
        raise ValueError(f"task {task.id}: {len(execution.outcomes)} outcomes for {last} inputs")
    train, test = execution.outcomes[:first], execution.outcomes[first:last]
    return Judgement(
        tuple(_result(*both) for both in zip(task.train, train, strict=True)),
        tuple(_result(*both) for both in zip(task.test, test, strict=True)),
        tuple(predictions(train)),
        tuple(predictions(test)),
    )


def predictions(outcomes: Sequence[Outcome]) -> list[Grid | None]:
    """What was returned where it is a grid, None elsewhere."""
    values = (outcome.value if outcome.status == "ok" else None for outcome in outcomes)
    return [value if is_grid(value) else None for value in values]


def _result(pair: Pair, outcome: Outcome) -> PairResult:
    cpu_ms = round(outcome.cpu_ms, 1)
    if outcome.status != "ok":
        return PairResult(outcome.status, False, cpu_ms, _message(outcome.message))
    value = outcome.value
    return PairResult("ok", value == pair.output, cpu_ms) if is_grid(value) else PairResult("invalid", False, cpu_ms)


def _message(text: str) -> str:
    """A message as it can be written down: programs raise errors of any length, with halves of surrogate pairs."""
    return text[:MESSAGE_CHARACTERS].encode("utf-8", "replace").decode()
