"""The search, the programs it writes, and what it reads of a prompt."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.engines.contract import Message
from actors.engines.search.learning import as_step, proposals
from actors.engines.search.library import geometry
from actors.engines.search.program_writer import write_program
from actors.engines.search.search import Search
from actors.engines.search.steps import FUNCTIONS, PLAIN, Step, run
from actors.engines.search.task_reader import ShownTask, read_task
from actors.synthesis.attempt import Attempt, PairResult
from actors.synthesis.program_text import extract_program
from actors.synthesis.prompt import TaskPrompt
from actors.synthesis.task import Pair, Task

ROOT = Path(__file__).resolve().parents[4]
grids = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda size: st.lists(
        st.lists(st.sampled_from([0, 0, 1, 2, 9]), min_size=size[1], max_size=size[1]),
        min_size=size[0],
        max_size=size[0],
    )
)


def executed(program: str, grid: list[list[int]]) -> Any:
    """What a program of the library's own makes of a grid."""
    scope: dict[str, Any] = {}
    exec(program, scope)
    return scope["transform"](grid)


def arrays(*drawn: list[list[int]]) -> list[Any]:
    return [np.array(each) for each in drawn]


def calls(steps: tuple[Step, ...]) -> list[str]:
    return [step.call for step in steps]


# Programs


@settings(deadline=None, max_examples=40)
@given(grids)
def test_a_program_does_what_the_search_has_seen_its_steps_do(grid: list[list[int]]) -> None:
    for name in PLAIN:
        found = run(name, arrays(grid))
        if found is not None:
            assert executed(write_program([Step.of(name)]), grid) == found[0].tolist(), name


def test_a_program_stands_by_itself_and_reads_well() -> None:
    program = write_program([Step.of("largest_object"), Step.of("recolour", mapping={1: 2})])
    assert extract_program(f"```python\n{program}\n```") == program
    assert program.startswith("import numpy as np\n\n\ndef cut_out(grid, mask):")
    assert program.endswith(
        "def transform(grid):\n    grid = np.array(grid)\n    grid = largest_object(grid)\n"
        "    grid = recolour(grid, {1: 2})\n    return grid.tolist()"
    )
    assert "Mask" not in program and "Grid" not in program and "->" not in program
    assert program.count("def objects(") == 1
    assert executed(program, [[1, 0, 0], [0, 0, 3], [0, 3, 3]]) == [[0, 3], [3, 3]]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_can_be_copied_with_all_that_it_calls(name: str) -> None:
    program = write_program([Step.of(name)])
    scope: dict[str, Any] = {}
    exec(program, scope)
    defined = {each for each, value in scope.items() if callable(value)}
    used = {node.id for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Name)}
    assert used & FUNCTIONS.keys() <= defined


# The search


def test_the_best_candidate_does_it_and_the_simplest_comes_first() -> None:
    inputs = arrays([[0, 0, 1, 2], [0, 0, 3, 0]], [[0, 0, 0], [0, 4, 5], [0, 0, 6]])
    outputs = arrays([[3, 1], [0, 2]], [[0, 4], [6, 5]])
    best = Search(inputs, outputs).run()[0]
    assert best.right == 2 and best.closeness == 1
    assert sorted(calls(best.steps)) == ["crop_to_content(grid)", "rotate_right(grid)"]


def test_three_steps_the_last_of_them_learnt() -> None:
    given = [[[0, 0, 0, 0], [0, 1, 2, 0], [0, 2, 2, 0]], [[2, 1, 1, 0], [1, 1, 1, 0], [1, 1, 2, 0]]]
    inputs = arrays(*given)
    outputs = [geometry.rotate_left(geometry.crop_to_content(grid)) for grid in inputs]
    outputs = [np.where(grid == 1, 7, np.where(grid == 2, 3, grid)) for grid in outputs]
    best = Search(inputs, outputs).run()[0]
    assert best.right == 2
    program = write_program(best.steps)
    assert [executed(program, grid) for grid in given] == [grid.tolist() for grid in outputs]
    assert Search(inputs, outputs, depth=2).run()[0].right < 2


def test_candidates_are_in_order_and_bounded_and_say_the_truth() -> None:
    inputs = arrays([[1, 2, 0], [0, 0, 3]], [[1, 1, 1], [0, 2, 0]])
    outputs = arrays([[2, 1, 0], [0, 0, 3]], [[1, 1, 1], [0, 2, 0]])
    found = Search(inputs, outputs).run()
    assert 20 < len(found) <= 120
    assert [each.rank for each in found] == sorted((each.rank for each in found), reverse=True)
    for candidate in found[:40]:
        program = write_program(candidate.steps)
        right = sum(executed(program, a.tolist()) == b.tolist() for a, b in zip(inputs, outputs, strict=True))
        assert right == candidate.right


def test_work_is_bounded_by_its_budget() -> None:
    inputs = [np.arange(900).reshape(30, 30) % 7 for _ in range(4)]
    search = Search(inputs, [grid[::-1] for grid in inputs], budget=300_000)
    assert search.run() and search.budget <= 0


