"""Rows with programs in them: what becomes of each, with an executor that answers as told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from actors.executed_rows import ExecuteRows, _problem
from actors.sandboxes.contract import (
    DEEPEST_INPUT,
    DEFAULT_LIMITS,
    Execution,
    Limits,
    Outcome,
    SandboxUnusable,
    returned,
)
from cluster.resources import Resources
from cluster.rows import Failure, Rows


class Recording:
    """Answers each input with itself, and keeps what it was asked."""

    def __init__(self, answer: Any = None) -> None:
        self.asked: list[tuple[str, str, list[Any], Limits]] = []
        self.answer = answer

    async def execute_all(
        self, programs: Sequence[str], function: str, inputs: Sequence[Sequence[Any]], limits: Limits
    ) -> list[Execution]:
        return [self.execute(*each, limits) for each in zip(programs, [function] * len(programs), inputs, strict=True)]

    def execute(self, program: str, function: str, inputs: Sequence[Any], limits: Limits) -> Execution:
        self.asked.append((program, function, list(inputs), limits))
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        return Execution(tuple(returned(value, 1.5, 2.5) for value in inputs), "printed")


def run(executors: Any, *lines: bytes, times: bool = False) -> Rows:
    stage = ExecuteRows(
        executors, ".program", ".inputs", "transform", "execution", DEFAULT_LIMITS, times, Resources(cpus=0.25)
    )
    rows = Rows("a.jsonl", list(lines), list(range(1, len(lines) + 1)))
    return asyncio.run(stage.process_async(rows))


def test_a_row_comes_back_whole_with_the_outcome_of_each_input() -> None:
    executors = Recording()
    line = b'{"id": 007.0e0, "program": "p", "inputs": [[1], {"a": null}]}'.replace(b"007.0e0", b"7.0e0")
    rows = run(executors, line)
    expected = b'{"outcomes":[{"status":"ok","value":[1],"message":""},{"status":"ok","value":{"a":null},"message":""}],"output":"printed"}'
    assert rows.lines == [line[:-1] + b',"execution":' + expected + b"}"]
    assert executors.asked == [("p", "transform", [[1], {"a": None}], DEFAULT_LIMITS)]
    assert rows.counters == {"inputs: ok": 2}


def test_times_are_told_when_they_are_wanted() -> None:
    (line,) = run(Recording(), b'{"program": "p", "inputs": [1]}', times=True).lines
    outcome = json.loads(line)["execution"]["outcomes"][0]
    assert (outcome["cpu_ms"], outcome["wall_ms"]) == (1.5, 2.5)


def test_a_row_without_a_program_or_inputs_is_quarantined_with_the_reason() -> None:
    rows = run(
        Recording(),
        b'{"program": 1, "inputs": []}',
        b'{"inputs": []}',
        b'{"program": "p", "inputs": {}}',
        b"not json",
        b'{"program": "p", "inputs": []}',
    )
    assert [each.line for each in rows.rejected] == [1, 2, 3, 4]
    assert [each.reason.split(":")[0] for each in rows.rejected] == [
        "the program is no string but int",
        "the program is no string but null",
        "the inputs are no list but dict",
        "not JSON",
    ]
    assert len(rows.lines) == 1
    assert rows.counters == {"failed: no program to run": 4}


def test_inputs_that_no_sandbox_could_be_told_are_a_reason_too() -> None:
    inputs: list[Any] = []
    for _ in range(DEEPEST_INPUT):
        inputs = [inputs]
    assert _problem("p", inputs) == Failure(f"the inputs are nested more than {DEEPEST_INPUT} levels deep")
    assert _problem("p", inputs[0]) is None


def test_what_a_program_returned_travels_whatever_it_is() -> None:
    outcome = Outcome("ok", '{"big":18446744073709551615,"text":"ä\u2028"}'.encode())
    (line,) = run(Recording(Execution((outcome,))), b'{"program": "p", "inputs": [1]}').lines
    assert json.loads(line)["execution"]["outcomes"][0]["value"] == outcome.value


def test_every_program_of_a_chunk_gets_its_own_outcomes() -> None:
    lines = [json.dumps({"program": f"p{n}", "inputs": [n]} if n % 7 else {}).encode() for n in range(100)]
    rows = run(Recording(), *lines)
    found = [json.loads(line) for line in rows.lines]
    assert [row["execution"]["outcomes"][0]["value"] for row in found] == [row["inputs"][0] for row in found]
    assert len(found) == 85


def test_a_sandbox_that_cannot_be_had_stops_the_run() -> None:
    with pytest.raises(SandboxUnusable, match="no bubblewrap"):
        run(Recording(SandboxUnusable("no bubblewrap here")), b'{"program": "p", "inputs": [1]}')
