"""A small run of tasks for tests: task files, and attempts whose programs were really executed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.synthesis.attempt import Attempt, PairResult, status_of
from actors.synthesis.grids import Grid
from actors.synthesis.judging import predictions
from actors.synthesis.task import Pair, Task
from cluster.shards import encode
from tests.actors.synthesis.trusted_execution import run_trusted

FLIP = "def transform(grid):\n    # from left to right\n    return [row[::-1] for row in grid]\n"
FLIP_AGAIN = "def transform(grid):\n    return [row[::-1] for row in grid]  # the same, told otherwise\n"
FLIP_LONG = "def transform(grid):\n    return [list(reversed(row)) for row in grid]\n"
SAME = "def transform(grid):\n    return grid\n"
SAME_LONG = "def transform(grid):\n    return [list(row) for row in grid]\n"
TURN = "def transform(grid):\n    return [list(row) for row in zip(*grid)]\n"
RAISES = "def transform(grid):\n    return [][1]\n"
SPELLED = "def transform(grid):\n    return [[1, 2, 3, 4], [5, 6, 7, 8], [4, 3, 2, 1], [8, 7, 6, 5]]\n"
ONLY_TRAINING = "def transform(grid):\n    assert len(grid) < 4\n    return [row[::-1] for row in grid]\n"


def grid(seed: int, height: int = 3, width: int = 4) -> Grid:
    return [[(seed * 7 + 3 * r + 5 * c + r * c * seed) % 10 for c in range(width)] for r in range(height)]


def flip_task(name: str, seed: int) -> Task:
    """A task that FLIP solves; its test input has four rows."""
    pairs = [Pair(g, [row[::-1] for row in g]) for g in (grid(seed), grid(seed + 1), grid(seed + 2), grid(seed + 3, 4))]
    return Task(name, tuple(pairs[:3]), tuple(pairs[3:]))


def hard_task(name: str, seed: int) -> Task:
    """A task that none of these programs solves."""
    pairs = [Pair(grid(seed + n), grid(seed + n + 50, 2, 2)) for n in range(4)]
    return Task(name, tuple(pairs[:3]), tuple(pairs[3:]))


def attempt_at(task: Task, number: int, program: str | None, **more: Any) -> Attempt:
    """An attempt as run-tasks would have written it."""
    if program is None:
        return Attempt(task_id=task.id, run=1, attempt=number, status="no_code", **more)
    outcomes = run_trusted(program, "transform", task.inputs).outcomes
    answers = predictions(outcomes)
    results = [
        PairResult(outcome.status, answer == pair.output, 0.1)
        for outcome, answer, pair in zip(outcomes, answers, (*task.train, *task.test), strict=True)
    ]
    cut = len(task.train)
    train, test = tuple(results[:cut]), tuple(results[cut:])
    return Attempt(
        task_id=task.id,
        run=1,
        attempt=number,
        status=status_of(train, test),
        program=program,
        train=train,
        test=test,
        predicted_train=tuple(answers[:cut]),
        predicted_test=tuple(answers[cut:]),
        response=f"I look at {task.id}.\n```python\n{program}```\n",
        **more,
    )


def write_tasks(place: Path, tasks: Sequence[Task]) -> str:
    place.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        content = msgspec.to_builtins(task)
        (place / f"{task.id}.json").write_text(json.dumps({part: content[part] for part in ("train", "test")}))
    return str(place)


def write_run(place: Path, dataset: str, attempts: Sequence[Attempt], run: int = 1) -> str:
    """One finished repeat of a run of tasks."""
    (place / "_run").mkdir(parents=True, exist_ok=True)
    config = {"dataset": dataset, "tasks": sorted({a.task_id for a in attempts}), "repeat_runs": 1}
    (place / "_run" / "manifest.json").write_text(json.dumps({"verb": "run-tasks", "config": config}))
    name = f"run-{run}.jsonl.zst"
    lines = [msgspec.json.encode(msgspec.structs.replace(each, dataset=dataset, run=run)) for each in attempts]
    (place / name).write_bytes(encode(b"\n".join((*lines, b"")), name))
    return str(place)
