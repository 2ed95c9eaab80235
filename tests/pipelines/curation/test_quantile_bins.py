"""Quantile bins have near-equal counts, and ties never make an empty one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.curation.quantile_bins import quantile_edges


def edges_of(labels, bins):
    values, counts = np.unique(np.array(labels, float), return_counts=True)
    return quantile_edges(values, counts, bins)


def test_distinct_labels_fall_into_bins_of_equal_counts():
    labels = list(range(100))
    edges = edges_of(labels, 4)
    assert edges == [25, 50, 75]
    assert np.bincount(np.searchsorted(edges, labels, side="right")).tolist() == [25, 25, 25, 25]


def test_an_edge_at_the_smallest_label_is_left_out():
    assert edges_of([0] * 90 + [1] * 5 + [2] * 5, 3) == []
    assert edges_of([0] * 50 + [1] * 25 + [2] * 25, 4) == [1, 2]


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=200), st.integers(2, 6))
def test_no_bin_is_empty(labels, bins):
    edges = edges_of(labels, bins)
    found = np.bincount(np.searchsorted(edges, labels, side="right"), minlength=len(edges) + 1)
    assert len(found) <= bins
    assert (found > 0).all()
