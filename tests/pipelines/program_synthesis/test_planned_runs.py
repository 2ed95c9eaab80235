"""The planned attempts of a run: their order, their chunks, and that they are the same whenever they are read."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest

from actors.synthesis.planned_attempt import PlannedAttempt
from actors.synthesis.task import Pair, Task
from cluster.ledger import Pass
from cluster.shards import ChunkSize
from cluster.storage import open_storage
from pipelines.program_synthesis.planned_runs import PlannedRun, planned_runs

TASKS = [Task(f"t{n}", (Pair([[n]], [[n]]),), (Pair([[n, n]], [[n]]),)) for n in (1, 2, 3)]


@pytest.fixture
def plan(tmp_path: Path) -> Pass:
    return Pass(open_storage(str(tmp_path)), "tasks", "abc")


def lines(source: PlannedRun) -> list[list[PlannedAttempt]]:
    chunks = list(source.chunks(ChunkSize(bytes=1, rows=1)))
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert all(one.next_line == other.first_line for one, other in itertools.pairwise(chunks))
    assert chunks[0].first_line == 1 and chunks[-1].read == source.size
    return [[msgspec.json.decode(line, type=PlannedAttempt) for line in chunk.lines] for chunk in chunks]


def test_each_run_is_a_source_ordered_by_task_then_attempt(plan: Pass) -> None:
    sources = planned_runs(plan, TASKS, runs=2, attempts=3, in_series=False)
    assert [source.name for source in sources] == ["run-1.jsonl.zst", "run-2.jsonl.zst"]
    for number, source in enumerate(sources, 1):
        found = [each for chunk in lines(source) for each in chunk]
        assert [(each.task.id, each.run, each.attempt) for each in found] == [
            (task.id, number, attempt) for task in TASKS for attempt in (1, 2, 3)
        ]
        assert [each.task for each in found[::3]] == TASKS


def test_attempts_in_series_are_one_chunk_for_each_task_whatever_the_chunk_size(plan: Pass) -> None:
    (source,) = planned_runs(plan, TASKS, runs=1, attempts=20, in_series=True)
    chunks = lines(source)
    assert [len(chunk) for chunk in chunks] == [20, 20, 20]
    assert all(len({each.task.id for each in chunk}) == 1 for chunk in chunks)


def test_independent_attempts_are_few_to_a_chunk_and_never_of_two_tasks(plan: Pass) -> None:
    (source,) = planned_runs(plan, TASKS, runs=1, attempts=20, in_series=False)
    assert [len(chunk) for chunk in lines(source)] == [8, 8, 4] * 3


def test_the_tasks_of_the_run_stand_however_often_it_is_started(plan: Pass) -> None:
    (source,) = planned_runs(plan, TASKS, runs=1, attempts=2, in_series=False)
    before = list(source.chunks(ChunkSize()))
    (again,) = planned_runs(plan, TASKS, runs=1, attempts=2, in_series=False)
    assert list(again.chunks(ChunkSize())) == before
