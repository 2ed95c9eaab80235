"""Writing the rows of training data: the chosen attempts, each executed again before its row is written.

Which attempts those are was decided over all of them (pipelines.program_synthesis.training_data) and lies beside the
pass. A row that does not agree with what its program answers now goes to quarantine with the inputs that differ.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from actors.sandboxes.contract import DEFAULT_LIMITS, Limits
from actors.synthesis.attempt import Attempt
from actors.synthesis.cleaning import clean
from actors.synthesis.executing_again import execute_again
from actors.synthesis.judging import predictions
from actors.synthesis.known_tasks import KnownTasks
from actors.synthesis.program_text import FUNCTION
from actors.synthesis.prompt import TaskPrompt
from actors.synthesis.training_row import chat, disagreement, problems, row_of
from cluster.ledger import Pass
from cluster.resources import Resources
from cluster.rows import Failure, Rows
from cluster.stage import AsyncStage

if TYPE_CHECKING:
    from actors.synthesis.solver import Executor

CHOSEN = np.dtype([("line", "<i8"), ("is_cleaned", "?"), ("generation", "<i4")])
_ATTEMPTS = msgspec.json.Decoder(Attempt)


def chosen_name(step: Pass, shard: str) -> str:
    """Where the CHOSEN records, by ascending line, of an output shard lie."""
    return f"{step.folder}/chosen/{shard}"


class WriteRows(AsyncStage):
    """Replaces chosen attempts by rows and filters out the others. `step` is the pass that knows what was chosen.

    With `as_chat` a row has a column `messages` besides.
    """

    def __init__(
        self,
        tasks: KnownTasks,
        step: Pass,
        as_chat: bool,
        executor: Executor,
        resources: Resources,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.tasks, self.step, self.as_chat, self.executor = tasks, step, as_chat, executor
        self.resources, self.limits = resources, limits

    def setup(self) -> None:
        self._prompt = TaskPrompt.load("independent") if self.as_chat else None
        self._chosen: dict[str, npt.NDArray[np.void]] = {}

    async def process_async(self, rows: Rows) -> Rows:
        if rows.shard not in self._chosen:
            data = self.step.output.read(chosen_name(self.step, rows.shard))
            self._chosen[rows.shard] = np.frombuffer(data, CHOSEN)
        chosen = self._chosen[rows.shard]
        places = np.searchsorted(chosen["line"], rows.numbers)
        results = await asyncio.gather(
            *(
                self._row(line, chosen[place])
                if place < len(chosen) and chosen["line"][place] == number
                else _nothing()
                for line, number, place in zip(rows.lines, rows.numbers, places.tolist(), strict=True)
            )
        )
        return rows.settle(results)

    async def _row(self, line: bytes, chosen: np.void) -> bytes | Failure:
        attempt = _ATTEMPTS.decode(line)
        number = self.tasks.number(attempt.dataset, attempt.task_id)
        assert number is not None and attempt.program is not None, "only candidates are chosen"
        code = clean(attempt.program) if chosen["is_cleaned"] else attempt.program
        row = row_of(attempt, self.tasks.tasks[number], code, int(chosen["generation"]))
        written = msgspec.to_builtins(row)
        inputs = [*row.train_input, *row.test_input]
        told = [*row.predicted_train_output, *row.predicted_test_output]
        execution = await execute_again(self.executor, code, FUNCTION, inputs, told, self.limits)
        wrong = disagreement(written, predictions(execution.outcomes)) or "; ".join(problems(written))
        if wrong:
            return Failure(wrong)
        if self._prompt is not None:
            written["messages"] = chat(row, self._prompt)
        return msgspec.json.encode(written)


async def _nothing() -> None:
    return None
