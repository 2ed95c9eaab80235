"""Solving tasks with an engine and an executor that do what they are told: statuses, modes, secrets, journal, halts."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.engine_choice import EngineChoice
from actors.engines.contract import (
    BudgetSpent,
    Category,
    Completion,
    Engine,
    EngineUnusable,
    Request,
    RequestFailed,
    Sampling,
    Usage,
)
from actors.engines.journaled import JournaledEngine
from actors.sandboxes.contract import DEFAULT_LIMITS, Execution, Limits, Outcome, returned
from actors.synthesis.attempt import Attempt
from actors.synthesis.conversation import seen_by_training
from actors.synthesis.notices import Mailbox, Notice
from actors.synthesis.planned_attempt import PlannedAttempt
from actors.synthesis.solver import SolveTasks, Solving
from actors.synthesis.task import Pair, Task
from actors.synthesis.transduction import changed_inputs
from cluster.errors import GristmillError
from cluster.resources import Resources
from cluster.rows import Rows
from cluster.storage import open_storage
from tests.actors.synthesis.trusted_execution import run_trusted

SECRET = [[7, 7, 7, 7, 7], [8, 8, 8, 8, 8], [9, 9, 9, 9, 9]]
# The rule is to turn upside down; the test's output is something else, which nobody could find.
MIRROR = Task(
    "mirror",
    (
        Pair([[1, 2], [3, 4], [5, 6]], [[5, 6], [3, 4], [1, 2]]),
        Pair([[1, 0, 2], [0, 3, 0]], [[0, 3, 0], [1, 0, 2]]),
    ),
    (Pair([[4, 0], [0, 4], [1, 2]], [[1, 2], [0, 4], [4, 0]]), Pair([[6, 1], [1, 1]], [[1, 1], [6, 1]])),
)
HIDDEN = msgspec.structs.replace(MIRROR, id="hidden", test=(Pair([[4, 0], [0, 4]], SECRET),))

FLIP = "def transform(grid):\n    return grid[::-1]\n"
SAME = "def transform(grid):\n    return grid\n"
ONE_OF_TWO = "def transform(grid):\n    return grid[::-1] if len(grid) == 3 else grid\n"


def said(program: str, thoughts: str = "The rule is plain.") -> Completion:
    return Completion(f"{thoughts}\n```python\n{program}```\n", "stop", Usage(100, 20), 2_500_000, 0.5, "m-1")


@dataclass
class Scripted(Engine):
    """Answers by a function of the request and of how often anything was asked."""

    say: Callable[[Request, int], Completion | Exception]
    asked: list[Request] = field(default_factory=list)
    name = "scripted"

    def identity(self) -> dict[str, Any]:
        return {"engine": self.name}

    async def generate(self, request: Request) -> Completion:
        self.asked.append(request)
        found = self.say(request, len(self.asked))
        await asyncio.sleep(0)
        if isinstance(found, Exception):
            raise found
        return found


@dataclass(frozen=True)
class Choice(EngineChoice):
    engine: Any = None

    async def started(self) -> Engine:
        engine: Engine = self.engine
        if self.journal is not None:
            engine = JournaledEngine(engine, self.journal, self.run)
        await engine.start()
        return engine


@dataclass
class Recording:
    """Runs the tests' own programs here, or says what it is told, and keeps all that it was given."""

    say: Callable[[str, Sequence[Any]], Execution] = lambda program, inputs: run_trusted(program, "transform", inputs)
    given: list[tuple[Any, ...]] = field(default_factory=list)

    async def execute(
        self, program: str, function: str, inputs: Sequence[Any], limits: Limits = DEFAULT_LIMITS
    ) -> Execution:
        self.given.append((program, function, inputs, limits))
        return self.say(program, inputs)


class Board:
    """In place of the way to a shared mailbox."""

    def __init__(self) -> None:
        self.mailbox = Mailbox()

    async def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self.mailbox, method)(*arguments)


def planned(*tasks: Task, attempts: int = 1, run: int = 1) -> Rows:
    lines = [msgspec.json.encode(PlannedAttempt(task, run, number + 1)) for task in tasks for number in range(attempts)]
    return Rows("run-1.jsonl.zst", lines, list(range(1, len(lines) + 1)))


def run_stage(stage: SolveTasks, rows: Rows) -> Rows:
    async def work() -> Rows:
        stage.setup()
        await stage.start()
        return await stage.process_async(rows)

    return asyncio.run(work())


