"""The limiter alone: what any clients get in any order never adds up to more than the limits, restarts included."""

from __future__ import annotations

import bisect
import itertools
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.pace import Window
from actors.spend_limiter import HORIZON, LOST, LOST_AFTER, TURN, Claim, Grant, Limits, SpendLimiter
from cluster.storage import LocalStorage


class Clock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_what_earlier_attempts_at_a_run_have_used_is_the_sum_of_what_they_left(tmp_path: Path) -> None:
    place = LocalStorage(str(tmp_path))
    assert SpendLimiter.used_before(place) == 0
    for attempt, amounts in (("first", [(30, 5), (20, 0)]), ("second", [(7, 1)])):
        limiter = SpendLimiter(Limits(cost=1000), place, f"{attempt}.json", SpendLimiter.used_before(place))
        for number, (spent, reserved) in enumerate(amounts):
            counts = {LOST: spent // 10, "answered": 1}
            claim = Claim(f"client {number}", spent=spent, reserved=reserved, allowance=spent + reserved, counts=counts)
            limiter.visit(claim)
    place.publish("lock", b"")
    assert SpendLimiter.used_before(place) == 63
    assert SpendLimiter.lost_before(place) == 5


class Memory(LocalStorage):
    """A storage that is a dict; the limiter uses no more of it than this."""

    def __init__(self) -> None:
        super().__init__("/nowhere")
        self.__dict__["held"] = {}

    def exists(self, name: str) -> bool:
        return name in self.held  # type: ignore[attr-defined]

    def read(self, name: str) -> bytes:
        return self.held[name]  # type: ignore[attr-defined,no-any-return]

    def publish(self, name: str, data: Any, durable: bool = True) -> None:
        self.held[name] = data  # type: ignore[attr-defined]


class Client:
    """What a gate does, without its loop: requests begin only within the last grant, and claims say what is held."""

    def __init__(self, name: str) -> None:
        self.name, self.places, self.allowance, self.spent = name, 0, 0, 0
        self.under_way: list[int] = []  # bounds
        self.line: list[int] = []
        self.is_spent = False

    @property
    def used(self) -> int:
        return self.spent + sum(self.under_way)

    def begin(self) -> None:
        while self.line and len(self.under_way) < self.places and self.used + self.line[0] <= self.allowance:
            self.under_way.append(self.line.pop(0))

    def claim(self) -> Claim:
        wanted = len(self.under_way) + len(self.line)
        if not self.line or not self.under_way or self.used + self.line[0] > self.allowance:
            self.allowance = self.used
        self.places = max(len(self.under_way), min(self.places, wanted))
        next_bound = self.line[0] if self.line else 0
        return Claim(
            self.name,
            places=self.places,
            places_wanted=wanted + 8 if wanted else 0,
            spent=self.spent,
            reserved=sum(self.under_way),
            allowance=self.allowance,
            allowance_wanted=self.used + 2 * (sum(self.line) + next_bound),
            next_bound=next_bound,
            under_way=len(self.under_way),
            counts={"answered": 1} if self.spent else {},
        )

    def take(self, grant: Grant) -> None:
        self.places, self.allowance = grant.places, max(self.allowance, grant.allowance)
        self.is_spent |= grant.is_spent


class Clients(RuleBasedStateMachine):
    """Visits of up to six clients in any order, some in flight while others come, over deaths of either side."""

    @initialize(places=st.integers(1, 12), cost=st.integers(1, 200), before=st.integers(0, 50))
    def begin(self, places: int, cost: int, before: int) -> None:
        self.folder = Memory()
        self.limits, self.before = Limits(places, cost=cost + before), before
        self.clock = Clock()
        self.limiter = SpendLimiter(self.limits, self.folder, "state", before, self.clock)
        self.clients: dict[str, Client] = {}
        self.on_the_way: dict[str, Grant] = {}  # answers of the limiter
        self.dead: list[Client] = []
        self.names = itertools.count()

    @rule(data=st.data())
    def come(self, data: st.DataObject) -> None:
        if len(self.clients) < 6:
            name = f"c{next(self.names)}"
            self.clients[name] = Client(name)

    def _any(self, data: st.DataObject) -> Client:
        return self.clients[data.draw(st.sampled_from(sorted(self.clients)))]

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), bounds=st.lists(st.integers(0, 60), max_size=6))
    def want(self, data: st.DataObject, bounds: list[int]) -> None:
        client = self._any(data)
        client.line += bounds
        if client.name not in self.on_the_way:
            client.begin()

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), is_repeated=st.booleans())
    def visit(self, data: st.DataObject, is_repeated: bool) -> None:
        client = self._any(data)
        if client.name in self.on_the_way:
            client.take(self.on_the_way.pop(client.name))
            client.begin()
            return
        claim = client.claim()
        grant = self.limiter.visit(claim)
        self.on_the_way[client.name] = self.limiter.visit(claim) if is_repeated else grant
        if grant.is_spent:
            spent = self.before + sum(each.spent for each in self.clients.values()) + self._lost_with_the_dead()
            assert claim.next_bound > (self.limits.cost or 0) - spent

    def _lost_with_the_dead(self) -> int:
        return sum(each.allowance_known for each in self.dead if each.name not in self.clients)  # type: ignore[attr-defined]

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), share=st.floats(0, 1))
    def finish(self, data: st.DataObject, share: float) -> None:
        client = self._any(data)
        if client.under_way:
            client.spent += int(client.under_way.pop(0) * share)
            client.begin()

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        client = self._any(data)
        del self.clients[client.name]
        self.on_the_way.pop(client.name, None)
        # What it had under way goes on at the server for a while, and its cost is anything up to the bounds.
        stored = self.limiter._clients.get(client.name)
        client.allowance_known = stored.allowance if stored else 0  # type: ignore[attr-defined]
        client.gone_since = self.limiter._alive  # type: ignore[attr-defined]
        self.dead.append(client)

    @rule()
    def restart(self) -> None:
        self.limiter = SpendLimiter(self.limits, self.folder, "state", self.before, self.clock)

    @rule(seconds=st.floats(0, 0.5))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def places_are_held(self) -> None:
        if hasattr(self, "clients"):
            alive = self.clients.values()
            assert sum(len(each.under_way) for each in alive) <= self.limits.concurrent_requests
            assert sum(max(each.places, len(each.under_way)) for each in alive) <= self.limits.concurrent_requests

    @invariant()
    def money_is_held(self) -> None:
        if hasattr(self, "clients"):
            everybody = [*self.clients.values(), *self.dead]
            assert self.before + sum(each.used for each in everybody) <= (self.limits.cost or 0)

    def teardown(self) -> None:
        if not hasattr(self, "clients"):
            return
        # Left alone, everybody gets what can be paid, or is told that it cannot.
        for _ in range(150):
            self.clock.now += 0.3
            for client in self.clients.values():
                client.take(self.on_the_way.pop(client.name, None) or self.limiter.visit(client.claim()))
                client.begin()
                if client.under_way:
                    client.spent += client.under_way.pop(0)
                client.begin()
            self.places_are_held()
            self.money_is_held()
        stuck = [each for each in self.clients.values() if (each.line and not each.is_spent) or each.under_way]
        assert not stuck, [(each.line, each.places, each.allowance, each.used) for each in stuck]


