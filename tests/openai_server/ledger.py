"""What was asked and answered: by path, by outcome and by question, and when, for judging how a client paces."""

from __future__ import annotations

import hashlib
import time
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.openai_server.faults import BROKEN, Fault
from tests.openai_server.questions import Question

_MOST_ARRIVALS = 5_000_000


@dataclass(slots=True)
class Exchange:
    """One request to a model, from its arrival until it is answered whole or its connection is gone."""

    digest: str
    attempt: int
    arrival: float
    place: int  # among the arrivals
    fault: Fault | None = None
    status: int = 200
    outcome: str = "ok"
    is_settled: bool = False


class Ledger:
    """Counts; `arrive` and `settle` frame each exchange."""

    def __init__(self, keep_bodies: int) -> None:
        self.keep_bodies = keep_bodies
        self.in_flight = 0
        self.clear()

    def clear(self) -> None:
        self.paths: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.questions: dict[str, list[int]] = {}  # digest -> attempts, answered whole with 200, of these without fault
        self.max_in_flight = self.in_flight
        self.authorizations: dict[bytes, str] = {}
        self.bodies: dict[str, bytes] = {}
        self.times, self.tokens, self.reserved = array("d"), array("L"), array("L")

    def authorized(self, header: bytes) -> None:
        if header not in self.authorizations:
            self.authorizations[header] = hashlib.sha256(header).hexdigest()

    def arrive(self, question: Question) -> Exchange:
        """A question came, to be answered on a connection."""
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        now = time.monotonic()
        place = len(self.times)
        if place < _MOST_ARRIVALS:
            self.times.append(now)
            self.tokens.append(0)
            self.reserved.append(question.reserved_tokens)
        return Exchange(question.digest, self.attempt(question), now, place)

    def attempt(self, question: Question) -> int:
        """Count an attempt at a question; the first one is 1."""
        counts = self.questions.setdefault(question.digest, [0, 0, 0])
        counts[0] += 1
        self.bodies.pop(question.digest, None)
        self.bodies[question.digest] = question.raw
        if len(self.bodies) > self.keep_bodies:
            del self.bodies[next(iter(self.bodies))]
        return counts[0]

    def charge(self, exchange: Exchange, tokens: int) -> None:
        """Note the tokens of the answer at its question's arrival."""
        if exchange.place < len(self.tokens):
            self.tokens[exchange.place] = tokens

    def settle(self, exchange: Exchange, *, whole: bool) -> None:
        """The exchange is over: all bytes are with the socket, or the connection is gone."""
        if exchange.is_settled:
            return
        exchange.is_settled = True
        self.in_flight -= 1
        broken = exchange.fault is not None and exchange.fault.kind in BROKEN
        self.outcomes[exchange.outcome if whole or broken else "gone"] += 1
        if whole and exchange.status == 200:
            self.answered(exchange.digest, exchange.fault)

    def answered(self, digest: str, fault: Fault | None) -> None:
        """A question has a whole answer with status 200."""
        counts = self.questions.setdefault(digest, [0, 0, 0])
        counts[1] += 1
        counts[2] += fault is None or fault.kind == "slow_tokens"

    def stats(self, *, digests: bool = True, by: str = "usage") -> dict[str, Any]:
        counts = self.questions.values()
        stats: dict[str, Any] = {
            "paths": dict(self.paths),
            "outcomes": dict(self.outcomes),
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "questions": len(self.questions),
            "attempts": sum(each[0] for each in counts),
            "answered": sum(each[1] for each in counts),
            "answered_without_fault": sum(each[2] for each in counts),
            "most_answers_without_fault": max((each[2] for each in counts), default=0),
            "authorizations": sorted(self.authorizations.values()),
            "peaks": self.peaks(by),
        }
        if digests:
            names = ("attempts", "answered", "answered_without_fault")
            stats["digests"] = {digest: dict(zip(names, each, strict=True)) for digest, each in self.questions.items()}
        return stats

    def peaks(self, by: str) -> dict[str, int]:
        """The most requests and tokens that arrived in any window of 1 second and of 60 seconds."""
        tokens = self.reserved if by == "reserved" else self.tokens
        return {
            "requests_per_second": peak(self.times, None, 1.0),
            "requests_per_minute": peak(self.times, None, 60.0),
            "tokens_per_second": peak(self.times, tokens, 1.0),
            "tokens_per_minute": peak(self.times, tokens, 60.0),
        }

    def arrivals(self) -> list[list[float]]:
        """[monotonic seconds, tokens of the answer, tokens reserved] of every question."""
        return [list(each) for each in zip(self.times, self.tokens, self.reserved, strict=True)]


def peak(times: array[float], weights: array[int] | None, window: float) -> int:
    """The most that falls into any stretch of so many seconds, its begin included and its end not; times ascend."""
    import numpy as np  # only here, for it takes longer to load than all the rest

    if not times:
        return 0
    moments = np.array(times)
    totals = np.concatenate(
        [[0], np.cumsum(np.ones(len(times), dtype=np.int64) if weights is None else np.array(weights))]
    )
    first = np.searchsorted(moments, moments - window, side="right")
    return int((totals[1:] - totals[first]).max())
