"""Pictures of grids, looked at pixel by pixel."""

from __future__ import annotations

import io

import numpy as np
import pytest

from actors.synthesis.grid_picture import LINE, PALETTE, png


def pixels(data: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def colour(text: str) -> list[int]:
    return list(bytes.fromhex(text[1:]))


def test_every_cell_has_its_colour_and_every_line_is_a_line() -> None:
    grid = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    found = pixels(png(grid, cell=4))
    assert found.shape == (9, 21, 3)
    for row in range(2):
        for column in range(5):
            square = found[row * 4 + 1 : row * 4 + 4, column * 4 + 1 : column * 4 + 4].reshape(-1, 3)
            assert (square == colour(PALETTE[grid[row][column]])).all()
    for line in (found[::4].reshape(-1, 3), found[:, ::4].reshape(-1, 3)):
        assert (line == colour(LINE)).all()


def test_there_are_ten_colours_and_all_differ() -> None:
    assert len({*PALETTE, LINE}) == 11


def test_the_same_grid_is_the_same_picture() -> None:
    assert png([[1, 2]]) == png([[1, 2]]) != png([[2, 1]])


@pytest.mark.parametrize("grid", [[], [[]], [[10]], [[-1]]])
def test_what_is_no_grid_has_no_picture(grid: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="numbers 0 to 9"):
        png(grid)


def test_a_square_has_room_for_more_than_its_line() -> None:
    with pytest.raises(ValueError, match="2 at least"):
        png([[1]], cell=1)
