"""Training data from attempts to rows, their validation and their export, on a small run of real programs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from actors.synthesis.training_row import row_of
from cluster.errors import GristmillError
from cluster.ledger import Tally
from cluster.shards import ChunkSize, encode, shards_of
from jobs.build_training_data import command as build
from jobs.build_training_data import missing_runs, no_rows, run_folders, wanted_tasks, written_between
from jobs.export_training_data import command as export
from jobs.job import TooManyQuarantined
from jobs.validate_training_data import DataDisagrees, complain
from jobs.validate_training_data import command as validate
from tests.actors.synthesis import trusted_execution
from tests.jobs.synthesis_runs import (
    FLIP,
    FLIP_AGAIN,
    FLIP_LONG,
    ONLY_TRAINING,
    RAISES,
    SAME,
    SAME_LONG,
    SPELLED,
    TURN,
    attempt_at,
    flip_task,
    hard_task,
    write_run,
    write_tasks,
)

ALONE = ["-p", "1", "-q"]  # one worker starts faster than four
PROGRAMS = [FLIP, FLIP_AGAIN, FLIP_LONG, SAME, SAME_LONG, TURN, RAISES, SPELLED, ONLY_TRAINING, None]
EASY = [flip_task(f"easy-{n}", n) for n in range(8)]
HARD = [hard_task(f"hard-{n}", 60 + n) for n in range(8)]


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of these tests are executed in the workers themselves."""
    cloudpickle.register_pickle_by_value(trusted_execution)

    @contextmanager
    def executors(session: Any, choice: Any) -> Iterator[trusted_execution.TrustedExecutors]:
        yield trusted_execution.TrustedExecutors()

    monkeypatch.setattr("jobs.executors.executors", executors)


def runs(place: Path) -> tuple[str, str]:
    """Two runs: one on all tasks, one on the easy ones by another model."""
    dataset = write_tasks(place / "tasks", [*EASY, *HARD])
    attempts = [
        attempt_at(task, n, program, model=f"models/{n % 2}", parent_attempt=n - 1 if n in (4, 6) else None)
        for task in (*EASY, *HARD)
        for n, program in enumerate(PROGRAMS, 1)
    ]
    other = [attempt_at(task, 1, FLIP_AGAIN, model="other") for task in EASY]
    return write_run(place / "run-a", dataset, attempts), write_run(place / "run-b", dataset, other)


def rows_of(place: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for shard in shards_of([str(place)]):
        rows = found.setdefault(shard.name.split("/")[0], [])
        for chunk in shard.chunks(ChunkSize()):
            rows += map(json.loads, chunk.lines)
    return found


def tree(root: Path) -> dict[str, bytes]:
    """Every file of an output but the summary, which names its directory."""
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if name != "_run/summary.json"}


def called(verb: Any, *arguments: Any) -> Any:
    return verb.main([*map(str, arguments)], standalone_mode=False)


@pytest.mark.ray
def test_attempts_become_rows_that_agree_and_load(ray_session, trusted, tmp_path, capsys):
    one, two = runs(tmp_path)
    asked = ["-d", one, "-d", two, "--validation-split", "0.3", "--no-balance", "--chunk-size", "9000", *ALONE]
    summary = called(build, *asked, "-o", tmp_path / "rows")
    assert summary["rows_in"] == 168
    # FLIP, FLIP_LONG, SAME, TURN and ONLY_TRAINING of every task are different; hard tasks have SAME and FLIP not right
    assert summary["left out: no program"] == summary["left out: transductive"] == 16
    assert summary["left out: did not run on all training inputs"] == 16
    assert summary["rows_out"] == summary["train_rows"] + summary["valid_rows"]
    rows = rows_of(tmp_path / "rows")
    assert set(rows) == {"train", "valid"}
    ids = {side: {row["task_id"] for row in found} for side, found in rows.items()}
    assert ids["train"] | ids["valid"] == {task.id for task in (*EASY, *HARD)} and not ids["train"] & ids["valid"]
    every = [*rows["train"], *rows["valid"]]
    easy = [row for row in every if row["task_id"] == "easy-3"]
    assert [row["code"].count("#") for row in easy] == [0] * 5
    assert sum(all(row["correct_test_input"]) for row in easy) == 2
    assert {row["code"]: row["generation"] for row in easy}[SAME] == 1
    assert all((row["reasoning"] is None) == (not all(row["correct_test_input"])) for row in every)

    assert called(validate, tmp_path / "rows", *ALONE)["agreement"] == f"{len(every)} rows: {len(every)} agree (100 %)"
    for form in ("parquet", "hf"):
        called(export, "-d", tmp_path / "rows", "-o", tmp_path / form, "--format", form, "-q")
        assert called(validate, tmp_path / form, *ALONE)["rows_out"] == len(every)
    datasets = pytest.importorskip("datasets")
    saved = datasets.load_from_disk(str(tmp_path / "hf"))
    loaded = datasets.load_dataset(str(tmp_path / "parquet"), cache_dir=str(tmp_path / "cache"))
    for found in (saved, loaded):
        assert {side: split.to_list() for side, split in found.items()} == {
            "train": rows["train"],
            "validation": rows["valid"],
        }


