"""The library's transformations, by hand-made cases; the drawing of a case is the grids' text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from actors.engines.search.steps import FUNCTIONS, PLAIN, run


def grid(rows: str) -> list[list[int]]:
    return [[int(cell) for cell in row] for row in rows.split()]


def made(name: str, drawn: str, /, **arguments: Any) -> list[list[int]]:
    found: list[list[int]] = FUNCTIONS[name](np.array(grid(drawn)), **arguments).tolist()
    return found


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("flip_left_right", "12 34", "21 43"),
        ("flip_up_down", "12 34", "34 12"),
        ("rotate_left", "12 34", "24 13"),
        ("rotate_right", "12 34", "31 42"),
        ("rotate_half", "12 34", "43 21"),
        ("transpose", "123 456", "14 25 36"),
        ("transpose_other", "12 34", "42 31"),
        ("top_half", "1 2 3", "1"),
        ("bottom_half", "1 2 3", "3"),
        ("left_half", "1234", "12"),
        ("top_square", "123 456", "12 45"),
        ("right_half", "12345", "45"),
        ("without_border", "111 121 111", "2"),
        ("without_repeats", "112 112 331", "12 31"),
        ("without_empty_lines", "100 000 002", "10 02"),
        ("crop_to_content", "0000 0120 0030 0000", "12 03"),
        ("crop_to_other_than_most_common", "888 818 888", "1"),
        ("shift_down", "1 2 3", "3 1 2"),
        ("shift_right", "123", "312"),
        ("drop_down", "1 2 3", "0 1 2"),
        ("fall_down", "12 30 00", "00 10 32"),
        ("fall_up", "00 30 12", "32 10 00"),
        ("fall_right", "1020", "0012"),
        ("fall_left", "0102", "1200"),
        ("sort_rows", "11 00 10", "00 10 11"),
        ("sort_columns", "110 100", "011 001"),
        ("mirror_right", "12", "1221"),
        ("mirror_left", "12", "2112"),
        ("mirror_down", "1 2", "1 2 2 1"),
        ("mirror_up", "1 2", "2 1 1 2"),
        ("square_of_turns", "12 34", "1231 3442 2443 1321"),
        ("scale_by_colours", "12", "1122 1122"),
        ("scale_by_filled_cells", "110", "111100 111100"),
        ("copy_where_filled", "10 22", "1000 2200 1010 2222"),
        ("copy_where_empty", "10", "0010"),
        ("copy_where_most_common", "112", "112112000"),
        ("copy_where_rarest", "112", "000000112"),
        ("invert", "20 22", "02 00"),
        ("swap_two_colours", "1120", "2210"),
        ("swap_common_and_rare", "0012", "1102"),
        ("keep_most_common_colour", "1120", "1100"),
        ("keep_rarest_colour", "1120", "0020"),
        ("remove_most_common_colour", "1120", "0020"),
        ("most_common_colour_as_background", "8818", "0010"),
        ("fill_with_most_common", "12 22", "22 22"),
        ("one_cell_of_most_common", "0012 0020", "2"),
        ("one_cell_of_rarest", "112", "2"),
        ("filled_cells_in_a_row", "010 203", "123"),
        ("colours_by_count", "122 330 333", "3 2 1"),
        ("bars_by_count", "122 300 330", "333 220 100"),
        ("largest_object", "1000 0022 0022", "22 22"),
        ("smallest_object", "1000 0022 0022", "1"),
        ("most_colourful_object", "110 000 012", "12"),
        ("object_with_rarest_colour", "1100 0000 0012", "12"),
        ("symmetric_object", "12011", "11"),
        ("keep_largest_object", "110 002 000", "110 000 000"),
        ("remove_specks", "110 000 200", "110 000 000"),
        ("remove_small_objects", "111 000 220", "111 000 000"),
        ("diagonal_of_objects", "1010", "10 01"),
        ("one_cell_of_largest", "1022", "2"),
        ("complete_left_right", "120 000", "121 000"),
        ("complete_up_down", "12 30 00", "12 30 12"),
        ("complete_both", "10 00", "11 11"),
        ("complete_diagonal", "02 00", "02 20"),
        ("complete_turns", "10 00", "11 11"),
        ("complete_diagonal_tiling", "120 030", "123 231"),
        ("extend_rows", "010 000", "111 000"),
        ("extend_columns", "010 000", "010 010"),
        ("extend_both", "010 000 000", "111 010 010"),
        ("extend_down", "10 02", "10 12"),
        ("extend_up", "00 12", "12 12"),
        ("extend_right", "102", "112"),
        ("extend_left", "0102", "1122"),
        ("extend_diagonals", "000 010 000", "101 010 101"),
        ("connect_own", "101 000 000", "111 000 000"),
        ("grow", "000 010 000", "111 111 111"),
        ("grow_sides", "000 010 000", "010 111 010"),
        ("repeat_border", "12", "0120 1122 0120"),
        ("first_panel", "1250 3460", "12 34"),
        ("last_panel", "12502 34506", "02 06"),
        ("fullest_panel", "1012 0022", "12 22"),
        ("emptiest_panel", "1012 0022", "10 00"),
        ("odd_panel", "121412 000000", "14 00"),
        ("asymmetric_panel", "1211 2101", "11 01"),
        ("panels_as_cells", "10500 55555 22511", "00 21"),
    ],
)  # fmt: skip
def test_plain_steps(name: str, before: str, after: str) -> None:
    assert made(name, before) == grid(after)


@pytest.mark.parametrize(
    ("name", "arguments", "before", "after"),
    [
        ("recolour", {"mapping": {1: 2, 2: 1}}, "1203", "2103"),
        ("paint_filled", {"colour": 5}, "1203", "5505"),
        ("paint_background", {"colour": 5}, "1203", "1253"),
        ("keep_colour", {"colour": 2}, "1203", "0200"),
        ("remove_colour", {"colour": 2}, "1203", "1003"),
        ("crop_to_colour", {"colour": 2}, "120 012 000", "20 12"),
        ("crop_inside_colour", {"colour": 2}, "2222 2132 2222", "13"),
        ("scale", {"rows": 2, "columns": 3}, "12", "111222 111222"),
        ("shrink", {"rows": 1, "columns": 3}, "111222", "12"),
        ("tile", {"rows": 2, "columns": 2}, "12", "1212 1212"),
        ("tile_mirrored", {"rows": 2, "columns": 2}, "12 34", "1221 3443 3443 1221"),
        ("tile_with_mirrored_lines", {"rows": 2, "columns": 2}, "12", "1212 2121"),
        ("copy_where_colour", {"colour": 2}, "12", "0012"),
        ("rows_of_one_colour", {"colour": 5}, "11 12", "55 00"),
        ("fill_enclosed", {"colour": 4}, "1110 1010 1110", "1110 1410 1110"),
        ("fill_square_holes", {"colour": 4}, "11111 10101 11101 11111", "11111 14101 11101 11111"),
        ("fill_not_enclosed", {"colour": 4}, "1110 1010 1110", "1114 1014 1114"),
        ("fill_enclosed_by_size", {"colours": {1: 4, 2: 5}}, "111111 101001 111111", "111111 141551 111111"),
        ("fill_boxes", {"colour": 4}, "1100 1000 0000", "1100 1400 0000"),
        ("recolour_by_size", {"colours": {1: 4, 2: 5}}, "10011", "40055"),
        ("recolour_by_rank", {"colours": [4, 5]}, "10011010", "50044050"),
        ("recolour_by_holes", {"colours": {0: 4, 1: 5}}, "11101 10100 11100", "55504 50500 55500"),
        ("recolour_inside", {"colour": 4}, "111 111 111", "111 141 111"),
        ("restore_hidden", {"hidden": 9}, "1221 2332 2339 1991", "1221 2332 2332 1221"),
        ("complete_tiling", {"hidden": 0}, "1212 2100 1202", "1212 2121 1212"),
        ("connect_in_rows", {"colour": 3}, "1001 1002", "1331 1002"),
        ("connect_in_columns", {"colour": 3}, "1 0 1", "1 3 1"),
        ("connect_in_both", {"colour": 3}, "101 000 100", "131 300 100"),
        ("outline", {"colour": 3}, "000 010 000", "333 313 333"),
        ("outline_sides", {"colour": 3}, "000 010 000", "030 313 030"),
        ("stamp", {"stamps": {1: [[2, 0, 2], [0, 1, 0], [2, 0, 2]]}}, "000 010 000", "202 010 202"),
        ("draw_border", {"colour": 3}, "000 010 000", "333 313 333"),
        ("add_border", {"colour": 3}, "1", "333 313 333"),
        ("alternate_columns", {"colour": 3}, "1110", "3130"),
        ("where_all", {"colour": 3}, "10511", "30"),
        ("where_any", {"colour": 3}, "1001 0000", "33 00"),
        ("where_none", {"colour": 3}, "1000 0000", "03 33"),
        ("where_one", {"colour": 3}, "1011 0000", "03 00"),
        ("where_first_only", {"colour": 3}, "1101 0000", "30 00"),
        ("overlay_panels", {"order": [1, 0]}, "1020 0001", "20 01"),
        ("overlay_panels", {"order": [1, 0]}, "1204 0000", "14 00"),
    ],
)  # fmt: skip
def test_steps_with_arguments(name: str, arguments: dict[str, Any], before: str, after: str) -> None:
    assert made(name, before, **arguments) == grid(after)


def test_every_step_says_in_one_sentence_what_it_does() -> None:
    for name, function in FUNCTIONS.items():
        said = (function.__doc__ or "").strip()
        assert said.endswith(".") and "\n" not in said and said[0].isupper(), name


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("rows", ["0", "00 00", "1", "12 34", "123", "0" * 30, "000 010 000"])
def test_a_step_gives_a_grid_or_is_not_made_for_it_and_leaves_its_input_alone(name: str, rows: str) -> None:
    given = np.array(grid(rows))
    before = given.copy()
    found = run(name, [given])
    assert (given == before).all()
    assert found is None or (found[0].ndim == 2 and found[0].size and found[0].dtype.kind == "i")
