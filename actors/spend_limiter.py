"""The one place that knows how much may still be asked: requests at once, per minute, tokens per minute, and money.

Every client (a worker with its connections) comes by several times a second, says what it holds and what it wants,
and gets what it may use from then on. Nothing is asked per request, so the limiter is never in the way; and what a
client holds counts until it gives it back, so the limits hold over all of them at any moment.

It keeps what it has granted in a file before it grants it. Restarted after a death it reads that file, and clients
repeat their running totals at every visit, so no count is lost and none is counted twice. A client that stays away
is taken for dead: what it held is free again, what it had under way counts as spent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import msgspec

from cluster.storage import Storage

HORIZON = 0.25  # s; starts are granted so far ahead
LOST_AFTER = 20.0  # s without a visit
# Starts arrive at the server less evenly than they leave here; this much slower, the limit holds there too.
SLACK = 1.03


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
    that waits for its time to start. `counts`: running totals, and `under_way` the requests of this moment, to be shown.
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


class Grant(msgspec.Struct):
    """The answer: places, the allowance, and when each start may happen (seconds from now), for the first so many."""

    places: int
    allowance: int
    starts: list[float]
    is_spent: bool = False


class _Client(msgspec.Struct):
    places: int = 0
    wanted: int = 0
    spent: int = 0
    reserved: int = 0
    allowance: int = 0
    under_way: int = 0
    counts: dict[str, int] = {}


class _State(msgspec.Struct):
    clients: dict[str, _Client] = {}
    lost_spent: int = 0  # by clients that are gone
    lost_counts: dict[str, int] = {}
    next_request: float = 0.0  # wall-clock seconds: a restart may happen on another machine
    next_tokens: float = 0.0


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
        self._kept = 0.0
        self._state = self._recalled()
        self._seen = dict.fromkeys(self._state.clients, clock())

    def visit(self, claim: Claim) -> Grant:
        """A client's visit."""
        now = self._clock()
        self._forget_the_lost(now)
        client = self._state.clients.setdefault(claim.client, _Client())
        self._seen[claim.client] = now
        client.wanted, client.spent, client.reserved = claim.places_wanted, claim.spent, claim.reserved
        client.counts, client.under_way = claim.counts, claim.under_way
        held = (client.places, client.allowance)
        grant = Grant(self._places(claim), self._allowance(claim), self._starts(claim, now), self._is_spent(claim))
        client.places, client.allowance = max(claim.places, grant.places), grant.allowance
        self._keep(now, is_due=bool(grant.starts) or held != (client.places, client.allowance))
        return grant

    def totals(self) -> dict[str, int]:
        """What all clients have counted so far, with `spent` and `under way`, for the display."""
        totals = dict(self._state.lost_counts)
        for client in self._state.clients.values():
            for name, amount in client.counts.items():
                totals[name] = totals.get(name, 0) + amount
        under_way = sum(client.under_way for client in self._state.clients.values())
        return totals | {"spent": self._spent(), "under way": under_way}

    def _spent(self) -> int:
        return self.spent_before + self._state.lost_spent + sum(each.spent for each in self._state.clients.values())

    # Places

    def _places(self, claim: Claim) -> int:
        """The places that a client may use: an equal share, more where others want less, never more than are free."""
        limit = self.limits.concurrent_requests
        others = [client for name, client in self._state.clients.items() if name != claim.client]
        busy = 1 + sum(client.wanted > 0 for client in others)
        share = max(1, limit // busy)
        fair = max(share, limit - sum(min(client.wanted, share) for client in others))
        free = max(0, limit - sum(client.places for client in others))
        return min(claim.places_wanted, fair, free)

    # Money

    def _allowance(self, claim: Claim) -> int:
        if self.limits.cost is None:
            return claim.allowance_wanted
        held = sum(each.allowance for name, each in self._state.clients.items() if name != claim.client)
        free = self.limits.cost - self.spent_before - self._state.lost_spent - held - claim.allowance
        unused = claim.allowance - claim.spent - claim.reserved
        if unused + free < claim.next_bound:
            return claim.allowance  # two clients must not each hold half of what one request needs
        return claim.allowance + max(0, min(claim.allowance_wanted - claim.allowance, free))

    def _is_spent(self, claim: Claim) -> bool:
        """Whether the client's next request cannot be paid, even when nothing is under way any more."""
        if self.limits.cost is None or not claim.next_bound:
            return False
        under_way = sum(client.reserved for client in self._state.clients.values())
        return not under_way and claim.next_bound > self.limits.cost - self._spent()

    # Pace

    def _starts(self, claim: Claim, now: float) -> list[float]:
        """When the first requests in line may start. Nothing is saved up: a pause earns no burst."""
        state, limits = self._state, self.limits
        if not limits.paced:
            return []
        per_request = SLACK * 60 / limits.requests_per_minute if limits.requests_per_minute else 0.0
        per_token = SLACK * 60 / limits.tokens_per_minute if limits.tokens_per_minute else 0.0
        state.next_request, state.next_tokens = max(state.next_request, now), max(state.next_tokens, now)
        # With several clients each gets a part of what lies ahead, and all get their turn.
        clients = max(1, sum(client.wanted > 0 for client in self._state.clients.values()))
        most = math.ceil(HORIZON / per_request / clients) if per_request else len(claim.starts)
        starts: list[float] = []
        for tokens in claim.starts[:most]:
            start = max(state.next_request, state.next_tokens)
            if start > now + HORIZON:
                break
            starts.append(start - now)
            state.next_request, state.next_tokens = start + per_request, start + tokens * per_token
        return starts

    # What outlives the actor

    def _forget_the_lost(self, now: float) -> None:
        for name in [name for name, seen in self._seen.items() if now - seen > LOST_AFTER]:
            client = self._state.clients.pop(name)
            del self._seen[name]
            # What it had under way may have been answered, and is paid for then.
            self._state.lost_spent += client.spent + client.reserved
            for count, amount in client.counts.items():
                self._state.lost_counts[count] = self._state.lost_counts.get(count, 0) + amount

    def _keep(self, now: float, is_due: bool) -> None:
        """Write down what is granted, before it is; what clients repeat anyway only once a second."""
        if self._storage is not None and (is_due or now - self._kept > 1.0):
            self._kept = now
            self._storage.publish(self._name, msgspec.json.encode(self._state), durable=False)

    def _recalled(self) -> _State:
        if self._storage is None or not self._storage.exists(self._name):
            return _State()
        state = msgspec.json.decode(self._storage.read(self._name), type=_State)
        # A grant that was kept but never arrived may still be used; let its time pass.
        state.next_request = max(state.next_request, self._clock() + HORIZON)
        return state
