"""build-subset: from the attempts of earlier runs to a file of ids that --subset takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from actors.synthesis.attempt import Attempt, PairResult
from cluster.shards import encode
from cluster.storage import open_storage
from jobs.build_subset import command
from jobs.command import describe


def run_of(place: Path, right: dict[str, bool]) -> str:
    """A finished run with one attempt for each task."""
    rows = [
        Attempt(
            task_id=task,
            run=1,
            attempt=1,
            status="solved" if is_right else "train_correct",
            train=(PairResult("ok", True, 1.0),),
            test=(PairResult("ok", is_right, 1.0),),
        )
        for task, is_right in right.items()
    ]
    lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    open_storage(str(place)).publish("run-1.jsonl.zst", encode(lines, "run-1.jsonl.zst"))
    return str(place)


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    return [
        *("--strong", run_of(tmp_path / "s1", {"a": True, "b": True, "c": False, "e": True})),
        *("--strong", run_of(tmp_path / "s2", {"a": False, "c": True, "d": False})),
        *("--weak", run_of(tmp_path / "w", {"a": False, "b": True, "c": False, "d": False})),
    ]


def asked(*arguments: Any) -> Result:
    return CliRunner().invoke(command, list(map(str, arguments)))


def test_the_ids_are_written_one_a_line(tmp_path: Path, runs: list[str]) -> None:
    done = asked(*runs, "-o", tmp_path / "out" / "ids.txt", "--json")
    assert done.exit_code == 0, done.exception
    assert (tmp_path / "out" / "ids.txt").read_text() == "a\nc\n"
    assert json.loads(done.output) == {
        "output": str(tmp_path / "out" / "ids.txt"),
        "tasks": 2,
        "solved by strong and weak": 1,
        "solved by strong, not tried by weak": 1,
    }


def test_the_summary_can_be_read(tmp_path: Path, runs: list[str]) -> None:
    done = asked(*runs, "-o", tmp_path / "ids.txt")
    assert "tasks: 2\n" in done.output and "not tried by weak: 1\n" in done.output


def test_nothing_is_overwritten(tmp_path: Path, runs: list[str]) -> None:
    (tmp_path / "ids.txt").write_text("mine")
    done = asked(*runs, "-o", tmp_path / "ids.txt")
    assert done.exception and "exists already: give another --output" in describe(done.exception)
    assert (tmp_path / "ids.txt").read_text() == "mine"


def test_a_subset_of_nothing_is_no_file(tmp_path: Path, runs: list[str]) -> None:
    easy = run_of(tmp_path / "easy", {"a": True, "c": True})
    done = asked(*runs, "--weak", easy, "-o", tmp_path / "ids.txt")
    assert done.exception and "no task is left: the strong runs solved 4" in describe(done.exception)
    assert not (tmp_path / "ids.txt").exists()


def test_a_place_without_a_run_is_named(tmp_path: Path, runs: list[str]) -> None:
    done = asked(*runs, "--weak", tmp_path / "nothing", "-o", tmp_path / "ids.txt")
    assert done.exception and str(tmp_path / "nothing") in describe(done.exception)


def test_both_sides_are_needed() -> None:
    done = asked("--strong", "a", "-o", "ids.txt")
    assert done.exit_code == 2 and "--weak" in done.output