@pytest.mark.ray
def test_the_output_is_the_same_however_many_workers_there_are_and_after_a_failure(ray_session, trusted, tmp_path):
    one, two = runs(tmp_path)
    attempts = Path(two) / "run-1.jsonl.zst"
    attempts.write_bytes(attempts.read_bytes() + encode(b"broken\n", attempts.name))
    asked = ["-d", one, "-d", two, "--format", "chat", "--max-per-task", "3", "--chunk-size", "5000", "-q"]
    manifest = Path(two) / "_run" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"repeat_runs": 1', '"repeat_runs": 2'))
    summary = called(build, *asked, "-o", tmp_path / "one", "-p", "1")
    assert summary["not_finished"] == "of run-b repeat 2 is missing"
    assert summary["quarantined"] == 1
    with pytest.raises(TooManyQuarantined):
        called(build, *asked, "-o", tmp_path / "two", "-p", "3", "--max-quarantined", "0")
    called(build, *asked, "-o", tmp_path / "two", "-p", "3")
    assert tree(tmp_path / "two") == tree(tmp_path / "one")
    row = rows_of(tmp_path / "one")["train"][0]
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
    kinds = summary["tables"]["tasks"]
    assert kinds[0]["rows"] == kinds[1]["rows"] > 0


@pytest.mark.ray
def test_models_subsets_and_dates_choose_attempts(ray_session, trusted, tmp_path):
    one, two = runs(tmp_path)
    os.utime(Path(one) / "run-1.jsonl.zst", (1_700_000_000, 1_700_000_000))
    ids = tmp_path / "ids.txt"
    ids.write_text("easy-1\neasy-2\n")
    asked = ["-d", one, "-d", two, "--no-balance", "--validation-split", "0", *ALONE]

    def tasks_and_models(name: str, *more: Any) -> tuple[set[str], set[str]]:
        called(build, *asked, "-o", tmp_path / name, *more)
        rows = [row for found in rows_of(tmp_path / name).values() for row in found]
        return {row["task_id"] for row in rows}, {row["model"] for row in rows}

    assert tasks_and_models("a", "--subset", ids, "--model", "oth*") == ({"easy-1", "easy-2"}, {"other"})
    assert tasks_and_models("b", "--until", "2024-01-01", "--model", "*")[1] == {"models/0", "models/1"}


def test_repeats_that_a_run_has_not_finished_are_named(tmp_path):
    one, two = runs(tmp_path)
    manifest = Path(two) / "_run" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"repeat_runs": 1', '"repeat_runs": 3'))
    assert missing_runs(run_folders([one, two], (), None)) == {"not_finished": "of run-b repeats 2 and 3 are missing"}


