"""Where cells stand: turned, mirrored, moved, cut out, repeated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Grid = npt.NDArray[np.int64]


def flip_left_right(grid: Grid) -> Grid:
    """Mirror the grid from left to right."""
    return grid[:, ::-1]


def flip_up_down(grid: Grid) -> Grid:
    """Mirror the grid from top to bottom."""
    return grid[::-1]


def rotate_left(grid: Grid) -> Grid:
    """Turn the grid a quarter to the left."""
    return np.rot90(grid)


def rotate_right(grid: Grid) -> Grid:
    """Turn the grid a quarter to the right."""
    return np.rot90(grid, -1)


def rotate_half(grid: Grid) -> Grid:
    """Turn the grid by half a turn."""
    return grid[::-1, ::-1]


def transpose(grid: Grid) -> Grid:
    """Mirror the grid at its main diagonal."""
    return grid.T


def transpose_other(grid: Grid) -> Grid:
    """Mirror the grid at its other diagonal."""
    return grid[::-1, ::-1].T


def top_half(grid: Grid) -> Grid:
    """Take the top half of the grid."""
    return grid[: len(grid) // 2]


def bottom_half(grid: Grid) -> Grid:
    """Take the bottom half of the grid."""
    return grid[(len(grid) + 1) // 2 :]


def left_half(grid: Grid) -> Grid:
    """Take the left half of the grid."""
    return grid[:, : grid.shape[1] // 2]


def right_half(grid: Grid) -> Grid:
    """Take the right half of the grid."""
    return grid[:, (grid.shape[1] + 1) // 2 :]


def top_square(grid: Grid) -> Grid:
    """Take the square at the top or the left of the grid."""
    side = min(grid.shape)
    return grid[:side, :side]


def without_border(grid: Grid) -> Grid:
    """Take the grid without its outermost cells."""
    return grid[1:-1, 1:-1]


def without_repeats(grid: Grid) -> Grid:
    """Keep one of every run of equal rows, and one of every run of equal columns."""
    rows = np.append(True, (grid[1:] != grid[:-1]).any(axis=1))
    columns = np.append(True, (grid[:, 1:] != grid[:, :-1]).any(axis=0))
    kept: Grid = grid[rows][:, columns]
    return kept


def without_empty_lines(grid: Grid) -> Grid:
    """Take out the rows and columns that are empty."""
    kept: Grid = grid[(grid != 0).any(axis=1)][:, (grid != 0).any(axis=0)]
    return kept


def crop_to_content(grid: Grid) -> Grid:
    """Cut out the smallest rectangle that holds everything which is not background."""
    rows, columns = np.nonzero(grid)
    return grid[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def crop_to_other_than_most_common(grid: Grid) -> Grid:
    """Cut out the smallest rectangle that holds everything of another colour than the most common one."""
    rows, columns = np.nonzero(grid != np.bincount(grid.ravel()).argmax())
    return grid[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def crop_to_colour(grid: Grid, colour: int) -> Grid:
    """Cut out the smallest rectangle that holds all cells of one colour."""
    rows, columns = np.nonzero(grid == colour)
    return grid[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def crop_inside_colour(grid: Grid, colour: int) -> Grid:
    """Cut out what a frame of one colour encloses."""
    rows, columns = np.nonzero(grid == colour)
    return grid[rows.min() + 1 : rows.max(), columns.min() + 1 : columns.max()]


def shift_down(grid: Grid) -> Grid:
    """Move everything down by one row, the last row to the top."""
    return np.roll(grid, 1, axis=0)


def shift_right(grid: Grid) -> Grid:
    """Move everything to the right by one column, the last column to the left."""
    return np.roll(grid, 1, axis=1)


def drop_down(grid: Grid) -> Grid:
    """Move everything down by one row, and what leaves the grid is lost."""
    return np.vstack((np.zeros_like(grid[:1]), grid[:-1]))


def fall_down(grid: Grid) -> Grid:
    """Let every cell fall to the bottom of its column."""
    order = np.argsort(grid != 0, axis=0, kind="stable")
    return np.take_along_axis(grid, order, axis=0)


def fall_up(grid: Grid) -> Grid:
    """Let every cell rise to the top of its column."""
    order = np.argsort(grid == 0, axis=0, kind="stable")
    return np.take_along_axis(grid, order, axis=0)


def fall_right(grid: Grid) -> Grid:
    """Let every cell fall to the right end of its row."""
    order = np.argsort(grid != 0, axis=1, kind="stable")
    return np.take_along_axis(grid, order, axis=1)


def fall_left(grid: Grid) -> Grid:
    """Let every cell fall to the left end of its row."""
    order = np.argsort(grid == 0, axis=1, kind="stable")
    return np.take_along_axis(grid, order, axis=1)


def sort_rows(grid: Grid) -> Grid:
    """Order the rows by how many cells of them are filled."""
    return grid[np.argsort((grid != 0).sum(axis=1), kind="stable")]


def sort_columns(grid: Grid) -> Grid:
    """Order the columns by how many cells of them are filled."""
    return grid[:, np.argsort((grid != 0).sum(axis=0), kind="stable")]


def mirror_right(grid: Grid) -> Grid:
    """Put the mirror image of the grid at its right."""
    return np.hstack((grid, grid[:, ::-1]))


def mirror_left(grid: Grid) -> Grid:
    """Put the mirror image of the grid at its left."""
    return np.hstack((grid[:, ::-1], grid))


def mirror_down(grid: Grid) -> Grid:
    """Put the mirror image of the grid below it."""
    return np.vstack((grid, grid[::-1]))


def mirror_up(grid: Grid) -> Grid:
    """Put the mirror image of the grid above it."""
    return np.vstack((grid[::-1], grid))


def square_of_turns(grid: Grid) -> Grid:
    """Put the grid and its three turns together to a square."""
    above = np.hstack((grid, np.rot90(grid, -1)))
    below = np.hstack((np.rot90(grid), grid[::-1, ::-1]))
    return np.vstack((above, below))


def scale(grid: Grid, rows: int, columns: int) -> Grid:
    """Draw every cell larger, as a block of cells."""
    return np.repeat(np.repeat(grid, rows, axis=0), columns, axis=1)


def scale_by_colours(grid: Grid) -> Grid:
    """Draw every cell larger, as a block with as many rows and columns as there are colours."""
    count = len(set(grid[grid != 0].tolist()))
    return np.repeat(np.repeat(grid, count, axis=0), count, axis=1)


def scale_by_filled_cells(grid: Grid) -> Grid:
    """Draw every cell larger, as a block with as many rows and columns as there are filled cells."""
    count = min(int((grid != 0).sum()), 30)
    return np.repeat(np.repeat(grid, count, axis=0), count, axis=1)


def shrink(grid: Grid, rows: int, columns: int) -> Grid:
    """Draw every block of cells as one cell: the first of it."""
    return grid[::rows, ::columns]


def tile(grid: Grid, rows: int, columns: int) -> Grid:
    """Repeat the grid downwards and to the right."""
    return np.tile(grid, (rows, columns))


def tile_mirrored(grid: Grid, rows: int, columns: int) -> Grid:
    """Repeat the grid downwards and to the right, every other time mirrored."""
    lines = []
    for row in range(rows):
        turned = grid[::-1] if row % 2 else grid
        lines.append(np.hstack([turned[:, ::-1] if column % 2 else turned for column in range(columns)]))
    return np.vstack(lines)


def tile_with_mirrored_lines(grid: Grid, rows: int, columns: int) -> Grid:
    """Repeat the grid downwards and to the right, with every other line of them mirrored left to right."""
    return np.vstack([np.tile(grid[:, ::-1] if row % 2 else grid, (1, columns)) for row in range(rows)])


def copy_where_filled(grid: Grid) -> Grid:
    """Put a copy of the grid in the place of every filled cell."""
    return np.kron((grid != 0).astype(np.int64), grid)


def copy_where_empty(grid: Grid) -> Grid:
    """Put a copy of the grid in the place of every empty cell."""
    return np.kron((grid == 0).astype(np.int64), grid)


def copy_where_most_common(grid: Grid) -> Grid:
    """Put a copy of the grid in the place of every cell of its most common colour."""
    colours, counts = np.unique(grid, return_counts=True)
    return np.kron((grid == colours[counts.argmax()]).astype(np.int64), grid)


def copy_where_rarest(grid: Grid) -> Grid:
    """Put a copy of the grid in the place of every cell of its rarest colour."""
    colours, counts = np.unique(grid, return_counts=True)
    return np.kron((grid == colours[counts.argmin()]).astype(np.int64), grid)


def copy_where_colour(grid: Grid, colour: int) -> Grid:
    """Put a copy of the grid in the place of every cell of one colour."""
    return np.kron((grid == colour).astype(np.int64), grid)
