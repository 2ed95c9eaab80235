import re

import numpy as np

from pipelines.report.grid_svg import differing, grid_svg


def drawn(svg):
    """The numbers that a picture shows, read back from its strokes."""
    width, height = (int(each) for each in re.search(r'viewBox="0 -\.5 (\d+) (\d+)"', svg).groups())
    cells = np.full((height, width), int(re.search(r'class="f(\d)"', svg)[1]))
    for colour, path in re.findall(r'class="c(\d)" d="([^"]*)"', svg):
        for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)", path):
            cells[int(y), int(x) : int(x) + int(length)] = int(colour)
    return cells.tolist()


def test_a_picture_shows_every_cell():
    grid = [[0, 1, 1, 0], [2, 2, 2, 2], [9, 0, 9, 0]]
    assert drawn(grid_svg(grid)) == grid
    noise = np.random.default_rng(3).integers(0, 10, (30, 30)).tolist()
    assert drawn(grid_svg(noise)) == noise
    assert drawn(grid_svg([[7]])) == [[7]]


def test_its_size_and_words_are_those_of_rows_and_columns():
    svg = grid_svg([[0] * 30, [1] * 30])
    assert 'width="180" height="12"' in svg
    assert 'aria-label="2 x 30"' in svg


def test_differing_cells_carry_a_dot():
    svg = grid_svg([[1, 2], [3, 4]], expected=[[1, 0], [3, 5]])
    assert re.findall(r'class="(\w+)" d="(M[^"]*h0)"', svg) == [
        ("ring", "M1.5 0h0M1.5 1h0"),
        ("dot", "M1.5 0h0M1.5 1h0"),
    ]


def test_equal_grids_and_other_shapes_have_no_dots():
    assert "dot" not in grid_svg([[1, 2]], expected=[[1, 2]])
    assert "dot" not in grid_svg([[1, 2]], expected=[[1], [2]])
    assert differing([[1, 2]], [[1], [2]]) is None
    assert differing([[1, 2]], None) is None
