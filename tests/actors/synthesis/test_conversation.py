"""What prompts are given of earlier attempts: in every mode, what the training pairs tell and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from actors.engines.contract import Message
from actors.synthesis.attempt import Attempt, PairResult, Status
from actors.synthesis.conversation import Conversation
from actors.synthesis.planned_attempt import PlannedAttempt
from actors.synthesis.task import Pair, Task

TASK = Task("t", (Pair([[1]], [[2]]),), (Pair([[3]], [[4]]),))
RIGHT, WRONG = PairResult("ok", True, 1.0), PairResult("ok", False, 1.0)


@dataclass
class RecordingPrompt:
    """Says nothing, and keeps the attempts that it is given."""

    given: list[Attempt] = field(default_factory=list)

    def messages(self, task: Task, images: bool = False) -> tuple[Message, ...]:
        return (Message("user", "task", ("picture",) if images else ()),)

    def feedback(self, task: Task, attempt: Attempt) -> Message:
        self.given.append(attempt)
        return Message("user", "feedback")

    def refine(self, task: Task, attempt: Attempt, images: bool = False) -> tuple[Message, ...]:
        self.given.append(attempt)
        return (Message("user", "refine", ("picture",) if images else ()),)


@pytest.mark.parametrize("mode", ["feedback", "refine"])
@pytest.mark.parametrize(
    ("train", "test", "status", "seen"),
    [
        (RIGHT, RIGHT, "solved", "train_correct"),
        (RIGHT, WRONG, "train_correct", "train_correct"),
        (WRONG, RIGHT, "wrong", "wrong"),
        (WRONG, PairResult("timeout", False, 500.0, "of the test"), "execution_timeout", "wrong"),
    ],
)
def test_nothing_of_the_test_pairs_reaches_a_prompt(
    mode: Any, train: PairResult, test: PairResult, status: Status, seen: Status
) -> None:
    attempt = Attempt(
        task_id="t", run=1, attempt=1, status=status, program="p", response="answer",
        train=(train,), test=(test,), predicted_train=([[2]],), predicted_test=([[4]],),
    )  # fmt: skip
    prompt = RecordingPrompt()
    turn = Conversation(prompt, mode, False, 42).turn(PlannedAttempt(TASK, 1, 2), [attempt])  # type: ignore[arg-type]
    (given,) = prompt.given
    assert (given.status, given.train, given.test, given.predicted_test) == (seen, (train,), (), ())
    assert turn.parent == 1


@pytest.mark.parametrize("mode", ["independent", "feedback", "refine"])
def test_pictures_go_with_the_task_in_every_mode(mode: Any) -> None:
    for images in (False, True):
        conversation = Conversation(RecordingPrompt(), mode, images, 42)  # type: ignore[arg-type]
        attempt = Attempt(task_id="t", run=1, attempt=1, status="wrong", program="p", train=(WRONG,))
        for earlier in ([], [attempt]):
            turn = conversation.turn(PlannedAttempt(TASK, 1, len(earlier) + 1), earlier)
            assert bool(turn.messages[0].images) == images


def test_an_independent_attempt_knows_of_no_other() -> None:
    attempt = Attempt(task_id="t", run=1, attempt=1, status="wrong", program="p", train=(WRONG,))
    conversation = Conversation(RecordingPrompt(), "independent", False, 42)  # type: ignore[arg-type]
    planned = PlannedAttempt(TASK, 1, 2)
    assert conversation.turn(planned, [attempt]) == conversation.turn(planned, [])