def solve(
    engine: Scripted,
    rows: Rows,
    executor: Recording | None = None,
    notices: Any = None,
    choice: dict[str, Any] | None = None,
    **settings: Any,
) -> list[Attempt]:
    solving = Solving(**{"dataset": "arc", "mode": "independent", "sampling": Sampling(temperature=1.0), **settings})
    attempts = len(rows)
    stage = SolveTasks(
        solving, Choice("openai", "m", engine=engine, **(choice or {})), executor or Recording(), Resources(), attempts,
        notices,
    )  # fmt: skip
    return [msgspec.json.decode(line, type=Attempt) for line in run_stage(stage, rows).lines]


def one(answer: Completion | Exception, task: Task = MIRROR, executor: Recording | None = None) -> Attempt:
    (attempt,) = solve(Scripted(lambda *_: answer), planned(task), executor)
    return attempt


# One attempt


def test_an_attempt_holds_the_answer_the_program_and_what_became_of_every_pair() -> None:
    attempt = one(said(FLIP))
    assert (attempt.task_id, attempt.run, attempt.attempt) == ("mirror", 1, 1)
    assert attempt.status == "solved"
    assert (attempt.dataset, attempt.model, attempt.mode, attempt.parent_attempt) == ("arc", "m", "independent", None)
    assert attempt.program is not None and attempt.program.strip() == FLIP.strip()
    assert [result.correct for result in (*attempt.train, *attempt.test)] == [True] * 4
    assert attempt.predicted_train == ([[5, 6], [3, 4], [1, 2]], [[0, 3, 0], [1, 0, 2]])
    assert attempt.predicted_test == ([[1, 2], [0, 4], [4, 0]], [[1, 1], [6, 1]])
    assert attempt.response == said(FLIP).text
    assert attempt.finish_reason == "stop"
    assert attempt.usage == {"prompt_tokens": 100, "completion_tokens": 20}
    assert attempt.cost == 0.0025
    assert attempt.sampling == {"temperature": 1.0}
    assert attempt.prompt_version.startswith("independent@")
    assert attempt.transductive is None


def test_one_wrong_test_input_of_several_is_not_solved() -> None:
    not_the_last = "def transform(grid):\n    return grid if grid == [[6, 1], [1, 1]] else grid[::-1]\n"
    attempt = one(said(not_the_last))
    assert attempt.status == "train_correct"
    assert [result.correct for result in attempt.test] == [True, False]


PROGRAM = said(FLIP)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (RequestFailed(Category.TIMEOUT, "600 s"), "api_timeout"),
        (RequestFailed(Category.RATE_LIMITED, "429"), "api_error"),
        (RequestFailed(Category.SERVER_ERROR, "503"), "api_error"),
        (RequestFailed(Category.REJECTED, "too long"), "api_error"),
        (RequestFailed(Category.INVALID, "not JSON"), "api_error"),
        (RequestFailed(Category.TRUNCATED, "8 tokens"), "truncated"),
        (RequestFailed(Category.REFUSED, "I cannot help with that"), "no_code"),
        (Completion("", refusal="I cannot help with that"), "no_code"),
        (msgspec.structs.replace(PROGRAM, finish_reason="content_filter"), "no_code"),
        (msgspec.structs.replace(PROGRAM, finish_reason="length"), "truncated"),
        (Completion("", "length"), "truncated"),
        (Completion(" \n"), "empty_response"),
        (Completion("It cannot be done."), "no_code"),
        (Completion("```python\nprint(1)\n```"), "no_code"),
        (PROGRAM, "solved"),
        (said(SAME), "wrong"),
        (said(ONE_OF_TWO), "partial"),
        (said("def transform(grid):\n    return None\n"), "invalid_output"),
        (said("def transform(grid):\n    return [[1.0]]\n"), "invalid_output"),
        (said("def transform(grid):\n    return [[True]]\n"), "invalid_output"),
        (said("def transform(grid):\n    return 1 / 0\n"), "execution_error"),
        (said("def transform(grid:\n"), "execution_error"),
    ],
)
def test_every_answer_becomes_one_attempt_of_its_status(answer: Completion | Exception, status: str) -> None:
    attempt = one(answer)
    assert attempt.status == status
    if isinstance(answer, RequestFailed):
        assert attempt.error == str(answer)
        assert not attempt.usage and attempt.cost is None
    else:
        assert attempt.error is None
    if status not in ("solved", "wrong", "partial", "invalid_output", "execution_error"):
        assert attempt.program is None and not attempt.train and not attempt.predicted_test


