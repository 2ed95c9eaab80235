"""The index in memory: from a key to the places where its entry may be.

Sorted arrays (24 bytes an entry) hold what was there at the opening, a dict what came since; the dict becomes an array
when it has grown, and small arrays are merged into larger ones, so that there are never more than a few. Only the first
8 bytes of a key are kept: two keys that share them (among ten million, once in 400,000 journals) share their places,
and the frame tells which is which. Of equal keys the one added first comes first. It does no I/O; one thread at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actors.journal.index_records import WHERE, Location, Locations, high_of

_SMALL = 4096  # entries that are not worth an array
_LARGEST_DICT = 1 << 17
_STEEPNESS = 4  # an array is at least so many times as long as the next, which keeps them few and merges rare


class Index:
    """Places by key."""

    def __init__(self) -> None:
        self._runs: list[Locations] = []  # sorted by key, the oldest first
        self._recent: dict[int, tuple[Location, ...]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: bytes) -> bool:
        high = high_of(key)
        return high in self._recent or self._in_runs(high)

    def candidates(self, key: bytes) -> list[Location]:
        """The places to look at, in the order that decides."""
        high = high_of(key)
        found: list[Location] = []
        for run in self._runs:
            at = int(run.high.searchsorted(np.uint64(high)))
            while at < len(run) and int(run.high[at]) == high:
                found.append(Location(*run.where[at].item()))
                at += 1
        found += self._recent.get(high, ())
        return found

    def add(self, batches: list[Locations]) -> int:
        """Take over the batches, and empty the list; how many of their keys are new."""
        before = self._count
        if sum(map(len, batches)) <= _SMALL:
            for batch in batches:
                self._add_few(batch)
            batches.clear()
        else:
            self._turn_recent_into_run()
            run = _sorted(batches)
            self._count += self._unknown(run)
            self._push(run)
        return self._count - before

    def _add_few(self, batch: Locations) -> None:
        for high, where in zip(batch.high.tolist(), batch.where.tolist(), strict=True):
            others = self._recent.get(high, ())
            self._count += not others and not self._in_runs(high)
            self._recent[high] = (*others, Location(*where))
        if len(self._recent) > _LARGEST_DICT:
            self._turn_recent_into_run()

    def _in_runs(self, high: int) -> bool:
        value = np.uint64(high)
        for run in self._runs:
            at = run.high.searchsorted(value)
            if at < len(run) and run.high[at] == value:
                return True
        return False

    def _turn_recent_into_run(self) -> None:
        if self._recent:
            pairs = [(high, place) for high, places in self._recent.items() for place in places]
            high = np.array([pair[0] for pair in pairs], np.uint64)
            where = np.array([tuple(pair[1]) for pair in pairs], WHERE)
            self._recent = {}
            self._push(_sorted([Locations(high, where)]))

    def _push(self, run: Locations) -> None:
        self._runs.append(run)
        del run
        while len(self._runs) > 1 and len(self._runs[-1]) * _STEEPNESS >= len(self._runs[-2]):
            two = self._runs[-2:]
            del self._runs[-2:]
            self._runs.append(_sorted(two))

    def _unknown(self, run: Locations) -> int:
        """How many keys of the sorted run no other run has."""
        keys = run.high[_firsts(run.high)]
        unknown = np.ones(len(keys), np.bool_)
        for other in self._runs:
            at = np.minimum(other.high.searchsorted(keys), len(other) - 1)
            unknown &= other.high[at] != keys
        return int(np.count_nonzero(unknown))


def _firsts(high: NDArray[np.uint64]) -> NDArray[np.bool_]:
    firsts = np.ones(len(high), np.bool_)
    np.not_equal(high[1:], high[:-1], out=firsts[1:])
    return firsts


def _sorted(batches: list[Locations]) -> Locations:
    """One sorted run; the list is emptied early, so that memory never holds everything three times."""
    high = np.concatenate([batch.high for batch in batches])
    where = np.concatenate([batch.where for batch in batches])
    batches.clear()
    order = np.argsort(high, kind="stable")  # stable: what came first stays first
    high = high[order]
    return Locations(high, where[order])
