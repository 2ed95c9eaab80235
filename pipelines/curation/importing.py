"""Importing: tables and foreign shards cut into output shards of near-equal size, with an exact seeded test split.

What goes where depends on the files and the seed alone. A row's side of the split is its priority's, a hash of the
seed, its file's name and its place in the file, so nothing has to be read to decide it for tables: their metadata say
how many rows there are. Shards of JSONL have to be counted first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import orjson

from actors.json_rows import JsonRows
from actors.priorities import priorities
from actors.selector import ranked
from cluster.errors import GristmillError
from cluster.ledger import Chunks, Pass
from cluster.shards import ChunkSize, DamagedShard, RawChunk, Shard, read_chunks
from pipelines.curation.balance import records_of
from pipelines.curation.reshard import EXPECTED_EXPANSION
from pipelines.curation.selection import Ranked, count, row_thresholds
from pipelines.curation.tables import Span, TableFile, TableUnreadable, Unit, units_of

SHARD_BYTES = 256 << 20
BLOCK_ROWS = 1 << 20


class SplitTooLarge(GristmillError):
    """As many test rows are asked for as there are rows, or more."""


@dataclass(frozen=True, slots=True)
class Selection:
    """One side of the test split: rows whose priority is at most `threshold`, or the others."""

    seed: int
    threshold: int
    test: bool

    def mask(self, key: str, numbers: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Whether each row of these numbers (from 1) in the file `key` is chosen."""
        below = priorities(self.seed, key, numbers) <= np.uint64(self.threshold)
        return below if self.test else ~below


class Part(Protocol):
    """A range of rows of one file. `size` is about how large they are as JSON, uncompressed."""

    @property
    def size(self) -> int: ...

    def lines(self, selection: Selection | None) -> Iterator[list[bytes]]: ...


@dataclass(frozen=True, slots=True)
class TablePart:
    """Rows of a table; `key` is the file's name in the priorities."""

    key: str
    span: Span

    @property
    def size(self) -> int:
        return self.span.bytes

    @property
    def numbers(self) -> range:
        return range(self.span.first + 1, self.span.first + self.span.rows + 1)

    def lines(self, selection: Selection | None) -> Iterator[list[bytes]]:
        import pyarrow as pa

        number, writer = self.span.first + 1, None
        for batch in self.span.batches():
            writer = writer or JsonRows(batch.schema, self.span.file.url)
            following = number + len(batch)
            if selection is not None:
                batch = batch.filter(pa.array(selection.mask(self.key, range(number, following))))
            number = following
            yield writer.lines(batch)


@dataclass(frozen=True, slots=True)
class ShardPart:
    """All rows of a JSONL shard, as they are."""

    shard: Shard

    @property
    def size(self) -> int:
        return self.shard.size * (1 if self.shard.path.endswith(".jsonl") else EXPECTED_EXPANSION)

    def lines(self, selection: Selection | None) -> Iterator[list[bytes]]:
        for chunk in read_chunks(self.shard, ChunkSize()):
            lines = chunk.lines
            if selection is not None:
                mask = selection.mask(self.shard.name, range(chunk.first_line, chunk.first_line + len(lines)))
                lines = [lines[position] for position in np.flatnonzero(mask).tolist()]
            yield lines


@dataclass(frozen=True)
class ImportedShard:
    """The source of one output shard: the chosen rows of its parts, one after the other."""

    name: str
    parts: tuple[Part, ...]
    selection: Selection | None = None

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    @property
    def divisible(self) -> bool:
        # Reading lines is cheap enough for several workers to do; making JSON of a table is the work itself.
        return all(isinstance(part, ShardPart) for part in self.parts)

    def chunks(self, size: ChunkSize) -> Iterator[RawChunk]:
        """Raises DamagedShard where a file cannot be read, after what could be."""
        index, line, read, held = 0, 1, 0, 0
        pending: list[bytes] = []
        try:
            for row in self._rows():
                pending.append(row)
                held += len(row) + 1
                if held >= size.bytes or len(pending) == size.rows:
                    read = min(read + held, self.size)
                    yield RawChunk(index, line, b"\n".join((*pending, b"")), read)
                    index, line, pending, held = index + 1, line + len(pending), [], 0
        except (TableUnreadable, DamagedShard) as error:
            if pending:
                yield RawChunk(index, line, b"\n".join((*pending, b"")), read)
            tail = error.tail if isinstance(error, DamagedShard) else b""
            raise DamagedShard(self.name, line - 1 + len(pending), str(error), tail) from error
        if pending:
            yield RawChunk(index, line, b"\n".join((*pending, b"")), self.size)

    def _rows(self) -> Iterator[bytes]:
        for part in self.parts:
            for lines in part.lines(self.selection):
                yield from lines


def table_parts(split: str, files: Sequence[TableFile]) -> list[TablePart]:
    """The rows of tables as parts of at most 1.5 SHARD_BYTES, in order. Refuses columns that JSON cannot hold."""
    parts: list[TablePart] = []
    for file in files:
        units, schema = units_of(file)
        JsonRows(schema, file.url)
        key, first = f"{split}/{file.entry.name}", 0
        for number, unit in enumerate(units):
            parts += [TablePart(key, span) for span in _spans(file, number, unit, first)]
            first += unit.rows
    return parts


