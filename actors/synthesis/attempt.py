"""An attempt: one answer of a model to one task, the program in it, and what became of that. Every one is kept.

One attempt is one row of a run's output, `run-<run>.jsonl.zst`. Failures of the service that was asked (`api_…`), of
the answer (`empty_response`, `truncated`, `no_code`) and of the program (`execution_…`, `invalid_output`) are different
statuses and are never added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from actors.sandboxes.contract import Status as ExecutionStatus
from actors.synthesis.grids import Grid

Status = Literal[
    "solved",  # every training and test output is right
    "train_correct",  # every training output is right
    "partial",  # it ran everywhere, and some training output is right
    "wrong",  # it ran everywhere, and no training output is right
    "execution_timeout",
    "execution_memory",
    "execution_error",
    "invalid_output",  # it returned what is no grid
    "no_code",  # the answer has no program that defines `transform`
    "truncated",  # the answer was cut off by its token limit
    "empty_response",
    "api_timeout",
    "api_error",
]
STATUSES: tuple[Status, ...] = Status.__args__  # type: ignore[attr-defined]
RAN: tuple[Status, ...] = (
    "solved", "train_correct", "partial", "wrong",
    "execution_timeout", "execution_memory", "execution_error", "invalid_output",
)  # fmt: skip
"""An attempt of these statuses has a program that was executed."""
UNANSWERED: tuple[Status, ...] = ("api_timeout", "api_error")
"""An attempt of these statuses got no answer from the service, whose words are its `error`."""


class PairResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the program made of one input. `status` is the sandbox's; "invalid" is a value that is no grid."""

    status: ExecutionStatus | Literal["invalid"]
    correct: bool
    cpu_ms: float
    message: str = ""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `run` and `attempt` count from 1; predictions stand beside their pairs, None where there is no grid.

    `parent_attempt` is the attempt that this one was to improve. `transductive` says why the program is held to spell
    the answers out instead of finding them, None where it is not. `cost` is in US dollars, None where unknown.
    """

    task_id: str
    run: int
    attempt: int
    status: Status
    dataset: str = ""
    model: str = ""
    mode: str = "independent"
    parent_attempt: int | None = None
    program: str | None = None
    train: tuple[PairResult, ...] = ()
    test: tuple[PairResult, ...] = ()
    predicted_train: tuple[Grid | None, ...] = ()
    predicted_test: tuple[Grid | None, ...] = ()
    transductive: str | None = None
    finish_reason: str | None = None
    usage: dict[str, int] = {}
    cost: float | None = None
    prompt_version: str = ""
    sampling: dict[str, Any] = {}
    error: str | None = None  # of the service, for api_timeout and api_error
    response: str | None = None

    @property
    def train_accuracy(self) -> float:
        """The part of the training outputs that is right; 0 where nothing ran."""
        return sum(result.correct for result in self.train) / len(self.train) if self.train else 0.0

    @property
    def is_right(self) -> bool:
        """Whether every test output is right."""
        return bool(self.test) and all(result.correct for result in self.test)


_FAILURES: dict[str, Status] = {
    "timeout": "execution_timeout",
    "memory": "execution_memory",
    "invalid": "invalid_output",
    "wrong_type": "invalid_output",
    "exception": "execution_error",
    "output_limit": "execution_error",
    "killed": "execution_error",
    "sandbox_failure": "execution_error",
}
_PRECEDENCE: tuple[Status, ...] = ("execution_timeout", "execution_memory", "execution_error", "invalid_output")


def status_of(train: Sequence[PairResult], test: Sequence[PairResult]) -> Status:
    """The status of an attempt whose program ran.

    All training outputs right says more than a failure on a test input; otherwise a failure on any input is told
    before how many outputs are right, so that no rate of failures hides behind partial success.
    """
    if train and all(result.correct for result in train):
        return "solved" if test and all(result.correct for result in test) else "train_correct"
    failures = {_FAILURES[result.status] for result in (*train, *test) if result.status != "ok"}
    for status in _PRECEDENCE:
        if status in failures:
            return status
    return "partial" if any(result.correct for result in train) else "wrong"