Clients.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestClients = Clients.TestCase


# Places


def busy(name: str, places: int = 0, wanted: int = 100, **more: Any) -> Claim:
    return Claim(name, places=places, places_wanted=wanted, **more)


def settled(limiter: SpendLimiter, wants: dict[str, int], rounds: int = 4) -> dict[str, int]:
    """Places after some rounds of visits, in which nobody has anything under way for long."""
    held = dict.fromkeys(wants, 0)
    for _, name in itertools.product(range(rounds), wants):
        held[name] = limiter.visit(busy(name, held[name], wants[name])).places
    return held


@pytest.mark.parametrize(
    ("limit", "wants", "expected"),
    [
        (100, {"a": 100}, {"a": 100}),
        (100, {"a": 100, "b": 100}, {"a": 50, "b": 50}),
        (100, {"a": 10, "b": 100}, {"a": 10, "b": 90}),
        (100, {"a": 0, "b": 100}, {"a": 0, "b": 100}),
        (9, {"a": 100, "b": 2, "c": 100}, {"b": 2}),
    ],
)
def test_places_are_shared_evenly_and_what_others_do_not_want_is_used(
    limit: int, wants: dict[str, int], expected: dict[str, int]
) -> None:
    held = settled(SpendLimiter(Limits(limit), clock=Clock()), wants)
    assert held | expected == held
    assert sum(held.values()) == min(limit, sum(wants.values()))


