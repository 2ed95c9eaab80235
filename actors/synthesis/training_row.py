"""A row of training data: a program with a task, what is right, and what the program really answers.

The columns are those of SOAR's data sets. `train_output` and `test_output` are what is right, the predictions what the
program returned; hindsight takes the predictions on the training inputs for the task's outputs, for which the program
is right by construction. A row's `problems` are found without running anything; `disagreement` compares it with a run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from actors.engines.contract import Message
from actors.synthesis.attempt import Attempt
from actors.synthesis.grids import Grid, is_grid
from actors.synthesis.prompt import TaskPrompt
from actors.synthesis.reasoning import reasoning_of
from actors.synthesis.task import Pair, Task


class TrainingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row; fields are columns, in this order. A prediction is null where the program gave no valid grid.

    `generation` is how many times the program's line was refined: 0 for one sampled afresh, one more than its parent's
    otherwise. `reasoning` is kept only for programs that are right on the test.
    """

    code: str
    correct_train_input: list[bool]
    train_input: list[Grid]
    train_output: list[Grid]
    predicted_train_output: list[Grid]
    correct_test_input: list[bool]
    test_input: list[Grid]
    test_output: list[Grid]
    predicted_test_output: list[Grid | None]
    task_id: str
    model: str
    generation: int
    reasoning: str | None


COLUMNS: tuple[str, ...] = TrainingRow.__struct_fields__
OPTIONAL = ("model", "generation", "reasoning")
"""A row can be checked without these."""
NEEDED: tuple[str, ...] = tuple(name for name in COLUMNS if name not in OPTIONAL)
_FENCE = re.compile(r"`{3,}")
_PAIRS = {
    part: (f"{part}_input", f"{part}_output", f"predicted_{part}_output", f"correct_{part}_input")
    for part in ("train", "test")
}


def row_of(attempt: Attempt, task: Task, code: str, generation: int) -> TrainingRow:
    """The row of an attempt that ran on all training inputs; `code` is its program, cleaned or not."""
    train, test = list(attempt.predicted_train), list(attempt.predicted_test)
    is_right = _is_right(test, task.test)
    return TrainingRow(
        code=code,
        correct_train_input=[a == p.output for a, p in zip(train, task.train, strict=True)],
        train_input=[pair.input for pair in task.train],
        train_output=[pair.output for pair in task.train],
        predicted_train_output=train,  # type: ignore[arg-type]  # it ran on all of them
        correct_test_input=[a == p.output for a, p in zip(test, task.test, strict=True)],
        test_input=[pair.input for pair in task.test],
        test_output=[pair.output for pair in task.test],
        predicted_test_output=test,
        task_id=attempt.task_id,
        model=attempt.model,
        generation=generation,
        reasoning=reasoning_of(attempt.response) if is_right and attempt.response else None,
    )


def _is_right(predicted: Sequence[Grid | None], pairs: Sequence[Pair]) -> bool:
    return all(answer == pair.output for answer, pair in zip(predicted, pairs, strict=True))


def relabelled(row: TrainingRow) -> Task:
    """The task that the program solves: its own outputs stand in the place of the right ones.

    A test output that it has none for stays as it was; a prompt shows none of them.
    """
    answers = zip(row.test_input, row.predicted_test_output, row.test_output, strict=True)
    return Task(
        row.task_id,
        tuple(map(Pair, row.train_input, row.predicted_train_output)),
        tuple(Pair(given, right if answer is None else answer) for given, answer, right in answers),
    )


def chat(row: TrainingRow, prompt: TaskPrompt) -> list[dict[str, str]]:
    """The row as a conversation: the relabelled task is asked, and the answer is the reasoning and the program."""
    asked: Sequence[Message] = prompt.messages(relabelled(row), images=False)
    fence = "`" * max((len(run) + 1 for run in _FENCE.findall(row.code)), default=3)
    answer = f"{fence}python\n{row.code.rstrip()}\n{fence}"
    if row.reasoning:
        answer = f"{row.reasoning}\n\n{answer}"
    messages = [{"role": message.role, "content": message.content} for message in asked]
    return [*messages, {"role": "assistant", "content": answer}]


def problems(row: Mapping[str, Any]) -> list[str]:
    """What is wrong with a row as it was read, each in a few words; nothing is run. Empty if it can be run."""
    missing = [name for name in NEEDED if name not in row]
    if missing:
        return [f"no column {', '.join(missing)}"]
    found = [f"{name} is no text" for name in ("code", "task_id") if not isinstance(row[name], str)]
    for part in _PAIRS:
        found += _problems_of_pairs(row, part)
    return found


def _problems_of_pairs(row: Mapping[str, Any], part: str) -> list[str]:
    inputs, outputs, predictions, flags = (row[name] for name in _PAIRS[part])
    names = _PAIRS[part]
    found = [f"{name} is no list" for name in names if not isinstance(row[name], list)]
    if found:
        return found
    if len({len(row[name]) for name in names}) > 1:
        return [f"{part}: {', '.join(f'{len(row[name])} {name}' for name in names)}"]
    if not inputs and part == "train":
        return ["no training pairs"]
    for name in names[:3]:
        may_fail = name == "predicted_test_output"
        found += [
            f"{name} {number} is no valid grid"
            for number, grid in enumerate(row[name], 1)
            if not is_grid(grid) and not (may_fail and grid is None)
        ]
    for number, (answer, right, flag) in enumerate(zip(predictions, outputs, flags, strict=True), 1):
        if not isinstance(flag, bool):
            found.append(f"{names[3]} {number} is {repr(flag)[:40]}, not true or false")
        elif flag is not (answer == right):
            says, is_so = ("right", "wrong") if flag else ("wrong", "right")
            found.append(f"{names[3]} {number} says {says}, and it is {is_so}")
    return found


def disagreement(row: Mapping[str, Any], answers: Sequence[Grid | None]) -> str | None:
    """Where a run's answers, to training inputs and then test inputs, are not those of the row; None if nowhere."""
    told = [*row["predicted_train_output"], *row["predicted_test_output"]]
    places = [f"{part} input {n}" for part in _PAIRS for n in range(1, len(row[f"{part}_input"]) + 1)]
    wrong = [place for place, old, new in zip(places, told, answers, strict=True) if old != new]
    return f"executed again it answers otherwise: {', '.join(wrong)}" if wrong else None
