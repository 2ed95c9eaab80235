"""Groups of rows, and grouping equal ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.curation import duplicates as module
from pipelines.curation.duplicates import Groups, join_equal, parts_of


@settings(deadline=None)  # scipy is imported in the first example
@given(st.lists(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=12), max_size=5))
def test_the_first_row_of_what_is_linked_stands_for_it(rounds):
    groups, reference = Groups(31), list(range(31))
    for pairs in rounds:
        edges = np.array(pairs, np.int64).reshape(-1, 2)
        groups.join(edges[:, 0], edges[:, 1])
        for one, other in pairs:
            low, high = sorted((reference[one], reference[other]))
            reference = [low if first == high else first for first in reference]
    assert groups.firsts(np.arange(31)).tolist() == reference
    rows, firsts = groups.duplicates(5, 31)
    assert dict(zip(rows.tolist(), firsts.tolist(), strict=True)) == {
        row: first for row, first in enumerate(reference) if first != row and row >= 5
    }
    assert groups.is_first(0, 31).tolist() == [first == row for row, first in enumerate(reference)]


@pytest.mark.parametrize("part_rows", [1 << 22, 7])
def test_rows_with_equal_hashes_are_one_group_and_the_first_leads_it(monkeypatch, part_rows):
    monkeypatch.setattr(module, "PART_ROWS", part_rows)
    monkeypatch.setattr(module, "BLOCK_ROWS", 10)
    rng = np.random.default_rng(3)
    # Halves of the hash from few values: many rows share one half and not the other.
    hashes = rng.integers(0, 2**64, 6, dtype=np.uint64)[rng.integers(0, 6, (2, 100))]
    groups = Groups(100)
    join_equal(groups, hashes)
    first: dict[tuple[int, int], int] = {}
    for row, pair in enumerate(zip(*hashes.tolist(), strict=True)):
        first.setdefault(pair, row)
    assert groups.firsts(np.arange(100)).tolist() == [first[p] for p in zip(*hashes.tolist(), strict=True)]


def test_parts_hold_every_wanted_row_once_in_order_and_equal_keys_together(monkeypatch):
    monkeypatch.setattr(module, "PART_ROWS", 10)
    keys = np.random.default_rng(1).integers(0, 2**64, 20, dtype=np.uint64).repeat(3)
    wanted = np.arange(60) % 5 != 0
    parts = list(parts_of(keys, wanted))
    assert len(parts) == 6
    assert sorted(np.concatenate(parts).tolist()) == np.flatnonzero(wanted).tolist()
    assert all((np.diff(part) > 0).all() for part in parts)
    of_key = [{int(keys[row]) for row in part} for part in parts]
    assert sum(map(len, of_key)) == len(set().union(*of_key))


def test_no_rows_are_no_groups():
    groups = Groups(0)
    join_equal(groups, np.zeros((2, 0), np.uint64))
    assert len(groups.duplicates(0, 0)[0]) == 0
