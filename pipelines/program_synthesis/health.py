"""How a run of tasks is doing while it is under way: rates of the last attempts, and a warning when they drift.

A sandbox that breaks slowly looks like a model that gets worse. So every hundred attempts, and at the end what is left
of them, are compared with the first hundred, for each of three rates: programs that fail among those that ran, time-outs
among those that ran, and services that do not answer among all attempts. The test is Fisher's exact one (1935),
two-sided; its level ALARM is for the whole run, divided by the number of tests that the run will see (Bonferroni), so
that looking often does not make alarms. Attempts at one task are alike, which the test does not know: the level is
strict for that reason.

It knows no clock and no output: it is given notices, in the order in which they come, and gives back what to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from actors.synthesis.attempt import RAN, UNANSWERED
from actors.synthesis.notices import Notice

WINDOW = 100
ALARM = 0.001  # the chance of any false alarm about drift in a whole run
_FAILED = ("execution_error", "execution_memory", "execution_timeout", "invalid_output")
_RIGHT = ("solved", "train_correct")


class Window(msgspec.Struct):
    """Counts over some attempts. `executed` had a program that was run, and `failed` of them did not end well."""

    attempts: int = 0
    executed: int = 0
    failed: int = 0
    timeouts: int = 0
    errors: int = 0
    unanswered: int = 0
    right: int = 0
    solved: int = 0
    seconds: float = 0.0

    def take(self, notice: Notice) -> None:
        self.attempts += 1
        self.executed += notice.status in RAN
        self.failed += notice.status in _FAILED
        self.timeouts += notice.status == "execution_timeout"
        self.errors += notice.status in ("execution_error", "execution_memory")
        self.unanswered += notice.status in UNANSWERED
        self.right += notice.status in _RIGHT
        self.solved += notice.status == "solved"
        self.seconds += notice.seconds or 0.0

    def text(self) -> str:
        """`61 % ran, 3.0 % timeouts, 2.0 % execution errors, mean 0.41 s`, of all attempts; the mean of what was run."""
        ran = (self.executed - self.failed) / max(self.attempts, 1)
        parts = [
            f"{ran:.0%} ran".replace("%", " %"),
            f"{_percent(self.timeouts, self.attempts)} timeouts",
            f"{_percent(self.errors, self.attempts)} execution errors",
        ]
        if self.unanswered:
            parts.append(f"{_percent(self.unanswered, self.attempts)} api failures")
        if self.executed:
            parts.append(f"mean {self.seconds / self.executed:.2f} s")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate that is watched: so many of the window's `among`, by the names of its counts."""

    name: str
    count: str
    among: str

    def of(self, window: Window) -> tuple[int, int]:
        return getattr(window, self.count), getattr(window, self.among)


RATES = (
    Rate("programs that fail", "failed", "executed"),
    Rate("programs that time out", "timeouts", "executed"),
    Rate("requests without an answer", "unanswered", "attempts"),
)


@dataclass(frozen=True, slots=True)
class Said:
    """A line for the person: of the log, or a warning."""

    kind: Literal["log", "warning"]
    text: str


@dataclass
class Health:
    """The state of one run of `planned` attempts. `start` are its first WINDOW ones, also of before it was killed."""

    planned: int
    start: Window | None = None
    total: Window = field(default_factory=Window)
    _window: Window = field(default_factory=Window)
    _seen: set[tuple[str, int, int]] = field(default_factory=set)
    _drifting: set[str] = field(default_factory=set)
    _last_error: str = "no reason given"
    _sandbox_failures: int = 0
    _next_told: int = 1

    def take(self, notices: Iterable[Notice]) -> list[Said]:
        """Take notices up; what is to be said now, in order. An attempt counts once, however often it is told of."""
        said: list[Said] = []
        for notice in notices:
            if notice.key not in self._seen:
                self._seen.add(notice.key)
                said += self._one(notice)
        return said

    def end(self) -> list[Said]:
        """What is to be said of the attempts after the last full window, when no more come."""
        return self._close() if self._window.attempts else []

    def line(self) -> str:
        """The live line: `184 attempts, 31 right on training, 22 on test too, 1.1 % timeouts, …`, so far."""
        total = self.total
        if not total.attempts:
            return ""
        return (
            f"{total.right:,} of {total.attempts:,} attempts right on training, {total.solved:,} on test too, "
            f"{_percent(total.unanswered, total.attempts)} api failures, "
            f"{_percent(total.timeouts, total.attempts)} timeouts, "
            f"{_percent(total.errors, total.attempts)} execution errors"
        )

    def _one(self, notice: Notice) -> list[Said]:
        self.total.take(notice)
        self._window.take(notice)
        self._last_error = notice.error or self._last_error
        said = self._sandbox(notice)
        if self._window.attempts == WINDOW:
            said += self._close()
        return said

    def _close(self) -> list[Said]:
        window, self._window = self._window, Window()
        first = self.total.attempts - window.attempts + 1
        said = [Said("log", f"attempts {first:,}–{self.total.attempts:,}: {window.text()}")]
        if 2 * window.unanswered > window.attempts:
            last = f"most of the last {window.attempts} requests" if window.attempts > 1 else "the last request"
            said.append(Said("warning", f"{last} had no answer: {self._last_error}"))
        if self.start is None:
            self.start = window if window.attempts == WINDOW else None
            return said
        return said + [Said("warning", text) for text in self._drifts(self.start, window)]

    def _drifts(self, start: Window, window: Window) -> list[str]:
        """What has drifted since the last look; a rate that stays away from its start is told of once."""
        tests = len(RATES) * max(1, -(-self.planned // WINDOW) - 1)
        found = []
        for rate in RATES:
            before, now = rate.of(start), rate.of(window)
            if _p_value(before, now) >= ALARM / tests:
                self._drifting.discard(rate.name)
            elif rate.name not in self._drifting:
                self._drifting.add(rate.name)
                found.append(
                    f"{rate.name}: {_percent(*now)} of the last {window.attempts} attempts, {_percent(*before)} of the first "
                    f"{WINDOW}: something changed since the start of the run; look at the sandboxes and the service"
                )
        return found

    def _sandbox(self, notice: Notice) -> list[Said]:
        """Told at the first, the tenth, the hundredth: a broken sandbox is no property of a program."""
        self._sandbox_failures += notice.sandbox_failed
        if not notice.sandbox_failed or self._sandbox_failures < self._next_told:
            return []
        self._next_told *= 10
        count = self._sandbox_failures
        what = "a program was" if count == 1 else f"{count:,} programs were"
        return [Said("warning", f"{what} not run to the end because the sandbox broke twice (task {notice.task_id})")]


def _p_value(before: tuple[int, int], now: tuple[int, int]) -> float:
    """Of Fisher's exact test that both rates are the same; 1 where one of them has nothing to count."""
    if not before[1] or not now[1]:
        return 1.0
    from scipy.stats import fisher_exact

    table = [[count, among - count] for count, among in (before, now)]
    return float(fisher_exact(table).pvalue)


def _percent(count: int, among: int) -> str:
    return f"{100 * count / max(among, 1):.1f} %"
