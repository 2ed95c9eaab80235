"""Leaving out the rows that a deduplication found to be duplicates; the other rows stay as they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cluster.ledger import Pass
from cluster.rows import Rows
from cluster.stage import Stage


def removed_name(step: Pass, shard: str) -> str:
    """Where the ascending line numbers (int64) lie of the rows that go from a shard; there is none if all stay."""
    return f"{step.folder}/removed/{shard}"


class DropDuplicates(Stage):
    """Filters out the rows whose line numbers the pass `step` was told to remove. Holds those of one shard."""

    def __init__(self, step: Pass) -> None:
        self.step = step
        self._shard: str | None = None

    def process(self, rows: Rows) -> Rows:
        if rows.shard != self._shard:
            self._removed, self._shard = self._read(rows.shard), rows.shard
        if not len(self._removed):
            return rows
        numbers = np.array(rows.numbers, np.int64)
        places = np.minimum(np.searchsorted(self._removed, numbers), len(self._removed) - 1)
        gone = (self._removed[places] == numbers).tolist()
        return rows.settle([None if out else line for line, out in zip(rows.lines, gone, strict=True)])

    def _read(self, shard: str) -> npt.NDArray[np.int64]:
        try:
            return np.frombuffer(self.step.output.read(removed_name(self.step, shard)), np.int64)
        except FileNotFoundError:
            return np.zeros(0, np.int64)
