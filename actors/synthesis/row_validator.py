"""Validating rows of training data, whoever made them: what stands in a row is right, and its program answers so.

A row's own problems are found first, then its program is executed on all its inputs. Which split each task lies in is
noted besides, for all rows, so that tasks on several sides can be found over the whole.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from actors.sandboxes.contract import DEFAULT_LIMITS, Limits
from actors.synthesis.executing_again import execute_again
from actors.synthesis.judging import predictions
from actors.synthesis.known_tasks import content_of
from actors.synthesis.training_row import OPTIONAL, disagreement, problems
from cluster.resources import Resources
from cluster.rows import Failure, Rows
from cluster.stage import AsyncStage, Summarizer

if TYPE_CHECKING:
    from actors.synthesis.solver import Executor

PROBLEMS_SHOWN = 5  # of one row


class ValidateRows(AsyncStage):
    """Lets through the rows that agree; the others go to quarantine, each with all that is wrong with it.

    `function` is what a program has to define. Columns that a row may do without are counted where they are not there.
    """

    def __init__(
        self, function: str, executor: Executor, resources: Resources, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self.executor, self.resources, self.function, self.limits = executor, resources, function, limits

    async def process_async(self, rows: Rows) -> Rows:
        return rows.settle(await asyncio.gather(*(self._row(line, rows) for line in rows.lines)))

    async def _row(self, line: bytes, rows: Rows) -> bytes | Failure:
        row = _decoded(line)
        if isinstance(row, Failure):
            return row
        for name in OPTIONAL:
            if name not in row:
                rows.count(f"without the column {name}")
        found = problems(row)
        if found:
            more = f"; and {len(found) - PROBLEMS_SHOWN} more" if len(found) > PROBLEMS_SHOWN else ""
            return Failure("; ".join(found[:PROBLEMS_SHOWN]) + more)
        inputs = [*row["train_input"], *row["test_input"]]
        told = [*row["predicted_train_output"], *row["predicted_test_output"]]
        execution = await execute_again(self.executor, row["code"], self.function, inputs, told, self.limits)
        wrong = disagreement(row, predictions(execution.outcomes))
        if wrong is None:
            return line
        first = next((outcome for outcome in execution.outcomes if outcome.status != "ok"), None)
        return Failure(wrong if first is None else f"{wrong} ({first.status} {first.message}".rstrip() + ")")


class NoteTasks(Summarizer):
    """Keeps of every chunk its tasks: id → its first line and the contents that it comes with, of all rows."""

    def encode(self, rows: Rows) -> bytes:
        found: dict[str, dict[str, Any]] = {}
        every = [*zip(rows.numbers, rows.originals, strict=True), *((each.line, each.raw) for each in rows.rejected)]
        for number, line in sorted(every):
            row = _decoded(line)
            if isinstance(row, Failure) or not isinstance(row.get("task_id"), str):
                continue
            noted = found.setdefault(row["task_id"], {"line": number, "contents": []})
            train, test = row.get("train_input"), row.get("test_input")
            if isinstance(train, list) and isinstance(test, list):
                content = content_of([*train, *test]).hex()
                if content not in noted["contents"]:
                    noted["contents"].append(content)
        return orjson.dumps(found)


def _decoded(line: bytes) -> dict[str, Any] | Failure:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Failure(f"not JSON: {error}")
    return row if isinstance(row, dict) else Failure("not a JSON object")
