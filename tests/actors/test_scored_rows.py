"""Predictions beside labels become numbers, or the row is quarantined."""

import pytest

from actors.scored_rows import NumberRows, ScoredRows, number_rows
from cluster.rows import Rows


def scored(lines, expression=".p", names=("probability",)):
    rows = Rows("a.jsonl", lines, list(range(1, len(lines) + 1)))
    return ScoredRows(expression, ".score", list(names)).process(rows)


def test_a_number_and_a_label_are_kept():
    rows = scored([b'{"p":0.25,"score":3}', b'{"p":1,"score":0.5}'])
    assert number_rows(NumberRows().encode(rows), 2).tolist() == [[3.0, 0.25], [0.5, 1.0]]


def test_members_of_an_object_are_taken_in_the_order_of_their_names():
    rows = scored([b'{"p":{"a":0.1,"b":0.9},"score":1}'], names=("b", "a"))
    assert number_rows(NumberRows().encode(rows), 3).tolist() == [[1.0, 0.9, 0.1]]


@pytest.mark.parametrize("line", [b'{"p":"x","score":1}', b'{"p":1}', b'{"p":true,"score":1}', b'{"score":1}', b"x"])
def test_a_row_without_numbers_is_quarantined(line):
    rows = scored([line])
    assert (len(rows), len(rows.rejected)) == (0, 1)
