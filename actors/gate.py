"""A client's side of the spend limiter: lets requests through as far as the last grant goes, and goes for the next.

A request that finds room passes without waiting for anybody. Others wait in line; the gate visits the limiter for
them, at most every few milliseconds, and several times a second in any case. Where starts are paced, each waits for
the time that the limiter gave it, and one that comes too late for it asks for another: made up for, it would meet the
starts of other clients. Where a server says that it is asked too much, the gate narrows by itself, and widens again
with every answer, as TCP does.
"""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import chain, islice

from actors.engines.contract import BudgetSpent
from actors.pace import SLACK
from actors.prices import dollars
from actors.spend_limiter import HORIZON, Claim, Grant, Limits, SpendLimiter

VISIT_EVERY = 0.25  # s, when nothing is wanted
VISIT_AGAIN = 0.05  # s, at the earliest
PATIENCE = 10.0  # s without an answer of the limiter, after which nothing new is begun
# A start that is later than this is asked for anew. The rest of the slack is for the way to the server.
LATE = 0.6 * (SLACK - 1)  # s
NARROW, SETTLE = 0.7, 1.0  # to this share, and not again for so many seconds

Visit = Callable[[Claim], Awaitable[Grant]]


class _Waiter:
    __slots__ = ("bound", "future", "start", "tokens")

    def __init__(self, bound: int, tokens: int) -> None:
        self.bound, self.tokens = bound, tokens
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.start = 0.0  # loop time, once it is among the timed

    @property
    def is_let_in(self) -> bool:
        return self.future.done() and not self.future.cancelled() and self.future.exception() is None


