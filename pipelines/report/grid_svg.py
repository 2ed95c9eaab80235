"""Grids as inline SVG in the ARC colours: small in bytes, sharp at any size, with differing cells marked.

The colours and the lines between cells are defined once in a page (see the template of the task cards); a picture
only refers to them. What is drawn are numbers: no text of anybody's gets into the SVG but the grid's shape.
"""

from __future__ import annotations

import numpy as np

from actors.synthesis.grids import Grid, shape

LARGEST_CELL, WIDEST = 20, 180  # pixels


def grid_svg(grid: Grid, expected: Grid | None = None) -> str:
    """The picture of a valid grid. Cells that differ from an expected grid of the same shape carry a dot."""
    cells = np.array(grid)
    rows, columns = cells.shape
    # Rows are drawn as strokes one unit thick through their middles, so row 0 reaches from -0.5 to 0.5.
    box = f'viewBox="0 -.5 {columns} {rows}"'
    side = min(LARGEST_CELL, max(1, WIDEST // max(rows, columns)))
    colours, counts = np.unique(cells, return_counts=True)
    ground = int(colours[counts.argmax()])
    parts = [
        f'<svg class="arc" {box} width="{columns * side}" height="{rows * side}" role="img" aria-label="{shape(grid)}">',
        _rectangle(f"f{ground}", rows, columns),
    ]
    parts += [f'<path class="c{c}" d="{_strokes(cells == c)}"/>' for c in colours.tolist() if c != ground]
    parts.append(_rectangle("lines", rows, columns))
    marks = differing(grid, expected)
    if marks is not None and marks.any():
        dots = "".join(f"M{x}.5 {y}h0" for y, x in np.argwhere(marks).tolist())
        parts += [f'<path class="{name}" d="{dots}"/>' for name in ("ring", "dot")]
    return "".join((*parts, "</svg>"))


def differing(grid: Grid, expected: Grid | None) -> np.ndarray | None:
    """Which cells differ, of the grid's shape; None where there is nothing of the same shape to compare with."""
    if expected is None:
        return None
    one, other = np.array(grid), np.array(expected)
    return one != other if one.shape == other.shape else None


def _rectangle(name: str, rows: int, columns: int) -> str:
    return f'<rect class="{name}" y="-.5" width="{columns}" height="{rows}"/>'


def _strokes(mask: np.ndarray) -> str:
    """Runs of neighbouring cells in each row as horizontal strokes."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    return "".join(
        f"M{start} {row}h{end - start}" for (row, start), (_, end) in zip(starts.tolist(), ends.tolist(), strict=True)
    )