def test_a_refusal_is_kept_as_the_response() -> None:
    assert one(Completion("", refusal="I cannot help")).response == "I cannot help"
    assert one(RequestFailed(Category.REFUSED, "I cannot help")).response == "I cannot help"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome("timeout", cpu_ms=500.04, wall_ms=500), "execution_timeout"),
        (Outcome("memory"), "execution_memory"),
        (Outcome("killed", message="SIGSEGV"), "execution_error"),
        (Outcome("output_limit"), "execution_error"),
        (Outcome("sandbox_failure"), "execution_error"),
        (Outcome("wrong_type"), "invalid_output"),
    ],
)
def test_a_failure_of_the_program_is_no_failure_of_the_service(outcome: Outcome, status: str) -> None:
    attempt = one(said(FLIP), executor=Recording(lambda _, inputs: Execution((outcome,) * len(inputs))))
    assert attempt.status == status
    assert {result.status for result in (*attempt.train, *attempt.test)} == {outcome.status}
    assert attempt.predicted_train == (None, None)
    assert attempt.error is None
    assert attempt.train[0].cpu_ms == round(outcome.cpu_ms, 1)


def test_a_message_of_any_length_and_with_half_a_character_can_be_written() -> None:
    nasty = Outcome("exception", message="\ud800" + "x" * 10_000)
    attempt = one(said(FLIP), executor=Recording(lambda _, inputs: Execution((nasty,) * len(inputs))))
    assert attempt.train[0].message.startswith("?xxx")
    assert len(attempt.train[0].message) == 500


def test_a_program_that_spells_the_answer_out_is_marked() -> None:
    constant = "def transform(grid):\n    return [[1, 2], [0, 4], [4, 0]]\n"
    assert one(said(constant)).transductive is not None


# What the executor and the model are told


def test_expected_outputs_never_go_to_the_executor() -> None:
    executor = Recording()
    attempt = one(said(FLIP), HIDDEN, executor)
    (given,) = executor.given
    program, function, inputs, limits = given
    assert attempt.program == program and function == "transform" and limits == DEFAULT_LIMITS
    expected = [pair.output for pair in (*HIDDEN.train, *HIDDEN.test)]
    asked = [pair.input for pair in (*HIDDEN.train, *HIDDEN.test)]
    assert inputs == [*asked, *changed_inputs(asked)]  # all in one call
    # A changed input may equal an output by chance (a mirrored one does here); the secret cannot be made of inputs.
    assert SECRET not in inputs and json.dumps(SECRET)[1:-1] not in json.dumps(given[:3])
    assert all(grid not in inputs[: len(asked)] for grid in expected)


@pytest.mark.parametrize("mode", ["independent", "feedback", "refine"])
def test_no_question_depends_on_what_is_right_on_the_test(mode: str) -> None:
    """The same answers to the same task with another expected test output make the same questions."""
    turn = itertools.cycle([said(SAME), said(ONE_OF_TWO), said(FLIP), Completion("no idea")])
    answers = [next(turn) for _ in range(8)]
    asked = []
    for task in (MIRROR, msgspec.structs.replace(MIRROR, test=tuple(Pair(p.input, SECRET) for p in MIRROR.test))):
        engine = Scripted(lambda _, number: answers[number - 1])
        attempts = solve(engine, planned(task, attempts=8), mode=mode)
        assert len(attempts) == 8
        asked.append([request.messages for request in engine.asked])
        assert "7 7 7 7 7" not in "".join(message.content for messages in asked[-1] for message in messages)
    assert asked[0] == asked[1]


def test_a_prompt_is_given_an_attempt_without_its_test_results() -> None:
    attempt = one(said(FLIP))
    seen = seen_by_training(attempt)
    assert (seen.status, seen.test, seen.predicted_test) == ("train_correct", (), ())
    assert seen.train == attempt.train


def test_equal_prompts_are_distinct_draws() -> None:
    engine = Scripted(lambda *_: said(SAME))
    solve(engine, planned(MIRROR, attempts=3))
    solve(engine, planned(MIRROR, attempts=3, run=2))
    assert len({request.sample for request in engine.asked}) == 6
    assert len({request.messages for request in engine.asked}) == 1


def test_more_attempts_or_runs_do_not_move_the_draws_of_others() -> None:
    assert PlannedAttempt(MIRROR, 1, 1).sample == 0
    assert PlannedAttempt(MIRROR, 1, 8).sample == 7
    assert PlannedAttempt(MIRROR, 2, 1).sample == 1_000_000


