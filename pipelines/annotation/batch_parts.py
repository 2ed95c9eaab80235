"""Which requests go into which input file: in the order of shards and rows, equal ones once, up to a provider's limits.

Files are cut in one reading, the same however often it is done; only keys are held in memory. A request that is larger
than a whole file may be is left out, and told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from actors.batch_format import key_of

# The provider's limits are 50 000 requests and 200 MB; the room is for what it may count otherwise.
MOST_REQUESTS, MOST_BYTES = 50_000, 195_000_000

Publish = Callable[[str, Iterable[bytes]], None]


class Part(msgspec.Struct, frozen=True):
    """One input file, by its name."""

    name: str
    requests: int


@dataclass(frozen=True, slots=True)
class PartLimits:
    """How much one file holds at most; bytes with the line ends."""

    requests: int = MOST_REQUESTS
    bytes: int = MOST_BYTES


@dataclass
class PartCutter:
    """Cuts lines into parts. `wanted` leaves out all other keys; `oversized` are (key, bytes) of what fits nowhere."""

    limits: PartLimits
    wanted: frozenset[bytes] | None = None
    oversized: list[tuple[bytes, int]] = field(default_factory=list)
    _seen: set[bytes] = field(default_factory=set)

    def cut(self, lines: Iterable[bytes], first: int, publish: Publish) -> list[Part]:
        """Publish the parts, counted from `first`, each with its keys beside it; in memory is one line at a time."""
        parts: list[Part] = []
        rest = _Peeked(self._taken(lines))
        while rest.head is not None:
            name, keys = f"{first + len(parts):05d}", bytearray()
            publish(f"{name}.jsonl", self._pieces(rest, keys))
            publish(f"{name}.keys", (bytes(keys),))
            parts.append(Part(name, len(keys) // 16))
        return parts

    def _taken(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        for line in lines:
            key = key_of(line)
            if key in self._seen or not (self.wanted is None or key in self.wanted):
                continue
            self._seen.add(key)
            if len(line) >= self.limits.bytes:
                self.oversized.append((key, len(line) + 1))
            else:
                yield line

    def _pieces(self, rest: _Peeked, keys: bytearray) -> Iterator[bytes]:
        room, places = self.limits.bytes, self.limits.requests
        while rest.head is not None and places and len(rest.head) < room:
            line = rest.take()
            room, places = room - len(line) - 1, places - 1
            keys += key_of(line)
            yield line + b"\n"


class _Peeked:
    """Lines of which the next can be looked at; `head` is None at their end."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self.head = next(lines, None)

    def take(self) -> bytes:
        head, self.head = self.head, next(self._lines, None)
        assert head is not None
        return head