class Gate:
    """For one event loop. `visit` takes a claim to the limiter; `limits` are the limiter's own."""

    def __init__(self, limits: Limits, visit: Visit) -> None:
        self.limits = limits
        self.counts: dict[str, int] = {}
        self.failing = ""  # why the latest try that has to be repeated failed, to be shown
        self.under_way = 0
        self.is_holding = False  # whether an answered request keeps its place until `kept` is called
        self._unkept = 0
        self._visit = visit
        self._name = uuid.uuid4().hex[:12]
        self._places = self._allowance = self._spent = self._reserved = 0
        self._width = float(limits.concurrent_requests)  # what the server seems to bear
        self._narrowed = float("-inf")
        self._line: deque[_Waiter] = deque()
        self._timed: deque[_Waiter] = deque()  # those of a paced line that have a start
        self._timer: asyncio.Handle | None = None
        self._wake = 0.0  # loop time
        self._ahead = float("-inf")  # by how much the limiter's clock is ahead of the loop's, at least
        self._useless_until = float("-inf")  # to ask for starts
        self._left = 0  # since the last visit
        self._needed = asyncio.Event()
        self._broken: Exception | None = None
        self._visited = 0.0
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False

    @property
    def held(self) -> int:
        """The places that are taken: by requests under way, and by answers that are not written down yet."""
        return self.under_way + self._unkept

    async def start(self) -> None:
        """Make the first visit. Raises SharedLost where the limiter is gone."""
        self._loop = asyncio.get_running_loop()
        await self._exchange()
        self._task = self._loop.create_task(self._keep_visiting())

    async def close(self) -> None:
        """Give everything back; only what is under way is kept. Whoever still waits is cancelled."""
        if self._task is None:
            return
        self._is_closing = True
        self._needed.set()
        # A visit that is under way must not reach the limiter after the last one.
        if not (await asyncio.wait({self._task}, timeout=PATIENCE))[0]:
            self._task.cancel()
        self._task = None
        for waiter in self._waiting():
            waiter.future.cancel()
        self._line.clear()
        self._timed.clear()
        self._places = 0
        with suppress(Exception):  # where the limiter is gone there is nobody to give it to
            await self._visit(self._claim([]))

    async def enter(self, bound: int = 0, tokens: int = 0) -> None:
        """Wait until a request may be sent that costs at most `bound` nano-dollars and uses `tokens` at most.

        Raises BudgetSpent, and SharedLost where the limiter is gone.
        """
        if self._broken is not None:
            raise copy.copy(self._broken)
        waiter = _Waiter(bound, tokens)
        if not self._line and not self.limits.paced and self._admits(waiter):
            self._begin(waiter)
            return
        self._line.append(waiter)
        self._pump()
        try:
            await waiter.future
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise

    def leave(self, bound: int, spent: int = 0, *, is_answered: bool = True) -> None:
        """A request that had entered is over, and has cost `spent`."""
        self.under_way -= 1
        self._left += 1
        self._reserved -= bound
        self._spent += spent
        self._unkept += self.is_holding and is_answered
        if is_answered and self._width < self.limits.concurrent_requests:
            self._width += max(1.0, self.limits.concurrent_requests / 16) / max(self._width, 1.0)
        self._pump()

    def kept(self) -> None:
        """An answer is where it is not lost any more, so that its request's place may be taken."""
        self._unkept = max(self._unkept - 1, 0)
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

    def stop(self, error: Exception) -> None:
        """Let nobody in any more; those who wait are told why, and so are all who come."""
        self._broken = self._broken or error
        for waiter in self._waiting():
            if not waiter.future.done():
                waiter.future.set_exception(copy.copy(error))
        self._line.clear()
        self._timed.clear()

    # Letting in

    def _waiting(self) -> list[_Waiter]:
        return [*self._timed, *self._line]

    def _admits(self, waiter: _Waiter) -> bool:
        if self.held >= min(self._places, int(self._width)) or not self._can_pay(waiter):
            return False
        return self._loop.time() - self._visited < PATIENCE

    def _can_pay(self, waiter: _Waiter) -> bool:
        return self.limits.cost is None or self._spent + self._reserved + waiter.bound <= self._allowance

    def _begin(self, waiter: _Waiter) -> None:
        self.under_way += 1
        self._reserved += waiter.bound
        if not waiter.future.done():
            waiter.future.set_result(None)

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter.is_let_in:
            self.leave(waiter.bound, is_answered=False)  # at the very moment it gave up
            return
        for line in (self._line, self._timed):
            with suppress(ValueError):
                line.remove(waiter)
        self._pump()

    def _pump(self) -> None:
        """Let in whoever may be let in, in the order of the line."""
        line = self._timed if self.limits.paced else self._line
        while line and (not self.limits.paced or self._is_time(line[0])) and self._admits(line[0]):
            self._begin(line.popleft())
        if self._visit_helps():
            self._needed.set()

    def _is_time(self, waiter: _Waiter) -> bool:
        """Whether the start of the first of the timed has come; it is asked for anew where that is long ago."""
        late: list[_Waiter] = []
        now = self._loop.time()
        while waiter.start + LATE < now:
            late.append(self._timed.popleft())
            if not self._timed:
                break
            waiter = self._timed[0]
        self._line.extendleft(reversed(late))
        if not self._timed:
            return False
        if now < waiter.start:
            self._wake_at(waiter.start)
        return now >= waiter.start

    def _visit_helps(self) -> bool:
        """Whether the limiter can change that somebody waits."""
        first = self._timed[0] if self._timed else self._line[0] if self._line else None
        if first is None:
            return False
        if self.limits.paced and self._line and self._loop.time() >= self._useless_until:
            return True
        has_all = self._places >= self.limits.concurrent_requests
        return not self._can_pay(first) or (not has_all and self.held >= self._places)

    def _wake_at(self, when: float) -> None:
        if self._timer is None or self._wake > when:
            if self._timer is not None:
                self._timer.cancel()
            self._wake = when  # uvloop hands out handles that do not know it
            self._timer = self._loop.call_at(when, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._pump()

    # Visits

    async def _keep_visiting(self) -> None:
        while not self._is_closing:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._needed.wait(), self._pause())
            self._needed.clear()
            try:
                await self._exchange()
            except Exception as error:  # whatever it is, those who wait must not wait for ever
                self.stop(error)
                return
            await asyncio.sleep(VISIT_AGAIN)

    def _pause(self) -> float:
        """Until the next visit if nobody needs one."""
        if not self.limits.paced or not self._line:
            return VISIT_EVERY
        return min(max(self._useless_until - self._loop.time(), 0.0), VISIT_EVERY)

    async def _exchange(self) -> None:
        asked = self._without_start() if self.limits.paced else []
        claim, first = self._claim(asked), self._first()
        self._left = 0
        sent = self._loop.time()
        grant = await self._visit(claim)
        self._visited = sent
        self._places, self._allowance = grant.places, max(grant.allowance, claim.allowance)
        self._set_times(asked, grant, sent)
        if grant.is_spent and first is not None and first is self._first():
            self.stop(self._spent_message())
        self._pump()

    def _first(self) -> _Waiter | None:
        return next(chain(self._timed, self._line), None)

    def _without_start(self) -> list[_Waiter]:
        """Those who need a time to start and will find a place then: a start that is not used is lost to all."""
        elapsed = max(self._loop.time() - self._visited, VISIT_AGAIN)
        soon_free = 2 + round(2 * HORIZON * self._left / elapsed)
        room = max(0, self._places - self.held) + soon_free - len(self._timed)
        return list(islice(self._line, max(0, room)))

    def _set_times(self, asked: list[_Waiter], grant: Grant, sent: float) -> None:
        now = self._loop.time()
        self._ahead = max(self._ahead, grant.at - now)
        if self._ahead > grant.at - sent:
            self._ahead = grant.at - now  # one of the clocks was set, or it is another limiter's
        for waiter, delay in zip(asked, grant.starts, strict=False):
            if not waiter.future.done():
                self._line.remove(waiter)
                waiter.start = grant.at + delay - self._ahead
                self._timed.append(waiter)
        self._useless_until = now + grant.wait

    def _claim(self, asked: list[_Waiter]) -> Claim:
        """What is held is what may be used until the answer comes: of what nobody waits for, the rest is given back."""
        waiting = self._waiting()
        next_bound = waiting[0].bound if waiting else 0
        used = self._spent + self._reserved
        # Nor is money held that is not enough, or that waits for a place: another client may wait for just that.
        if not waiting or not self._reserved or not self._can_pay(waiting[0]):
            self._allowance = used
        # A few requests more than are waiting now will be waiting when the next visit is due.
        ahead = 2 * (sum(waiter.bound for waiter in waiting) + next_bound)
        wanted = self.held + len(waiting)
        self._places = max(self.held, min(self._places, wanted))
        more = 0 if not wanted or self._is_closing else max(8, wanted // 2)
        return Claim(
            client=self._name,
            places=self._places,
            places_wanted=min(wanted + more, self.limits.concurrent_requests),
            spent=self._spent,
            reserved=self._reserved,
            allowance=max(self._allowance, used),
            allowance_wanted=used + ahead,
            next_bound=next_bound,
            starts=[waiter.tokens for waiter in asked],
            under_way=self.under_way,
            counts=self.counts,
            failing=self.failing,
        )

    def _spent_message(self) -> BudgetSpent:
        assert self.limits.cost is not None
        return BudgetSpent(
            f"--max-cost {dollars(self.limits.cost)} leaves no room for another request; what is answered is kept: run "
            "the same command again with a higher --max-cost to continue"
        )


def local_visit(limiter: SpendLimiter) -> Visit:
    """Visits to a limiter in this process, for an engine that is used alone."""

    async def visit(claim: Claim) -> Grant:
        return limiter.visit(claim)

    return visit
