"""Pattern learning: how much of what the training outputs hold a program accounts for, right or not.

What it leaves is its residual, actual − predicted, cell by cell; its size is that of the compressed residual. A program
that predicts nothing but zeros leaves the outputs as they are: that is the null baseline.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from actors.synthesis.grids import Grid, is_grid

# gzip at its highest level with no time in its head: equal residuals have equal sizes, today and tomorrow.
_LEVEL = 9
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class PatternLearning:
    """Compressed sizes in bytes of what the program leaves and of what the null baseline leaves."""

    residual_bytes: int
    null_bytes: int

    @property
    def score(self) -> float:
        """100 · (null − program) / null, kept within 0 and 100.

        Not even a program that is right everywhere gets 100: zeros, too, take a few bytes.
        """
        return 100 * min(1.0, max(0.0, (self.null_bytes - self.residual_bytes) / self.null_bytes))


def pattern_learning(expected: Sequence[Grid], predicted: Sequence[Grid | None]) -> PatternLearning:
    """Measure a program on its training pairs, all of them together.

    Where a prediction is missing, no valid grid or of another shape, nothing can be subtracted and the pair's output
    stays whole, as the null baseline leaves it. Raises ValueError where there are not as many predictions as outputs.
    """
    left = [_residual(actual, guess) for actual, guess in zip(expected, predicted, strict=True)]
    return PatternLearning(_size(left), _size(list(expected)))


def _residual(actual: Grid, predicted: Grid | None) -> Grid:
    if not is_grid(predicted):
        return actual
    one, other = np.array(actual), np.array(predicted)
    return (one - other).tolist() if one.shape == other.shape else actual


def _size(grids: list[Grid]) -> int:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)  # its head has no time
    return len(compressor.compress(orjson.dumps(grids)) + compressor.flush())
