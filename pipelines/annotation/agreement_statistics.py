"""Coefficients of agreement as functions of how often each pattern of labels occurs.

A pattern is what the graders said of one unit; units with the same pattern are interchangeable, so that resampling
the units is drawing the patterns' counts from a multinomial, however many units there are. Every function takes
`weights` of shape (draws, patterns), counts of the patterns in each draw, and returns (draws,). Where a figure is
undefined (0/0: nothing could have been disagreed on) the result is NaN, never 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipelines.annotation.grades import NO_LABEL, Codes
from pipelines.curation.bootstrap import FloatArray, IntArray, Resampling

Scaling = Literal["nominal", "ordinal"]
Distances = Literal["unweighted", "linear", "quadratic"]

# Numbers drawn at once: some 30 MB.
_BATCH = 1 << 22


@dataclass(frozen=True, slots=True)
class Patterns:
    """The distinct rows of labels, (patterns, graders), and how many units have each."""

    labels: Codes
    counts: IntArray

    @classmethod
    def of(cls, labels: Codes) -> Patterns:
        """Count the distinct rows of `labels`, of shape (units, graders)."""
        if not len(labels):
            return cls(labels, np.zeros(0, np.int64))
        # One number for a row: np.unique over an axis sorts records, ten times slower.
        base = int(labels.max()) + 2
        if base ** labels.shape[1] >= 1 << 62:
            distinct, counts = np.unique(labels, axis=0, return_counts=True)
            return cls(distinct, counts)
        powers = base ** np.arange(labels.shape[1], dtype=np.int64)
        numbers, counts = np.unique((labels.astype(np.int64) + 1) @ powers, return_counts=True)
        return cls((numbers[:, None] // powers % base - 1).astype(np.int32), counts)

    @property
    def units(self) -> int:
        """The number of units."""
        return int(self.counts.sum())

    def observed(self) -> FloatArray:
        """The counts as the only draw, of shape (1, patterns)."""
        return self.counts[None, :].astype(np.float64)

    def draws(self, resampling: Resampling, purpose: str) -> Iterator[FloatArray]:
        """Batches of redrawn counts, of shape (some draws, patterns); every draw sums to the number of units."""
        generator = resampling.generator(purpose)
        size = max(1, _BATCH // max(1, len(self.counts)))
        shares = self.counts / self.units
        for start in range(0, resampling.resamples, size):
            drawn = generator.multinomial(self.units, shares, size=min(size, resampling.resamples - start))
            yield drawn.astype(np.float64)


def occurrences(labels: Codes, categories: int) -> FloatArray:
    """How often each category stands in each pattern, of shape (patterns, categories)."""
    counts: FloatArray = (labels[:, :, None] == np.arange(categories)).sum(axis=1).astype(np.float64)
    return counts


class PairStatistics:
    """Figures of two graders over patterns of shape (patterns, 2), both labelled; `values` are the labels' numbers."""

    def __init__(self, labels: Codes, categories: int, values: tuple[float, ...] | None) -> None:
        self._first, self._second = labels[:, 0], labels[:, 1]
        self._categories = categories
        self._labels = labels
        self._values = None if values is None else np.asarray(values)
        identity = np.eye(categories)
        self._is_first, self._is_second = identity[self._first], identity[self._second]

    def margins(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The shares of each category with the first and the second grader, both (draws, categories)."""
        total = _or_nan(weights.sum(axis=1, keepdims=True))
        return weights @ self._is_first / total, weights @ self._is_second / total

    def agreement(self, weights: FloatArray) -> FloatArray:
        """The share of units with equal labels."""
        return _ratio(weights @ (self._first == self._second), weights.sum(axis=1))

    def chance_agreement(self, weights: FloatArray) -> FloatArray:
        """The agreement of two graders with these margins who label at random: Cohen's expected agreement."""
        first, second = self.margins(weights)
        expected: FloatArray = np.einsum("dc,dc->d", first, second)
        return expected

    def kappa(self, weights: FloatArray, distances: Distances) -> FloatArray:
        """Cohen's kappa (1960), weighted (1968): one minus observed over expected distance.

        Linear and quadratic distances are those of the labels' numbers, so that a label that nobody gave still
        lies between its neighbours.
        """
        table = self._distances(distances)
        first, second = self.margins(weights)
        observed = _ratio(weights @ table[self._first, self._second], weights.sum(axis=1))
        expected = np.einsum("dc,ck,dk->d", first, table, second, optimize=True)
        return _beyond_chance(observed, expected)

    def _distances(self, distances: Distances) -> FloatArray:
        if distances == "unweighted":
            return 1 - np.eye(self._categories)
        if self._values is None:
            raise ValueError(f"{distances} kappa needs labels that are numbers")
        apart: FloatArray = np.abs(self._values[:, None] - self._values[None, :])
        return apart if distances == "linear" else apart**2

    def gwet_ac1(self, weights: FloatArray) -> FloatArray:
        """Gwet's AC1 (2008, eq. 5 and 6), over the categories that either grader used in the data."""
        first, second = self.margins(weights)
        mean = (first + second) / 2
        # The number of categories belongs to the instrument: a draw that misses one does not change it.
        categories = len(np.unique(self._labels))
        chance = _ratio((mean * (1 - mean)).sum(axis=1), np.full(len(weights), categories - 1.0))
        return _ratio(self.agreement(weights) - chance, 1 - chance)

    def mean_absolute_error(self, weights: FloatArray) -> FloatArray:
        """The mean distance of the two labels, in units of the label."""
        return _ratio(weights @ np.abs(self._differences()), weights.sum(axis=1))

    def miss_distance(self, weights: FloatArray) -> FloatArray:
        """The mean distance of the two labels where they differ, in units of the label."""
        return _ratio(weights @ np.abs(self._differences()), weights @ (self._first != self._second))

    def bias(self, weights: FloatArray) -> FloatArray:
        """The mean of the second label minus the first, in units of the label."""
        return _ratio(weights @ self._differences(), weights.sum(axis=1))

    def _differences(self) -> FloatArray:
        if self._values is None:
            raise ValueError("a difference needs labels that are numbers")
        difference: FloatArray = self._values[self._second] - self._values[self._first]
        return difference

    def spearman(self, weights: FloatArray) -> FloatArray:
        """Spearman's rank correlation, ties at their mean rank."""
        total = weights.sum(axis=1)
        first, second = (_centred_ranks(margin) for margin in self.margins(weights))
        product = first[:, self._first] * second[:, self._second]
        covariance = _ratio((weights * product).sum(axis=1), total)
        variances = [
            _ratio((weights * ranks[:, codes] ** 2).sum(axis=1), total)
            for ranks, codes in ((first, self._first), (second, self._second))
        ]
        return _ratio(covariance, np.sqrt(variances[0] * variances[1]))


def _centred_ranks(shares: FloatArray) -> FloatArray:
    """Mean ranks of the categories, as shares of the units, about their mean of one half."""
    ranks: FloatArray = np.cumsum(shares, axis=1) - shares / 2 - 0.5
    return ranks


def krippendorff_alpha(weights: FloatArray, counts: FloatArray, scaling: Scaling) -> FloatArray:
    """Krippendorff's alpha (2011) from the categories in each pattern, `counts` of shape (patterns, categories).

    A unit with a single label is not pairable and takes no part. The ordinal distance of two categories is the
    number of labels between them, each end counted half, which is the difference of their mean ranks.
    """
    sizes = counts.sum(axis=1)
    counts, weights, sizes = counts[sizes > 1], weights[:, sizes > 1], sizes[sizes > 1]
    totals = weights @ counts
    labels = totals.sum(axis=1)
    pairs = weights / (sizes - 1)
    if scaling == "nominal":
        same = pairs @ (counts * (counts - 1)).sum(axis=1)
        observed, expected = labels - same, labels**2 - (totals**2).sum(axis=1)
        return _beyond_chance((labels - 1) * observed, expected)
    # Shares instead of counts keep the squares of ten million ranks within a double's exact range.
    ranks = _centred_ranks(totals / _or_nan(labels)[:, None])
    sums, squares = ranks @ counts.T, ranks**2 @ counts.T
    spread, centre = (totals * ranks**2).sum(axis=1), (totals * ranks).sum(axis=1)
    observed = spread - (pairs * (sums**2 - squares)).sum(axis=1)
    return _beyond_chance((labels - 1) * observed, labels * spread - centre**2)


def fleiss_kappa(weights: FloatArray, counts: FloatArray) -> FloatArray:
    """Fleiss' kappa (1971) from the categories in each pattern; every pattern has the same number of labels."""
    graders = counts[0].sum()
    units = weights.sum(axis=1)
    pairs = (counts * (counts - 1)).sum(axis=1) / (graders * (graders - 1))
    observed = _ratio(weights @ pairs, units)
    shares = weights @ counts / _or_nan(units * graders)[:, None]
    chance = (shares**2).sum(axis=1)
    return _ratio(observed - chance, 1 - chance)


def _beyond_chance(observed: FloatArray, expected: FloatArray) -> FloatArray:
    """One minus the observed over the expected disagreement."""
    coefficient: FloatArray = 1 - _ratio(observed, expected)
    return coefficient


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """The quotient, NaN where the denominator vanishes (up to rounding)."""
    quotient: FloatArray = numerator / _or_nan(denominator)
    return quotient


def _or_nan(denominator: FloatArray) -> FloatArray:
    return np.where(np.abs(denominator) < 1e-12, np.nan, denominator)


def labelled_by_all(labels: Codes) -> npt.NDArray[np.bool_]:
    """Which rows of (units, graders) have a label from every grader."""
    complete: npt.NDArray[np.bool_] = (labels != NO_LABEL).all(axis=1)
    return complete
