"""What colour cells have: mapped, kept, removed, counted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Grid = npt.NDArray[np.int64]


def recolour(grid: Grid, mapping: dict[int, int]) -> Grid:
    """Give every colour the one that stands for it."""
    result = grid.copy()
    for old, new in mapping.items():
        result[grid == old] = new
    return result


def paint_filled(grid: Grid, colour: int) -> Grid:
    """Paint everything that is filled in one colour."""
    return np.where(grid != 0, colour, 0)


def paint_background(grid: Grid, colour: int) -> Grid:
    """Paint the background in one colour."""
    return np.where(grid == 0, colour, grid)


def invert(grid: Grid) -> Grid:
    """Swap the background and what is filled, in the most common colour of that."""
    colour = np.bincount(grid[grid != 0]).argmax()
    return np.where(grid == 0, colour, 0)


def swap_two_colours(grid: Grid) -> Grid:
    """Swap the two most common colours that are not background."""
    counts = np.bincount(grid[grid != 0], minlength=10)
    first, second = np.argsort(-counts, kind="stable")[:2]
    return np.where(grid == first, second, np.where(grid == second, first, grid))


def swap_common_and_rare(grid: Grid) -> Grid:
    """Swap the most common colour and the second most common, whichever they are."""
    counts = np.bincount(grid.ravel(), minlength=10)
    first, second = np.argsort(-counts, kind="stable")[:2]
    return np.where(grid == first, second, np.where(grid == second, first, grid))


def keep_colour(grid: Grid, colour: int) -> Grid:
    """Keep one colour and remove all others."""
    return np.where(grid == colour, grid, 0)


def remove_colour(grid: Grid, colour: int) -> Grid:
    """Remove one colour."""
    return np.where(grid == colour, 0, grid)


def keep_most_common_colour(grid: Grid) -> Grid:
    """Keep the most common colour that is not background."""
    return np.where(grid == np.bincount(grid[grid != 0]).argmax(), grid, 0)


def keep_rarest_colour(grid: Grid) -> Grid:
    """Keep the rarest colour that is not background."""
    colours, counts = np.unique(grid[grid != 0], return_counts=True)
    return np.where(grid == colours[counts.argmin()], grid, 0)


def remove_most_common_colour(grid: Grid) -> Grid:
    """Remove the most common colour that is not background."""
    return np.where(grid == np.bincount(grid[grid != 0]).argmax(), 0, grid)


def most_common_colour_as_background(grid: Grid) -> Grid:
    """Take the most common colour for the background."""
    return np.where(grid == np.bincount(grid.ravel()).argmax(), 0, grid)


def fill_with_most_common(grid: Grid) -> Grid:
    """Fill the whole grid with its most common colour."""
    return np.full_like(grid, np.bincount(grid.ravel()).argmax())


def one_cell_of_most_common(grid: Grid) -> Grid:
    """Answer with one cell of the most common colour that is not background."""
    return np.array([[np.bincount(grid[grid != 0]).argmax()]])


def one_cell_of_rarest(grid: Grid) -> Grid:
    """Answer with one cell of the rarest colour that is not background."""
    colours, counts = np.unique(grid[grid != 0], return_counts=True)
    return np.array([[colours[counts.argmin()]]])


def filled_cells_in_a_row(grid: Grid) -> Grid:
    """Put all filled cells side by side in one row."""
    return np.array([grid[grid != 0]])


def colours_by_count(grid: Grid) -> Grid:
    """List the colours that are not background in one column, the most common first."""
    colours, counts = np.unique(grid[grid != 0], return_counts=True)
    ordered: Grid = colours[np.argsort(-counts, kind="stable"), None]
    return ordered


def bars_by_count(grid: Grid) -> Grid:
    """Draw a bar for every colour, as long as it has cells, the most common first."""
    colours, counts = np.unique(grid[grid != 0], return_counts=True)
    result = np.zeros((len(colours), counts.max()), np.int64)
    for row, at in enumerate(np.argsort(-counts, kind="stable")):
        result[row, : counts[at]] = colours[at]
    return result


def rows_of_one_colour(grid: Grid, colour: int) -> Grid:
    """Paint the rows that are all of one colour, and empty the others."""
    same = (grid == grid[:, :1]).all(axis=1)
    return np.where(same[:, None], colour, np.zeros_like(grid))
