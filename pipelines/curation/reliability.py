"""How well a probability or score says how often it is right: reliability bins and the calibration error.

Bins have equal width over [0, 1]. The observed share of each bin has a Wilson interval; the expected calibration
error has a bootstrap interval that allows for the noise which can only raise it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.curation.bootstrap import (
    Estimate,
    FloatArray,
    IntArray,
    Resampling,
    raised_by_noise_estimate,
    resampled_sums,
)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One bin [low, high): its (weighted) rows, their mean prediction, and the observed mean with a Wilson interval."""

    low: float
    high: float
    rows: float
    predicted: float
    observed: float
    observed_low: float
    observed_high: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """A calibration curve: the bins that hold rows, and the expected calibration error over them."""

    bins: tuple[ReliabilityBin, ...]
    error: Estimate


def bin_of(predictions: FloatArray, bins: int) -> IntArray:
    """The bin of each prediction in [0, 1]; 1 belongs to the last bin."""
    return np.minimum((predictions * bins).astype(np.int64), bins - 1)


def measure_reliability(
    predictions: FloatArray,
    outcomes: FloatArray,
    resampling: Resampling,
    purpose: str,
    bins: int = 10,
    weights: FloatArray | None = None,
) -> Reliability:
    """The calibration curve of predictions against outcomes, both (rows,) within [0, 1].

    Outcomes may be graded (any value in [0, 1]); the Wilson interval is then wider than it need be. The expected
    calibration error is the mean over rows of |mean prediction - mean outcome| of their bin.
    """
    weights = np.ones(len(predictions)) if weights is None else weights
    members = bin_of(predictions, bins)
    gap = weights * (predictions - outcomes)
    observed = _expected_error(np.bincount(members, gap, bins).astype(np.float64), weights.sum())
    drawn = resampled_sums(members, np.stack([gap, weights], axis=1), resampling, purpose)
    replicates = _expected_error(drawn.sums[:, :, 0], drawn.sums[:, :, 1].sum(axis=1))
    error = raised_by_noise_estimate(float(observed), replicates, resampling, drawn.method)
    return Reliability(_bins(predictions, outcomes, weights, members, bins, resampling.quantile), error)


def _expected_error(gaps: FloatArray, total: FloatArray) -> FloatArray:
    return np.asarray(np.abs(gaps).sum(axis=-1) / total)


def _bins(
    predictions: FloatArray,
    outcomes: FloatArray,
    weights: FloatArray,
    members: IntArray,
    bins: int,
    quantile: float,
) -> tuple[ReliabilityBin, ...]:
    mass, squared, predicted, observed = (
        np.bincount(members, values, bins)
        for values in (weights, weights**2, weights * predictions, weights * outcomes)
    )
    found = []
    for i in np.flatnonzero(mass > 0):
        share = float(observed[i] / mass[i])
        low, high = wilson_interval(share, float(mass[i] ** 2 / squared[i]), quantile)
        mean = float(predicted[i] / mass[i])
        found.append(ReliabilityBin(i / bins, (i + 1) / bins, float(mass[i]), mean, share, low, high))
    return tuple(found)


def wilson_interval(share: float, rows: float, quantile: float = 1.959964) -> tuple[float, float]:
    """The score interval of a proportion observed on `rows` rows (Wilson 1927)."""
    spread = quantile**2 / rows
    centre = (share + spread / 2) / (1 + spread)
    reach = quantile / (1 + spread) * float(np.sqrt(share * (1 - share) / rows + spread / (4 * rows)))
    # At a share of 0 or 1 the limit equals it up to rounding.
    return min(max(0.0, centre - reach), share), max(min(1.0, centre + reach), share)
