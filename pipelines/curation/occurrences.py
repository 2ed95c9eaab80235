"""A multiset of numbers as its distinct values and their counts: exact quantiles of any number of rows.

Memory: 16 bytes for each distinct value, however many rows share it.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

Number = TypeVar("Number", bound=np.generic)

QUANTILES = {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
PENDING = 1 << 20  # values that are gathered before they are merged


class Occurrences(Generic[Number]):
    """Values of one type and how often each occurred. Add as much as there is, then ask."""

    def __init__(self, dtype: type[Number]) -> None:
        self._dtype = dtype
        self._values: list[npt.NDArray[Number]] = []
        self._counts: list[npt.NDArray[np.int64]] = []
        self._held = 0

    def add(self, values: npt.NDArray[Number], counts: npt.NDArray[np.int64]) -> None:
        """Add `counts[i]` occurrences of `values[i]`."""
        self._values.append(values)
        self._counts.append(counts)
        self._held += len(values)
        if self._held > PENDING:
            self._merge()

    def add_all(self, other: Occurrences[Number]) -> None:
        self.add(*other.sorted())

    def sorted(self) -> tuple[npt.NDArray[Number], npt.NDArray[np.int64]]:
        """The distinct values in ascending order, and their counts."""
        self._merge()
        return self._values[0], self._counts[0]

    def _merge(self) -> None:
        values = np.concatenate([np.zeros(0, self._dtype), *self._values])
        distinct, where = np.unique(values, return_inverse=True)
        counts = np.zeros(len(distinct), np.int64)
        np.add.at(counts, where, np.concatenate([np.zeros(0, np.int64), *self._counts]))
        self._values, self._counts = [distinct], [counts]
        # What is merged already is not held against the next merge: the work stays linear in what is added.
        self._held = 0

    def summary(self) -> dict[str, Any]:
        """Rows, total, mean, least, quantiles and largest; only rows and total where there is nothing.

        A quantile q of n values lies at rank q·(n - 1), counted from 0, and between two ranks on the line between
        their values (definition 7 of Hyndman and Fan 1996, numpy's and R's default).
        """
        values, counts = self.sorted()
        rows = int(counts.sum())
        if not rows:
            return {"rows": 0, "total": 0}
        ends = np.cumsum(counts)
        total = sum(value * count for value, count in zip(values.tolist(), counts.tolist(), strict=True))
        quantiles = {name: _at(values, ends, q * (rows - 1)) for name, q in QUANTILES.items()}
        low, high = values[0].item(), values[-1].item()
        return {"rows": rows, "total": total, "mean": total / rows, "min": low, **quantiles, "max": high}


def _at(values: npt.NDArray[Any], ends: npt.NDArray[np.int64], rank: float) -> float:
    below = int(rank)
    low, high = (
        float(values[np.searchsorted(ends, r, side="right")]) for r in (below, min(below + 1, int(ends[-1]) - 1))
    )
    share = rank - below
    # Both forms are exact at their end of the line, as numpy's are.
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)
