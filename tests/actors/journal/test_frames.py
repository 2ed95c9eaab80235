"""Frames: any zstd reader sees JSON lines, and damage never shows as another answer."""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
from pathlib import Path

import pyarrow
import pytest
import zstandard

from actors.journal.frames import decode, encode, entries_in

KEYS = [bytes([number]) * 16 for number in range(1, 6)]
ENTRIES = [(key, json.dumps({"text": "words " * number, "n": number}).encode()) for number, key in enumerate(KEYS)]
# What zstd cannot compress is stored raw, and one byte repeated as such: each kind of block has its own length.
ENTRIES += [
    (b"r" * 16, b'"%b"' % random.Random(1).randbytes(900).hex().encode()),
    (b"R" * 16, b'"%b"' % (b"a" * 400_000)),
]


def test_each_frame_holds_its_entry() -> None:
    frames = encode(ENTRIES)
    assert [decode(frame, key) for frame, (key, _) in zip(frames, ENTRIES, strict=True)] == [r for _, r in ENTRIES]
    assert decode(frames[0], KEYS[1]) is None


def test_frames_are_found_without_an_index() -> None:
    data = b"".join(encode(ENTRIES))
    found = list(entries_in(data, 0, len(data)))
    assert [(each.key, each.record) for each in found] == ENTRIES
    assert all(decode(data[each.start : each.start + each.length], each.key) == each.record for each in found)


def test_zstd_tools_read_json_lines(tmp_path: Path) -> None:
    data = b"".join(encode(ENTRIES))
    expected = b"".join(b'{"key":"%b","record":%b}\n' % (key.hex().encode(), record) for key, record in ENTRIES)
    assert zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read() == expected
    assert pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd").read() == expected
    assert [json.loads(line)["key"] for line in expected.splitlines()] == [key.hex() for key, _ in ENTRIES]
    if shutil.which("zstdcat"):
        (tmp_path / "a.zst").write_bytes(data)
        assert subprocess.run(["zstdcat", tmp_path / "a.zst"], capture_output=True, check=True).stdout == expected


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
def test_a_flipped_byte_is_a_miss_or_harmless(mask: int) -> None:
    (key, record), frame = ENTRIES[2], encode(ENTRIES)[2]
    misses = 0
    for at in range(len(frame)):
        damaged = frame[:at] + bytes([frame[at] ^ mask]) + frame[at + 1 :]
        found = decode(damaged, key)
        assert found in (None, record)
        misses += found is None
    assert misses >= len(frame) - 1


def test_a_cut_frame_is_a_miss() -> None:
    key, frame = ENTRIES[2][0], encode(ENTRIES)[2]
    assert not any(decode(frame[:length], key) for length in range(len(frame)))


def test_a_frame_that_claims_too_much_costs_no_memory() -> None:
    compressor = zstandard.ZstdCompressor(write_checksum=True).compressobj(size=1 << 40)
    assert (
        decode(compressor.compress(b"a" * 1000) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), KEYS[0]) is None
    )


def test_damage_hides_no_other_frame() -> None:
    frames = encode(ENTRIES[:5])
    data = b"".join(frames)
    starts = [sum(map(len, frames[:number])) for number in range(6)]
    for at in range(starts[1], starts[2]):
        damaged = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        found = [each.key for each in entries_in(damaged, 0, len(damaged))]
        assert found == KEYS[:1] + KEYS[2:]
    for stop in range(starts[4], starts[5]):
        assert [each.key for each in entries_in(data, 0, stop)] == KEYS[:4]
        assert [each.key for each in entries_in(data[:stop] + bytes(100), 0, stop + 100)] == KEYS[:4]


def test_an_entry_of_other_lines_is_none() -> None:
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    for line in (b"", b"{}\n", b'{"key":"zz"}\n', b'{"key":"%b","record":1}' % (b"0" * 32), b"\xff" * 60):
        data = compressor.compress(line)
        assert list(entries_in(data, 0, len(data))) == []
        assert decode(data, bytes(16)) is None
    unchecked = zstandard.ZstdCompressor().compress(b'{"key":"%b","record":1}\n' % (b"0" * 32))
    assert decode(unchecked, bytes(16)) is None