def test_the_search_is_the_same_in_every_process() -> None:
    script = (
        "import json, numpy as np\n"
        "from actors.engines.search.search import Search\n"
        "a = [np.array([[1, 0, 2], [0, 3, 0], [4, 0, 0]]), np.array([[5, 5, 0], [0, 0, 1]])]\n"
        "found = Search(a, [grid[::-1] * 2 % 10 for grid in a]).run()\n"
        "print(json.dumps([[step.call for step in each.steps] for each in found]))\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] and len(json.loads(runs[0])) > 20


# What is learnt


@pytest.mark.parametrize(
    ("given_grid", "wanted", "call"),
    [
        ([[1, 2], [0, 1]], [[3, 2], [0, 3]], "recolour(grid, {1: 3})"),
        ([[1, 0, 2, 2]], [[5, 0, 6, 6]], "recolour_by_size(grid, {2: 6, 1: 5})"),
        ([[3, 0, 3, 3]], [[5, 0, 6, 6]], "recolour_by_rank(grid, [6, 5])"),
        ([[1, 1, 1], [1, 0, 1], [1, 1, 1]], [[1, 1, 1], [1, 4, 1], [1, 1, 1]], "fill_enclosed(grid, 4)"),
        ([[0, 0, 0], [0, 1, 0], [0, 0, 0]], [[2, 0, 2], [0, 1, 0], [2, 0, 2]], "stamp(grid, {1: [[2, 0, 2], [0, 1, 0], [2, 0, 2]]})"),
        ([[1, 2, 1], [2, 0, 2]], [[1, 2, 1], [2, 1, 2]], "complete_tiling(grid, 0)"),
        ([[1, 2, 1], [2, 9, 2]], [[1, 2, 1], [2, 1, 2]], "restore_hidden(grid, 9)"),
        ([[1, 2]], [[1, 1, 2, 2], [1, 1, 2, 2]], "scale(grid, 2, 2)"),
        ([[1, 2]], [[1, 2, 1, 2]], "tile(grid, 1, 2)"),
        ([[1, 1, 2, 2]], [[1, 2]], "shrink(grid, 1, 2)"),
        ([[1, 0, 5, 1, 1]], [[3, 0]], "where_all(grid, 3)"),
        ([[1, 0, 5, 2, 2], [0, 0, 5, 0, 2]], [[2, 2], [0, 2]], "overlay_panels(grid, [1, 0])"),
    ],
)  # fmt: skip
def test_arguments_are_learnt_from_the_pairs(given_grid: list[list[int]], wanted: list[list[int]], call: str) -> None:
    assert call in [as_step(each).call for each in proposals(arrays(given_grid), arrays(wanted))]


def test_nothing_is_learnt_from_pairs_that_disagree() -> None:
    found = proposals(arrays([[1, 2]], [[1, 2]]), arrays([[3, 2]], [[4, 2]]))
    assert not any(name.startswith("recolour") and name != "recolour_inside" for name, _ in found)


# Reading


TASK = Task(
    "t",
    (Pair([[1, 2], [3, 4]], [[4]]), Pair([[0] * 30] * 30, [[2, 1]])),
    (Pair([[5, 6, 0]], [[7]]), Pair([[8]], [[9, 8]])),
)
SHOWN = ShownTask(tuple((pair.input, pair.output) for pair in TASK.train), tuple(pair.input for pair in TASK.test))


def test_the_task_is_read_back_from_every_mode() -> None:
    program = 'def transform(grid):\n    """\nInput, 1 x 1:\n7\n    """'
    results = (PairResult("ok", False, 1.0), PairResult("ok", False, 1.0))
    made = Attempt(
        task_id="t", run=1, attempt=1, status="wrong", program=program, train=results, predicted_train=([[6]], [[6, 6]])
    )
    first = TaskPrompt.load("independent").messages(TASK)
    assert read_task(first) == SHOWN
    conversation = (*first, Message("assistant", program), TaskPrompt.load("feedback").feedback(TASK, made))
    assert read_task(conversation) == SHOWN
    assert read_task(TaskPrompt.load("refine").refine(TASK, made)) == SHOWN
    assert read_task((Message("system", "Be brief."), *first)) == SHOWN


@given(st.lists(st.tuples(grids, grids), min_size=1, max_size=3), st.lists(grids, min_size=1, max_size=2))
def test_any_task_is_read_back(train: list[Any], tests: list[Any]) -> None:
    task = Task("t", tuple(Pair(*pair) for pair in train), tuple(Pair(grid, [[0]]) for grid in tests))
    assert read_task(TaskPrompt.load("independent").messages(task)) == ShownTask(tuple(map(tuple, train)), tuple(tests))


@pytest.mark.parametrize(
    "text", ["", "Hello", "Input, 1 x 1:\n1", "Output, 1 x 1:\n1", "Input, 1 x 1:\nx\nOutput, 1 x 1:\n1"]
)
def test_a_prompt_without_a_task(text: str) -> None:
    assert read_task((Message("user", text),)) is None
