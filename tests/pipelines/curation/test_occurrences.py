"""Exact quantiles of values that are only known by how often each occurs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.curation import occurrences as module
from pipelines.curation.occurrences import QUANTILES, Occurrences


def of(values: list[int], pieces: int = 1) -> Occurrences:
    found: Occurrences = Occurrences(np.int64)
    for piece in np.array_split(np.array(values, np.int64), pieces):
        found.add(*np.unique(piece, return_counts=True))
    return found


@settings(deadline=None)
@given(st.lists(st.integers(-5, 30) | st.integers(-(10**6), 10**6), min_size=1, max_size=60), st.integers(1, 5))
def test_the_summary_is_that_of_the_values_themselves(values, pieces):
    summary = of(values, pieces).summary()
    assert (summary["rows"], summary["total"]) == (len(values), sum(values))
    assert (summary["min"], summary["max"]) == (min(values), max(values))
    assert summary["mean"] == sum(values) / len(values)
    for name, share in QUANTILES.items():
        assert summary[name] == pytest.approx(np.quantile(values, share), rel=1e-12, abs=1e-12)


def test_totals_do_not_overflow():
    found: Occurrences = Occurrences(np.int64)
    found.add(np.array([2**40], np.int64), np.array([2**40], np.int64))
    assert found.summary()["total"] == 2**80


def test_merging_on_the_way_changes_nothing(monkeypatch):
    whole = of(list(range(100)) * 3, pieces=50).summary()
    monkeypatch.setattr(module, "PENDING", 4)
    assert of(list(range(100)) * 3, pieces=50).summary() == whole


def test_one_can_be_added_to_another():
    both = of([1, 2, 3])
    both.add_all(of([3, 4]))
    assert [part.tolist() for part in both.sorted()] == [[1, 2, 3, 4], [1, 1, 2, 1]]


def test_nothing_has_no_quantiles():
    assert Occurrences(np.float64).summary() == {"rows": 0, "total": 0}
