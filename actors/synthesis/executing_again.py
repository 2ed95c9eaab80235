"""Executing a program again whose answers are known, to see whether it still gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from actors.sandboxes.contract import Execution, Limits
from actors.synthesis.grids import Grid

if TYPE_CHECKING:
    from actors.synthesis.solver import Executor

ENDED_BY_FORCE = ("timeout", "memory", "killed", "sandbox_failure")


async def execute_again(
    executor: Executor,
    code: str,
    function: str,
    inputs: Sequence[Grid],
    told: Sequence[Grid | None],
    limits: Limits,
) -> Execution:
    """The execution on `inputs`, of which the first have the known answers `told`, None where there was none.

    Where a program is ended by force on an input that it has a known answer to, it is tried once more, since the
    machine may be to blame; what it answers of itself is final.
    """
    execution = await executor.execute(code, function, inputs, limits)
    if any(
        outcome.status in ENDED_BY_FORCE and answer is not None
        for outcome, answer in zip(execution.outcomes, told, strict=False)  # more inputs may follow
    ):
        execution = await executor.execute(code, function, inputs, limits)
    return execution
