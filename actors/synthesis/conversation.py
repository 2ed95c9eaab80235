"""What a model is asked at an attempt, given the attempts at the same task before it.

`independent` asks the same every time; `feedback` goes on with the conversation and shows what was wrong on the training
pairs; `refine` shows an earlier program, chosen by `actors.synthesis.refinement`. Of an earlier attempt a prompt is
given what the training pairs tell, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from actors.engines.contract import Message
from actors.special_tokens import neutralize
from actors.synthesis.attempt import Attempt, status_of
from actors.synthesis.planned_attempt import PlannedAttempt
from actors.synthesis.prompt import Mode, TaskPrompt
from actors.synthesis.refinement import parent_of

_UNANSWERED = ("api_timeout", "api_error")
_THOUGHT_ENDS = "</think>"
_NOTHING = "(nothing)"  # servers refuse a turn without text


@dataclass(frozen=True, slots=True)
class Turn:
    """The conversation up to the model's answer, and the attempt that the answer is to improve."""

    messages: tuple[Message, ...]
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """How the attempts at a task build on each other. `seed` is that of the choice of programs to refine."""

    prompt: TaskPrompt
    mode: Mode
    images: bool
    seed: int

    def turn(self, planned: PlannedAttempt, earlier: Sequence[Attempt]) -> Turn:
        """What is asked. `earlier` are the attempts at this task in this run, in order."""
        if self.mode == "refine":
            return self._refine(planned, earlier)
        if self.mode == "feedback":
            return self._feedback(planned, earlier)
        return Turn(self.prompt.messages(planned.task, self.images))

    def _feedback(self, planned: PlannedAttempt, earlier: Sequence[Attempt]) -> Turn:
        """Every answer so far, each with what became of it. What was not answered is asked again."""
        messages, parent = self.prompt.messages(planned.task, self.images), None
        for attempt in earlier:
            if attempt.status not in _UNANSWERED:
                feedback = self.prompt.feedback(planned.task, seen_by_training(attempt))
                messages = (*messages, _said(attempt), feedback)
                parent = attempt.attempt
        return Turn(messages, parent)

    def _refine(self, planned: PlannedAttempt, earlier: Sequence[Attempt]) -> Turn:
        parent = parent_of(earlier, self.seed, planned.task.id, planned.run, planned.attempt)
        if parent is None:
            return Turn(self.prompt.messages(planned.task, self.images))
        return Turn(self.prompt.refine(planned.task, seen_by_training(parent), self.images), parent.attempt)


def _said(attempt: Attempt) -> Message:
    """The model's own turn, without its thoughts, as models are used to see their earlier turns."""
    answer = (attempt.response or "").rpartition(_THOUGHT_ENDS)[2]
    return Message("assistant", neutralize(answer)[0].strip() or _NOTHING)


def seen_by_training(attempt: Attempt) -> Attempt:
    """The attempt without anything that the test pairs tell, so that no prompt can say it."""
    status = status_of(attempt.train, ()) if attempt.train else attempt.status
    return msgspec.structs.replace(attempt, status=status, test=(), predicted_test=())
