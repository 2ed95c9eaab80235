"""Notices: how attempts end, told to whoever watches a run while it is under way.

They are for looking only: what is lost with the mailbox is lost to the display, and no output depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from actors.synthesis.attempt import Attempt, Status


class Notice(msgspec.Struct, frozen=True):
    """The end of one attempt.

    `seconds` is how long its program ran on the clock, None where none did; `error` is the service's, where it gave
    no answer.
    """

    task_id: str
    run: int
    attempt: int
    status: Status
    seconds: float | None = None
    sandbox_failed: bool = False
    error: str | None = None

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells attempts apart; one that is done again after a worker's death is told of twice."""
        return self.task_id, self.run, self.attempt


def notice_of(attempt: Attempt, seconds: float | None) -> Notice:
    failed = any(result.status == "sandbox_failure" for result in (*attempt.train, *attempt.test))
    return Notice(attempt.task_id, attempt.run, attempt.attempt, attempt.status, seconds, failed, attempt.error)


class Mailbox:
    """Where workers leave notices and the driver takes them; shared by all (see `cluster.shared`)."""

    def __init__(self) -> None:
        self._kept: list[Notice] = []
        self._forgotten = 0

    def put(self, notices: Sequence[Notice]) -> None:
        self._kept += notices

    def after(self, seen: int) -> tuple[int, list[Notice]]:
        """How many came in all, and those after the first `seen`; these first ones are forgotten.

        Who has seen more than ever came asks a mailbox that was lost and began anew: it gives all it has.
        """
        if seen > self._forgotten + len(self._kept):
            seen = self._forgotten
        if seen > self._forgotten:
            del self._kept[: seen - self._forgotten]
            self._forgotten = seen
        return self._forgotten + len(self._kept), list(self._kept)
