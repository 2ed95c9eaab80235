"""Tasks and attempts made by hand: an attempt is told by what its program returns, and marked by comparing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.synthesis.attempt import Attempt, PairResult, status_of
from actors.synthesis.grids import Grid, is_grid
from actors.synthesis.task import Pair, Task
from cluster.shards import encode

A, B, C = [[1, 1]], [[2, 2]], [[3, 3]]


def task(name: str, train: Sequence[Grid] = (A, B), test: Sequence[Grid] = (A,)) -> Task:
    """A task with these outputs; its inputs are cells of 0."""
    return Task(name, *(tuple(Pair([[0]], output) for output in outputs) for outputs in (train, test)))


def attempt(
    of: Task, run: int, number: int, train: Sequence[Any] = (), test: Sequence[Any] = (), **more: Any
) -> Attempt:
    """An attempt whose program returned these values, missing ones being None; without any it gave no program."""
    if not train and not test and "status" not in more:
        more["status"] = "no_code"
    marks, predicted = [], []
    for pairs, given in ((of.train, train), (of.test, test)):
        padded = (*given, *[None] * len(pairs))[: len(pairs)] if train or test else ()
        marks.append(tuple(_mark(value, pair.output) for value, pair in zip(padded, pairs, strict=False)))
        predicted.append(tuple(value if is_grid(value) else None for value in padded))
    known = {"status": status_of(*marks), "program": "def transform(grid):\n    return grid\n"} if train or test else {}
    return Attempt(
        task_id=of.id,
        run=run,
        attempt=number,
        train=marks[0],
        test=marks[1],
        predicted_train=predicted[0],
        predicted_test=predicted[1],
        **known | more,
    )


def _mark(value: Any, expected: Grid) -> PairResult:
    return PairResult("ok" if is_grid(value) else "timeout" if value is None else "invalid", value == expected, 1.0)


def write_run(
    folder: Path, tasks: Sequence[Task], attempts: Iterable[Attempt], repeat_runs: int, **config: Any
) -> Path:
    """A run's directory as run-tasks leaves it, with the tasks beside it; repeats without attempts are not finished."""
    data = folder / "tasks.json"
    folder.mkdir(parents=True, exist_ok=True)
    data.write_bytes(msgspec.json.encode({each.id: {"train": each.train, "test": each.test} for each in tasks}))
    settings = {"dataset": str(data), "tasks": [each.id for each in tasks], "repeat_runs": repeat_runs} | config
    (folder / "_run").mkdir(exist_ok=True)
    (folder / "_run" / "manifest.json").write_text(json.dumps({"verb": "run-tasks", "config": settings}))
    rows: dict[int, list[bytes]] = {}
    for each in attempts:
        rows.setdefault(each.run, []).append(msgspec.json.encode(each) + b"\n")
    for run, lines in rows.items():
        name = f"run-{run}.jsonl.zst"
        (folder / name).write_bytes(encode(b"".join(lines), name))
    return folder
