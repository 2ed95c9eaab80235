"""Deduplication: from the fingerprints of all rows to the rows that go, with what each is a duplicate of.

Runs as one task. What it needs for all rows it lays out on the local disk: 33 bytes a row, and for near duplicates
4 bytes for each place of a signature and 8 for each band besides (about 700 with the defaults). What it finds is
published shard by shard, and only then told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from actors.duplicate_dropper import removed_name
from actors.fingerprints import Signatures, fingerprints
from cluster.ledger import Chunks, Pass
from cluster.shards import encode
from pipelines.curation.duplicates import Groups, Rows, blocks, join_equal
from pipelines.curation.near_duplicates import Bands, band_keys, bands_for, join_similar, similarities
from pipelines.curation.scratch import column

REPORT_ROWS = 1 << 15  # some 5 MB of lines in one frame, and ten times that while they are made


@dataclass(frozen=True, slots=True)
class Near:
    """What counts as a near duplicate: signatures that agree in at least the share `threshold` of their places."""

    threshold: float
    signatures: Signatures

    @property
    def bands(self) -> Bands:
        return bands_for(self.threshold, self.signatures.num_perm)


class Table:
    """The fingerprints of all rows, column by column, in input order."""

    def __init__(self, shards: Sequence[str], ends: Sequence[int], near: Near | None) -> None:
        self.shards, self.ends = shards, np.array(ends, np.int64)  # ends: rows up to the end of each shard
        rows = int(ends[-1]) if len(ends) else 0
        self.numbers: Rows = column(np.int64, rows)
        self.hashes: npt.NDArray[np.uint64] = column(np.uint64, 2, rows)
        self.near = near
        if near is not None:
            self.comparable: npt.NDArray[np.bool_] = column(np.bool_, rows)
            self.signatures: npt.NDArray[np.uint32] = column(np.uint32, rows, near.signatures.num_perm)
            self.keys: npt.NDArray[np.uint64] = column(np.uint64, near.bands.count, rows)

    def __len__(self) -> int:
        return len(self.numbers)

    def put(self, start: int, record: bytes) -> int:
        """Fill in the rows of one chunk from `start`; returns where they end."""
        found = fingerprints(record)
        end = start + len(found.numbers)
        self.numbers[start:end] = found.numbers
        self.hashes[:, start:end] = found.hashes.T
        if self.near is not None:
            self.comparable[start:end] = found.comparable
            self.signatures[start:end] = found.signatures
            self.keys[:, start:end] = band_keys(found.signatures, self.near.bands)
        return end

    def place(self, row: int) -> dict[str, Any]:
        shard = self.shards[int(np.searchsorted(self.ends, row, side="right"))]
        return {"shard": shard, "line": int(self.numbers[row])}


def table_of(step: Pass, chunks: list[Chunks], near: Near | None) -> Table:
    """Lay out what the fingerprinting pass kept."""
    finished = step.finished_shards()
    rows = [finished[part.shard][1].rows_out for part in chunks]
    table = Table([part.shard for part in chunks], np.cumsum(rows, dtype=np.int64).tolist(), near)
    end = 0
    for _, record in step.payloads(chunks):
        end = table.put(end, record)
    return table


def decide_duplicates(step: Pass, chunks: list[Chunks], near: Near | None) -> bytes:
    """Find the duplicates, publish for every shard which lines go and why, and return the counts as JSON."""
    table = table_of(step, chunks, near)
    groups = Groups(len(table))
    join_equal(groups, table.hashes)
    if near is not None:
        join_similar(groups, table.signatures, table.keys, table.comparable, near.threshold)
    counts = {"exact_duplicates": 0, "near_duplicates": 0}
    for shard, start, end in zip(table.shards, [0, *table.ends[:-1].tolist()], table.ends.tolist(), strict=True):
        gone, firsts = groups.duplicates(start, end)
        if not len(gone):
            continue
        equal = np.all(table.hashes[:, gone] == table.hashes[:, firsts], axis=0)
        counts["exact_duplicates"] += int(equal.sum())
        counts["near_duplicates"] += int((~equal).sum())
        step.output.publish(f"_duplicates/{shard}", _report(table, shard, gone, firsts, equal))
        step.output.publish(removed_name(step, shard), np.asarray(table.numbers[gone]).tobytes())
    return orjson.dumps(counts)


def _report(table: Table, shard: str, gone: Rows, firsts: Rows, equal: npt.NDArray[np.bool_]) -> Iterator[bytes]:
    for start, end in blocks(len(gone), REPORT_ROWS):
        rows, kept, same = gone[start:end], firsts[start:end], equal[start:end]
        alike = np.ones(len(rows))
        if table.near is not None:
            alike[~same] = similarities(table.signatures, rows[~same], kept[~same])
        lines = [
            orjson.dumps(
                {
                    "shard": shard,
                    "line": line,
                    "kind": "exact" if is_same else "near",
                    "duplicate_of": table.place(first),
                    "similarity": round(similarity, 4),
                }
            )
            for line, first, is_same, similarity in zip(
                table.numbers[rows].tolist(), kept.tolist(), same.tolist(), alike.tolist(), strict=True
            )
        ]
        yield encode(b"\n".join((*lines, b"")), shard)
