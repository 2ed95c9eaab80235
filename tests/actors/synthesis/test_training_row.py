"""Rows of training data: made from attempts, relabelled, and checked."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.synthesis.program_text import extract_program
from actors.synthesis.prompt import TaskPrompt
from actors.synthesis.training_row import COLUMNS, chat, disagreement, problems, relabelled, row_of
from tests.jobs.synthesis_runs import FLIP, ONLY_TRAINING, SAME, attempt_at, flip_task

TASK = flip_task("t", 1)


def row(program: str = FLIP, **changes: Any) -> dict[str, Any]:
    return msgspec.to_builtins(row_of(attempt_at(TASK, 1, program, model="m"), TASK, program, 0)) | changes


def test_the_columns_are_those_of_soar_in_their_order():
    assert list(row()) == list(COLUMNS) == [
        "code", "correct_train_input", "train_input", "train_output", "predicted_train_output", "correct_test_input",
        "test_input", "test_output", "predicted_test_output", "task_id", "model", "generation", "reasoning",
    ]  # fmt: skip


def test_truth_and_prediction_stand_beside_each_other():
    made = row(SAME)
    assert made["predicted_train_output"] == made["train_input"] != made["train_output"]
    assert made["correct_train_input"] == [False] * 3 and made["correct_test_input"] == [False]


def test_reasoning_is_kept_only_where_the_test_is_right():
    assert row(FLIP)["reasoning"] == "I look at t."
    assert row(SAME)["reasoning"] is None
    assert row(ONLY_TRAINING)["reasoning"] is None


def test_a_test_input_without_an_answer_is_null_and_wrong():
    made = row(ONLY_TRAINING)
    assert (made["predicted_test_output"], made["correct_test_input"]) == ([None], [False])
    assert problems(made) == []


def test_hindsight_takes_the_programs_outputs_for_the_tasks():
    made = row_of(attempt_at(TASK, 1, SAME), TASK, SAME, 0)
    assert [pair.output for pair in relabelled(made).train] == [pair.input for pair in TASK.train]
    assert [pair.input for pair in relabelled(made).test] == [pair.input for pair in TASK.test]


def test_a_chat_asks_the_relabelled_task_and_answers_with_the_program():
    made = row_of(attempt_at(TASK, 1, SAME), TASK, SAME, 0)
    asked, answer = chat(made, TaskPrompt.load("independent"))
    assert asked["content"] == TaskPrompt.load("independent").messages(relabelled(made))[0].content
    assert asked["content"] != TaskPrompt.load("independent").messages(TASK)[0].content
    assert (asked["role"], answer["role"]) == ("user", "assistant")
    assert extract_program(answer["content"]) == SAME.rstrip()


def test_a_program_with_a_fence_in_it_comes_back_whole():
    program = 'def transform(grid):\n    """\n```python\n"""\n    return grid'
    made = row_of(attempt_at(TASK, 1, SAME), TASK, program, 0)
    assert extract_program(chat(made, TaskPrompt.load("independent"))[-1]["content"]) == program


def test_reasoning_goes_before_the_program():
    made = row_of(attempt_at(TASK, 1, FLIP), TASK, FLIP, 0)
    assert chat(made, TaskPrompt.load("independent"))[-1]["content"].startswith("I look at t.\n\n```python\n")


GRID = [[1]]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"code": None}, "code is no text"),
        ({"task_id": 3}, "task_id is no text"),
        ({"train_input": None}, "train_input is no list"),
        ({"train_input": [GRID]}, "train: 1 train_input, 3 train_output, 3 predicted_train_output, 3 correct_train_input"),
        ({"train_output": [GRID, [[True]], GRID]}, "train_output 2 is no valid grid"),
        ({"predicted_train_output": [GRID, None, GRID]}, "predicted_train_output 2 is no valid grid"),
        ({"predicted_test_output": [[[]]]}, "predicted_test_output 1 is no valid grid"),
        ({"test_input": ["1 2"]}, "test_input 1 is no valid grid"),
        ({"correct_train_input": [True, False, True]}, "correct_train_input 2 says wrong, and it is right"),
        ({"correct_test_input": [1]}, "correct_test_input 1 is 1, not true or false"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_row_is_named(changes: dict[str, Any], told: str):
    assert told in problems(row(**changes))


def test_missing_columns_are_each_named():
    made = row()
    for name in ("code", "test_output", "model", "reasoning", "generation"):
        del made[name]
    assert problems(made) == ["no column code, test_output"]


def test_a_row_without_pairs_proves_nothing():
    names = ("train_input", "train_output", "predicted_train_output", "correct_train_input")
    assert problems(row(**{name: [] for name in names})) == ["no training pairs"]


def test_a_flag_that_says_right_and_lies_is_found():
    assert "correct_test_input 1 says right, and it is wrong" in problems(row(SAME, correct_test_input=[True]))


def test_disagreement_names_the_inputs():
    made = row()
    answers = [*made["predicted_train_output"], *made["predicted_test_output"]]
    assert disagreement(made, answers) is None
    assert disagreement(made, [answers[0], None, answers[2], GRID]).endswith(": train input 2, test input 1")
