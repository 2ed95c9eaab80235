"""The rows that two graders disagree on most: what to read before believing a figure.

On an ordinal scale the widest differences come first; among equals, and on a nominal scale, a hash of the key
chooses, so that the same rows are shown whatever the order of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.annotation.grades import Grades, LabelScale
from pipelines.annotation.key_join import Joined

_MIXER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One row: its key, what each grader said, where it stands in each dataset, and the row itself if it was given.

    `difference` is the second label minus the first on an ordinal scale, None on a nominal one.
    """

    key: str
    labels: tuple[str, str]
    positions: tuple[int, int]
    difference: float | None
    row: Any = None


def widest_disagreements(
    grades: Sequence[Grades],
    joined: Joined,
    pair: tuple[int, int],
    scale: LabelScale,
    is_ordinal: bool,
    seed: int,
    limit: int,
) -> list[Disagreement]:
    """Up to `limit` rows that the two graders at the places `pair` label differently."""
    labels, positions = joined.labels[:, pair], joined.positions[:, pair]
    units = np.flatnonzero((labels >= 0).all(axis=1) & (labels[:, 0] != labels[:, 1]))
    differences = np.zeros(len(units))
    if is_ordinal and scale.values is not None:
        values = np.asarray(scale.values)
        differences = values[labels[units, 1]] - values[labels[units, 0]]
    first, second = grades[pair[0]], grades[pair[1]]
    # Units come in the order of their hashes, so that their number is as good a key as the hash itself.
    lots = _lots(units.astype(np.uint64), seed)
    chosen = np.lexsort((lots, -np.abs(differences)))[:limit]
    found = []
    for place in chosen:
        unit = units[place]
        here, there = int(positions[unit, 0]), int(positions[unit, 1])
        row = first.rows[here] if first.rows is not None else second.rows[there] if second.rows is not None else None
        said = (scale.labels[labels[unit, 0]], scale.labels[labels[unit, 1]])
        difference = float(differences[place]) if is_ordinal else None
        found.append(Disagreement(first.key_text(here), said, (here, there), difference, row))
    return found


def _lots(units: np.ndarray[Any, np.dtype[np.uint64]], seed: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A number for each unit that looks random and depends on the seed alone (the finalizer of splitmix64)."""
    mixed = (units + np.uint64(seed & 0xFFFF_FFFF)) * _MIXER
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
