"""The one place that knows how much may still be asked: requests at once, per minute, tokens per minute, and money.

Every client (a worker with its connections) comes by several times a second, says what it holds and what it wants,
and gets what it may use from then on. Nothing is asked per request, so the limiter is never in the way; and what a
client holds counts until it gives it back, so the limits hold over all of them at any moment.

It keeps what it has granted in a file before it grants it. Restarted after a death it reads that file, and clients
repeat their running totals at every visit, so no count is lost and none is counted twice. A client that stays away
is taken for dead: its places are free again, and all money that it was allowed counts as spent, for it may have begun
more since its last visit. Should it come back after all, its own words hold again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from actors.pace import SLACK, Pace
from cluster.storage import Storage

HORIZON = 0.25  # s; starts are granted so far ahead
LEAD = 0.05  # s; none sooner, for the answer has to reach the client first
LOST_AFTER = 20.0  # s without a visit
BREATH = 1.0  # s; of a longer pause between any two visits it is not the clients who are to blame
NEAR = 2 * HORIZON
KEEP_EVERY = 1.0  # s; for what clients repeat anyway
TURN = 1.0  # s; where there are more clients than places they take turns
LOST = "lost"  # counts the money of tries that gave no answer and may be billed all the same


class Limits(msgspec.Struct, frozen=True):
    """`cost` in nano-dollars for this and earlier attempts at the run; None is no limit."""

    concurrent_requests: int = 100
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    cost: int | None = None

    @property
    def paced(self) -> bool:
        return self.requests_per_minute is not None or self.tokens_per_minute is not None


class Claim(msgspec.Struct, omit_defaults=True):
    """What a client says at a visit. All amounts of money are running totals of nano-dollars since its start.

    `places`: requests that it may have under way until it is answered; `allowance`: what it may have spent in all
    until then. `next_bound` is the most that the request next in line can cost. `starts`: the tokens of each request
    that waits for its time to start. `counts`: running totals, and `under_way` the requests of this moment, to be
    shown; `failing`: why the latest try that has to be repeated failed.
    """

    client: str
    places: int = 0
    places_wanted: int = 0
    spent: int = 0
    reserved: int = 0
    allowance: int = 0
    allowance_wanted: int = 0
    next_bound: int = 0
    starts: list[int] = []
    under_way: int = 0
    counts: dict[str, int] = {}
    failing: str = ""


class Grant(msgspec.Struct):
    """The answer: places, the allowance, and when each start may happen, for the first so many.

    `starts` are seconds after `at`, which is the limiter's clock at the visit. Where there are fewer starts than were
    asked for, it is of use to ask again after `wait` seconds.
    """

    places: int
    allowance: int
    starts: list[float]
    is_spent: bool = False
    at: float = 0.0
    wait: float = 0.0


class _Client(msgspec.Struct):
    places: int = 0
    wanted: int = 0
    spent: int = 0
    reserved: int = 0
    allowance: int = 0
    under_way: int = 0
    counts: dict[str, int] = {}
    failing: str = ""


class _State(msgspec.Struct):
    """`at` is the clock when it was kept, `next_start` and `last_minute` are the pace's."""

    clients: dict[str, _Client] = {}
    at: float = 0.0
    next_start: float = 0.0
    last_minute: list[tuple[float, int]] = []


