"""Resharding: all rows in one random order, cut into files of near-equal bytes, without holding them in memory.

The order is that of the rows' priorities, so it depends on the seed and on the input alone. A first pass spreads
every chunk's rows over buckets, which are ranges of the priority small enough to sort in memory; the output files
are ranges of bytes of the sorted order, and each is read back from the buckets that it touches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import orjson

from actors.bucketer import Bucketed, bucket_rows
from cluster.errors import GristmillError
from cluster.ledger import Chunks, Pass
from cluster.shards import SPLITS, ChunkSize, RawChunk, Shard

BUCKET_BYTES = 96 << 20
# What a byte stored compressed is expected to unpack to. Only the size of buckets depends on it, not what comes out.
EXPECTED_EXPANSION = 4


class SplitError(GristmillError):
    """More rows are asked for than there are."""


@dataclass(frozen=True, slots=True)
class Split:
    """A wanted split: a share of all rows (float), a number of them (int), or what the others leave (None)."""

    name: str
    amount: int | float | None


@dataclass(frozen=True, slots=True)
class Output:
    """One output file: the rows of `group` whose first byte, in the group's order, lies in [start, end)."""

    name: str
    group: int
    start: int
    end: int


def bucket_count(shards: list[Shard]) -> int:
    """How many buckets keep each one's rows within memory; a function of the input alone."""
    expected = sum(shard.size * (1 if shard.path.endswith(".jsonl") else EXPECTED_EXPANSION) for shard in shards)
    return max(1, -(-expected // BUCKET_BYTES))


@dataclass(frozen=True)
class BucketRange:
    """The source of one output file: reads the buckets it touches, sorts each, and yields its rows as chunks.

    `step` is the bucketing pass with its chunks; `sizes` holds the bytes of every bucket of the group.
    """

    output: Output
    step: Pass
    chunks_of: tuple[Chunks, ...]
    group: int
    sizes: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.output.name

    @property
    def size(self) -> int:
        return self.output.end - self.output.start

    @property
    def divisible(self) -> bool:
        return False

    def chunks(self, size: ChunkSize) -> Iterator[RawChunk]:
        index, line, read = 0, 1, 0
        pending: list[bytes] = []
        held = 0
        for row in self._rows():
            pending.append(row)
            held += len(row) + 1
            if held >= size.bytes:
                read += held
                yield RawChunk(index, line, b"\n".join((*pending, b"")), read)
                index, line, pending, held = index + 1, line + len(pending), [], 0
        if pending:
            yield RawChunk(index, line, b"\n".join((*pending, b"")), read + held)

    def _rows(self) -> Iterator[bytes]:
        before = 0
        for bucket, size in enumerate(self.sizes):
            if before < self.output.end and before + size > self.output.start:
                rows = bucket_rows(self.step, self.chunks_of, self.group, bucket)
                starts = before + np.concatenate([[0], np.cumsum(rows.sizes[:-1])]) if len(rows.sizes) else rows.sizes
                first, last = np.searchsorted(starts, [self.output.start, self.output.end], side="left")
                yield from rows.lines(int(first), int(last))
            before += size


@dataclass(frozen=True)
class BucketTable:
    """Rows and bytes of every bucket of every group, as a reduction over the bucketing pass finds them."""

    rows: list[list[int]]
    bytes: list[list[int]]

    @cached_property
    def group_bytes(self) -> list[int]:
        return [sum(buckets) for buckets in self.bytes]

    @cached_property
    def group_rows(self) -> list[int]:
        return [sum(buckets) for buckets in self.rows]


def decide_reshard(
    step: Pass, chunks: list[Chunks], buckets: int, groups: list[str], splits: list[Split], num_files: int
) -> bytes:
    """The plan of a reshard: every output file's byte range, and the sizes of the buckets.

    `groups` are the splits that the input has (or one nameless group). With `splits` the input is one group, and the
    splits are ranges of its order: test first, then valid, then train; rows that no split asks for are left out.
    """
    table = _bucket_table(step, chunks, buckets, len(groups))
    ranges: list[tuple[str, int, int, int]] = []
    if splits:
        for name, first, last in split_ranks(splits, table.group_rows[0]):
            ends = [_byte_at_rank(step, chunks, table, rank) for rank in (first, last)]
            ranges.append((name, 0, ends[0], ends[1]))
    else:
        ranges = [(name, group, 0, table.group_bytes[group]) for group, name in enumerate(groups)]
    ranges = [found for found in ranges if found[3] > found[2]]
    counts = allot_files(num_files, {name: end - start for name, _, start, end in ranges})
    outputs = [
        Output(f"{name}/{file}" if name else file, group, begin, finish)
        for name, group, start, end in ranges
        for file, begin, finish in _files(start, end, counts[name])
    ]
    plan = [[o.name, o.group, o.start, o.end] for o in outputs]
    return orjson.dumps({"outputs": plan, "bucket_bytes": table.bytes, "rows": table.group_rows})


def _files(start: int, end: int, count: int) -> Iterator[tuple[str, int, int]]:
    for number in range(count):
        begin, finish = (start + (end - start) * part // count for part in (number, number + 1))
        yield f"shard-{number:05d}-of-{count:05d}.jsonl.zst", begin, finish


def _bucket_table(step: Pass, chunks: list[Chunks], buckets: int, groups: int) -> BucketTable:
    rows, sizes = np.zeros((groups, buckets), np.int64), np.zeros((groups, buckets), np.int64)
    for _, payload in step.payloads(chunks):
        found = Bucketed(payload)
        rows[found.group] += found.rows
        sizes[found.group] += found.bytes
    return BucketTable(rows.tolist(), sizes.tolist())


def _byte_at_rank(step: Pass, chunks: list[Chunks], table: BucketTable, rank: int) -> int:
    """The byte at which the row of that rank begins, in the order of the one group."""
    rows_before = bytes_before = 0
    for bucket, (rows, size) in enumerate(zip(table.rows[0], table.bytes[0], strict=True)):
        if rank < rows_before + rows:
            within = rank - rows_before
            sizes = bucket_rows(step, tuple(chunks), 0, bucket).sizes
            return bytes_before + int(sizes[:within].sum())
        rows_before += rows
        bytes_before += size
    return bytes_before


def split_ranks(splits: list[Split], rows: int) -> list[tuple[str, int, int]]:
    """Each split's range of ranks. A split given as 0 is not made; the others are cut off in the order given.

    Raises SplitError where more rows are asked for than there are.
    """
    ranges, used = [], 0
    for split in splits:
        wanted = round(split.amount * rows) if isinstance(split.amount, float) else split.amount
        if wanted is None:
            wanted = rows - used
        if used + wanted > rows + len(splits):
            raise SplitError(f"the splits ask for {used + wanted:,} rows or more, the dataset has {rows:,}")
        end = min(used + wanted, rows)  # fractions that sum to one may round up by a row
        ranges.append((split.name, used, end))
        used = end
    return ranges


def allot_files(num_files: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Share files out in proportion to bytes (largest remainder), every split with rows getting at least one."""
    total = sum(sizes.values())
    if not total:
        return dict.fromkeys(sizes, 0)
    free = max(num_files - len(sizes), 0)
    exact = {name: free * size / total for name, size in sizes.items()}
    counts = {name: 1 + int(share) for name, share in exact.items()}
    for name in sorted(
        exact, key=lambda name: (int(exact[name]) - exact[name], SPLITS.index(name) if name in SPLITS else 0)
    ):
        if sum(counts.values()) >= num_files:
            break
        counts[name] += 1
    return counts
