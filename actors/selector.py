"""Ranking rows by priority within groups, and keeping those at or below a group's threshold.

`RankRows` notes what a selection needs to know of each row; what is chosen is decided over the whole dataset
(pipelines.curation.selection), and `KeepRows` then applies it. Rows are kept whole, byte for byte.
"""

from __future__ import annotations

import numpy as np
import orjson

from actors.expressions import Expression
from actors.labels import label_names
from actors.priorities import priorities
from cluster.rows import Failure, Rows
from cluster.shards import split_of
from cluster.stage import Stage, Summarizer


class Grouping:
    """Which group a row belongs to: all in one, or one for each split and label."""

    def __init__(self, label_expression: str | None = None) -> None:
        self.expression = Expression(label_expression) if label_expression is not None else None

    def groups(self, rows: Rows) -> list[str | Failure]:
        if self.expression is None:
            return [""] * len(rows)
        split = split_of(rows.shard) or ""
        return [
            name if isinstance(name, Failure) else f"{split}\t{name}"
            for name in label_names(self.expression, rows.lines)
        ]


class GroupRows(Stage):
    """Quarantines the rows that belong to no group; a row's group is looked up again where it is needed."""

    def __init__(self, grouping: Grouping) -> None:
        self.grouping = grouping

    def process(self, rows: Rows) -> Rows:
        groups = self.grouping.groups(rows)
        return rows.settle([g if isinstance(g, Failure) else line for g, line in zip(groups, rows.lines, strict=True)])


class RankRows(Summarizer):
    """Keeps, for each group, the priority of every row and its size in bytes (line and LF)."""

    def __init__(self, grouping: Grouping, seed: int) -> None:
        self.grouping, self.seed = grouping, seed

    def encode(self, rows: Rows) -> bytes:
        keys = priorities(self.seed, rows.shard, rows.numbers)
        sizes = np.fromiter(map(len, rows.lines), dtype=np.uint64, count=len(rows)) + np.uint64(1)
        members: dict[str, list[int]] = {}
        for position, group in enumerate(self.grouping.groups(rows)):
            if isinstance(group, str):
                members.setdefault(group, []).append(position)
        head = orjson.dumps({group: len(positions) for group, positions in members.items()})
        parts = [len(head).to_bytes(4, "little"), head]
        for positions in members.values():
            parts += [keys[positions].tobytes(), sizes[positions].tobytes()]
        return b"".join(parts)


def ranked(record: bytes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What `RankRows` kept of a chunk: group → (priorities, sizes), both uint64."""
    start = 4 + int.from_bytes(record[:4], "little")
    found = {}
    for group, count in orjson.loads(record[4:start]).items():
        keys = np.frombuffer(record, np.uint64, count, start)
        sizes = np.frombuffer(record, np.uint64, count, start + 8 * count)
        found[group] = (keys, sizes)
        start += 16 * count
    return found


class KeepRows(Stage):
    """Keeps the rows whose priority is at most their group's threshold; a group without one is left out whole."""

    def __init__(self, grouping: Grouping, seed: int, thresholds: dict[str, int]) -> None:
        self.grouping, self.seed, self.thresholds = grouping, seed, thresholds

    def process(self, rows: Rows) -> Rows:
        keys = priorities(self.seed, rows.shard, rows.numbers).tolist()
        results: list[bytes | Failure | None] = []
        for line, key, group in zip(rows.lines, keys, self.grouping.groups(rows), strict=True):
            if isinstance(group, Failure):
                results.append(group)
            else:
                results.append(line if key <= self.thresholds.get(group, -1) else None)
        return rows.settle(results)
