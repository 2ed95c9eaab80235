"""The gate on a loop whose time is virtual: who is let in and when, and what it costs in visits."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from actors.engines.contract import BudgetSpent
from actors.gate import LATE, PATIENCE, SETTLE, Gate, local_visit
from actors.spend_limiter import Claim, Grant, Limits, SpendLimiter
from cluster.errors import GristmillError


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waiting takes no time: the clock jumps to the next timer. `stall` is a callback that blocks the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None) -> Any:
            assert timeout is not None, "everybody waits for ever"
            self.now += max(0.0, timeout)
            return select(0)

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now

    def stall(self, seconds: float) -> None:
        self.now += seconds


def run(work: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(work(loop), 10_000))
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
    finally:
        loop.close()


class Counted:
    """Visits to a limiter on the loop's clock, which take `seconds`; counted, and told to fail or to hang."""

    def __init__(self, loop: VirtualLoop, limits: Limits, seconds: float = 0.002) -> None:
        self.limiter = SpendLimiter(limits, clock=loop.time)
        self.loop, self.seconds = loop, seconds
        self.visits, self.claims = 0, list[Claim]()
        self.is_up = asyncio.Event()
        self.is_up.set()
        self.error: Exception | None = None

    async def __call__(self, claim: Claim) -> Grant:
        self.visits += 1
        self.claims.append(claim)
        await asyncio.sleep(self.seconds / 2)
        await self.is_up.wait()
        if self.error is not None:
            raise self.error
        grant = self.limiter.visit(claim)
        await asyncio.sleep(self.seconds / 2)
        return grant


async def gate_of(loop: VirtualLoop, limits: Limits, seconds: float = 0.002) -> tuple[Gate, Counted]:
    visit = Counted(loop, limits, seconds)
    gate = Gate(limits, visit)
    await gate.start()
    return gate, visit


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def passed(gate: Gate, seconds: float, bound: int = 0, tokens: int = 0, spent: int = 0) -> None:
    await gate.enter(bound, tokens)
    await asyncio.sleep(seconds)
    gate.leave(bound, spent)


# The line


def test_the_order_of_the_line_is_kept() -> None:
    async def work(loop: VirtualLoop) -> None:
        gate, _ = await gate_of(loop, Limits(3))
        entered: list[int] = []

        async def one(number: int) -> None:
            await gate.enter()
            entered.append(number)
            await asyncio.sleep(0.1)
            gate.leave(0)

        await asyncio.gather(*map(one, range(40)))
        assert entered == list(range(40))

    run(work)


def test_with_a_place_free_nobody_waits_for_a_visit() -> None:
    async def work(loop: VirtualLoop) -> None:
        gate, visit = await gate_of(loop, Limits(10))
        await gate.enter()
        await gate.enter()
        await asyncio.sleep(1)
        before, at = visit.visits, loop.time()
        await gate.enter()
        assert (visit.visits, loop.time()) == (before, at)

    run(work)


def test_places_are_used_to_the_last() -> None:
    async def work(loop: VirtualLoop) -> None:
        gate, _ = await gate_of(loop, Limits(7))
        most = 0

        async def one() -> None:
            nonlocal most
            await gate.enter()
            most = max(most, gate.under_way)
            await asyncio.sleep(0.1)
            gate.leave(0)

        began = loop.time()
        await asyncio.gather(*(one() for _ in range(700)))
        assert most == 7
        assert loop.time() - began < 11  # of 10 at best

    run(work)


@pytest.mark.parametrize("limits", [Limits(4, cost=400), Limits(4, requests_per_minute=6000, cost=400)])
@pytest.mark.parametrize("seed", range(15))
def test_who_gives_up_leaks_no_place_and_no_money(limits: Limits, seed: int) -> None:
    async def work(loop: VirtualLoop) -> None:
        chance = random.Random(seed)
        gate, visit = await gate_of(loop, limits, seconds=0.02)

        async def giving_up() -> None:
            task = asyncio.ensure_future(gate.enter(50, 1))
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(chance.choice([0.0, 0.001, 0.05, 0.3]))
            is_in = task.done() and not task.cancelled()
            task.cancel()
            try:
                await task
                is_in = True
            except asyncio.CancelledError:
                pass
            if is_in:
                await asyncio.sleep(chance.random() / 10)
                gate.leave(50)

        await asyncio.gather(*(giving_up() for _ in range(100)))
        await asyncio.sleep(1)
        assert (gate.under_way, gate._reserved, len(gate._waiting())) == (0, 0, 0)
        assert visit.claims[-1].places == visit.claims[-1].reserved == 0
        await asyncio.gather(*(passed(gate, 0.01, 100, 1) for _ in range(20)))  # all there is can be had

    run(work)


