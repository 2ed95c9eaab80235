"""A grid as a picture: squares in the colours that ARC is always shown in, with thin lines between them.

The colours are those of the ARC testing interface. Only PNG is made; what stands beside a picture is its user's.
"""

from __future__ import annotations

import io
from typing import Final

import numpy as np

from actors.synthesis.grids import Grid

PALETTE: Final = (
    "#000000",  # 0 black
    "#0074D9",  # 1 blue
    "#FF4136",  # 2 red
    "#2ECC40",  # 3 green
    "#FFDC00",  # 4 yellow
    "#AAAAAA",  # 5 grey
    "#F012BE",  # 6 magenta
    "#FF851B",  # 7 orange
    "#7FDBFF",  # 8 light blue
    "#870C25",  # 9 maroon
)
"""The colour of each number."""
LINE: Final = "#555555"
CELL: Final = 16  # pixels of a square's side, its line on the left and above among them


def png(grid: Grid, cell: int = CELL) -> bytes:
    """The picture, `cell` pixels for each square and one more for the last line: rows * cell + 1 high.

    Raises ValueError for squares of less than 2 pixels, and for what is not a filled grid of 0 to 9.
    """
    from PIL import Image

    if cell < 2:
        raise ValueError(f"squares of {cell} pixels: 2 at least, one of them is the line")
    numbers = np.asarray(grid)
    if numbers.ndim != 2 or not numbers.size or not np.isin(numbers, range(len(PALETTE))).all():
        raise ValueError("only a grid of numbers 0 to 9, with cells, has a picture")
    pixels = np.full((len(numbers) * cell + 1, len(numbers[0]) * cell + 1), len(PALETTE), np.uint8)
    squares = pixels[:-1, :-1].reshape(len(numbers), cell, -1, cell)
    squares[:, 1:, :, 1:] = numbers[:, None, :, None]
    image = Image.fromarray(pixels)
    image.putpalette(bytes.fromhex("".join(colour[1:] for colour in (*PALETTE, LINE))))
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()