def test_of_more_clients_than_places_each_has_its_turn() -> None:
    clock = Clock()
    limiter = SpendLimiter(Limits(2), clock=clock)
    held, had = dict.fromkeys("abcde", 0), dict.fromkeys("abcde", 0)
    for step in range(400):
        clock.now += TURN / 7
        name = "abcde"[step % 5]
        held[name] = limiter.visit(busy(name, held[name])).places
        had[name] += held[name]
        assert sum(held.values()) <= 2
    assert min(had.values()) > max(had.values()) / 3


def test_an_idle_client_keeps_no_place() -> None:
    limiter = SpendLimiter(Limits(1), clock=Clock())
    assert limiter.visit(busy("idle", wanted=0)).places == 0
    assert limiter.visit(busy("busy")).places == 1


def test_what_is_under_way_counts_even_above_the_share() -> None:
    limiter = SpendLimiter(Limits(6), clock=Clock())
    assert limiter.visit(busy("a")).places == 6
    assert limiter.visit(busy("b")).places == 0
    assert limiter.visit(busy("a", places=6)).places == 3
    assert limiter.visit(busy("b")).places == 0
    limiter.visit(busy("a", places=4))
    assert limiter.visit(busy("b")).places == 2


# Clients that stay away


def pass_time(limiter: SpendLimiter, clock: Clock, seconds: float, visitor: str = "other") -> None:
    for _ in range(int(seconds / 0.5)):
        clock.now += 0.5
        limiter.visit(Claim(visitor))


def test_a_lost_client_loses_its_places_and_all_it_may_have_spent() -> None:
    clock = Clock()
    limiter = SpendLimiter(Limits(10, cost=1000), clock=clock)
    asks = busy("a", spent=100, reserved=50, allowance=150, allowance_wanted=300, counts={"answered": 7})
    assert limiter.visit(asks).allowance == 300
    pass_time(limiter, clock, LOST_AFTER - 1)
    assert limiter.visit(busy("b", allowance_wanted=2000)).places == 0
    pass_time(limiter, clock, 2)
    assert limiter.totals() == {"answered": 7, "spent": 300, "under way": 0}
    grant = limiter.visit(busy("b", allowance_wanted=2000, next_bound=1))
    assert (grant.places, grant.allowance) == (10, 700)


def test_one_that_comes_back_is_counted_once() -> None:
    clock = Clock()
    limiter = SpendLimiter(Limits(10, cost=1000), clock=clock)
    claim = busy("a", spent=100, reserved=50, allowance=150, allowance_wanted=150, counts={"answered": 7})
    limiter.visit(claim)
    pass_time(limiter, clock, LOST_AFTER + 2)
    assert limiter.totals()["spent"] == 150
    limiter.visit(claim)
    assert limiter.totals() == {"answered": 7, "spent": 100, "under way": 0}


def test_a_limiter_that_stood_still_takes_nobody_for_lost() -> None:
    clock = Clock()
    limiter = SpendLimiter(Limits(10), clock=clock)
    limiter.visit(busy("a"))
    clock.now += 10 * LOST_AFTER
    assert limiter.visit(busy("b")).places == 0


def test_without_a_limit_of_money_a_lost_client_has_spent_what_it_had_under_way() -> None:
    clock = Clock()
    limiter = SpendLimiter(Limits(10), clock=clock)
    limiter.visit(busy("a", spent=100, reserved=50, allowance=150, allowance_wanted=9_000))
    pass_time(limiter, clock, LOST_AFTER + 2)
    assert limiter.totals()["spent"] == 150


# Money


def test_two_clients_do_not_hold_half_of_what_one_request_needs() -> None:
    limiter = SpendLimiter(Limits(10, cost=100), clock=Clock())
    assert limiter.visit(busy("a", allowance_wanted=60, next_bound=30)).allowance == 60
    assert limiter.visit(busy("b", allowance_wanted=120, next_bound=60)).allowance == 0
    assert not limiter.visit(busy("b", allowance_wanted=120, next_bound=60)).is_spent
    limiter.visit(busy("a", spent=20, allowance=20))
    assert limiter.visit(busy("b", allowance_wanted=120, next_bound=60)).allowance == 80


def test_what_was_spent_before_counts() -> None:
    limiter = SpendLimiter(Limits(10, cost=100), spent_before=70, clock=Clock())
    assert limiter.visit(busy("a", allowance_wanted=90, next_bound=30)).allowance == 30
    grant = SpendLimiter(Limits(10, cost=100), spent_before=71, clock=Clock()).visit(busy("a", next_bound=30))
    assert grant.is_spent and grant.allowance == 0


# Pace