class SpendLimiter:
    """The limits of one run. `spent_before` is what earlier attempts at the run have spent.

    Every method may be called twice for the same visit: claims are running totals and grants are states.
    """

    def __init__(
        self,
        limits: Limits,
        storage: Storage | None = None,
        name: str = "limiter.json",
        spent_before: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limits, self.spent_before = limits, spent_before
        self._storage, self._name, self._clock = storage, name, clock
        self._clients: dict[str, _Client] = {}
        self._pace = Pace(limits.requests_per_minute, limits.tokens_per_minute)
        self._hungry: dict[str, None] = {}  # clients that asked for starts in vain, first the one that waits longest
        self._recall()
        # How long clients could have come, by this limiter's own life: a pause of its own makes none of them late.
        self._alive, self._visited = 0.0, clock()
        self._seen = dict.fromkeys(self._clients, self._alive)
        self._kept = float("-inf")
        self._failing = ""

    def visit(self, claim: Claim) -> Grant:
        """A client's visit."""
        now = self._clock()
        self._forget_the_lost(claim.client, now)
        client = self._clients.setdefault(claim.client, _Client())
        client.wanted, client.spent, client.reserved = claim.places_wanted, claim.spent, claim.reserved
        client.counts, client.under_way = claim.counts, claim.under_way
        if client.failing != claim.failing:
            self._failing = client.failing = claim.failing
        held = (client.places, client.allowance)
        grant = Grant(self._places(claim, now), self._allowance(claim), [], self._is_spent(claim), now)
        self._plan(claim, grant, now)
        client.places, client.allowance = max(claim.places, grant.places), grant.allowance
        # Of starts that lie so near, a restart waits until they are over.
        is_far = bool(grant.starts) and self._pace.next > now + NEAR
        self._keep(now, is_due=is_far or held != (client.places, client.allowance))
        return grant

    def shown(self) -> tuple[dict[str, int], str]:
        """The totals, and why the latest try of any client failed, so far as it is known."""
        return self.totals(), self._failing

    def totals(self) -> dict[str, int]:
        """What all clients have counted so far, with `spent` and `under way`, for the display."""
        totals: dict[str, int] = {}
        for client in self._clients.values():
            for name, amount in client.counts.items():
                totals[name] = totals.get(name, 0) + amount
        under_way = sum(client.under_way for client in self._clients.values())
        return totals | {"spent": self._spent(), "under way": under_way}

    def _spent(self) -> int:
        return self.spent_before + sum(each.spent for each in self._clients.values())

    # Places

    def _places(self, claim: Claim, now: float) -> int:
        """The places that a client may use: its share, but never more than are free."""
        others = sum(client.places for name, client in self._clients.items() if name != claim.client)
        return min(self._share(claim.client, now), max(0, self.limits.concurrent_requests - others))

    def _share(self, name: str, now: float) -> int:
        """An equal share of the places, more where others want less."""
        wants = {each: client.wanted for each, client in sorted(self._clients.items()) if client.wanted > 0}
        left = self.limits.concurrent_requests
        if len(wants) > left:
            names = [*wants]
            turns = [*names[int(now / TURN) % len(names) :], *names]
            return int(name in turns[:left])
        for done, each in enumerate(sorted(wants, key=lambda each: wants[each])):
            share = min(wants[each], left // (len(wants) - done))
            if each == name:
                return share
            left -= share
        return 0

    # Money

    def _allowance(self, claim: Claim) -> int:
        if self.limits.cost is None:
            return claim.allowance_wanted
        held = sum(each.allowance for name, each in self._clients.items() if name != claim.client)
        free = self.limits.cost - self.spent_before - held - claim.allowance
        unused = claim.allowance - claim.spent - claim.reserved
        if unused + free < claim.next_bound:
            return claim.allowance  # two clients must not each hold half of what one request needs
        return claim.allowance + max(0, min(claim.allowance_wanted - claim.allowance, free))

    def _is_spent(self, claim: Claim) -> bool:
        """Whether the client's next request cannot be paid, even if all that is under way should cost nothing."""
        return self.limits.cost is not None and claim.next_bound > self.limits.cost - self._spent()

    # Pace

    def _plan(self, claim: Claim, grant: Grant, now: float) -> None:
        """When the first requests in line may start."""
        if not self.limits.paced:
            return
        pace = self._pace
        pace.forget(now)
        # With several clients each gets a part of what lies ahead, and who waits longest sees furthest: the order of
        # their visits must not decide, for it may be the same for long.
        part = HORIZON / max(1, sum(client.wanted > 0 for client in self._clients.values()))
        view = HORIZON if next(iter(self._hungry), claim.client) == claim.client else HORIZON / 3
        for tokens in claim.starts:
            if part <= 0:
                break
            if pace.next > now + view:
                grant.wait = pace.next - now - view
                break
            # One that has to wait for a window to pass is planned however far ahead, lest small ones keep it full.
            grant.starts.append(pace.take(tokens, now + LEAD) - now)
            part -= pace.step(tokens)
        if grant.starts or not claim.starts:
            self._hungry.pop(claim.client, None)
        else:
            self._hungry.setdefault(claim.client)

    # What outlives the actor

    @staticmethod
    def used_before(storage: Storage) -> int:
        """What the limiters whose state lies in `storage` had let their clients use, in nano-dollars.

        With what was lost on the way, and what was under way when they were killed: a provider may bill it.
        """
        return sum(each.spent + each.reserved for each in _kept_clients(storage))

    @staticmethod
    def lost_before(storage: Storage) -> int:
        """What of it was for tries that gave no answer, as far as their clients lived to say so."""
        return sum(each.counts.get(LOST, 0) for each in _kept_clients(storage))

    def _forget_the_lost(self, visitor: str, now: float) -> None:
        self._alive += min(max(now - self._visited, 0.0), BREATH)
        self._visited = now
        self._seen[visitor] = self._alive
        for name in [name for name, seen in self._seen.items() if self._alive - seen > LOST_AFTER]:
            del self._seen[name]
            self._hungry.pop(name, None)
            client = self._clients[name]
            client.places = client.wanted = client.under_way = 0
            held = client.spent if self.limits.cost is None else client.allowance
            client.spent, client.reserved = max(held, client.spent + client.reserved), 0

    def _keep(self, now: float, is_due: bool) -> None:
        """Write down what is granted, before it is; what clients repeat anyway only now and then."""
        if self._storage is not None and (is_due or now - self._kept > KEEP_EVERY):
            self._kept = now
            # Before anything has started there is no next start, and JSON has no minus infinity to say so.
            state = _State(self._clients, now, max(self._pace.next, now), self._pace.last_minute())
            self._storage.publish(self._name, msgspec.json.encode(state), durable=False)

    def _recall(self) -> None:
        """Go on from the file. Its times are moved to this machine's clock as if none had passed since."""
        if self._storage is None or not self._storage.exists(self._name):
            return
        state = msgspec.json.decode(self._storage.read(self._name), type=_State)
        self._clients = state.clients
        now = self._clock()
        # What was granted after the file was written starts soon, and has to be over for a second.
        settled = now + NEAR + SLACK
        minute = [(start - state.at + now, tokens) for start, tokens in state.last_minute]
        self._pace.resume(max(state.next_start - state.at + now, settled), minute, unknown_seconds=KEEP_EVERY + NEAR)


def _kept_clients(storage: Storage) -> list[_Client]:
    """The clients of all limiters whose state lies there."""
    states = [
        msgspec.json.decode(storage.read(entry.name), type=_State)
        for entry in storage.list()
        if entry.name.endswith(".json")
    ]
    return [client for state in states for client in state.clients.values()]