@pytest.mark.parametrize("limits", [Limits(1, cost=100), Limits(1, requests_per_minute=6000, cost=100)])
def test_who_gives_up_at_the_very_moment_of_being_let_in_leaves(limits: Limits) -> None:
    async def work(loop: VirtualLoop) -> None:
        gate, _ = await gate_of(loop, limits)
        begin = gate._begin

        def begin_and_cancel(waiter: Any) -> None:
            begin(waiter)
            waiting.cancel()  # before the task itself has run again

        gate._begin = begin_and_cancel  # type: ignore[method-assign]
        waiting = asyncio.ensure_future(gate.enter(50, 1))
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (gate.under_way, gate._reserved) == (0, 0)

    run(work)


def test_a_first_in_line_that_gives_up_makes_way_at_once() -> None:
    async def work(loop: VirtualLoop) -> None:
        gate, _ = await gate_of(loop, Limits(4, cost=100))
        await gate.enter(60)
        dear = asyncio.ensure_future(gate.enter(90))
        await asyncio.sleep(0)
        cheap = asyncio.ensure_future(gate.enter(10))
        await asyncio.sleep(1)
        assert not dear.done() and not cheap.done()
        dear.cancel()
        await asyncio.wait_for(cheap, 1)

    run(work)


# Money


def test_who_waits_is_told_that_the_budget_is_spent_and_what_is_under_way_goes_on() -> None:
    async def work(loop: VirtualLoop) -> None:
        gate, _ = await gate_of(loop, Limits(10, cost=1_000_000_000))
        await gate.enter(600_000_000)
        waiting = [asyncio.ensure_future(gate.enter(600_000_000)) for _ in range(5)]
        await asyncio.sleep(3)
        assert not any(each.done() for each in waiting)
        gate.leave(600_000_000, 500_000_000)
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, BudgetSpent) and "--max-cost $1.00" in str(each) for each in told)
        assert len(set(map(id, told))) == 5
        with pytest.raises(BudgetSpent):
            await gate.enter(1)

    run(work)