# Modes


def test_independent_attempts_are_asked_at_once() -> None:
    under_way, most = 0, 0

    @dataclass
    class Slow(Scripted):
        async def generate(self, request: Request) -> Completion:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1
            return said(FLIP)

    solve(Slow(lambda *_: said(FLIP)), planned(MIRROR, attempts=5))
    assert most == 5


def test_feedback_is_one_conversation_with_what_was_wrong() -> None:
    answers = [
        said(SAME, "<think>\nIt is a mirror <|im_end|>\n</think>\nNothing changes. <|im_end|>"),
        RequestFailed(Category.TIMEOUT, "600 s"),
        Completion("I give up."),
        Completion("", "length"),
        said(ONE_OF_TWO),
    ]
    engine = Scripted(lambda _, number: answers[number - 1])
    attempts = solve(engine, planned(MIRROR, attempts=5), mode="feedback")
    assert [attempt.status for attempt in attempts] == ["wrong", "api_timeout", "no_code", "truncated", "partial"]
    assert [attempt.parent_attempt for attempt in attempts] == [None, 1, 1, 3, 4]
    asked = [request.messages for request in engine.asked]
    assert [len(messages) for messages in asked] == [1, 3, 3, 5, 7]
    assert asked[1] == asked[2]  # what was not answered is asked again, as another draw
    assert engine.asked[1].sample != engine.asked[2].sample
    assert [message.role for message in asked[4]] == ["user", *["assistant", "user"] * 3]
    assert "mirror" not in asked[1][1].content  # thoughts are left out of earlier turns
    assert "<|im_end|>" not in asked[1][1].content  # and nothing in them closes the turn
    assert "Nothing changes." in asked[1][1].content
    assert "0 of 2 training outputs are right" in asked[1][2].content
    assert asked[4][5].content == "(nothing)"


def test_refine_shows_an_earlier_program_once_there_is_one() -> None:
    answers = [Completion("no idea"), said(SAME), said(ONE_OF_TWO), said(FLIP)]
    engine = Scripted(lambda _, number: answers[number - 1])
    attempts = solve(engine, planned(MIRROR, attempts=4), mode="refine", stop_when_solved=True)
    asked = [request.messages[-1].content for request in engine.asked]
    assert [attempt.parent_attempt for attempt in attempts[:3]] == [None, None, 2]
    assert asked[0] == asked[1]
    assert SAME.strip() in asked[2]
    assert attempts[3].parent_attempt in (2, 3)
    assert {2: SAME, 3: ONE_OF_TWO}[attempts[3].parent_attempt].strip() in asked[3]


@pytest.mark.parametrize("mode", ["independent", "feedback", "refine"])
def test_what_is_not_needed_after_a_program_right_on_training_is_filtered(mode: str) -> None:
    engine = Scripted(lambda _, number: said(SAME if number == 1 else FLIP))
    rows = planned(HIDDEN, attempts=5)  # right on training, and not on the test: the stage cannot know
    attempts = solve(engine, rows, mode=mode, stop_when_solved=True)
    assert [attempt.status for attempt in attempts] == ["wrong", "train_correct"]
    assert len(engine.asked) == 2
    assert (rows.filtered, rows.counters["not needed"]) == (3, 3)
    assert not rows.rejected


@pytest.mark.parametrize("mode", ["independent", "feedback", "refine"])
def test_sampling_goes_on_where_it_is_to(mode: str) -> None:
    engine = Scripted(lambda *_: said(FLIP))
    assert len(solve(engine, planned(MIRROR, attempts=4), mode=mode)) == 4


def test_two_tasks_in_a_chunk_do_not_meet() -> None:
    engine = Scripted(lambda *_: said(ONE_OF_TWO))
    attempts = solve(engine, planned(MIRROR, HIDDEN, attempts=3), mode="feedback")
    assert [(a.task_id, a.attempt, a.parent_attempt) for a in attempts] == [
        ("mirror", 1, None), ("mirror", 2, 1), ("mirror", 3, 2), ("hidden", 1, None), ("hidden", 2, 1), ("hidden", 3, 2),
    ]  # fmt: skip
    assert max(len(request.messages) for request in engine.asked) == 5


def test_half_of_a_series_is_a_defect() -> None:
    rows = planned(MIRROR, attempts=3)
    rows = Rows(rows.shard, rows.lines[1:], rows.numbers[1:])
    with pytest.raises(ValueError, match="have to be in one chunk"):
        solve(Scripted(lambda *_: said(FLIP)), rows, mode="feedback")


