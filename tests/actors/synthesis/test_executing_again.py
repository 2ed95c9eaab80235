"""A program that is ended by force where an answer is known gets one more try; nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from actors.sandboxes.contract import DEFAULT_LIMITS, Execution, Limits, Outcome, returned
from actors.synthesis.executing_again import execute_again

OK, LATE, RAISED = returned([[1]]), Outcome("timeout"), Outcome("exception")
GRID = [[1]]


class Scripted:
    """Gives the executions that it was made with, one after the other."""

    def __init__(self, *outcomes: tuple[Outcome, ...]) -> None:
        self.left = list(outcomes)

    async def execute(
        self, program: str, function: str, inputs: Sequence[Any], limits: Limits = DEFAULT_LIMITS
    ) -> Execution:
        return Execution(self.left.pop(0))


@pytest.mark.parametrize(
    ("told", "outcomes", "used"),
    [
        ([GRID, GRID], [(OK, LATE), (OK, OK)], 2),
        ([GRID, GRID], [(OK, Outcome("sandbox_failure")), (OK, LATE)], 2),
        ([GRID, None], [(OK, LATE), (OK, OK)], 1),  # it had no answer before either
        ([GRID, GRID], [(OK, RAISED), (OK, OK)], 1),
        ([GRID], [(OK, LATE), (OK, OK)], 1),  # a changed input, to which no answer is known
        ([GRID, GRID], [(OK, OK), (LATE, LATE)], 1),
    ],
)
def test_only_what_the_machine_may_be_to_blame_for_is_tried_again(told: list, outcomes: list, used: int):
    scripted = Scripted(*outcomes)
    found = asyncio.run(execute_again(scripted, "", "transform", [GRID, GRID], told, DEFAULT_LIMITS))
    assert found.outcomes == outcomes[used - 1]
    assert len(scripted.left) == len(outcomes) - used