def test_all_the_money_can_be_spent_by_clients_that_share_it() -> None:
    async def work(loop: VirtualLoop) -> None:
        limits, spent = Limits(12, cost=10_000), 0
        visit = Counted(loop, limits)
        gates = [Gate(limits, visit) for _ in range(4)]
        for gate in gates:
            await gate.start()
        chance = random.Random(0)

        async def one(gate: Gate, bound: int) -> None:
            nonlocal spent
            await gate.enter(bound)
            await asyncio.sleep(chance.random())
            spent += bound // 2
            gate.leave(bound, bound // 2)
            assert sum(each._spent + each._reserved for each in gates) <= 10_000

        ends = await asyncio.gather(
            *(one(chance.choice(gates), chance.randint(10, 100)) for _ in range(1000)), return_exceptions=True
        )
        assert {type(each) for each in ends} == {type(None), BudgetSpent}
        assert 9_900 <= spent <= 10_000

    run(work)


def test_money_waits_for_no_place_and_a_place_for_no_money() -> None:
    """One client could hold all places and another all money, each waiting for the other."""

    async def work(loop: VirtualLoop) -> None:
        limits = Limits(1, cost=100)
        visit = Counted(loop, limits)
        first, second = Gate(limits, visit), Gate(limits, visit)
        await first.start()
        await second.start()
        await asyncio.gather(*(passed(gate, 0.5, 60) for gate in (first, second) for _ in range(10)))

    run(work)


def test_money_that_is_not_enough_is_left_to_others() -> None:
    async def work(loop: VirtualLoop) -> None:
        gate, visit = await gate_of(loop, Limits(10, cost=100))
        await gate.enter(10)
        gate._allowance = 60
        await gate.enter(20)  # from what it has
        waiting = asyncio.ensure_future(gate.enter(71))
        await asyncio.sleep(1)
        assert not waiting.done()
        assert {claim.allowance for claim in visit.claims if claim.next_bound == 71} == {30}
        waiting.cancel()

    run(work)


# Pace


def paced_starts(loop: VirtualLoop, gates: list[Gate], each: int, starts: list[float]) -> Awaitable[Any]:
    async def one(gate: Gate) -> None:
        await gate.enter(0, 1)
        starts.append(loop.time())
        await asyncio.sleep(0.02)
        gate.leave(0)

    return asyncio.gather(*(one(gate) for _ in range(each) for gate in gates))


def most_in_a_second(starts: list[float]) -> int:
    return max(sum(start <= other < start + 1 for other in starts) for start in starts)


@pytest.mark.parametrize("clients", [1, 3])
@pytest.mark.parametrize("per_minute", [60, 600, 6000])
@pytest.mark.parametrize("latency", [0.002, 0.04, 0.15])
def test_the_pace_is_kept_and_used(clients: int, per_minute: int, latency: float) -> None:
    async def work(loop: VirtualLoop) -> None:
        limits = Limits(100, requests_per_minute=per_minute)
        visit = Counted(loop, limits, latency)
        gates = [Gate(limits, visit) for _ in range(clients)]
        for gate in gates:
            await gate.start()
        starts: list[float] = []
        began = loop.time()
        await paced_starts(loop, gates, per_minute // 10 // clients, starts)
        assert most_in_a_second(starts) <= per_minute // 60
        seconds = per_minute // 10 // clients * clients / (per_minute / 60)
        assert loop.time() - began < seconds / 0.85 + 1

    run(work)


@pytest.mark.parametrize("seed", range(6))
def test_loops_that_stall_make_nothing_up_at_once(seed: int) -> None:
    """Each gate lives in the pauses of the others; a stall is of one of them, as far as the limiter's clock knows."""

    async def work(loop: VirtualLoop) -> None:
        limits = Limits(100, requests_per_minute=1200)
        visit = Counted(loop, limits)
        gates = [Gate(limits, visit) for _ in range(3)]
        for gate in gates:
            await gate.start()
        chance, starts = random.Random(seed), list[float]()
        work = asyncio.ensure_future(paced_starts(loop, gates, 100, starts))
        while not work.done():
            await asyncio.sleep(chance.random() / 2)
            loop.stall(chance.choice([0.01, LATE, 0.1, 0.4, 1.5]))
        assert len(starts) == 300
        assert most_in_a_second(starts) <= 20

    run(work)


def test_a_stalled_client_does_not_meet_the_starts_of_others() -> None:
    async def work(loop: VirtualLoop) -> None:
        limits = Limits(100, requests_per_minute=600)
        visit = Counted(loop, limits)
        gates = [Gate(limits, visit) for _ in range(2)]
        for gate in gates:
            await gate.start()
        starts: list[float] = []
        pump, stalled_until = gates[0]._pump, 0.0
        gates[0]._pump = lambda: pump() if loop.time() >= stalled_until else None  # type: ignore[method-assign]
        work = asyncio.ensure_future(paced_starts(loop, gates, 60, starts))
        for _ in range(8):
            await asyncio.sleep(1)
            stalled_until = loop.time() + 0.5
            loop.call_at(stalled_until, gates[0]._pump)
        await work
        assert len(starts) == 120
        assert most_in_a_second(starts) <= 10

    run(work)


def test_a_start_too_late_goes_to_nobody_and_is_asked_for_anew() -> None:
    async def work(loop: VirtualLoop) -> None:
        gate, _ = await gate_of(loop, Limits(10, requests_per_minute=60))
        starts: list[float] = []
        work = asyncio.ensure_future(paced_starts(loop, [gate], 3, starts))
        while not gate._timed:
            await asyncio.sleep(0.001)
        loop.stall(0.5)
        await work
        assert all(later - earlier >= 1 - LATE for earlier, later in itertools.pairwise(starts))

    run(work)


def test_the_limiters_clock_may_be_set() -> None:
    async def work(loop: VirtualLoop) -> None:
        limits = Limits(100, requests_per_minute=600)
        visit = Counted(loop, limits)
        gate = Gate(limits, visit)
        await gate.start()
        starts: list[float] = []
        work = asyncio.ensure_future(paced_starts(loop, [gate], 80, starts))
        shifted = 0.0
        for shift in (3000.0, -7000.0, 0.3):
            await asyncio.sleep(2)
            shifted += shift
            visit.limiter = SpendLimiter(limits, clock=lambda by=shifted: loop.time() + by)  # type: ignore[misc]
        began = loop.time()
        await work
        assert loop.time() - began < 5  # nobody waits for a time that is thousands of seconds away

    run(work)


# How much the server bears


def test_it_narrows_once_a_second_and_widens_with_answers_alone() -> None:
    async def work(loop: VirtualLoop) -> None:
        gate, _ = await gate_of(loop, Limits(100))
        line = [asyncio.ensure_future(gate.enter()) for _ in range(3000)]
        await asyncio.sleep(0.5)
        assert gate.under_way == 100
        for _ in range(50):
            gate.too_much()
        for _ in range(99):
            gate.leave(0, is_answered=False)
        await turn()
        assert gate.under_way == 70
        await asyncio.sleep(SETTLE + 0.1)
        gate.too_much()
        for _ in range(40):
            gate.leave(0, is_answered=False)
        await turn()
        assert gate.under_way == 49
        for _ in range(800):
            gate.leave(0)
            await asyncio.sleep(0.001)
        assert gate.under_way == 100
        for task in line:
            task.cancel()

    run(work)


def test_at_its_narrowest_one_is_let_in() -> None:
    async def work(loop: VirtualLoop) -> None:
        gate, _ = await gate_of(loop, Limits(100))
        for _ in range(30):
            gate.too_much()
            await asyncio.sleep(SETTLE + 0.1)
        await asyncio.wait_for(passed(gate, 0.1), 5)

    run(work)


# The limiter is slow, gone, or broken


@pytest.mark.parametrize("limits", [Limits(10), Limits(10, requests_per_minute=6000)])
def test_without_an_answer_of_the_limiter_nothing_new_is_begun(limits: Limits) -> None:
    async def work(loop: VirtualLoop) -> None:
        gate, visit = await gate_of(loop, limits)
        entered: list[float] = []

        async def one() -> None:
            await gate.enter(0, 1)
            entered.append(loop.time())
            await asyncio.sleep(0.1)
            gate.leave(0)

        line = [asyncio.ensure_future(one()) for _ in range(3000)]
        await asyncio.sleep(2)
        assert entered
        visit.is_up.clear()
        began = loop.time()
        await asyncio.sleep(3 * PATIENCE)
        assert max(entered) <= began + PATIENCE
        visit.is_up.set()
        await asyncio.gather(*line)

    run(work)


@pytest.mark.parametrize("error", [GristmillError("the spend limiter is gone"), OSError("disk full"), KeyError("x")])
def test_an_error_of_the_limiter_reaches_those_who_wait_and_who_come(error: Exception) -> None:
    async def work(loop: VirtualLoop) -> None:
        gate, visit = await gate_of(loop, Limits(1))
        await gate.enter()
        waiting = [asyncio.ensure_future(gate.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        visit.error = error
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [(type(each), str(each)) for each in told] == [(type(error), str(error))] * 3
        with pytest.raises(type(error)):
            await gate.enter()
        await gate.close()  # and nobody is left behind

    run(work)


def test_stopped_it_tells_everybody_at_once_whatever_the_pace() -> None:
    async def work(loop: VirtualLoop) -> None:
        gate, _ = await gate_of(loop, Limits(10, requests_per_minute=1))
        waiting = [asyncio.ensure_future(gate.enter(0, 1)) for _ in range(5)]
        await asyncio.sleep(2)
        began = loop.time()
        gate.stop(GristmillError("no such model"))
        told = await asyncio.gather(*waiting[1:], return_exceptions=True)
        assert {str(each) for each in told} == {"no such model"} and loop.time() == began

    run(work)


# Giving back


@pytest.mark.parametrize("seconds", [0.002, 0.4])
def test_closed_it_gives_everything_back(seconds: float) -> None:
    async def work(loop: VirtualLoop) -> None:
        limits = Limits(10, cost=1000)
        visit = Counted(loop, limits, seconds)
        gate, other = Gate(limits, visit), Gate(limits, visit)
        await gate.start()
        await asyncio.gather(*(passed(gate, 0.1, 90, spent=10) for _ in range(10)))
        await gate.close()
        assert visit.limiter.totals()["spent"] == 100
        await other.start()
        await asyncio.wait_for(asyncio.gather(*(other.enter(90) for _ in range(10))), 2)

    run(work)


def test_the_last_visit_is_the_last_that_the_limiter_sees() -> None:
    async def work(loop: VirtualLoop) -> None:
        limits = Limits(10)
        limiter, seen, pauses = SpendLimiter(limits, clock=loop.time), list[int](), iter([0.0, 3.0, 0.0])

        async def visit(claim: Claim) -> Grant:
            # A call goes its way whatever becomes of who made it.
            async def arrive() -> Grant:
                await asyncio.sleep(next(pauses, 0.0))
                seen.append(claim.places)
                return limiter.visit(claim)

            return await asyncio.shield(asyncio.ensure_future(arrive()))

        gate = Gate(limits, visit)
        await gate.start()
        entering = asyncio.ensure_future(gate.enter())
        await asyncio.sleep(1)
        entering.cancel()
        await asyncio.wait({entering})
        await gate.close()
        await asyncio.sleep(5)
        assert seen[-1] == 0 and limiter.visit(Claim("other", places_wanted=10)).places == 10

    run(work)


def test_closed_while_others_wait_it_lets_them_go() -> None:
    async def work(loop: VirtualLoop) -> None:
        gate, _ = await gate_of(loop, Limits(1))
        await gate.enter()
        waiting = asyncio.ensure_future(gate.enter())
        await asyncio.sleep(1)
        await gate.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(work)


def test_idle_it_holds_nothing_so_that_one_place_serves_many() -> None:
    async def work(loop: VirtualLoop) -> None:
        limits = Limits(1)
        visit = Counted(loop, limits)
        gates = [Gate(limits, visit) for _ in range(5)]
        for gate in gates:
            await gate.start()
        for gate in gates:
            await asyncio.wait_for(passed(gate, 0.2), 3)
        await asyncio.wait_for(asyncio.gather(*(passed(gate, 0.2) for gate in gates for _ in range(4))), 60)

    run(work)


# Visits


@pytest.mark.parametrize("limits", [Limits(10), Limits(10, cost=10**12), Limits(10, requests_per_minute=60)])
def test_visits_are_few(limits: Limits) -> None:
    async def work(loop: VirtualLoop) -> None:
        gate, visit = await gate_of(loop, limits)
        await asyncio.sleep(10)
        assert 25 <= visit.visits <= 45  # idle: several a second
        before = visit.visits
        line = [asyncio.ensure_future(passed(gate, 0.5, 1, 1)) for _ in range(1000)]
        await asyncio.sleep(10)
        assert visit.visits - before <= 60  # saturated: the limiter can do nothing
        for task in line:
            task.cancel()

    run(work)


def test_even_where_visits_help_they_are_at_most_twenty_a_second() -> None:
    async def work(loop: VirtualLoop) -> None:
        limits = Limits(10)
        visit = Counted(loop, limits)
        gate, other = Gate(limits, visit), Gate(limits, visit)
        for each in (gate, other):
            await each.start()
        line = [asyncio.ensure_future(passed(each, 0.5)) for each in (gate, other) for _ in range(1000)]
        await asyncio.sleep(10)
        assert visit.visits <= 2 * 20 * 10 + 10
        for task in line:
            task.cancel()

    run(work)


def test_counts_are_running_totals_over_all_clients() -> None:
    async def work(loop: VirtualLoop) -> None:
        limits = Limits(10)
        visit = Counted(loop, limits)
        gates = [Gate(limits, visit) for _ in range(3)]
        for number, gate in enumerate(gates):
            await gate.start()
            gate.count("answered", number)
        await gates[0].enter()
        await asyncio.sleep(1)
        assert visit.limiter.totals() == {"answered": 3, "spent": 0, "under way": 1}

    run(work)


def test_an_answer_keeps_its_place_until_it_is_written_down() -> None:
    """Else what a slow disk has not written yet would have no bound, and a kill would lose it."""

    async def scene() -> None:
        limits = Limits(concurrent_requests=2)
        gate = Gate(limits, local_visit(SpendLimiter(limits)))
        await gate.start()
        gate.is_holding = True
        await gate.enter()
        await gate.enter()
        third = asyncio.ensure_future(gate.enter())
        gate.leave(0, is_answered=True)
        await asyncio.sleep(0.1)
        assert not third.done()
        gate.kept()
        await asyncio.wait_for(third, 5)
        gate.leave(0, is_answered=False)  # one that failed holds nothing
        await asyncio.wait_for(gate.enter(), 5)
        await gate.close()

    asyncio.run(scene())
