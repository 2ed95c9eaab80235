"""Panels: the equal parts of a grid, which lines of one colour divide, or which lie side by side; and what is made of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Grid = npt.NDArray[np.int64]


def runs(is_line: list[bool]) -> list[tuple[int, int]]:
    """Find the stretches between lines, as start and end."""
    found, start = [], 0
    for at, divides in enumerate([*is_line, True]):
        if divides:
            if at > start:
                found.append((start, at))
            start = at + 1
    return found


def panels(grid: Grid) -> list[Grid]:
    """Divide the grid at its lines; without lines, into two halves, or into squares."""
    height, width = grid.shape
    best: list[Grid] = []
    for colour in np.unique(grid[grid != 0]):
        rows = runs((grid == colour).all(axis=1).tolist())
        columns = runs((grid == colour).all(axis=0).tolist())
        found = [grid[top:bottom, left:right] for top, bottom in rows for left, right in columns]
        if len({panel.shape for panel in found}) == 1 and len(found) > max(1, len(best)):
            best = found
    if best:
        return best
    if width % height == 0 and width > height:
        return np.hsplit(grid, width // height)
    if height % width == 0 and height > width:
        return np.vsplit(grid, height // width)
    if width > height and width % 2 == 0:
        return np.hsplit(grid, 2)
    if height % 2 == 0:
        return np.vsplit(grid, 2)
    raise ValueError("no panels")


def where_all(grid: Grid, colour: int) -> Grid:
    """Lay the panels on each other, and paint the cells that are filled in all of them."""
    return np.where(np.all([panel != 0 for panel in panels(grid)], axis=0), colour, 0)


def where_any(grid: Grid, colour: int) -> Grid:
    """Lay the panels on each other, and paint the cells that are filled in any of them."""
    return np.where(np.any([panel != 0 for panel in panels(grid)], axis=0), colour, 0)


def where_none(grid: Grid, colour: int) -> Grid:
    """Lay the panels on each other, and paint the cells that are filled in none of them."""
    return np.where(np.any([panel != 0 for panel in panels(grid)], axis=0), 0, colour)


def where_one(grid: Grid, colour: int) -> Grid:
    """Lay the panels on each other, and paint the cells that are filled in exactly one of them."""
    return np.where(np.sum([panel != 0 for panel in panels(grid)], axis=0) == 1, colour, 0)


def where_first_only(grid: Grid, colour: int) -> Grid:
    """Lay the panels on each other, and paint the cells that are filled in the first one alone."""
    first, *others = [panel != 0 for panel in panels(grid)]
    return np.where(first & ~np.any(others, axis=0), colour, 0)


def overlay_panels(grid: Grid, order: list[int]) -> Grid:
    """Lay the panels on each other in the given order, the first on top."""
    found = panels(grid)
    result = found[order[0]]
    for at in order[1:]:
        result = np.where(result != 0, result, found[at])
    return result


def first_panel(grid: Grid) -> Grid:
    """Take the first panel."""
    return panels(grid)[0]


def last_panel(grid: Grid) -> Grid:
    """Take the last panel."""
    return panels(grid)[-1]


def fullest_panel(grid: Grid) -> Grid:
    """Take the panel with the most filled cells."""
    return max(panels(grid), key=np.count_nonzero)


def emptiest_panel(grid: Grid) -> Grid:
    """Take the panel with the fewest filled cells."""
    return min(panels(grid), key=np.count_nonzero)


def odd_panel(grid: Grid) -> Grid:
    """Take the panel that is most unlike the others."""
    found = panels(grid)
    return max(found, key=lambda panel: sum(int((panel != other).sum()) for other in found))


def most_colourful_panel(grid: Grid) -> Grid:
    """Take the panel with the most colours."""
    return max(panels(grid), key=lambda panel: len(np.unique(panel)))


def panel_of_rarest_colour(grid: Grid) -> Grid:
    """Take the panel that holds the rarest colour."""
    found = panels(grid)
    colours, counts = np.unique(np.array(found), return_counts=True)
    return max(found, key=lambda panel: int((panel == colours[counts.argmin()]).sum()))


def asymmetric_panel(grid: Grid) -> Grid:
    """Take the panel that is no mirror image of itself."""
    return next(panel for panel in panels(grid) if (panel != panel.T).any())


def panels_as_cells(grid: Grid) -> Grid:
    """Draw every panel as one cell: filled in its most common colour where it has the most filled cells."""
    found = panels(grid)
    most = max(map(np.count_nonzero, found))
    side = round(len(found) ** 0.5)
    cells = [int(np.bincount(panel[panel != 0]).argmax()) if np.count_nonzero(panel) == most else 0 for panel in found]
    return np.array(cells).reshape(side, -1)
