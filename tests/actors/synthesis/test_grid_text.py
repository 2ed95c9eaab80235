"""Grids as text: what is drawn can be read back, and what is no drawing is refused by its row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.synthesis.grid_text import EMPTY_ROW, format_grid, is_row, parse_grid

rows = st.lists(st.integers(-(10**17), 10**17) | st.integers(0, 9), max_size=6)


def test_rows_are_lines_and_cells_stand_a_space_apart() -> None:
    assert format_grid([[1, 2, 3], [0, 10, 9]]) == "1 2 3\n0 10 9"
    assert parse_grid("1 2 3\n0 10 9") == [[1, 2, 3], [0, 10, 9]]


def test_an_empty_row_is_told_from_no_row() -> None:
    assert format_grid([[], [1], []]) == f"{EMPTY_ROW}\n1\n{EMPTY_ROW}" and EMPTY_ROW == "[EMPTY_ROW]"
    assert format_grid([]) == "" and format_grid([[]]) == EMPTY_ROW
    assert parse_grid("") == [] and parse_grid(EMPTY_ROW) == [[]]


@given(st.lists(rows, max_size=6))
def test_what_is_drawn_can_be_read_back(grid: list[list[int]]) -> None:
    assert parse_grid(format_grid(grid)) == grid
    assert all(map(is_row, format_grid(grid).split("\n"))) or not grid


@pytest.mark.parametrize(
    "row", ["", "1  2", " 1", "1 ", "1,2", "a", "1.0", "٣", "1 [EMPTY_ROW]", "9" * 5000, "\r", "1\t2"]
)
def test_what_is_no_row_is_refused_by_its_number(row: str) -> None:
    assert not is_row(row)
    with pytest.raises(ValueError, match=r"^row 2 is no row of a grid"):
        parse_grid(f"1 2\n{row}")
