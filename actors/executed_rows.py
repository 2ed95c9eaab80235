"""Executing the program of every row on the row's inputs: the row comes back whole, with the outcomes in a new field."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import Any

from actors import fields
from actors.expressions import Expression
from actors.program_executor import Executors
from actors.sandboxes.contract import DEEPEST_INPUT, Execution, Limits, is_too_deep
from cluster.resources import Resources
from cluster.rows import Failure, Rows
from cluster.stage import AsyncStage

AT_ONCE = 16  # programs that go to an executor together


class ExecuteRows(AsyncStage):
    """Sets the field `field` to {"outcomes": [...], "output": …} of the program in the row.

    `program` and `inputs` are expressions for the source code and the list of inputs. Outcomes are counted by status.
    With `times` each outcome tells its CPU and wall time, which are never the same twice.
    """

    rows_at_once = 256

    def __init__(
        self,
        executors: Executors,
        program: str,
        inputs: str,
        function: str,
        field: str,
        limits: Limits,
        times: bool,
        resources: Resources,
    ) -> None:
        self.executors, self.function, self.field = executors, function, field
        self.program, self.inputs = Expression(program), Expression(inputs)
        self.limits, self.times, self.resources = limits, times, resources
        self.measures = times

    async def process_async(self, rows: Rows) -> Rows:
        programs, inputs = self.program.values(rows.lines), self.inputs.values(rows.lines)
        results: list[Any] = [_problem(*pair) for pair in zip(programs, inputs, strict=True)]
        runnable = [position for position, problem in enumerate(results) if problem is None]
        if len(runnable) < len(results):
            rows.count("failed: no program to run", len(results) - len(runnable))
        parts = [runnable[start : start + AT_ONCE] for start in range(0, len(runnable), AT_ONCE)]
        executed = await asyncio.gather(*(self._execute(part, programs, inputs) for part in parts))
        for position, execution in zip(runnable, chain.from_iterable(executed), strict=True):
            for outcome in execution.outcomes:
                rows.count(f"inputs: {outcome.status}")
            results[position] = execution.told(self.times)
        return rows.settle(fields.replace(rows.lines, (self.field,), results))

    async def _execute(self, part: list[int], programs: list[Any], inputs: list[Any]) -> list[Execution]:
        chosen, given = [programs[position] for position in part], [inputs[position] for position in part]
        return await self.executors.execute_all(chosen, self.function, given, self.limits)


def _problem(program: object, inputs: object) -> Failure | None:
    for found in (program, inputs):
        if isinstance(found, Failure):
            return found
    if not isinstance(program, str):
        return Failure(f"the program is no string but {_kind(program)}")
    if not isinstance(inputs, list):
        return Failure(f"the inputs are no list but {_kind(inputs)}")
    if is_too_deep(inputs):
        return Failure(f"the inputs are nested more than {DEEPEST_INPUT} levels deep")
    return None


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__
