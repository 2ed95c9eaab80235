"""The account of the rows of a chunk."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.rows import Failure, Rejected, Rows


def rows_of(*lines: bytes, first: int = 1) -> Rows:
    return Rows("train/a.jsonl", list(lines), list(range(first, first + len(lines))))


def test_a_failure_is_rejected_with_its_line_number_and_its_bytes_as_read() -> None:
    rows = rows_of(b"a", b"b", b"c", first=7)
    rows.settle([b"A", b"B", b"C"])
    rows.settle([b"A", Failure("bad"), b"C"])
    assert rows.rejected == [Rejected(8, b"b", "bad")]
    assert (rows.lines, rows.numbers, rows.originals) == ([b"A", b"C"], [7, 9], [b"a", b"c"])


def test_none_is_counted_as_filtered_and_nothing_else() -> None:
    rows = rows_of(b"a", b"b", b"c").settle([None, b"b", None])
    assert (rows.filtered, rows.rejected, rows.lines, rows.numbers) == (2, [], [b"b"], [2])


def test_a_later_stage_rejects_by_the_original_position_of_what_is_left() -> None:
    rows = rows_of(b"a", b"b", b"c").settle([None, b"B", b"C"]).settle([b"B", Failure("late")])
    assert rows.rejected == [Rejected(3, b"c", "late")]


def test_results_must_be_aligned_with_the_rows() -> None:
    with pytest.raises(ValueError, match=r"1 results for 2 rows of train/a\.jsonl"):
        rows_of(b"a", b"b").settle([b"a"])


def test_counters_add_up() -> None:
    rows = rows_of(b"a")
    rows.count("tokens", 3)
    rows.count("tokens")
    assert rows.counters == {"tokens": 4}


results = st.one_of(st.binary(max_size=3), st.none(), st.builds(Failure, st.text(max_size=3)))


@settings(deadline=None)
@given(st.lists(results, max_size=30), st.data())
def test_rows_in_are_rows_out_and_filtered_and_rejected(
    first: list[bytes | Failure | None], data: st.DataObject
) -> None:
    rows = rows_of(*[b"%d" % number for number in range(len(first))])
    rows.settle(first)
    rows.settle(data.draw(st.lists(results, min_size=len(rows), max_size=len(rows))))
    assert len(rows) + rows.filtered + len(rows.rejected) == len(first)
    assert len(rows.lines) == len(rows.numbers) == len(rows.originals)
    assert all(rows.originals[i] == b"%d" % (number - 1) for i, number in enumerate(rows.numbers))
    assert all(row.raw == b"%d" % (row.line - 1) for row in rows.rejected)