def most_within(starts: list[tuple[float, int]], seconds: float) -> tuple[int, int]:
    """The most starts, and the most tokens (of more than one start), within any stretch of so many seconds."""
    moments = [start for start, _ in starts]
    sums = [0, *itertools.accumulate(tokens for _, tokens in starts)]
    requests = tokens = 0
    for last, moment in enumerate(moments):
        first = bisect.bisect_right(moments, moment - seconds)
        requests = max(requests, last + 1 - first)
        if last > first:
            tokens = max(tokens, sums[last + 1] - sums[first])
    return requests, tokens


def simulated(
    limits: Limits, clients: int, seconds: float, seed: int, sizes: tuple[int, int], restarts: float
) -> list[tuple[float, int]]:
    """The starts of clients that always want more, and come at moments of their own."""
    chance, clock = random.Random(seed), Clock()
    storage = Memory()
    begin = clock.now
    limiter = SpendLimiter(limits, storage, clock=clock)
    most = max(8, (limits.requests_per_minute or 30_000) // 60 // clients)
    lines = {f"c{number}": [chance.randint(*sizes) for _ in range(most)] for number in range(clients)}
    starts: list[tuple[float, int]] = []
    while clock.now < begin + seconds:
        clock.now += chance.expovariate(clients / 0.05)
        if chance.random() < restarts:
            limiter = SpendLimiter(limits, storage, clock=clock)
        name = chance.choice(list(lines))
        grant = limiter.visit(busy(name, starts=lines[name]))
        # A repeated call's first grants are never heard of, and are lost.
        if restarts and chance.random() < restarts:
            grant = limiter.visit(busy(name, starts=lines[name]))
        for delay in grant.starts:
            assert delay >= 0
            starts.append((grant.at + delay, lines[name].pop(0)))
            lines[name].append(chance.randint(*sizes))
    return sorted(starts)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    per_minute=st.one_of(st.integers(1, 300), st.integers(300, 100_000)),
    clients=st.integers(1, 5),
    seed=st.integers(0, 1 << 30),
    restarts=st.sampled_from([0.0, 0.002, 0.02]),
)
def test_requests_keep_to_their_limit_over_any_second_and_minute(
    per_minute: int, clients: int, seed: int, restarts: float
) -> None:
    limits = Limits(requests_per_minute=per_minute)
    seconds = 4.0 if per_minute > 3000 else 90.0
    starts = simulated(limits, clients, seconds, seed, (1, 1), restarts)
    assert most_within(starts, 1.0)[0] <= math.ceil(per_minute / 60)
    assert most_within(starts, 60.0)[0] <= per_minute
    if not restarts:
        assert len(starts) >= math.floor(0.93 * (seconds - 0.5) * per_minute / 60)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    per_minute=st.integers(600, 3_000_000),
    share=st.floats(0.003, 12.0),
    requests=st.sampled_from([None, 300]),
    clients=st.integers(1, 5),
    seed=st.integers(0, 1 << 30),
    restarts=st.sampled_from([0.0, 0.002, 0.02]),
)
def test_tokens_keep_to_their_limit_over_any_second_and_minute(
    per_minute: int,
    share: float,
    requests: int | None,
    clients: int,
    seed: int,
    restarts: float,
) -> None:
    """`share` is the size of the largest request, as a share of a second's tokens."""
    limits = Limits(tokens_per_minute=per_minute, requests_per_minute=requests)
    largest = max(1, int(share * per_minute / 60))
    seconds = 90.0 if share > 0.2 else 10.0
    starts = simulated(limits, clients, seconds, seed, (max(1, largest // 5), largest), restarts)
    assert most_within(starts, 1.0)[1] <= per_minute / 60
    assert most_within(starts, 60.0)[1] <= per_minute
    assert most_within(starts, 1.0)[0] <= (5 if requests else len(starts))


def test_tokens_of_small_requests_use_the_limit() -> None:
    starts = simulated(Limits(tokens_per_minute=60_000), 3, 30.0, 0, (10, 100), 0.0)
    assert sum(tokens for _, tokens in starts) >= 0.85 * 30_000


def test_a_request_larger_than_a_second_goes_alone_and_one_larger_than_a_minute_too() -> None:
    clock = Clock()
    limiter = SpendLimiter(Limits(tokens_per_minute=6000), clock=clock)
    moments: list[tuple[float, int]] = []
    line = [50, 300, 50, 9000, 50]
    while line:
        grant = limiter.visit(busy("a", starts=line))
        moments += [(clock.now + delay, line.pop(0)) for delay in grant.starts]
        clock.now += 0.2
    times = [moment for moment, _ in moments]
    distances = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert distances[0] >= 1 and distances[1] >= 3 and distances[2] >= 60 - 4 and distances[3] >= 90
    assert most_within(moments, 60.0)[1] <= 6000


def test_a_pause_earns_no_burst() -> None:
    clock = Clock()
    limiter = SpendLimiter(Limits(requests_per_minute=600), clock=clock)
    limiter.visit(busy("a", starts=[1] * 50))
    clock.now += 3600
    starts = limiter.visit(busy("a", starts=[1] * 50)).starts
    assert len(starts) <= 1 + HORIZON / 0.1
    assert all(later - earlier > 0.1 for earlier, later in itertools.pairwise(starts))


def test_clients_with_much_leave_starts_to_others() -> None:
    clock = Clock()
    limiter = SpendLimiter(Limits(requests_per_minute=6000), clock=clock)
    got = {"a": 0, "b": 0}
    for _ in range(200):
        clock.now += 0.05
        for name in got:
            got[name] += len(limiter.visit(busy(name, starts=[1] * 100)).starts)
    assert min(got.values()) > 0.5 * max(got.values())


def test_who_asks_in_vain_is_told_when_to_come_again() -> None:
    clock = Clock()
    limiter = SpendLimiter(Limits(requests_per_minute=6), clock=clock)
    assert len(limiter.visit(busy("a", starts=[1, 1])).starts) == 1
    wait = limiter.visit(busy("a", starts=[1])).wait
    assert wait == pytest.approx(10.5 - HORIZON + 0.05)
    clock.now += wait + 0.001
    assert len(limiter.visit(busy("a", starts=[1])).starts) == 1


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 120)), max_size=60), st.sampled_from([0.0, 1.0]))
def test_a_window_holds_no_more_than_it_may(arrivals: list[tuple[float, int]], grain: float) -> None:
    window, starts, now = Window(10.0, 100, grain), list[tuple[float, int]](), 0.0
    for pause, amount in arrivals:
        now += pause
        window.forget(now)
        start = window.earliest(max(now, starts[-1][0] if starts else 0.0), amount)
        window.take(start, amount)
        starts.append((start, amount))
    assert most_within(starts, 9.999)[1] <= 100
    assert sum(amount for _, amount in window.entries) == window._total


