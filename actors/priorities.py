"""A uniform random 64-bit number for every row, from (seed, shard name, line number) alone.

All random choices over rows are made on it: which rows a sample keeps, the order of a shuffle, the side of a
split. It does not depend on workers, chunks or order, so a run that is continued chooses the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xxhash

Priorities = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def priorities(seed: int, shard: str, numbers: Sequence[int]) -> Priorities:
    """One uint64 per line number: the splitmix64 sequence that starts at a hash of seed and shard.

    Within a shard no two rows share a priority (the mixing is a bijection). Source of the constants: Steele, Lea
    and Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    start = np.uint64(xxhash.xxh3_64_intdigest(f"{seed}\0{shard}".encode("utf-8", "surrogateescape")))
    with np.errstate(over="ignore"):
        z = start + np.asarray(numbers, dtype=np.uint64) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)
