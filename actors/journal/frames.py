"""One entry as one zstd frame, whose content is the line `{"key":"<hex>","record":<record>}`.

A frame carries a checksum of its content and the content names its key, so that whatever happened to the bytes, what
is decoded is the record that was put under that key, or nothing. Frames stand one after another: any zstd tool reads
the file as JSON lines. Where frames lie is not known here; `entries_in` finds them in bytes that have no index.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import zstandard

from actors.journal.key import KEY_BYTES

LARGEST_RECORD = 64 << 20  # bytes; a damaged header may claim any size, and memory is not to be spent on it

_MAGIC = zstandard.FRAME_HEADER
_LONGEST_HEADER = 18
_LEVEL = 3
_KEY_AT = len(b'{"key":"')
_RECORD_AT = _KEY_AT + 2 * KEY_BYTES + len(b'","record":')
_OF_THREAD = threading.local()  # zstd contexts are dear to make and not to be shared


class Buffer(Protocol):
    """Bytes, or a file that is mapped."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...
    def find(self, sub: bytes, start: int, end: int, /) -> int: ...


class Found(NamedTuple):
    """An entry and where its frame lies."""

    key: bytes
    record: bytes
    start: int
    length: int


def encode(entries: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """The frame of each (key, record). One call for many: the interpreter's lock is let go of once, not per entry."""
    lines: list[bytes | bytearray | memoryview] = [_head(key) + record + b"}\n" for key, record in entries]
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    # threads=0 is the calling thread alone.
    frames = compressor.multi_compress_to_buffer(lines, threads=0)
    return [frames[number].tobytes() for number in range(len(frames))]


def decode(frame: bytes, key: bytes) -> bytes | None:
    """The record in the frame if it is a whole one of this key, else None."""
    line = _line(frame)
    if line is None or not line.startswith(_head(key)) or not line.endswith(b"}\n"):
        return None
    return line[_RECORD_AT:-2]


def entries_in(data: Buffer, start: int, stop: int) -> Iterator[Found]:
    """Every whole entry that begins and ends in the range; what is damaged or torn is passed over."""
    at = start
    while 0 <= at < stop:
        found = _entry_at(data, at, stop)
        if found is None:
            at = data.find(_MAGIC, at + 1, stop)
        else:
            yield found
            at += found.length


def _head(key: bytes) -> bytes:
    return b'{"key":"%b","record":' % key.hex().encode()


def _line(frame: bytes) -> bytes | None:
    try:
        described = zstandard.get_frame_parameters(frame)
        if not described.has_checksum or described.content_size > LARGEST_RECORD + 2 * _RECORD_AT:
            return None
        return _decompressor().decompress(frame)
    except zstandard.ZstdError:
        return None


def _decompressor() -> zstandard.ZstdDecompressor:
    try:
        found: zstandard.ZstdDecompressor = _OF_THREAD.decompressor
    except AttributeError:
        found = _OF_THREAD.decompressor = zstandard.ZstdDecompressor()
    return found


def _entry_at(data: Buffer, at: int, stop: int) -> Found | None:
    length = _frame_length(data, at, stop)
    line = _line(data[at : at + length]) if length else None
    if length is None or line is None:
        return None
    try:
        key = bytes.fromhex(line[_KEY_AT : _KEY_AT + 2 * KEY_BYTES].decode("ascii"))
    except ValueError:
        return None
    if len(key) != KEY_BYTES or not line.startswith(_head(key)) or not line.endswith(b"}\n"):
        return None
    return Found(key, line[_RECORD_AT:-2], at, length)


def _frame_length(data: Buffer, start: int, stop: int) -> int | None:
    """The length of the frame that begins here, by the sizes of its blocks; None if it is none or ends past `stop`."""
    header = data[start : min(start + _LONGEST_HEADER, stop)]
    try:
        at = start + zstandard.frame_header_size(header)
        checksum = 4 if zstandard.get_frame_parameters(header).has_checksum else 0
    except zstandard.ZstdError:
        return None
    is_last = False
    while not is_last:
        if at + 3 > stop:
            return None
        block = int.from_bytes(data[at : at + 3], "little")
        is_last, is_repeated = bool(block & 1), block >> 1 & 3 == 1  # a repeated byte is stored once
        at += 3 + (1 if is_repeated else block >> 3)
    return at + checksum - start if at + checksum <= stop else None
