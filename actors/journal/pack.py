"""A pack: what one commit writes to an object store, as one immutable object.

The frames of its entries, then one skippable zstd frame with their index records and a footer of fixed size at the
very end. So the object reads as JSON lines with any zstd tool, and its index with one ranged read of its end. What
does not hold together, down to the checksum of the records, is no pack.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import numpy as np
import xxhash

from actors.journal.frames import encode
from actors.journal.index_records import RECORD, Records, make_records, moved, valid

_SKIPPABLE = struct.Struct("<II")  # magic of a skippable frame, length of its content
_MAGIC = 0x184D2A5A
_FOOTER = struct.Struct("<QQQ8s")  # start of the skippable frame, number of records, their xxh64, mark
_MARK = b"gmpack01"
_END = 1 << 16  # bytes read at first; holds the records of two thousand entries


def make_pack(entries: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, Records]:
    """The object, and where the frames lie in it."""
    frames = encode(entries)
    records = moved(make_records([key for key, _ in entries], [len(frame) for frame in frames]), 0)
    index = records.tobytes()
    footer = _FOOTER.pack(sum(map(len, frames)), len(records), xxhash.xxh64_intdigest(index), _MARK)
    skippable = _SKIPPABLE.pack(_MAGIC, len(index) + len(footer))
    return b"".join([*frames, skippable, index, footer]), records


def records_of_pack(size: int, read: Callable[[int, int], bytes]) -> Records | None:
    """The records of a pack of that size, by one or two calls of `read(start, length)`; None if it is no whole pack."""
    start = max(0, size - _END)
    end = read(start, size - start)
    if len(end) != size - start or len(end) < _FOOTER.size:
        return None
    frames, count, checksum, mark = _FOOTER.unpack_from(end, len(end) - _FOOTER.size)
    length = count * RECORD.itemsize
    if mark != _MARK or frames + _SKIPPABLE.size + length + _FOOTER.size != size:
        return None
    at = frames + _SKIPPABLE.size
    index = end[at - start : at - start + length] if at >= start else read(at, length)
    if len(index) != length or xxhash.xxh64_intdigest(index) != checksum:
        return None
    records = np.frombuffer(index, RECORD)
    inside = records["offset"] + records["length"] <= frames
    sound: Records = records[valid(records) & inside]
    return sound
