"""What repeats, mirrors or goes on: patterns completed, lines drawn on, cells surrounded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Grid = npt.NDArray[np.int64]


def overlay(first: Grid, second: Grid) -> Grid:
    """Lay the first grid over the second: where it is background, the second shows."""
    return np.where(first != 0, first, second)


def complete_left_right(grid: Grid) -> Grid:
    """Complete the grid to a mirror image of itself, left and right."""
    return overlay(grid, grid[:, ::-1])


def complete_up_down(grid: Grid) -> Grid:
    """Complete the grid to a mirror image of itself, top and bottom."""
    return overlay(grid, grid[::-1])


def complete_both(grid: Grid) -> Grid:
    """Complete the grid to a mirror image of itself in both directions."""
    result = overlay(grid, grid[:, ::-1])
    return overlay(result, result[::-1])


def complete_diagonal(grid: Grid) -> Grid:
    """Complete the grid to a mirror image of itself at its main diagonal."""
    return overlay(grid, grid.T)


def complete_turns(grid: Grid) -> Grid:
    """Complete the grid so that every quarter of a turn looks the same."""
    result = overlay(grid, np.rot90(grid))
    return overlay(result, result[::-1, ::-1])


def restore_hidden(grid: Grid, hidden: int) -> Grid:
    """Restore the cells of one colour, under which a pattern is hidden that mirrors itself, or nearly."""
    known = np.where(grid == hidden, -1, grid)
    best, most = known, -1
    height, width = grid.shape
    for row_axis in range(height - 3, height + 3):
        for column_axis in range(width - 3, width + 3):
            rows, columns = np.arange(height), np.arange(width)
            other_rows, other_columns = row_axis - rows, column_axis - columns
            rows_in = (other_rows >= 0) & (other_rows < height)
            columns_in = (other_columns >= 0) & (other_columns < width)
            result, agreeing = known.copy(), 0
            for take_rows, take_columns in ((other_rows, columns), (rows, other_columns), (other_rows, other_columns)):
                is_in = np.outer(rows_in | (take_rows is rows), columns_in | (take_columns is columns))
                mirrored = np.where(is_in, known[np.ix_(take_rows % height, take_columns % width)], -1)
                if ((mirrored != known) & (mirrored >= 0) & (known >= 0)).any():
                    agreeing = -1
                    break
                agreeing += int(((mirrored == known) & (known >= 0)).sum())
                result = np.where(result < 0, mirrored, result)
            if agreeing > most:
                best, most = result, agreeing
    restored: Grid = np.where(best < 0, hidden, best)
    return restored


def complete_tiling(grid: Grid, hidden: int) -> Grid:
    """Find the smallest tile whose repetition agrees with all cells but those of one colour, and draw it everywhere."""
    height, width = grid.shape
    known = grid != hidden
    sizes = [(rows, columns) for rows in range(1, height + 1) for columns in range(1, width + 1)]
    for rows, columns in sorted(sizes, key=lambda size: size[0] * size[1]):
        place = np.add.outer(np.arange(height) % rows * columns, np.arange(width) % columns)
        tile = np.full(rows * columns, -1)
        tile[place[known]] = grid[known]
        if (tile >= 0).all() and (tile[place[known]] == grid[known]).all():
            repeated: Grid = tile[place]
            return repeated
    raise ValueError("no tile")


def complete_diagonal_tiling(grid: Grid) -> Grid:
    """Draw the diagonals on, whose colours repeat."""
    height, width = grid.shape
    for period in range(1, height + width):
        place = np.add.outer(np.arange(height), np.arange(width)) % period
        tile = np.zeros(period, np.int64)
        tile[place[grid != 0]] = grid[grid != 0]
        if tile.all() and (tile[place][grid != 0] == grid[grid != 0]).all():
            repeated: Grid = tile[place]
            return repeated
    raise ValueError("no period")


def extend_rows(grid: Grid) -> Grid:
    """Draw every filled cell on through its whole row."""
    filled = grid.max(axis=1, keepdims=True)
    return np.where(grid != 0, grid, np.broadcast_to(filled, grid.shape))


def extend_columns(grid: Grid) -> Grid:
    """Draw every filled cell on through its whole column."""
    filled = grid.max(axis=0, keepdims=True)
    return np.where(grid != 0, grid, np.broadcast_to(filled, grid.shape))


def extend_both(grid: Grid) -> Grid:
    """Draw every filled cell on through its row and its column."""
    lines = np.maximum(grid.max(axis=0, keepdims=True), grid.max(axis=1, keepdims=True))
    return np.where(grid != 0, grid, lines)


def extend_down(grid: Grid) -> Grid:
    """Draw every filled cell on down to the border."""
    result = grid.copy()
    for row in range(1, len(result)):
        result[row] = np.where(result[row] == 0, result[row - 1], result[row])
    return result


def extend_up(grid: Grid) -> Grid:
    """Draw every filled cell on up to the border."""
    return extend_down(grid[::-1])[::-1]


def extend_right(grid: Grid) -> Grid:
    """Draw every filled cell on to the right border."""
    return extend_down(grid.T).T


def extend_left(grid: Grid) -> Grid:
    """Draw every filled cell on to the left border."""
    return extend_up(grid.T).T


def extend_diagonals(grid: Grid) -> Grid:
    """Draw every filled cell on along both of its diagonals, the nearer before the farther."""
    result = grid.copy()
    height, width = grid.shape
    reach = min(height, width)
    padded = np.pad(grid, reach)
    for far in range(1, reach):
        for down, right in ((-far, -far), (-far, far), (far, -far), (far, far)):
            moved = padded[reach + down : reach + down + height, reach + right : reach + right + width]
            result = np.where(result != 0, result, moved)
    return result


def connect_in_rows(grid: Grid, colour: int) -> Grid:
    """Draw a line between cells of the same colour in a row, where only background is between them."""
    result = grid.copy()
    for line, drawn in zip(grid, result, strict=True):
        filled = np.nonzero(line)[0]
        for at in range(1, len(filled)):
            start, end = filled[at - 1], filled[at]
            if line[start] == line[end]:
                drawn[start + 1 : end] = colour
    return result


def connect_in_columns(grid: Grid, colour: int) -> Grid:
    """Draw a line between cells of the same colour in a column, where only background is between them."""
    return connect_in_rows(grid.T, colour).T


def connect_in_both(grid: Grid, colour: int) -> Grid:
    """Draw lines between cells of the same colour in a row or a column, where only background is between them."""
    return overlay(connect_in_rows(grid, colour), connect_in_columns(grid, colour))


def connect_own(grid: Grid) -> Grid:
    """Draw lines of their colour between cells of the same colour, first in the rows and then in the columns."""
    result = grid.copy()
    for colour in np.unique(grid[grid != 0]):
        only = np.where(grid == colour, colour, 0)
        rows = connect_in_rows(only, colour)
        result = np.where(rows != 0, rows, result)
    for colour in np.unique(grid[grid != 0]):
        only = np.where(grid == colour, colour, 0)
        columns = connect_in_columns(only, colour)
        result = np.where(columns != 0, columns, result)
    return result


def neighbours(grid: Grid, diagonal: bool) -> Grid:
    """Show the highest colour among the cells around each cell."""
    padded = np.pad(grid, 1)
    height, width = grid.shape
    steps = [(0, 1), (1, 0), (1, 2), (2, 1)] + ([(0, 0), (0, 2), (2, 0), (2, 2)] if diagonal else [])
    around: Grid = np.max([padded[down : down + height, right : right + width] for down, right in steps], axis=0)
    return around


def outline(grid: Grid, colour: int) -> Grid:
    """Surround what is filled with a line of one colour, corners too."""
    return np.where((grid == 0) & (neighbours(grid, True) != 0), colour, grid)


def outline_sides(grid: Grid, colour: int) -> Grid:
    """Paint the background at the sides of what is filled in one colour."""
    return np.where((grid == 0) & (neighbours(grid, False) != 0), colour, grid)


def grow(grid: Grid) -> Grid:
    """Let everything that is filled grow by one cell in all directions."""
    return np.where(grid == 0, neighbours(grid, True), grid)


def grow_sides(grid: Grid) -> Grid:
    """Let everything that is filled grow by one cell to its sides."""
    return np.where(grid == 0, neighbours(grid, False), grid)


def stamp(grid: Grid, stamps: dict[int, list[list[int]]]) -> Grid:
    """Draw around every cell what goes with its colour, as a square whose middle is the cell."""
    reach = len(next(iter(stamps.values()))) // 2
    result = np.pad(grid, reach)
    for row, column in zip(*np.nonzero(grid), strict=True):
        if int(grid[row, column]) in stamps:
            drawn = np.array(stamps[int(grid[row, column])])
            place = result[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
            place[(drawn != 0) & (place == 0)] = drawn[(drawn != 0) & (place == 0)]
    return result[reach:-reach, reach:-reach]


def draw_border(grid: Grid, colour: int) -> Grid:
    """Paint the outermost cells in one colour."""
    result = grid.copy()
    result[[0, -1]] = colour
    result[:, [0, -1]] = colour
    return result


def add_border(grid: Grid, colour: int) -> Grid:
    """Put a border of one colour around the grid."""
    return np.pad(grid, 1, constant_values=colour)


def repeat_border(grid: Grid) -> Grid:
    """Put a border around the grid that repeats its outermost cells, with empty corners."""
    result = np.pad(grid, 1, mode="edge")
    result[[0, 0, -1, -1], [0, -1, 0, -1]] = 0
    return result


def alternate_columns(grid: Grid, colour: int) -> Grid:
    """Paint what is filled in every other column in one colour."""
    result = grid.copy()
    every_other = result[:, ::2]
    every_other[every_other != 0] = colour
    return result
