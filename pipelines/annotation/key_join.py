"""The join of several graders' rows on their keys: who labelled what, and what stands in the way of comparing them.

Every key becomes one unit with at most one label from each grader. A key that a grader has more than once is
reported; if its labels there are all the same it counts once, and if they differ that grader has no say on it. No
label is chosen silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.annotation.grades import NO_LABEL, Codes, Grades

Positions = npt.NDArray[np.int64]

# Enough to find what is wrong with a key expression.
SHOWN_KEYS = 5


@dataclass(frozen=True, slots=True)
class Coverage:
    """The rows of one grader. `conflicting` are keys left out because their rows have different labels."""

    name: str
    rows: int
    unlabelled: int
    keys: int
    duplicate_keys: int
    duplicate_rows: int
    conflicting_keys: int
    duplicate_examples: tuple[str, ...]
    measured: int = 0  # rows that were graded by measurement and not by a model
    beside: int = 0  # rows that hold such a grade, of which nothing tells whether it is the label

    @property
    def missing(self) -> str | None:
        """Why nothing of this grader can be compared, if so: most likely an expression with a typing error."""
        if not self.rows:
            return f"no row of {self.name} has a key: look at --key-expression, and at what is in quarantine"
        if self.unlabelled < self.rows:
            return None
        all_rows = f"all {self.rows:,} rows of {self.name} have" if self.rows > 1 else f"the row of {self.name} has"
        return f"{all_rows} no label: look at --label-expression"


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many keys two graders both labelled, and how many only one of them did."""

    common: int
    only_first: int
    only_second: int


@dataclass(frozen=True, slots=True)
class Joined:
    """Units in the order of their hashes: `labels` and `positions` of shape (units, graders).

    `labels` are places on the scale or `NO_LABEL`; `positions` the first row of that key, -1 where there is none.
    """

    labels: Codes
    positions: Positions
    coverage: tuple[Coverage, ...]

    def overlap(self, first: int, second: int) -> Overlap:
        """The overlap of two graders, by their places."""
        has_first, has_second = self.labels[:, first] >= 0, self.labels[:, second] >= 0
        common = int(np.count_nonzero(has_first & has_second))
        return Overlap(common, int(np.count_nonzero(has_first)) - common, int(np.count_nonzero(has_second)) - common)


def join_keys(grades: Sequence[Grades], codes: Sequence[Codes]) -> Joined:
    """Join graders on their keys; `codes` are their labels, aligned with their rows."""
    hashes = np.concatenate([each.hashes() for each in grades])
    owners = np.concatenate([np.full(len(each), number, np.int16) for number, each in enumerate(grades)])
    labels = np.concatenate(codes)
    positions = np.concatenate([np.arange(len(each), dtype=np.int64) for each in grades])
    # The sort is stable, so that within a cell rows stay in the order of their dataset.
    order = np.lexsort((owners, hashes[:, 1], hashes[:, 0]))
    hashes, owners, labels, positions = hashes[order], owners[order], labels[order], positions[order]
    new_unit = _run_starts(hashes)
    starts = np.flatnonzero(new_unit | _run_starts(owners[:, None]))
    units = (np.cumsum(new_unit) - 1)[starts]
    sizes = np.diff(np.append(starts, len(owners)))
    agreed, conflicting = _cell_labels(labels, starts)
    shape = (int(new_unit.sum()), len(grades))
    matrix, first = np.full(shape, NO_LABEL, np.int32), np.full(shape, -1, np.int64)
    cell_owners = owners[starts]
    matrix[units, cell_owners], first[units, cell_owners] = agreed, positions[starts]
    coverage = []
    for number, (each, own_codes) in enumerate(zip(grades, codes, strict=True)):
        cells = cell_owners == number
        repeated = cells & (sizes > 1)
        # In the order of the dataset, so that the examples are those that its reader meets first.
        examples = np.sort(positions[starts[repeated]])[:SHOWN_KEYS]
        coverage.append(
            Coverage(
                name=each.name,
                rows=len(each),
                unlabelled=int(np.count_nonzero(own_codes == NO_LABEL)),
                keys=int(np.count_nonzero(cells)),
                duplicate_keys=int(np.count_nonzero(repeated)),
                duplicate_rows=int((sizes[repeated] - 1).sum()),
                conflicting_keys=int(np.count_nonzero(conflicting & cells)),
                duplicate_examples=tuple(each.key_text(int(place)) for place in examples),
                measured=each.measured,
                beside=each.beside,
            )
        )
    return Joined(matrix, first, tuple(coverage))


def _run_starts(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether each row of `values` differs from the one before; the first does."""
    starts = np.ones(len(values), dtype=np.bool_)
    starts[1:] = np.any(values[1:] != values[:-1], axis=1)
    return starts


def _cell_labels(labels: Codes, starts: Positions) -> tuple[Codes, npt.NDArray[np.bool_]]:
    """The label of each cell of equal key and grader, and whether its rows contradict each other.

    A row without a label contradicts nothing.
    """
    if not len(starts):
        return np.zeros(0, np.int32), np.zeros(0, np.bool_)
    highest = np.maximum.reduceat(labels, starts)
    unlabelled = np.iinfo(np.int32).max
    lowest = np.minimum.reduceat(np.where(labels == NO_LABEL, unlabelled, labels), starts)
    conflicting = (lowest != unlabelled) & (lowest != highest)
    return np.where(conflicting, NO_LABEL, highest).astype(np.int32), conflicting
