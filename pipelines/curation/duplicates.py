"""Which rows of a dataset are duplicates of which: all rows in input order, and groups as a forest over them.

A row of a group points to an earlier row of it, and the first row to itself. Everything that grows with the dataset
lies on the local disk (see pipelines.curation.scratch): 32 bytes a row. In memory there is one part of the hashes
at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pipelines.curation.scratch import column

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

PART_ROWS = 4 << 20  # hashes that are sorted at once: some 300 MB
BLOCK_ROWS = 1 << 20  # rows that are walked through at once


class Groups:
    """The groups that are known so far: at first every row is its own."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.parents: Rows = column(np.int64, rows)
        for start, end in blocks(rows):
            self.parents[start:end] = np.arange(start, end)

    def firsts(self, rows: Rows) -> Rows:
        """The first row of each row's group."""
        found = np.asarray(self.parents[rows])
        while True:
            further = np.asarray(self.parents[found])
            if np.array_equal(further, found):
                break
            found = further
        self.parents[rows] = found  # the next walk is one step
        return found

    def join(self, left: Rows, right: Rows) -> None:
        """Make one group of the groups of `left[i]` and `right[i]`, for every i."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        left, right = self.firsts(left), self.firsts(right)
        if not len(left):
            return
        nodes, places = np.unique(np.concatenate([left, right]), return_inverse=True)
        edges = coo_array((np.ones(len(left), np.bool_), tuple(places.reshape(2, -1))), (len(nodes), len(nodes)))
        count, component = connected_components(edges, directed=False)
        first = np.full(count, self.rows, np.int64)
        np.minimum.at(first, component, nodes)
        self.parents[nodes] = first[component]

    def duplicates(self, start: int, end: int) -> tuple[Rows, Rows]:
        """The rows in [start, end) that are not the first of their group, ascending, and those firsts."""
        rows = np.arange(start, end)
        firsts = self.firsts(rows)
        later = firsts != rows
        return rows[later], firsts[later]

    def is_first(self, start: int, end: int) -> Mask:
        """Whether each row in [start, end) is the first of its group."""
        return np.asarray(self.parents[start:end] == np.arange(start, end))


def blocks(rows: int, size: int = BLOCK_ROWS) -> Iterator[tuple[int, int]]:
    """Ranges of at most `size` rows that make up all of them."""
    for start in range(0, rows, size):
        yield start, min(start + size, rows)


def parts_of(keys: npt.NDArray[np.uint64], wanted: Mask | None = None) -> Iterator[Rows]:
    """The rows in parts of some PART_ROWS, by ranges of the key, so that equal keys are in one part; rows ascend.

    `wanted` leaves rows out. A part is larger where one key has that many rows.
    """
    parts = max(1, -(-len(keys) // PART_ROWS))
    for part in range(parts):
        found = []
        for start, end in blocks(len(keys)):
            inside = (keys[start:end] >> np.uint64(32)) * np.uint64(parts) >> np.uint64(32) == np.uint64(part)
            if wanted is not None:
                inside &= wanted[start:end]
            found.append(start + np.flatnonzero(inside))
        yield np.concatenate(found) if found else np.zeros(0, np.int64)


def join_equal(groups: Groups, hashes: npt.NDArray[np.uint64]) -> None:
    """Make groups of the rows with equal hashes; `hashes` is uint64 (2, rows), high halves first.

    The groups must be as they were made.
    """
    high, low = hashes
    for rows in parts_of(high):
        if not len(rows):
            continue
        part_high, part_low = high[rows], low[rows]
        order = np.lexsort((part_low, part_high))  # stable, so rows with equal hashes stay in their order
        part_high, part_low, rows = part_high[order], part_low[order], rows[order]
        new = np.concatenate([[True], (part_high[1:] != part_high[:-1]) | (part_low[1:] != part_low[:-1])])
        groups.parents[rows] = rows[new][np.cumsum(new) - 1]
