"""The index of a segment: one record of 32 bytes per entry, which says where the entry's frame lies.

key (16 bytes), offset (8), length (4), checksum of these (4), all little-endian. They are written, checked and read
a million at once. What a record says is a hint: whoever follows it still checks the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("offset", "<u8"), ("length", "<u4"), ("check", "<u4")])
WHERE = np.dtype([("offset", "<u8"), ("length", "<u4"), ("segment", "<u4")])

Records = NDArray[Any]  # of dtype RECORD

_ODD = [np.uint64(each) for each in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)]


class Location(NamedTuple):
    """Where a frame lies; `segment` is a number that the process gave to the segment."""

    offset: int
    length: int
    segment: int


@dataclass(frozen=True, slots=True)
class Locations:
    """Many of them: the first 8 bytes of each key, and for each a row of dtype WHERE."""

    high: NDArray[np.uint64]
    where: NDArray[Any]

    def __len__(self) -> int:
        return len(self.high)


def high_of(key: bytes) -> int:
    """The first 8 bytes of a key as the index holds them."""
    return int.from_bytes(key[:8], "little")


def make_records(keys: Sequence[bytes], lengths: Sequence[int], offsets: Sequence[int] | None = None) -> Records:
    """The records of entries whose frames lie at the offsets, or one after another from 0."""
    records = np.zeros(len(keys), RECORD)
    words = np.frombuffer(b"".join(keys), "<u8").reshape(-1, 2)
    records["high"], records["low"], records["length"] = words[:, 0], words[:, 1], lengths
    records["offset"] = np.cumsum([0, *lengths[:-1]]) if offsets is None else offsets
    return records


def moved(records: Records, by: int) -> Records:
    """The same records, sealed, of frames that lie further on."""
    records["offset"] += np.uint64(by)
    records["check"] = _checksums(records)
    return records


def valid(records: Records) -> NDArray[np.bool_]:
    """Which of the records are as they were written."""
    whole: NDArray[np.bool_] = records["check"] == _checksums(records)
    return whole


def located(records: Records, segment: int) -> Locations:
    """What the records say, in the index's own form."""
    where = np.empty(len(records), WHERE)
    where["offset"], where["length"], where["segment"] = records["offset"], records["length"], segment
    return Locations(np.ascontiguousarray(records["high"], np.uint64), where)


def gaps(records: Records, start: int) -> list[tuple[int, int]]:
    """The ranges from `start` on, between the frames, that no record speaks of. They come in the order of offsets."""
    ends = np.maximum.accumulate(records["offset"] + records["length"])
    before = np.concatenate([np.array([start], np.uint64), ends[:-1]])
    holes = np.flatnonzero(records["offset"] > before)
    return [(int(before[hole]), int(records["offset"][hole])) for hole in holes]


def _checksums(records: Records) -> NDArray[np.uint32]:
    """Of numpy's own arithmetic, so that ten million take a fraction of a second. A record of zeros does not pass."""
    mixed = (records["high"] + _ODD[0]) * _ODD[1]
    mixed ^= mixed >> np.uint64(29)
    mixed = (mixed + records["low"]) * _ODD[2]
    mixed ^= mixed >> np.uint64(31)
    mixed = (mixed + records["offset"]) * _ODD[3]
    mixed ^= mixed >> np.uint64(30)
    mixed = (mixed + records["length"]) * _ODD[0]
    upper: NDArray[np.uint32] = (mixed >> np.uint64(32)).astype(np.uint32)
    return upper