def _spans(file: TableFile, number: int, unit: Unit, first: int) -> Iterator[Span]:
    pieces = min(max(1, round(unit.bytes / SHARD_BYTES)), max(unit.rows, 1))
    for piece in range(pieces):
        start, end = (unit.rows * edge // pieces for edge in (piece, piece + 1))
        if end > start:
            yield Span(file, first + start, number, start, end - start, unit.bytes * (end - start) // unit.rows)


def shard_groups(parts: Sequence[Part], share: float = 1.0) -> list[list[Part]]:
    """Parts that follow each other, gathered so that `share` of each group's bytes is near SHARD_BYTES."""
    total = sum(part.size for part in parts)
    count = max(1, round(total * share / SHARD_BYTES))
    groups: list[list[Part]] = [[] for _ in range(count)]
    before = 0
    for part in parts:
        middle = before + part.size / 2
        groups[min(count - 1, int(middle * count / total)) if total else 0].append(part)
        before += part.size
    return [_merged(group) for group in groups if group]


def _merged(parts: Sequence[Part]) -> list[Part]:
    """Neighbouring ranges of one table as one."""
    merged: list[Part] = []
    for part in parts:
        last = merged[-1] if merged else None
        if isinstance(part, TablePart) and isinstance(last, TablePart) and last.key == part.key:
            span = replace(last.span, rows=last.span.rows + part.span.rows, bytes=last.size + part.size)
            merged[-1] = replace(last, span=span)
        else:
            merged.append(part)
    return merged


def named(split: str, groups: Sequence[Sequence[Part]], selection: Selection | None = None) -> list[ImportedShard]:
    """The sources of a split's shards."""
    return [
        ImportedShard(f"{split}/shard-{number:05d}-of-{len(groups):05d}.jsonl.zst", tuple(group), selection)
        for number, group in enumerate(groups)
    ]


def rows_to_split_off(amount: int | float, rows: int) -> int:
    """How many rows the test split gets of `rows`: a count, or a share that is rounded. Raises SplitTooLarge."""
    wanted = round(amount * rows) if isinstance(amount, float) else amount
    if wanted >= rows:
        raise SplitTooLarge(f"--test-split {amount} asks for {wanted:,} rows, and the train split has {rows:,}")
    return wanted


def split_tables(parts: Sequence[TablePart], amount: int | float, seed: int) -> list[ImportedShard]:
    """The sources of train and test, with exactly as many test rows as asked for.

    Raises SplitTooLarge, and TiedPriorities (see pipelines.curation.selection).
    """
    rows = sum(part.span.rows for part in parts)
    wanted = rows_to_split_off(amount, rows)
    if not wanted:
        return named("train", shard_groups(parts))
    threshold = _threshold(lambda: (_ranks(part, seed, block) for part in parts for block in _blocks(part)), wanted)
    sides = Selection(seed, threshold, False), Selection(seed, threshold, True)

    def chosen(group: Sequence[Part], side: Selection) -> bool:
        return any(
            side.mask(part.key, block).any() for part in group if isinstance(part, TablePart) for block in _blocks(part)
        )

    shares = 1 - wanted / rows, wanted / rows
    groups = [
        [group for group in shard_groups(parts, share) if chosen(group, side)]
        for share, side in zip(shares, sides, strict=True)
    ]
    return named("train", groups[0], sides[0]) + named("test", groups[1], sides[1])


def _blocks(part: TablePart) -> Iterator[range]:
    numbers = part.numbers
    for start in range(0, len(numbers), BLOCK_ROWS):
        yield numbers[start : start + BLOCK_ROWS]


def _ranks(part: TablePart, seed: int, numbers: range) -> Ranked:
    keys = priorities(seed, part.key, numbers)
    return {"": (keys, np.ones(len(keys), np.uint64))}


def _threshold(records: Any, wanted: int) -> int:
    return row_thresholds(records, count(records), {"": wanted})[""]


def decide_shard_split(step: Pass, chunks: list[Chunks], amount: int | float) -> bytes:
    """The plan of a test split of JSONL shards: the threshold, and each shard's number of rows on either side.

    Raises SplitTooLarge and TiedPriorities.
    """
    records = records_of(step, chunks)
    rows = sum(int(counts.rows.sum()) for counts in count(records).values())
    wanted = rows_to_split_off(amount, rows)
    threshold = _threshold(records, wanted) if wanted else None
    sides: dict[str, list[int]] = {part.shard: [0, 0] for part in chunks}
    for shard, record in step.payloads(chunks):
        for keys, _ in ranked(record).values():
            below = int((keys <= np.uint64(threshold)).sum()) if threshold is not None else 0
            sides[shard][0] += len(keys) - below
            sides[shard][1] += below
    return orjson.dumps({"threshold": threshold, "share": wanted / rows, "sides": sides})


def split_shards(shards: Sequence[Shard], plan: Mapping[str, Any], seed: int) -> list[ImportedShard]:
    """The sources of train and test from JSONL shards: train shard by shard, test gathered into few."""
    sides, threshold = plan["sides"], plan["threshold"]
    train = [[ShardPart(shard)] for shard in shards if sides[shard.name][0]]
    test = shard_groups([ShardPart(shard) for shard in shards if sides[shard.name][1]], plan["share"])
    if threshold is None:
        return named("train", train)
    return named("train", train, Selection(seed, threshold, False)) + named(
        "test", test, Selection(seed, threshold, True)
    )
