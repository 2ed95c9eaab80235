"""Validating rows: what agrees passes, what does not says why; tasks are noted of every row."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import orjson

from actors.synthesis.row_validator import NoteTasks, ValidateRows
from actors.synthesis.training_row import row_of
from cluster.resources import Resources
from cluster.rows import Rows
from tests.actors.synthesis.trusted_execution import TrustedExecutors
from tests.jobs.synthesis_runs import FLIP, ONLY_TRAINING, RAISES, SAME, attempt_at, flip_task

TASK = flip_task("t", 1)


def row(program: str = FLIP, **changes: Any) -> bytes:
    made = msgspec.to_builtins(row_of(attempt_at(TASK, 1, program), TASK, program, 0))
    return json.dumps(made | changes).encode()


def validated(*lines: bytes, function: str = "transform") -> tuple[Rows, TrustedExecutors]:
    executors = TrustedExecutors()
    stage = ValidateRows(function, executors, Resources(cpus=0.5))
    return asyncio.run(stage.process_async(Rows("a", list(lines), list(range(1, len(lines) + 1))))), executors


def test_rows_that_agree_pass_as_they_are():
    lines = [row(FLIP), row(SAME), row(ONLY_TRAINING)]
    rows, executors = validated(*lines)
    assert rows.lines == lines and not rows.rejected
    assert executors.executed == [FLIP, SAME, ONLY_TRAINING]


def test_a_program_that_answers_otherwise_is_quarantined_with_the_inputs():
    rows, _ = validated(row(FLIP, code=SAME), row(FLIP, code=RAISES))
    reasons = [each.reason for each in rows.rejected]
    assert reasons[0].endswith("train input 1, train input 2, train input 3, test input 1")
    assert "(exception IndexError: list index out of range)" in reasons[1]


def test_a_broken_row_is_not_executed():
    rows, executors = validated(b"nonsense", b"[1]", row(train_input=None), row(correct_train_input=[True, True, 1]))
    assert [each.reason.split(":")[0] for each in rows.rejected[:2]] == ["not JSON", "not a JSON object"]
    assert len(rows.rejected) == 4 and executors.executed == []


def test_a_program_may_define_another_function():
    rows, _ = validated(row(FLIP, code=FLIP.replace("transform", "generate")), function="generate")
    assert not rows.rejected


def test_columns_that_may_be_missing_are_counted():
    made = json.loads(row())
    del made["reasoning"]
    rows, _ = validated(json.dumps(made).encode())
    assert rows.counters == {"without the column reasoning": 1} and not rows.rejected


def test_tasks_are_noted_also_of_rows_that_do_not_agree():
    rows, _ = validated(b"nonsense", row(SAME, code=FLIP), row(FLIP, task_id="u"), row(FLIP))
    noted = orjson.loads(NoteTasks().encode(rows))
    assert {name: each["line"] for name, each in noted.items()} == {"t": 2, "u": 3}
    assert noted["t"]["contents"] == noted["u"]["contents"] and len(noted["t"]["contents"]) == 1
