"""Subsets by name, against the definitions worked out by hand, from files of ids, and from earlier runs."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from actors.synthesis.task import Pair, Task
from pipelines.program_synthesis.subsets import Calibrated, NoSubset, calibrated, choose
from pipelines.program_synthesis.task_sets import TaskSet


def task(name: str, size: int) -> Task:
    """A task of so many cells: at least 4."""
    return Task(name, (Pair([[0]], [[0]]),), (Pair([[0]], [[0] * (size - 3)]),))


SIZES = {"a": 9, "b": 5, "c": 5, "d": 7, "e": 4, "f": 20, "g": 12}
TASKS = TaskSet(
    "mine", "1", tuple(task(*each) for each in SIZES.items()), (task("x", 6), task("y", 4), task("z", 8))
)  # ascending: e4 b5 c5 d7 a9 g12 f20; and y4 x6 z8


def ids(subset: str, tasks: TaskSet = TASKS) -> str:
    return "".join(each.id for each in choose(tasks, subset))


@pytest.mark.parametrize(
    ("subset", "found"),
    [
        ("all_training", "abcdefg"),
        ("all_evaluation", "xyz"),
        ("shortest_training_3", "ebc"),
        ("shortest_evaluation_2", "yx"),
        ("longest_training_3", "fga"),
        ("longest_training_7", "fgadbce"),  # ties by id, whatever the direction
        ("middle_training_3", "cda"),  # from 7 // 2 - 3 // 2 = 2
        ("middle_training_4", "bcda"),
        ("middle_training_7", "ebcdagf"),
        ("middle_evaluation_1", "x"),
        ("grid_size_distributed_3_training", "eca"),  # at 0, 2 and 4 of 7
        ("grid_size_distributed_7_training", "ebcdagf"),
        ("grid_size_distributed_2_evaluation", "yx"),
    ],
)
def test_subsets_by_name(subset: str, found: str) -> None:
    assert ids(subset) == found


def test_size_is_all_cells_of_all_inputs_and_outputs() -> None:
    assert {each.id: each.size for each in TASKS.training} == SIZES


def test_random_splits_are_the_shuffled_ids_in_fifties() -> None:
    names = [f"{number:03}" for number in range(400)]
    tasks = TaskSet("big", "1", tuple(task(name, 4) for name in reversed(names)), ())
    random.seed(42)
    random.shuffle(names)
    for number in range(1, 9):
        chosen = [each.id for each in choose(tasks, f"random_split_{number}_training")]
        assert chosen == names[(number - 1) * 50 : number * 50]


def test_a_random_split_that_the_set_is_too_small_for() -> None:
    assert sorted(ids("random_split_1_training")) == list("abcdefg")
    with pytest.raises(NoSubset, match="random_split_2_training: mine has 7 training tasks"):
        ids("random_split_2_training")


@pytest.mark.parametrize(
    ("subset", "said"),
    [
        ("shortest_training_8", "mine has 7 training tasks only"),
        ("grid_size_distributed_4_evaluation", "mine has 3 evaluation tasks only"),
        ("shortest_trainin_30", "did you mean 'shortest_training_30'.*random_split_<1..8>_training.*file of ids"),
        ("random_split_9_training", "no subset 'random_split_9_training'"),
        ("random_split_1_evaluation", "no subset"),
        ("shortest_training_0", "no subset"),
        ("shortest_training_", "no subset"),
        ("all_training ", "did you mean 'all_training'"),
        ("all", "there are all_<split>"),
    ],
)
def test_subsets_that_there_are_none_of(subset: str, said: str) -> None:
    with pytest.raises(NoSubset, match=said) as raised:
        ids(subset)
    assert "\n" not in str(raised.value)


def test_a_split_without_tasks() -> None:
    with pytest.raises(NoSubset, match="mine has no evaluation tasks"):
        ids("all_evaluation", TaskSet("mine", "1", TASKS.training, ()))


# Files of ids


@pytest.mark.parametrize(
    "text", ["z\na\n\n  b \n", json.dumps(["z", "a", "b"]), "\ufeffz\r\na\r\nb", ' [ "z",\n"a", "b"]\n']
)
def test_a_file_of_ids_in_its_own_order(tmp_path: Path, text: str) -> None:
    (tmp_path / "ids.txt").write_text(text, newline="")
    assert ids(str(tmp_path / "ids.txt")) == "zab"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nq\nr\n", "mine has no task 'q' and 1 others"),
        ("a\nb\na", "the task 'a' stands there twice"),
        ("", "no ids in it"),
        ("[]", "no ids in it"),
        ("[1]", "no ids in it"),
        ('["a"', "not JSON, though it begins with a bracket"),
    ],
)
def test_files_that_name_no_tasks(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "ids.txt").write_text(text)
    with pytest.raises(NoSubset, match=rf"ids\.txt: .*{said}"):
        ids(str(tmp_path / "ids.txt"))


# From earlier runs


@dataclass
class Row:
    task_id: str
    is_right: bool
    status: str = "wrong"


def test_calibrated_is_solved_by_any_strong_run_and_by_no_weak_one() -> None:
    strong = [Row("a", False), Row("a", True), Row("b", True), Row("c", False), Row("d", True), Row("e", True)]
    weak = [Row("a", False), Row("b", False), Row("b", True), Row("c", False), Row("d", False, "no_code")]
    assert calibrated(iter(strong), iter(weak)) == Calibrated(("a", "d"), ("b",), ("e",))


def test_a_task_that_no_weak_run_has_an_answer_for_is_not_known_to_be_hard() -> None:
    weak = [Row("a", False, "api_error"), Row("a", False, "api_timeout"), Row("b", False, "empty_response")]
    assert calibrated([Row("a", True), Row("b", True)], weak) == Calibrated(("b",), (), ("a",))
