"""Spreading rows over buckets by priority, and reading one bucket back in the order of the priorities.

What is kept of a chunk is one block per bucket, each compressed on its own, behind a table of where they lie: a
reader takes the blocks of its bucket from every chunk by range, and never the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import zstandard

from actors.priorities import priorities
from cluster.ledger import Chunks, Pass
from cluster.rows import Rows
from cluster.shards import split_of
from cluster.stage import Summarizer

Integers = npt.NDArray[np.int64]
_HEAD = 3  # group, buckets, rows: the integers before the table


class BucketRows(Summarizer):
    """Keeps all rows of a chunk, by bucket. `groups` are the splits that are kept apart, or [""] for one order."""

    def __init__(self, groups: list[str], buckets: int, seed: int) -> None:
        self.groups, self.buckets, self.seed = groups, buckets, seed

    def encode(self, rows: Rows) -> bytes:
        group = 0 if self.groups == [""] else self.groups.index(split_of(rows.shard) or "")
        keys = priorities(self.seed, rows.shard, rows.numbers)
        sizes = np.fromiter(map(len, rows.lines), np.int64, len(rows)) + 1
        buckets = bucket_of(keys, self.buckets)
        order = np.argsort(buckets, kind="stable")
        ends = np.cumsum(np.bincount(buckets, minlength=self.buckets))
        compressor = zstandard.ZstdCompressor(level=1)
        table = np.zeros((self.buckets, 3), np.int64)
        blocks: list[bytes] = []
        for bucket in range(self.buckets):
            members = order[ends[bucket - 1] if bucket else 0 : ends[bucket]]
            if not len(members):
                continue
            lines = [rows.lines[position] for position in members.tolist()]
            raw = b"".join((keys[members].tobytes(), sizes[members].tobytes(), b"\n".join((*lines, b""))))
            blocks.append(compressor.compress(raw))
            table[bucket] = len(members), int(sizes[members].sum()), len(blocks[-1])
        head = np.array([group, self.buckets, len(rows)], np.int64)
        return b"".join((head.tobytes(), table.tobytes(), *blocks))


def bucket_of(keys: npt.NDArray[np.uint64], buckets: int) -> Integers:
    """The bucket of each priority: equal ranges of the 32 highest bits, in order."""
    return np.asarray(((keys >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32), dtype=np.int64)


class Bucketed:
    """The table at the start of what `BucketRows` kept: rows, bytes and stored length of each bucket."""

    def __init__(self, payload: bytes) -> None:
        self.group, self.buckets = (int(value) for value in np.frombuffer(payload, np.int64, 2))
        table = np.frombuffer(payload, np.int64, 3 * self.buckets, 8 * _HEAD).reshape(self.buckets, 3)
        self.rows, self.bytes, self.lengths = table[:, 0], table[:, 1], table[:, 2]

    def range_of(self, bucket: int) -> tuple[int, int]:
        """Where a bucket's block lies in the payload: start and length."""
        start = 8 * (_HEAD + 3 * self.buckets) + int(self.lengths[:bucket].sum())
        return start, int(self.lengths[bucket])


@dataclass(frozen=True, slots=True)
class SortedRows:
    """The rows of a bucket in the order of their priorities. `sizes` are bytes of line and LF."""

    blocks: list[bytes]
    where: npt.NDArray[np.int64]  # (rows, 3): block, start, size
    sizes: Integers

    def lines(self, first: int, last: int) -> Iterator[bytes]:
        for block, start, size in self.where[first:last].tolist():
            yield self.blocks[block][start : start + size - 1]


def bucket_rows(step: Pass, chunks: Sequence[Chunks], group: int, bucket: int) -> SortedRows:
    """Read one bucket of one group from all chunks of the bucketing pass."""
    decompressor = zstandard.ZstdDecompressor()
    blocks: list[bytes] = []
    keys: list[npt.NDArray[np.uint64]] = []
    where: list[Integers] = []
    for part in chunks:
        for index in range(part.count):
            raw = _block(step, part.shard, index, group, bucket, decompressor)
            if raw is None:
                continue
            rows, body = raw
            keys.append(np.frombuffer(body, np.uint64, rows))
            sizes = np.frombuffer(body, np.int64, rows, 8 * rows)
            starts = 16 * rows + np.concatenate([[0], np.cumsum(sizes[:-1])])
            where.append(np.stack([np.full(rows, len(blocks), np.int64), starts.astype(np.int64), sizes], axis=1))
            blocks.append(body)
    if not blocks:
        return SortedRows([], np.zeros((0, 3), np.int64), np.zeros(0, np.int64))
    places = np.concatenate(where)
    # Stable: rows of different shards with one priority (they exist, very rarely) stay in the order of the input.
    places = places[np.argsort(np.concatenate(keys), kind="stable")]
    return SortedRows(blocks, places, places[:, 2])


def _block(
    step: Pass, shard: str, index: int, group: int, bucket: int, decompressor: zstandard.ZstdDecompressor
) -> tuple[int, bytes] | None:
    head = np.frombuffer(step.read_range(shard, index, 0, 8 * _HEAD), np.int64)
    if int(head[0]) != group or not int(head[2]):
        return None
    table = Bucketed(step.read_range(shard, index, 0, 8 * (_HEAD + 3 * int(head[1]))))
    if not table.rows[bucket]:
        return None
    start, length = table.range_of(bucket)
    return int(table.rows[bucket]), decompressor.decompress(step.read_range(shard, index, start, length))
