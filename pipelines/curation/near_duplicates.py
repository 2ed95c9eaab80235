"""Near duplicates by MinHash and locality-sensitive hashing (Broder 1997; Indyk and Motwani 1998).

A signature is cut into bands; two rows that agree in a whole band are a candidate pair. Within a band a row is
compared with the first row that agrees, and with the WINDOW rows that follow, so the work grows with the rows and not
with their pairs: in a crowd of more than WINDOW rows that agree, a pair can be missed in this band. A pair whose
signatures agree in at least the threshold's share of places joins the two rows' groups; pairs that are in one group
already are not looked at. Bands are taken one after the other, in parts that fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.shingles import mixed
from pipelines.curation.duplicates import Groups, Mask, Rows, blocks, parts_of
from pipelines.curation.scratch import column

WINDOW = 32
RECALL = 0.95
PAIRS_AT_ONCE = 1 << 16  # each takes two signatures: 64 MB of 128 places

Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Bands:
    """How signatures are cut: `count` bands of `width` places each; places that are left over are not used."""

    count: int
    width: int


def bands_for(threshold: float, places: int) -> Bands:
    """The widest bands with which a pair of similarity `threshold` agrees in one with a chance of RECALL or more.

    With bands of r places out of n that chance is 1 - (1 - threshold^r)^⌊n/r⌋. Wider bands bring fewer pairs that the
    signatures then refuse.
    """
    for width in range(places, 1, -1):
        if 1 - (1 - threshold**width) ** (places // width) >= RECALL:
            return Bands(places // width, width)
    return Bands(places, 1)


def band_keys(signatures: npt.NDArray[np.uint32], bands: Bands) -> Keys:
    """A 64-bit key of every band of every signature: uint64 (bands, rows)."""
    keys = np.zeros((bands.count, len(signatures)), np.uint64)
    for band in range(bands.count):
        key = np.full(len(signatures), band, np.uint64)
        for place in range(band * bands.width, (band + 1) * bands.width):
            key = mixed(key ^ signatures[:, place])
        keys[band] = key
    return keys


def similarities(signatures: npt.NDArray[np.uint32], left: Rows, right: Rows) -> npt.NDArray[np.float64]:
    """The estimated similarity of each pair of rows: the share of places at which their signatures agree."""
    found = np.zeros(len(left))
    for start, end in blocks(len(left), PAIRS_AT_ONCE):
        found[start:end] = np.mean(signatures[left[start:end]] == signatures[right[start:end]], axis=1)
    return found


def join_similar(
    groups: Groups, signatures: npt.NDArray[np.uint32], keys: Keys, comparable: Mask, threshold: float
) -> None:
    """Join the groups of rows whose signatures agree in at least the share `threshold` of their places.

    `keys` is what `band_keys` gives for all rows. Only rows that are the first of their group now, and `comparable`,
    are looked at: equal texts bring nothing new.
    """
    wanted: Mask = column(np.bool_, groups.rows)
    for start, end in blocks(groups.rows):
        wanted[start:end] = comparable[start:end] & groups.is_first(start, end)
    for band in keys:
        for rows in parts_of(band, wanted):
            for left, right in _candidates(band[rows], rows):
                _join_verified(groups, signatures, left, right, threshold)


def _candidates(keys: Keys, rows: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of rows with equal keys, in rounds: each with the first of its key, then with the next, the next but one …"""
    order = np.argsort(keys, kind="stable")
    keys, rows = keys[order], rows[order]
    new = np.concatenate([[True], keys[1:] != keys[:-1]]) if len(keys) else np.zeros(0, np.bool_)
    first = np.flatnonzero(new)[np.cumsum(new) - 1] if len(keys) else np.zeros(0, np.int64)
    later = np.flatnonzero(~new)
    yield rows[first[later]], rows[later]
    for distance in range(1, WINDOW + 1):
        # A row that follows the first of its key at this distance has been compared with it.
        later = later[later - distance > first[later]]
        if not len(later):
            return
        yield rows[later - distance], rows[later]


def _join_verified(
    groups: Groups, signatures: npt.NDArray[np.uint32], left: Rows, right: Rows, threshold: float
) -> None:
    for start, end in blocks(len(left), PAIRS_AT_ONCE):
        one, other = left[start:end], right[start:end]
        apart = groups.firsts(one) != groups.firsts(other)
        one, other = one[apart], other[apart]
        alike = similarities(signatures, one, other) >= threshold
        groups.join(one[alike], other[alike])
