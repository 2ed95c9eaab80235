"""A planned attempt: one input line of a run, from which the solver makes one attempt."""

from __future__ import annotations

import msgspec

from actors.synthesis.task import Task

MOST_ATTEMPTS = 1_000_000


class PlannedAttempt(msgspec.Struct, frozen=True):
    """The `attempt`-th try of a task in the `run`-th repetition; both count from 1, attempts to MOST_ATTEMPTS."""

    task: Task
    run: int
    attempt: int

    @property
    def sample(self) -> int:
        """The number of the draw: the same prompt at another attempt, or in another run, is another question.

        It does not depend on how many attempts or runs are asked for, so that whoever asks for more finds the earlier
        answers in the journal.
        """
        return (self.run - 1) * MOST_ATTEMPTS + self.attempt - 1