def test_the_runs_tasks_are_found_under_the_name_that_attempts_have(tmp_path):
    one, two = runs(tmp_path)
    (tmp_path / "tasks").rename(tmp_path / "moved")
    folders = run_folders([one, two], (), None)
    moved = wanted_tasks(folders, [str(tmp_path / "moved")], None, None)
    assert moved.datasets == (str(tmp_path / "tasks"),)
    for place in (one, two):
        manifest = Path(place) / "_run" / "manifest.json"
        manifest.write_text(manifest.read_text().replace(str(tmp_path / "tasks"), "ARC-AGI-1"))
    folders = run_folders([one, two], (), None)
    assert wanted_tasks(folders, (), None, None).datasets == ("arc-agi-1",)
    assert wanted_tasks(folders, ["Arc-Agi-1"], None, None).datasets == ("arc-agi-1",)
    # These share ids with the others, and are other tasks.
    assert wanted_tasks(folders, ["arc-agi-2"], None, None).datasets == ("arc-agi-2",)
    assert wanted_tasks(folders, [str(tmp_path / "moved")], None, None).datasets == ("arc-agi-1",)
    # Attempts that are in no run's directory say what they are on, and may say just that.
    beside = wanted_tasks(folders, [str(tmp_path / "moved")], None, None, are_runs=False)
    assert beside.datasets == (str(tmp_path / "moved"),)
    # Of several data sets each is what it is called.
    several = wanted_tasks(folders, [str(tmp_path / "moved"), "arc-agi-2"], None, None)
    assert several.datasets == (str(tmp_path / "moved"), "arc-agi-2")


def test_other_tasks_of_the_same_names_are_another_configuration(tmp_path):
    folders = run_folders(runs(tmp_path), (), None)
    same = write_tasks(tmp_path / "same", [*EASY, *HARD])
    other = write_tasks(tmp_path / "other", HARD)
    found = [wanted_tasks(folders, [place], None, None) for place in (str(tmp_path / "tasks"), same, other)]
    assert found[0].datasets == found[1].datasets == found[2].datasets
    assert found[1].digest() != found[2].digest()


def test_the_reason_for_no_rows_does_not_hang_on_their_order():
    names = ["left out: no program", "left out: another task", "left out: another model"]
    told = [
        no_rows(Tally(rows_in=6, counters=dict.fromkeys(order, 2)), [], ["d"], ["m"]) for order in (names, names[::-1])
    ]
    assert told[0] == told[1]


@pytest.mark.ray
def test_where_no_row_comes_out_the_reason_is_said(ray_session, trusted, tmp_path):
    _, two = runs(tmp_path)
    manifest = Path(two) / "_run" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"repeat_runs": 1', '"repeat_runs": 1, "model": "other"'))
    found = called(build, "-d", two, "-o", tmp_path / "a", "--model", "gpt*", *ALONE)
    assert found["no_rows"] == "8 of 8 attempts were left out: another model than --model gpt*; the runs' are other"
    tasks = write_tasks(tmp_path / "others", HARD)
    found = called(build, "-d", two, "-o", tmp_path / "b", "--dataset", tasks, *ALONE)
    assert found["no_rows"] == (
        f"8 of 8 attempts were left out: another task than those chosen of {tasks}; the runs are on {tmp_path}/tasks"
    )
    found = called(build, "-d", two, "-o", tmp_path / "c", *ALONE)
    assert found["rows_out"] and "no_rows" not in found


def test_dates_are_those_of_the_files(tmp_path):
    for name, seconds in (("old", 1_000_000_000), ("new", 1_700_000_000)):
        (tmp_path / f"{name}.jsonl").write_text("{}\n")
        os.utime(tmp_path / f"{name}.jsonl", (seconds, seconds))
    new, old = shards_of([str(tmp_path)])
    exact = datetime.fromtimestamp(1_700_000_000, UTC).replace(tzinfo=None)
    assert written_between([new, old], None, None) == [True, True]
    assert written_between([new, old], exact, None) == [True, False]
    assert written_between([new, old], None, exact) == [False, True]


@pytest.mark.ray
def test_data_that_disagree_fail_and_are_listed(ray_session, trusted, tmp_path, capsys):
    one, _ = runs(tmp_path)
    called(build, "-d", one, "-o", tmp_path / "rows", "--no-balance", "--validation-split", "0.4", *ALONE)
    rows = rows_of(tmp_path / "rows")
    bad = tmp_path / "bad"
    for side, found in rows.items():
        (bad / side).mkdir(parents=True)
        found[1] |= {"code": TURN if found[1]["code"] != TURN else SAME}
        found[2]["correct_train_input"] = [not flag for flag in found[2]["correct_train_input"]]
        found[3].pop("test_output")
        leaked = [rows["train"][0]] if side == "valid" else []
        (bad / side / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*found, *leaked]))
    capsys.readouterr()
    with pytest.raises(DataDisagrees, match=r"6 of \d+ rows do not agree and 1 tasks are in two splits"):
        called(validate, bad, "-p", "1")
    told = capsys.readouterr().out
    assert "train/a.jsonl" in told and "executed again it answers otherwise" in told
    assert "says wrong, and it is right" in told or "says right, and it is wrong" in told
    assert "no column test_output" in told
    with pytest.raises(DataDisagrees):
        called(validate, bad, *ALONE, "-o", tmp_path / "checks")
    with pytest.raises(DataDisagrees):
        called(validate, bad, *ALONE, "-o", tmp_path / "checks")  # complete already, and no better
    kept = sorted(path.name for path in (tmp_path / "checks" / "_quarantine").rglob("*.jsonl"))
    assert kept == ["a.jsonl", "a.jsonl"]


