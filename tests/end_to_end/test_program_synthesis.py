"""The whole loop with a real model behind a real server: run-tasks, score-run, build- and validate-training-data."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.synthesis.task import Task
from tests.end_to_end.vllm_server import served_by_vllm
from tests.taught_model import save_taught_model, turned_task

pytestmark = [pytest.mark.component, pytest.mark.timeout(900)]
SOLVABLE, OTHER = ["turned-1", "turned-2", "turned-3", "turned-4"], ["same-1", "same-2"]


def task_file(task: Task) -> str:
    def pairs(of: Any) -> list[dict[str, Any]]:
        return [{"input": pair.input, "output": pair.output} for pair in of]

    return json.dumps({"train": pairs(task.train), "test": pairs(task.test)})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthesis")
    (root / "tasks").mkdir()
    dice = random.Random(1)
    for name in SOLVABLE:
        (root / f"tasks/{name}.json").write_text(task_file(turned_task(name, dice)))
    for number, name in enumerate(OTHER):  # their rule is to leave the grid as it is, which the model does not know
        pair = {"input": [[1, 2], [3, number]], "output": [[1, 2], [3, number]]}
        (root / f"tasks/{name}.json").write_text(json.dumps({"train": [pair, pair], "test": [pair]}))
    return root


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[str]:
    with served_by_vllm(save_taught_model(place / "taught"), "taught") as url:
        yield url


def gristmill(verb: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "jobs", verb, *arguments, "--json"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_from_a_served_model_to_verified_training_data(place: Path, server: str) -> None:
    asked = ["--dataset", str(place / "tasks"), "--subset", "all_training", "--model", "taught", "--base-url", server]
    how = ["--max-attempts", "4", "--repeat-runs", "2", "--max-tokens", "120", "--temperature", "0.3", "-q"]
    run, data = str(place / "run"), str(place / "data")
    summary = gristmill("run-tasks", *asked, *how, "-o", run)
    assert summary["rows_in"] == summary["rows_out"] == 6 * 4 * 2
    assert summary["answers_paid_for"] == 48

    attempts = [json.loads(line) for line in shard(place / "run/run-1.jsonl.zst").splitlines()]
    assert {attempt["task_id"] for attempt in attempts if attempt["status"] == "solved"} == set(SOLVABLE)
    assert not [attempt for attempt in attempts if attempt["status"].startswith("api")]
    assert (place / "run/report.html").stat().st_size > 10_000
    assert json.loads((place / "run/scores.json").read_text())

    built = gristmill("build-training-data", "-d", run, "-o", data, "-q")
    assert built["rows_out"] > 0
    checked = gristmill("validate-training-data", data)
    assert checked["rows_in"] == checked["rows_out"] == built["rows_out"]
    assert checked["agreement"].endswith("agree (100 %)")


def shard(path: Path) -> str:
    import zstandard

    with path.open("rb") as file:
        return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read().decode()
