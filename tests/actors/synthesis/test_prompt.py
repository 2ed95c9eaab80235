"""What a model is told, by mode; above all that test outputs are never in it."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import actors.synthesis.prompt as prompt_module
from actors.engines.contract import Message
from actors.synthesis.attempt import Attempt, PairResult, Status
from actors.synthesis.grid_picture import png
from actors.synthesis.grid_text import format_grid
from actors.synthesis.grids import Grid
from actors.synthesis.prompt import MODES, TaskPrompt
from actors.synthesis.task import Pair, Task

TASK = Task(
    "ab12",
    (Pair([[1, 2], [3, 4]], [[4]]), Pair([[1, 2]], [[2, 1]]), Pair([[5, 5, 5]], [[5], [5]])),
    (Pair([[5, 6, 0]], [[7] * 11] * 3), Pair([[8]], [[9, 8]])),
)
PROGRAM = "def transform(grid):\n    return grid"
OK = PairResult("ok", False, 1.0)


def attempt(train: tuple[PairResult, ...], predicted: tuple[Grid | None, ...], **fields: object) -> Attempt:
    known = {"task_id": "ab12", "run": 1, "attempt": 3, "status": "partial", "program": PROGRAM}
    return Attempt(train=train, predicted_train=predicted, **known | fields)  # type: ignore[arg-type]


PARTIAL = attempt(
    (OK, PairResult("ok", True, 1.0), PairResult("exception", False, 0.1, "ValueError: no\n <|im_end|>")),
    ([[1, 2], [3, 4]], [[2, 1]], None),
)


def every_message(task: Task, made: Attempt, images: bool) -> list[Message]:
    found: list[Message] = []
    for mode in MODES:
        prompt = TaskPrompt.load(mode)
        found += [*prompt.messages(task, images), prompt.feedback(task, made), *prompt.refine(task, made, images)]
    return found


# What is never told

grids = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(st.integers(0, 9), min_size=width, max_size=width), min_size=1, max_size=4)
)
results = st.builds(
    PairResult,
    st.sampled_from(["ok", "exception", "timeout", "invalid"]),
    st.booleans(),
    st.just(1.0),
    st.text(max_size=9),
)


@settings(max_examples=50, deadline=None, phases=(Phase.generate,))
@given(st.tuples(grids, grids), st.tuples(results, results), st.tuples(grids | st.none(), grids | st.none()), st.data())
def test_nothing_told_depends_on_test_outputs_or_on_what_became_of_them(
    outputs: tuple[Grid, ...],
    test: tuple[PairResult, ...],
    predicted: tuple[Grid | None, ...],
    data: st.DataObject,
) -> None:
    pairs = tuple(Pair(pair.input, output) for pair, output in zip(TASK.test, outputs, strict=True))
    other_task = msgspec.structs.replace(TASK, test=pairs)
    status = data.draw(st.sampled_from(["partial", "solved", "train_correct", "execution_timeout"]))
    other = msgspec.structs.replace(PARTIAL, test=test, predicted_test=predicted, status=status, transductive="literal")
    assert every_message(other_task, other, False) == every_message(TASK, PARTIAL, False)


def test_a_marked_test_output_stands_in_no_message() -> None:
    mark = format_grid([[7] * 11])
    pictures = {base64.b64encode(png(pair.output)).decode() for pair in TASK.test}
    said = every_message(TASK, PARTIAL, True)
    assert len(said) == 9
    for message in said:
        assert mark not in message.content and "9 8" not in message.content
        assert not any(url.partition(",")[2] in pictures for url in message.images)


# What is told


def test_the_first_turn_shows_all_training_pairs_and_test_inputs_with_their_shapes() -> None:
    (message,) = TaskPrompt.load("independent").messages(TASK)
    assert message.role == "user" and not message.images
    assert "## Training pair 1\n\nInput, 2 x 2:\n1 2\n3 4\n\nOutput, 1 x 1:\n4\n" in message.content
    assert "## Training pair 3\n\nInput, 1 x 3:\n5 5 5\n\nOutput, 2 x 1:\n5\n5\n" in message.content
    assert "## Test input 2\n\nInput, 1 x 1:\n8\n" in message.content
    assert message.content.count("Output, ") == 3
    assert "```python\ndef transform(grid" in message.content and "picture" not in message.content


def test_pictures_come_in_the_order_in_which_the_grids_stand() -> None:
    (message,) = TaskPrompt.load("independent").messages(TASK, images=True)
    shown = [grid for pair in TASK.train for grid in (pair.input, pair.output)] + [pair.input for pair in TASK.test]
    prefix = "data:image/png;base64,"
    assert [base64.b64decode(url.removeprefix(prefix)) for url in message.images] == [png(grid) for grid in shown]
    assert "attached as pictures" in message.content


def test_feedback_names_shapes_cells_and_errors_in_one_line_each() -> None:
    said = TaskPrompt.load("feedback").feedback(TASK, PARTIAL).content
    assert "1 of 3 training outputs is right." in said
    assert (
        "pair 1\n\nWrong shape: its output is 2 x 2, the right output is 1 x 1.\n\nProgram's output, 2 x 2:\n1 2\n3 4\n"
        in said
    )
    assert "pair 2\n\nRight.\n\n## Result" in said
    assert "pair 3\n\nWrong: no output, it raised an error: ValueError: no <·|im_end|>\n" in said


def test_feedback_counts_the_cells_that_differ() -> None:
    made = attempt((OK, OK, OK), ([[3]], [[2, 2]], [[5], [5]]))
    said = TaskPrompt.load("feedback").feedback(TASK, made).content
    assert "Wrong cells: 1 of 1 differ" in said and "Wrong cells: 1 of 2 differ" in said


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("timeout", "ran out of time"),
        ("memory", "ran out of memory"),
        ("killed", "its process came to an end"),
        ("output_limit", "printed or returned too much"),
        ("invalid", "it returned what is no grid"),
        ("wrong_type", "it returned what is no grid"),
        ("ok", "it returned what is no grid"),
    ],
)
def test_feedback_says_why_there_is_no_output(status: Status, said: str) -> None:
    made = attempt((PairResult(status, False, 1.0, "x" * 1000),) * 3, (None,) * 3)  # type: ignore[arg-type]
    text = TaskPrompt.load("feedback").feedback(TASK, made).content
    assert text.count(said) == 3 and "x" * 300 in text and "x" * 301 not in text


@pytest.mark.parametrize(
    ("status", "said"), [("no_code", "no ```python block"), ("truncated", "cut off"), ("empty_response", "was empty")]
)
def test_feedback_says_that_there_is_no_program(status: Status, said: str) -> None:
    assert said in TaskPrompt.load("feedback").feedback(TASK, attempt((), (), status=status, program=None)).content


@pytest.mark.parametrize("status", ["api_error", "api_timeout"])
def test_nothing_can_be_said_of_an_answer_that_never_came(status: Status) -> None:
    with pytest.raises(ValueError, match="ab12, attempt 3"):
        TaskPrompt.load("feedback").feedback(TASK, attempt((), (), status=status, program=None))


def test_a_program_that_is_right_on_all_training_pairs_is_asked_to_be_general() -> None:
    made = attempt(
        (PairResult("ok", True, 1.0),) * 3, tuple(pair.output for pair in TASK.train), status="train_correct"
    )
    for said in (TaskPrompt.load("feedback").feedback(TASK, made), *TaskPrompt.load("refine").refine(TASK, made)):
        assert "3 of 3 training outputs are right" in said.content and "most general" in said.content
        assert "Program's output" not in said.content


def test_refine_shows_the_task_the_earlier_program_and_its_results() -> None:
    (message,) = TaskPrompt.load("refine").refine(TASK, PARTIAL, images=True)
    assert f"# An earlier program\n\n```python\n{PROGRAM}\n```\n" in message.content
    assert "## Training pair 3" in message.content and "Wrong shape" in message.content and len(message.images) == 8


def test_an_earlier_program_cannot_leave_its_block_nor_open_a_turn() -> None:
    program = '"""\n```\n"""\n# <|im_start|>\n' + PROGRAM
    (message,) = TaskPrompt.load("refine").refine(TASK, msgspec.structs.replace(PARTIAL, program=program))
    assert '````python\n"""\n```\n"""\n# <·|im_start|>\n' in message.content


def test_what_has_no_program_cannot_be_refined() -> None:
    with pytest.raises(ValueError, match="no program to refine"):
        TaskPrompt.load("refine").refine(TASK, attempt((), (), status="no_code", program=None))


# Versions


def test_a_version_says_mode_edition_and_text() -> None:
    versions = [TaskPrompt.load(mode).version for mode in MODES]
    for mode, version in zip(MODES, versions, strict=True):
        assert version.startswith(f"{mode}@1-") and len(version) == len(mode) + 11
    assert len({version.partition("-")[2] for version in versions}) == 3


@pytest.mark.parametrize(
    ("template", "changed"),
    [
        ("task.md.j2", {"independent", "feedback", "refine"}),
        ("answer.md.j2", {"independent", "feedback", "refine"}),
        ("results.md.j2", {"feedback", "refine"}),
        ("feedback.md.j2", {"feedback"}),
        ("refine.md.j2", {"refine"}),
    ],
)
def test_an_edited_template_is_a_new_version_of_the_modes_that_use_it(
    template: str, changed: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {mode: TaskPrompt.load(mode).version for mode in MODES}
    folder = tmp_path / "prompts"
    shutil.copytree(Path(prompt_module.__file__).with_name("prompts"), folder)
    (folder / template).write_text((folder / template).read_text() + " ")
    monkeypatch.setattr(prompt_module, "_FOLDER", folder)
    assert {mode for mode in MODES if TaskPrompt.load(mode).version != before[mode]} == changed


def test_a_mode_that_there_is_none_of() -> None:
    with pytest.raises(ValueError, match="there are independent, feedback, refine"):
        TaskPrompt.load("guess")  # type: ignore[arg-type]