def test_attempts_without_a_run_need_the_name_of_their_data_set(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("{}\n")
    result = CliRunner().invoke(build, ["-d", str(tmp_path / "in"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 2 and "--dataset" in result.output


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"rows_in": 0}, "there are no rows"),
        ({"tasks_on_both_sides": 2}, "2 tasks are in two splits; see the table"),
        ({"quarantined": 1}, "1 of 9 rows do not agree; --output-dir DIR lists all of them"),
        ({"quarantined": 1, "output": "/o"}, "1 of 9 rows do not agree; see /o/_quarantine"),
    ],
)
def test_what_is_wrong_is_said_with_the_place_that_tells_more(found, said):
    summary = {"rows_in": 9, "quarantined": 0, "tasks_on_both_sides": 0, "output": None} | found
    with pytest.raises(DataDisagrees) as caught:
        complain(summary)
    assert str(caught.value) == said


def test_what_holds_no_rows_cannot_be_exported(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("\n")
    with pytest.raises(Exception, match="there are no rows to export"):
        called(export, "-d", tmp_path / "in", "-o", tmp_path / "out")


def whole_row(**changes: Any) -> dict[str, Any]:
    attempt = attempt_at(EASY[0], 1, FLIP, model="m")
    row = msgspec.to_builtins(row_of(attempt, EASY[0], FLIP, 0)) | changes
    return {name: value for name, value in row.items() if value != "absent"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (msgspec.to_builtins(attempt_at(EASY[0], 1, FLIP)), r"a.jsonl, line 2: no column code, correct_train_input, "),
        (whole_row(test_output="absent"), r"a.jsonl, line 2: no column test_output: .* build-training-data makes such"),
        (whole_row(code=None), r"line 2: no column code"),
        (whole_row(score=1, level="x"), r"line 2: the column score, level would be lost"),
        (whole_row(messages=[]), r"line 2: the column messages would be lost"),  # the first row has none
    ],
)
def test_rows_that_lack_columns_or_have_others_are_not_exported(tmp_path, row, said):
    (tmp_path / "in").mkdir()
    lines = (json.dumps(each) + "\n" for each in (whole_row(), row))
    (tmp_path / "in" / "a.jsonl").write_text("".join(lines))
    with pytest.raises(GristmillError, match=said):
        called(export, "-d", tmp_path / "in", "-o", tmp_path / "out")
    assert not (tmp_path / "out" / "data").exists()


def test_what_may_be_missing_is_null_in_the_export(tmp_path):
    (tmp_path / "in").mkdir()
    row = whole_row(
        model="absent", generation="absent", reasoning="absent", messages=[{"role": "user", "content": "x"}]
    )
    (tmp_path / "in" / "a.jsonl").write_text(json.dumps(row) + "\n")
    assert called(export, "-d", tmp_path / "in", "-o", tmp_path / "out", "-q")["train_rows"] == 1
    (found,) = pq.read_table(tmp_path / "out" / "data" / "train-00000-of-00001.parquet").to_pylist()
    assert found == row | {"model": None, "generation": None, "reasoning": None}


@pytest.mark.ray
@pytest.mark.component
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap")
def test_rows_agree_in_a_real_sandbox(ray_session, tmp_path):
    _, two = runs(tmp_path)
    called(build, "-d", two, "-o", tmp_path / "rows", "--no-balance", "--isolation", "bubblewrap", *ALONE)
    found = called(validate, tmp_path / "rows", "--isolation", "bubblewrap", *ALONE)
    assert found["rows_in"] == found["rows_out"] == len(EASY)
