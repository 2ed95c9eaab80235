"""Candidates by bands, verified by signatures, joined into groups."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from pipelines.curation import duplicates
from pipelines.curation import near_duplicates as module
from pipelines.curation.duplicates import Groups
from pipelines.curation.near_duplicates import Bands, band_keys, bands_for, join_similar, similarities


@pytest.mark.parametrize(("threshold", "expected"), [(0.8, Bands(18, 7)), (0.5, Bands(42, 3)), (0.95, Bands(7, 18))])
def test_bands_are_as_wide_as_the_recall_at_the_threshold_permits(threshold, expected):
    assert bands_for(threshold, 128) == expected

    def recall(width: int) -> float:
        return 1 - (1 - threshold**width) ** (128 // width)

    assert recall(expected.width) >= module.RECALL


def test_bands_for_thresholds_out_of_reach_are_the_narrowest():
    assert bands_for(0.01, 128) == Bands(128, 1)


def random_signatures(rows: int, places: int, families: int, seed: int) -> np.ndarray:
    """Signatures in families: each row differs from its family's in a random share of places."""
    rng = np.random.default_rng(seed)
    family = rng.integers(0, 2**32, (families, places), dtype=np.uint32)[rng.integers(0, families, rows)]
    noise = rng.integers(0, 2**32, (rows, places), dtype=np.uint32)
    return np.where(rng.random((rows, places)) < rng.uniform(0, 0.25, (rows, 1)), noise, family)


def reference(signatures: np.ndarray, bands: Bands, threshold: float, comparable: np.ndarray) -> list[int]:
    """Connected components of the pairs that share a band and are similar enough, by brute force."""
    first = list(range(len(signatures)))
    cut = signatures[:, : bands.count * bands.width].reshape(len(signatures), bands.count, bands.width)
    for one, other in combinations(range(len(signatures)), 2):
        shared = (cut[one] == cut[other]).all(axis=1).any()
        alike = (signatures[one] == signatures[other]).mean() >= threshold
        if shared and alike and comparable[one] and comparable[other]:
            low, high = sorted((first[one], first[other]))
            first = [low if each == high else each for each in first]
    return first


@pytest.mark.parametrize("part_rows", [1 << 22, 9])
@pytest.mark.parametrize("seed", range(4))
def test_groups_are_the_components_of_similar_candidates(monkeypatch, part_rows, seed):
    monkeypatch.setattr(duplicates, "PART_ROWS", part_rows)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 5)
    signatures = random_signatures(80, 64, 12, seed)
    comparable = np.arange(80) % 7 != 0
    bands = bands_for(0.8, 64)
    groups = Groups(80)
    join_similar(groups, signatures, band_keys(signatures, bands), comparable, 0.8)
    assert groups.firsts(np.arange(80)).tolist() == reference(signatures, bands, 0.8, comparable)


def test_rows_of_a_known_group_are_looked_at_through_their_first():
    signatures = random_signatures(3, 64, 1, 0)
    signatures[:] = signatures[0]
    groups = Groups(3)
    groups.join(np.array([1]), np.array([2]))
    join_similar(groups, signatures, band_keys(signatures, Bands(8, 8)), np.ones(3, np.bool_), 0.8)
    assert groups.firsts(np.arange(3)).tolist() == [0, 0, 0]


def test_a_crowd_that_agrees_in_a_band_costs_no_more_than_the_window_for_each_row(monkeypatch):
    compared = 0
    real = module.similarities

    def counting(signatures, left, right):
        nonlocal compared
        compared += len(left)
        return real(signatures, left, right)

    monkeypatch.setattr(module, "similarities", counting)
    signatures = np.random.default_rng(0).integers(0, 2**32, (1000, 16), dtype=np.uint32)
    signatures[:, :2] = 1  # one band in common, and nothing else
    groups = Groups(1000)
    join_similar(groups, signatures, band_keys(signatures, Bands(8, 2)), np.ones(1000, np.bool_), 0.8)
    assert groups.is_first(0, 1000).all()
    assert compared <= 1000 * (module.WINDOW + 1)


def test_equal_bands_have_equal_keys_and_places_do_not_mix():
    signatures = np.array([[1, 2, 3, 4], [1, 2, 9, 9], [2, 1, 3, 4]], np.uint32)
    keys = band_keys(signatures, Bands(2, 2))
    assert keys[0, 0] == keys[0, 1] != keys[0, 2]
    assert keys[1, 0] == keys[1, 2] != keys[1, 1]
    assert len(np.unique(keys)) == 4


def test_similarity_is_the_share_of_places_that_agree():
    signatures = np.array([[1, 2, 3, 4], [1, 2, 9, 9], [1, 2, 3, 4]], np.uint32)
    assert similarities(signatures, np.array([0, 0]), np.array([1, 2])).tolist() == [0.5, 1.0]
