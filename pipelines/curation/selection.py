"""Choosing rows by their priorities: an exact number of rows, or bytes, of each group, in bounded memory.

The rows of a group with the smallest priorities are chosen, which is a uniform sample without replacement. Two
readings of what the ranking pass kept: the first counts in 4096 bins of the priority, the second looks at the one
bin in which the choice ends. Memory: 64 KiB for each group, and 1/4096 of the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 4096
_SHIFT = np.uint64(64 - 12)

Ranked = Mapping[str, tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]]
Records = Callable[[], Iterator[Ranked]]


class TiedPriorities(Exception):
    """Two rows share the priority at which a choice ends (about one run in 2⁶⁴/rows); another seed has to be taken."""


@dataclass(slots=True)
class Counts:
    """How the rows and bytes of one group spread over the bins of the priority."""

    rows: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.int64]


def count(records: Records) -> dict[str, Counts]:
    """The first reading: every group's rows and bytes in each bin."""
    groups: dict[str, Counts] = {}
    for record in records():
        for group, (keys, sizes) in record.items():
            counts = groups.get(group)
            if counts is None:
                counts = groups[group] = Counts(np.zeros(BINS, np.int64), np.zeros(BINS, np.int64))
            bins = (keys >> _SHIFT).astype(np.int64)
            counts.rows += np.bincount(bins, minlength=BINS)
            # bincount's weights are doubles: exact up to 2⁵³ bytes in one bin of one chunk
            counts.bytes += np.bincount(bins, weights=sizes.astype(np.float64), minlength=BINS).astype(np.int64)
    return groups


def row_thresholds(records: Records, groups: Mapping[str, Counts], wanted: Mapping[str, int]) -> dict[str, int]:
    """For each group the priority up to which exactly `wanted` rows lie. A group of which none is wanted is left out.

    Raises TiedPriorities where no threshold gives the exact number.
    """
    amounts = {group: counts.rows for group, counts in groups.items()}
    return _thresholds(records, amounts, wanted, use_bytes=False)


def byte_threshold(records: Records, counts: Counts, wanted: int) -> int | None:
    """The priority up to which the rows' bytes come closest to `wanted`, from below or above; None for none."""
    return _thresholds(records, {"": counts.bytes}, {"": wanted}, use_bytes=True).get("")


def _thresholds(
    records: Records, amounts: Mapping[str, npt.NDArray[np.int64]], wanted: Mapping[str, int], use_bytes: bool
) -> dict[str, int]:
    thresholds: dict[str, int] = {}
    edges: dict[str, tuple[int, int]] = {}  # group → the bin in which the choice ends, and what it still takes from it
    for group, bins in amounts.items():
        total, target = int(bins.sum()), wanted.get(group, 0)
        if target <= 0:
            continue
        if target >= total:
            thresholds[group] = 2**64 - 1
            continue
        ends = np.cumsum(bins)
        edge = int(np.searchsorted(ends, target, side="left"))
        edges[group] = (edge, target - (int(ends[edge - 1]) if edge else 0))
    inside: dict[str, list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]]] = {group: [] for group in edges}
    for record in records() if edges else ():
        for group in record.keys() & edges.keys():
            keys, sizes = record[group]
            here = (keys >> _SHIFT) == np.uint64(edges[group][0])
            inside[group].append((keys[here], sizes[here]))
    for group, (edge, target) in edges.items():
        keys = np.concatenate([keys for keys, _ in inside[group]])
        sizes = np.concatenate([sizes for _, sizes in inside[group]])
        threshold = _threshold(keys, sizes if use_bytes else np.ones_like(sizes), target, exact=not use_bytes)
        if threshold is None and edge:
            threshold = (edge << int(_SHIFT)) - 1  # everything below the edge bin, nothing of it
        if threshold is not None:
            thresholds[group] = threshold
    return thresholds


def _threshold(keys: npt.NDArray[np.uint64], amounts: npt.NDArray[np.uint64], target: int, exact: bool) -> int | None:
    """The key at which the running amount, in the order of keys, is nearest to `target`; None if nothing is nearer."""
    order = np.argsort(keys, kind="stable")
    running = np.cumsum(amounts[order].astype(np.int64))
    position = int(np.searchsorted(running, target, side="left"))
    if not exact:
        below = int(running[position - 1]) if position else 0
        if position == len(running) or target - below < int(running[position]) - target:
            position -= 1
    if position < 0:
        return None
    threshold = int(keys[order[position]])
    if exact and position + 1 < len(keys) and int(keys[order[position + 1]]) == threshold:
        raise TiedPriorities
    return threshold
