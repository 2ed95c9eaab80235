"""Grids: what an ARC task shows and asks for. Checked strictly, since programs return all sorts of things.

A grid is a non-empty list of equally long, non-empty rows of whole numbers 0 to 9, at most 30 by 30. True, 1.0 and "1"
are no numbers here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

Grid: TypeAlias = list[list[int]]
LARGEST = 30
COLOURS = range(10)


def is_grid(value: Any) -> bool:
    """Whether plain JSON data is a valid grid."""
    if type(value) is not list or not 0 < len(value) <= LARGEST or type(value[0]) is not list:
        return False
    width = len(value[0])
    return 0 < width <= LARGEST and all(
        type(row) is list and len(row) == width and all(type(cell) is int and 0 <= cell <= 9 for cell in row)
        for row in value
    )


def shape(grid: Grid) -> str:
    """ "rows x columns", as every prompt and report says it."""
    return f"{len(grid)} x {len(grid[0])}"


def cells(grids: Sequence[Grid]) -> int:
    return sum(len(grid) * len(grid[0]) for grid in grids)


def pixel_accuracy(predicted: Any, expected: Grid) -> float:
    """Matching cells over the cells of the expected grid; 0 for another shape, and for what is no grid."""
    if not is_grid(predicted) or len(predicted) != len(expected) or len(predicted[0]) != len(expected[0]):
        return 0.0
    same: int = sum(
        a == b for row, other in zip(predicted, expected, strict=True) for a, b in zip(row, other, strict=True)
    )
    return same / cells([expected])
