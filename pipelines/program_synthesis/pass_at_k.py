"""pass@k by the unbiased estimator of Chen et al. (2021), "Evaluating Large Language Models Trained on Code"."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def pass_at_k(attempts: npt.ArrayLike, right: npt.ArrayLike, k: int) -> FloatArray:
    """The probability that at least one of k attempts, drawn without replacement from those made, is right.

    1 − C(n − c, k) / C(n, k) for n = `attempts` of which c = `right`, elementwise over arrays of one shape. Unbiased
    for independent attempts whose number does not depend on what came out. Where fewer than k were made all of them are
    drawn, as if no more could be; none made is 0. Raises ValueError for k < 1.
    """
    if k < 1:
        raise ValueError(f"k={k}: pass@k needs at least one attempt")
    n, c = np.broadcast_arrays(np.asarray(attempts, dtype=np.float64), np.asarray(right, dtype=np.float64))
    if (c > n).any() or (c < 0).any():
        raise ValueError("more attempts are right than were made")
    all_wrong = np.ones(n.shape)
    for drawn in range(k):
        left = n - drawn
        # A draw from nothing left changes nothing.
        all_wrong *= np.where(left > 0, np.maximum(left - c, 0) / np.maximum(left, 1), 1.0)
    return np.asarray(1 - all_wrong)


def powers_up_to(most: int) -> list[int]:
    """The k that are told: 1, 2, 4, 8 … up to the most attempts that a task has."""
    return [1 << power for power in range(most.bit_length())] if most > 0 else []
