"""Tasks of several data sets: whose they are, and which of them are one."""

from __future__ import annotations

import pytest

from actors.synthesis.known_tasks import Families, KnownTasks, content_of
from actors.synthesis.task import Pair, Task


def task(name: str, *cells: int) -> Task:
    pairs = [Pair([[cell]], [[0]]) for cell in cells]
    return Task(name, tuple(pairs[:-1]), tuple(pairs[-1:]))


TASKS = KnownTasks.of(
    {
        "one": [task("a", 1, 2), task("b", 3, 4)],
        "two": [task("a", 5, 6), task("z", 4, 3), task("c", 7, 8)],
    }
)


def test_a_task_is_known_by_its_data_set_and_id():
    assert [TASKS.number("one", "a"), TASKS.number("two", "a"), TASKS.number("two", "b")] == [0, 2, None]


def test_an_attempt_that_names_no_data_set_means_the_only_one():
    assert TASKS.number("", "a") is None
    assert KnownTasks.of({"one": [task("a", 1, 2)]}).number("", "a") == 0


def test_equal_inputs_in_any_order_are_one_content():
    assert TASKS.contents() == [0, 1, 2, 1, 4]


def test_a_family_is_linked_by_ids_and_by_contents():
    assert TASKS.families() == ["a", "b", "a", "b", "c"]


@pytest.mark.parametrize("order", [[("x", b"1"), ("y", b"2"), ("y", b"1")], [("y", b"1"), ("x", b"1"), ("y", b"2")]])
def test_a_family_is_named_by_its_smallest_id_however_it_came_together(order: list[tuple[str, bytes]]):
    families = Families()
    for task_id, content in order:
        families.link(task_id, content)
    assert [families.name_of(name) for name in ("x", "y")] == ["x", "x"]


def test_contents_differ_where_an_input_does():
    assert content_of([[[1]], [[2]]]) == content_of([[[2]], [[1]]]) != content_of([[[1, 2]]])