def test_the_same_answers_make_the_same_rows() -> None:
    def lines(mode: Any) -> list[bytes]:
        engine = Scripted(lambda request, _: said((SAME, ONE_OF_TWO, FLIP)[request.sample % 3]))
        solving = Solving("arc", mode, Sampling())
        stage = SolveTasks(solving, Choice("openai", "m", engine=engine), Recording(), Resources(), 6)
        return run_stage(stage, planned(MIRROR, attempts=6)).lines

    for mode in ("independent", "feedback", "refine"):
        assert lines(mode) == lines(mode)


# Halts, the journal, notices


@pytest.mark.parametrize("error", [BudgetSpent("--max-cost"), EngineUnusable("wrong key")])
def test_a_halt_comes_after_what_is_under_way(error: Exception) -> None:
    executor = Recording()
    engine = Scripted(lambda _, number: error if number == 2 else said(FLIP))
    with pytest.raises(type(error)):
        solve(engine, planned(MIRROR, attempts=4), executor)
    assert len(engine.asked) == 4 and len(executor.given) == 3


def test_a_defect_is_told_before_a_halt() -> None:
    def broken(program: str, inputs: Sequence[Any]) -> Execution:
        raise RuntimeError("defect")

    engine = Scripted(lambda _, number: BudgetSpent("--max-cost") if number == 1 else said(FLIP))
    with pytest.raises(RuntimeError, match="defect"):
        solve(engine, planned(MIRROR, attempts=2), Recording(broken))


@pytest.mark.parametrize("mode", ["independent", "feedback", "refine"])
def test_a_run_that_was_killed_repeats_no_request_and_makes_the_same_rows(mode: str, tmp_path: Path) -> None:
    choice = {"journal": open_storage(str(tmp_path)), "run": "abc"}

    def answered(request: Request, _: int) -> Completion:
        return said((SAME, ONE_OF_TWO)[request.sample % 2])

    engine = Scripted(answered)
    first = solve(engine, planned(MIRROR, attempts=4), choice=choice, mode=mode)
    assert len(engine.asked) == 4
    again, rows = Scripted(answered), planned(MIRROR, attempts=4)
    assert solve(again, rows, choice=choice, mode=mode) == first
    assert not again.asked
    assert "answers from the journal" not in rows.counters  # they are the run's own
    other, rows = Scripted(answered), planned(MIRROR, attempts=4)
    assert solve(other, rows, choice=choice | {"run": "def"}, mode=mode) == first
    assert not other.asked and rows.counters["answers from the journal"] == 4


def test_statuses_are_counted_and_told() -> None:
    board, rows = Board(), planned(MIRROR, attempts=4)
    answers = [said(FLIP), said(SAME), RequestFailed(Category.SERVER_ERROR, "503"), Completion("no")]
    slow = Recording(lambda program, inputs: Execution(tuple(returned([[0]], wall_ms=10) for _ in inputs)))
    solve(Scripted(lambda _, number: answers[number - 1]), rows, slow, board)
    assert rows.counters == {"wrong": 2, "api_error": 1, "no_code": 1}
    came, notices = board.mailbox.after(0)
    assert came == 4
    programs = len(MIRROR.inputs) + len(changed_inputs(MIRROR.inputs))
    assert sorted(notices, key=lambda notice: notice.attempt) == [
        Notice("mirror", 1, 1, "wrong", pytest.approx(programs * 0.01)),
        Notice("mirror", 1, 2, "wrong", pytest.approx(programs * 0.01)),
        Notice("mirror", 1, 3, "api_error", None, False, "server error: 503"),
        Notice("mirror", 1, 4, "no_code"),
    ]


def test_a_lost_mailbox_costs_no_attempt() -> None:
    class Gone:
        async def call(self, *_: Any) -> None:
            raise GristmillError("gone")

    assert [a.status for a in solve(Scripted(lambda *_: said(FLIP)), planned(MIRROR), notices=Gone())] == ["solved"]


def test_attempts_in_series_leave_room_for_as_many_tasks_as_there_are_requests() -> None:
    choice = Choice("openai", "m", engine=None)
    for mode, factor in (("independent", 1), ("feedback", 8)):
        stage = SolveTasks(Solving("arc", mode, Sampling()), choice, Recording(), Resources(), 8)  # type: ignore[arg-type]
        assert stage.rows_at_once == choice.rows_at_once * factor