# The file


def test_a_restart_in_another_time_loses_no_count(tmp_path: Path) -> None:
    storage, limits = LocalStorage(str(tmp_path)), Limits(10, requests_per_minute=60, cost=1000)
    limiter = SpendLimiter(limits, storage, clock=Clock(5e9))
    asks = busy("a", spent=100, reserved=50, allowance=150, allowance_wanted=300, counts={"answered": 7}, starts=[1])
    assert len(limiter.visit(asks).starts) == 1
    for clock in (Clock(10.0), Clock(9e9)):
        again = SpendLimiter(limits, storage, clock=clock)
        assert again.totals() == {"answered": 7, "spent": 100, "under way": 0}
        grant = again.visit(busy("b", starts=[1], allowance_wanted=2000, next_bound=1))
        assert (grant.places, grant.allowance, grant.starts) == (0, 700, [])
        assert 0 < grant.wait < 5


@pytest.mark.parametrize("first", [Claim("a"), Claim("a", places=1, places_wanted=1, allowance=1, allowance_wanted=1)])
def test_nothing_is_granted_before_it_is_kept(first: Claim) -> None:
    storage, limits, clock = Memory(), Limits(10, cost=1000), Clock()
    limiter = SpendLimiter(limits, storage, clock=clock)
    limiter.visit(first)
    granted = limiter.visit(busy("a", first.places, allowance=first.allowance, allowance_wanted=1000))
    assert (granted.places, granted.allowance) == (10, 1000)
    again = SpendLimiter(limits, storage, clock=clock)
    grant = again.visit(busy("b", allowance_wanted=10))
    assert (grant.places, grant.allowance) == (0, 0)


@pytest.mark.parametrize("limits", [Limits(5), Limits(5, 60), Limits(5, None, 6000), Limits(5, 60, 6000, 10)])
def test_one_that_dies_before_anything_has_started_is_made_again(tmp_path: Path, limits: Limits) -> None:
    place = LocalStorage(str(tmp_path))
    SpendLimiter(limits, place).visit(Claim("a", places_wanted=2))
    restarted = SpendLimiter(limits, place)
    assert restarted.visit(Claim("a", places_wanted=2)).places
    assert SpendLimiter.used_before(place) == 0
