"""A client's side of the spend limiter: lets requests through as far as the last grant goes, and goes for the next.

A request that finds room passes without waiting for anybody. Others wait in line; the gate visits the limiter for
them, at most every few milliseconds, and several times a second in any case. Where a server says that it is asked
too much, the gate narrows by itself, and widens again with every answer, as TCP does.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import islice

from actors.engines.contract import BudgetSpent
from actors.prices import dollars
from actors.spend_limiter import Claim, Grant, Limits, SpendLimiter
from cluster.errors import GristmillError

VISIT_EVERY = 0.25  # s, when nothing is wanted
VISIT_AGAIN = 0.05  # s, at the earliest
PATIENCE = 10.0  # s without an answer of the limiter, after which nothing new is begun
LATE = 1.0  # s; a start that is later than this is asked for anew
NARROW, SETTLE = 0.7, 1.0  # to this share, and not again for so many seconds

Visit = Callable[[Claim], Awaitable[Grant]]


class _Waiter:
    __slots__ = ("bound", "future", "start", "tokens")

    def __init__(self, bound: int, tokens: int) -> None:
        self.bound, self.tokens = bound, tokens
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.start: float | None = None  # loop time


class Gate:
    """For one event loop. `visit` takes a claim to the limiter; `limits` are the limiter's own."""

    def __init__(self, limits: Limits, visit: Visit) -> None:
        self.limits = limits
        self.counts: dict[str, int] = {}
        self.under_way = 0
        self._visit = visit
        self._name = uuid.uuid4().hex[:12]
        self._places = self._allowance = self._spent = self._reserved = 0
        self._width = float(limits.concurrent_requests)  # what the server seems to bear
        self._narrowed = float("-inf")
        self._line: deque[_Waiter] = deque()
        self._last_start = float("-inf")
        self._last_planned: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._needed = asyncio.Event()
        self._broken: GristmillError | None = None
        self._visited = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make the first visit. Raises SharedLost where the limiter is gone."""
        self._loop = asyncio.get_running_loop()
        await self._exchange()
        self._task = self._loop.create_task(self._keep_visiting())

    async def close(self) -> None:
        """Give everything back."""
        if self._task is not None:
            self._task.cancel()
            self._places = self._allowance = 0
            await self._visit(self._claim(wanted=0))
            self._task = None

    async def enter(self, bound: int = 0, tokens: int = 0) -> None:
        """Wait until a request may be sent that costs at most `bound` nano-dollars and uses `tokens` at most.

        Raises BudgetSpent, and SharedLost where the limiter is gone.
        """
        if self._broken is not None:
            raise type(self._broken)(str(self._broken))
        waiter = _Waiter(bound, tokens)
        if not self._line and not self.limits.paced and self._admits(waiter):
            self._begin(waiter)
            return
        self._line.append(waiter)
        self._pump()
        try:
            await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                self.leave(bound)  # it was let in at the moment it gave up
            raise

    def leave(self, bound: int, spent: int = 0) -> None:
        """A request that had entered is over, and has cost `spent`."""
        self.under_way -= 1
        self._reserved -= bound
        self._spent += spent
        if self._width < self.limits.concurrent_requests:
            self._width += max(1.0, self.limits.concurrent_requests / 16) / max(self._width, 1.0)
        if self._line:
            self._pump()

    def too_much(self) -> None:
        """The server said that it is asked too much."""
        now = self._loop.time()
        if now - self._narrowed > SETTLE:
            self._narrowed = now
            self._width = max(1.0, NARROW * min(self._width, self.under_way or 1))

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a running total that the limiter shows for all clients."""
        self.counts[name] = self.counts.get(name, 0) + amount

    # Letting in

    def _admits(self, waiter: _Waiter) -> bool:
        if self.under_way >= min(self._places, int(self._width)):
            return False
        if self.limits.cost is not None and self._spent + self._reserved + waiter.bound > self._allowance:
            return False
        return self._loop.time() - self._visited < PATIENCE

    def _begin(self, waiter: _Waiter) -> None:
        self.under_way += 1
        self._reserved += waiter.bound
        if not waiter.future.done():
            waiter.future.set_result(None)

    def _pump(self) -> None:
        """Let in whoever may be let in, in the order of the line."""
        line = self._line
        while line:
            waiter = line[0]
            if waiter.future.done():  # gave up
                line.popleft()
                continue
            if not self._admits(waiter) or (self.limits.paced and not self._is_time(waiter)):
                break
            line.popleft()
            self._begin(waiter)
        if line and self._visit_helps(line[0]):
            self._needed.set()

    def _visit_helps(self, waiter: _Waiter) -> bool:
        """Whether the limiter can change that the first in line waits."""
        if self.limits.paced or self._admits(waiter):
            return True
        has_all = self._places >= self.limits.concurrent_requests
        return self.limits.cost is not None or (not has_all and self.under_way >= self._places)

    def _is_time(self, waiter: _Waiter) -> bool:
        """Whether its start has come. Starts that are late keep their distances: they are not made up for at once."""
        if waiter.start is None:
            return False
        now = self._loop.time()
        distance = 0.0 if self._last_planned is None else waiter.start - self._last_planned
        start = max(waiter.start, self._last_start + distance)
        if now < start:
            self._wake_at(start)
            return False
        if now - waiter.start > LATE:
            for each in self._line:
                each.start = None
            self._last_planned = None
            return False
        self._last_start, self._last_planned = now, waiter.start
        return True

    def _wake_at(self, when: float) -> None:
        if self._timer is None or self._timer.cancelled() or self._timer.when() > when:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(when, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._pump()

    # Visits

    async def _keep_visiting(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._needed.wait(), VISIT_EVERY)
            self._needed.clear()
            try:
                await self._exchange()
            except GristmillError as error:
                self._fail(error)
                return
            await asyncio.sleep(VISIT_AGAIN)

    async def _exchange(self) -> None:
        asked = self._without_start() if self.limits.paced else []
        claim = self._claim(len(self._line), asked)
        began = self._loop.time()
        grant = await self._visit(claim)
        self._visited = began
        self._places, self._allowance = grant.places, max(grant.allowance, claim.allowance)
        for waiter, delay in zip(asked, grant.starts, strict=False):
            waiter.start = self._loop.time() + delay
        if grant.is_spent and self._line:
            self._fail(self._spent_message())
        self._pump()

    def _without_start(self) -> list[_Waiter]:
        """Those who need a time to start and will find a place soon: a start that is not used is lost to all."""
        room = self._places - self.under_way
        near = islice(self._line, max(room, 0) + max(8, self._places // 8))
        return [waiter for waiter in near if waiter.start is None]

    def _claim(self, wanted: int, asked: list[_Waiter] | None = None) -> Claim:
        """What is held is what may be used until the answer comes: of what nobody waits for, the rest is given back."""
        next_bound = self._line[0].bound if self._line else 0
        used = self._spent + self._reserved
        if not wanted or not self._reserved:
            self._allowance = used
        # A few requests more than are waiting now will be waiting when the next visit is due.
        ahead = 2 * (sum(waiter.bound for waiter in self._line) + next_bound)
        self._places = max(self.under_way, min(self._places, self.under_way + wanted))
        return Claim(
            client=self._name,
            places=self._places,
            places_wanted=self.limits.concurrent_requests if wanted or self.under_way else 1,
            spent=self._spent,
            reserved=self._reserved,
            allowance=max(self._allowance, used),
            allowance_wanted=used + ahead,
            next_bound=next_bound,
            starts=[waiter.tokens for waiter in asked or ()],
            under_way=self.under_way,
            counts=self.counts,
        )

    def _spent_message(self) -> BudgetSpent:
        assert self.limits.cost is not None
        return BudgetSpent(
            f"--max-cost {dollars(self.limits.cost)} leaves no room for another request; what is answered is kept: run "
            "the same command again with a higher --max-cost to continue"
        )

    def _fail(self, error: GristmillError) -> None:
        self._broken = error
        while self._line:
            waiter = self._line.popleft()
            if not waiter.future.done():
                waiter.future.set_exception(error)


def local_visit(limiter: SpendLimiter) -> Visit:
    """Visits to a limiter in this process, for an engine that is used alone."""

    async def visit(claim: Claim) -> Grant:
        return limiter.visit(claim)

    return visit
