"""Objects: filled cells that touch each other, also at their corners; and the holes in them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Grid = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def connected(mask: Mask, steps: list[tuple[int, int]]) -> list[Mask]:
    """Split the cells of a mask into groups that are connected by the steps, from the top left."""
    waiting = set(zip(*map(np.ndarray.tolist, np.nonzero(mask)), strict=True))
    groups = []
    for start in sorted(waiting):
        if start not in waiting:
            continue
        waiting.remove(start)
        group = [start]
        for row, column in group:
            for down, right in steps:
                near = (row + down, column + right)
                if near in waiting:
                    waiting.remove(near)
                    group.append(near)
        found = np.zeros(mask.shape, bool)
        found[tuple(np.transpose(group))] = True
        groups.append(found)
    return groups


def objects(grid: Grid) -> list[Mask]:
    """Find the objects: filled cells that touch at a side or a corner, whatever their colours."""
    steps = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return connected(grid != 0, steps)


def objects_of_one_colour(grid: Grid) -> list[Mask]:
    """Find the objects of one colour each: cells of it that touch at a side."""
    steps = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    return [found for colour in np.unique(grid[grid != 0]) for found in connected(grid == colour, steps)]


def cut_out(grid: Grid, mask: Mask) -> Grid:
    """Cut out the smallest rectangle around a mask, with nothing in it but what is under the mask."""
    rows, columns = np.nonzero(mask)
    return np.where(mask, grid, 0)[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def largest_object(grid: Grid) -> Grid:
    """Cut out the object with the most cells."""
    return cut_out(grid, max(objects(grid), key=np.sum))


def smallest_object(grid: Grid) -> Grid:
    """Cut out the object with the fewest cells."""
    return cut_out(grid, min(objects(grid), key=np.sum))


def most_colourful_object(grid: Grid) -> Grid:
    """Cut out the object that has the most colours."""
    return cut_out(grid, max(objects(grid), key=lambda mask: len(np.unique(grid[mask]))))


def object_with_rarest_colour(grid: Grid) -> Grid:
    """Cut out the object that has a cell of the rarest colour."""
    colours, counts = np.unique(grid[grid != 0], return_counts=True)
    rarest = colours[counts.argmin()]
    return cut_out(grid, max(objects(grid), key=lambda mask: (grid[mask] == rarest).sum()))


def largest_object_of_one_colour(grid: Grid) -> Grid:
    """Cut out the object of one colour with the most cells."""
    return cut_out(grid, max(objects_of_one_colour(grid), key=np.sum))


def smallest_object_of_one_colour(grid: Grid) -> Grid:
    """Cut out the object of one colour with the fewest cells."""
    return cut_out(grid, min(objects_of_one_colour(grid), key=np.sum))


def symmetric_object(grid: Grid) -> Grid:
    """Cut out the object that is its own mirror image."""
    cuts = [cut_out(grid, mask) for mask in objects(grid)]
    return next(cut for cut in cuts if (cut == cut[:, ::-1]).all())


def keep_largest_object(grid: Grid) -> Grid:
    """Keep the object with the most cells where it is, and remove the others."""
    return np.where(max(objects_of_one_colour(grid), key=np.sum), grid, 0)


def remove_specks(grid: Grid) -> Grid:
    """Remove the objects of a single cell."""
    result = grid.copy()
    for mask in objects_of_one_colour(grid):
        if mask.sum() == 1:
            result[mask] = 0
    return result


def remove_small_objects(grid: Grid) -> Grid:
    """Remove the objects of one or two cells."""
    result = grid.copy()
    for mask in objects(grid):
        if mask.sum() < 3:
            result[mask] = 0
    return result


def enclosed(grid: Grid) -> list[Mask]:
    """Find the parts of the background from which no way leads to the border, by steps to the side."""
    parts = connected(grid == 0, [(-1, 0), (1, 0), (0, -1), (0, 1)])
    border = np.ones(grid.shape, bool)
    border[1:-1, 1:-1] = False
    return [part for part in parts if not (part & border).any()]


def fill_enclosed(grid: Grid, colour: int) -> Grid:
    """Fill the holes: background from which no way leads to the border."""
    result = grid.copy()
    for hole in enclosed(grid):
        result[hole] = colour
    return result


def fill_square_holes(grid: Grid, colour: int) -> Grid:
    """Fill the holes that are squares."""
    result = grid.copy()
    for hole in enclosed(grid):
        rows, columns = np.nonzero(hole)
        if np.ptp(rows) == np.ptp(columns) and hole.sum() == (np.ptp(rows) + 1) ** 2:
            result[hole] = colour
    return result


def fill_not_enclosed(grid: Grid, colour: int) -> Grid:
    """Fill the background around, from which a way leads to the border."""
    result = np.where(grid == 0, colour, grid)
    for hole in enclosed(grid):
        result[hole] = 0
    return result


def fill_enclosed_by_size(grid: Grid, colours: dict[int, int]) -> Grid:
    """Fill the holes, each in the colour that goes with its number of cells."""
    result = grid.copy()
    for hole in enclosed(grid):
        result[hole] = colours[int(hole.sum())]
    return result


def fill_boxes(grid: Grid, colour: int) -> Grid:
    """Fill the background in the smallest rectangle around each object."""
    result = grid.copy()
    for mask in objects(grid):
        rows, columns = np.nonzero(mask)
        box = result[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        box[box == 0] = colour
    return result


def recolour_by_size(grid: Grid, colours: dict[int, int]) -> Grid:
    """Paint every object in the colour that goes with its number of cells."""
    result = grid.copy()
    for mask in objects_of_one_colour(grid):
        result[mask] = colours[int(mask.sum())]
    return result


def recolour_by_rank(grid: Grid, colours: list[int]) -> Grid:
    """Paint the objects by their size, the largest in the first colour, and all beyond the last in the last."""
    result = grid.copy()
    for rank, mask in enumerate(sorted(objects_of_one_colour(grid), key=np.sum, reverse=True)):
        result[mask] = colours[min(rank, len(colours) - 1)]
    return result


def recolour_by_holes(grid: Grid, colours: dict[int, int]) -> Grid:
    """Paint every object in the colour that goes with its number of holes."""
    result = grid.copy()
    for mask in objects_of_one_colour(grid):
        result[mask] = colours[len(enclosed(mask.astype(np.int64)))]
    return result


def diagonal_of_objects(grid: Grid) -> Grid:
    """Draw a diagonal with one cell for each object, in the objects' colour."""
    return np.diag([int(grid[mask][0]) for mask in objects(grid)])


def one_cell_of_largest(grid: Grid) -> Grid:
    """Answer with one cell in the colour of the largest object."""
    return grid[max(objects_of_one_colour(grid), key=np.sum)][:1, None]


def recolour_inside(grid: Grid, colour: int) -> Grid:
    """Paint the inside of every object in one colour: its cells with cells of it at all four sides."""
    result = grid.copy()
    for mask in objects_of_one_colour(grid):
        padded = np.pad(mask, 1)
        inside = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        result[inside] = colour
    return result
