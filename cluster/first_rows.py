"""The first rows of a dataset, in the order of its shards: sources that end early."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cluster.shards import ChunkSize, DamagedShard, RawChunk, Shard, lines_of


@dataclass(frozen=True, slots=True)
class FirstRows:
    """The first `rows` rows of a shard; blank lines are no rows."""

    shard: Shard
    rows: int

    @property
    def name(self) -> str:
        return self.shard.name

    @property
    def size(self) -> int:
        return self.shard.size

    @property
    def divisible(self) -> bool:
        return True

    def chunks(self, size: ChunkSize) -> Iterator[RawChunk]:
        """The shard's own chunks, the last of them cut; nothing is read after it."""
        left = self.rows
        for chunk in self.shard.chunks(size):
            found = _rows_in(chunk)
            if found >= left:
                yield replace(chunk, payload=_head(chunk.payload, left))
                return
            yield chunk
            left -= found


def first_rows(shards: Sequence[Shard], limit: int) -> list[FirstRows]:
    """Sources that hold the first `limit` rows together. Reads as far as those reach; of a damaged shard, what is whole."""
    sources: list[FirstRows] = []
    for shard in shards:
        if limit <= 0:
            break
        rows = _count(shard, limit)
        sources.append(FirstRows(shard, rows))
        limit -= rows
    return [source for source in sources if source.rows]


def _count(shard: Shard, limit: int) -> int:
    rows = 0
    try:
        for chunk in shard.chunks(ChunkSize()):
            rows += _rows_in(chunk)
            if rows >= limit:
                return limit
    except DamagedShard:
        # The pass meets the damage too, and says so, if it has to read that far.
        return rows + 1
    return rows


def _rows_in(chunk: RawChunk) -> int:
    return sum(1 for line in chunk.lines if line.strip())


def _head(payload: bytes, rows: int) -> bytes:
    """The lines up to and with the `rows`-th that is not blank."""
    lines = lines_of(payload)
    kept = 0
    for position, line in enumerate(lines):
        kept += bool(line.strip())
        if kept == rows:
            return b"\n".join((*lines[: position + 1], b""))
    return payload
