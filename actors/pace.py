"""When requests may start: evenly spaced, and within their limits over any second and over any minute.

A window counts what starts within it, its begin included and its end not. A request that is larger than what a window
may hold has it for itself, and is paid back by waiting. Nothing is saved up: a pause earns no burst.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

# Starts reach the server less evenly than they are planned: by so much of a second may one be late, and the limit of
# every second holds there all the same.
SLACK = 1.05
SECOND, MINUTE = SLACK, 59.0 + SLACK
GRAIN = 1.0  # s; what starts within it is one entry of the minute, at the time of its last


class Window:
    """Holds at most `most` within any stretch of `seconds`. Entries ascend in time; within a `grain` they are joined."""

    def __init__(
        self, seconds: float, most: float, grain: float = 0.0, entries: Iterable[tuple[float, int]] = ()
    ) -> None:
        self.seconds, self.most, self.grain = seconds, most, grain
        self.entries = deque(entries)
        self._total = sum(amount for _, amount in self.entries)
        self._opened = self.entries[-1][0] if self.entries else float("-inf")  # the first start in the last entry

    def earliest(self, start: float, amount: int) -> float:
        """From `start` on, the first moment at which the amount fits."""
        total = self._total
        for moment, held in self.entries:
            if moment + self.seconds > start:
                if total + amount <= self.most:
                    break
                start = moment + self.seconds
            total -= held
        return start

    def take(self, start: float, amount: int) -> None:
        """The amount starts, no earlier than any before."""
        self._total += amount
        if self.entries and start - self._opened < self.grain:
            amount += self.entries.pop()[1]
        else:
            self._opened = start
        self.entries.append((start, amount))

    def forget(self, now: float) -> None:
        """Let go of what no start from now on shares a window with."""
        while self.entries and self.entries[0][0] + self.seconds <= now:
            self._total -= self.entries.popleft()[1]


class Pace:
    """The pace of all starts. `next` is when the last one is paid back; nothing starts before."""

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        self.next = float("-inf")
        self._per_request = SLACK * 60 / requests_per_minute if requests_per_minute else 0.0
        self._per_token = SLACK * 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._windows: list[Window] = []
        self.per_second = (tokens_per_minute or 0) / 60  # tokens
        if tokens_per_minute:
            # Requests have one size, and even distances keep them; of tokens the last request in a window may be large.
            self._windows = [Window(SECOND, self.per_second), Window(MINUTE, tokens_per_minute, GRAIN)]

    def take(self, tokens: int, soonest: float) -> float:
        """The start of the next request, which is taken by it."""
        start = max(self.next, soonest)
        for window in self._windows:
            start = window.earliest(start, tokens)
        for window in self._windows:
            window.take(start, tokens)
        self.next = start + self.step(tokens)
        return start

    def step(self, tokens: int) -> float:
        """The seconds in which a request is paid back."""
        return max(self._per_request, tokens * self._per_token)

    def forget(self, now: float) -> None:
        """Let go of what is over."""
        for window in self._windows:
            window.forget(now)

    # What outlives the process

    def last_minute(self) -> list[tuple[float, int]]:
        """The tokens of the last minute, by the time of their start."""
        return list(self._windows[-1].entries) if self._windows else []

    def resume(self, next_start: float, last_minute: list[tuple[float, int]], unknown_seconds: float) -> None:
        """Go on from what was kept. Of so many seconds it is not known what started in them, all of it long over."""
        self.next = next_start
        if self._windows:
            unknown = (max([next_start, *(start for start, _ in last_minute)]), int(unknown_seconds * self.per_second))
            second, minute = self._windows
            self._windows = [
                Window(second.seconds, second.most, entries=last_minute),
                Window(minute.seconds, minute.most, GRAIN, [*last_minute, unknown]),
            ]
