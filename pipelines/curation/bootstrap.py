"""Bootstrap intervals: rows are drawn with replacement many times, and the spread of a figure is its interval.

Everything is vectorized over the draws, seeded, and the same on every machine that has the same NumPy. Statistics
of a contingency table are resampled as a multinomial over its cells, which is exactly a bootstrap of the rows at the
cost of the cells. Where rows must be drawn one by one and there are more than `Resampling.max_rows` of them, the
limit distribution (normal) stands in for the draws, and the estimate's `method` says so. Nothing here knows what
the figures mean.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Method = Literal["bootstrap", "normal", "none"]

# Numbers held at once while drawing: small enough that a batch stays in the processor's cache.
_BATCH = 1 << 16
# A figure that most draws leave undefined has no honest interval.
_MIN_DEFINED = 0.5


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals are made: `resamples` draws, a `seed`, a confidence `level`, and the most rows drawn one by one."""

    resamples: int = 1000
    seed: int = 42
    level: float = 0.95
    max_rows: int = 10_000

    def __post_init__(self) -> None:
        if self.resamples < 2 or not 0 < self.level < 1:
            raise ValueError(
                f"resamples={self.resamples}, level={self.level}: at least 2 resamples and a level between 0 and 1"
            )

    def generator(self, purpose: str) -> np.random.Generator:
        """A random stream of its own for every purpose, so that one figure's draws never move another's."""
        return np.random.Generator(np.random.PCG64([self.seed, zlib.crc32(purpose.encode())]))

    @property
    def quantile(self) -> float:
        """The standard normal's upper quantile of the level: 1.96 for 95 %."""
        return NormalDist().inv_cdf(0.5 + self.level / 2)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval.

    `value` is None where the figure is undefined, and `reason` then says why. `low` and `high` are None where no
    interval could be made. `method` is `bootstrap` (rows were redrawn), `normal` (the limit of the bootstrap for
    many rows: an approximation) or `none`.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    method: Method = "none"
    reason: str | None = None

    @classmethod
    def undefined(cls, reason: str) -> Estimate:
        """A figure that has no value, and why."""
        return cls(None, reason=reason)

    def to_dict(self) -> dict[str, float | str | None]:
        """The estimate as plain JSON; `reason` only where there is one."""
        plain: dict[str, float | str | None] = {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "method": self.method,
        }
        if self.reason is not None:
            plain["reason"] = self.reason
        return plain


def percentile_estimate(
    value: float,
    replicates: npt.ArrayLike,
    resampling: Resampling,
    method: Method = "bootstrap",
    undefined: str = "undefined on these rows",
) -> Estimate:
    """The percentile interval (Efron 1979) from replicates of shape (draws,); NaN replicates are left out.

    A NaN `value` becomes an undefined estimate with the reason `undefined`.
    """
    if math.isnan(value):
        return Estimate.undefined(undefined)
    draws = np.asarray(replicates, dtype=np.float64)
    defined = draws[~np.isnan(draws)]
    if defined.size < _MIN_DEFINED * draws.size:
        return Estimate(float(value), reason="too few rows for an interval: most resamples leave it undefined")
    tail = (1 - resampling.level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(float(value), float(low), float(high), method)


def raised_by_noise_estimate(
    value: float, replicates: npt.ArrayLike, resampling: Resampling, method: Method
) -> Estimate:
    """An interval for a figure of at least 0 that noise can only push up, such as the expected calibration error.

    Redrawing rows adds the noise once more, so that the percentile interval lies too high, often above the very
    estimate it belongs to. The lower limit is therefore the basic interval's (2·value minus the upper percentile),
    the upper one the percentile interval's: wider than the level asks for, never narrower.
    """
    if math.isnan(value):
        return Estimate.undefined("undefined on these rows")
    high = float(np.nanquantile(np.asarray(replicates, dtype=np.float64), (1 + resampling.level) / 2))
    return Estimate(float(value), max(0.0, min(float(value), 2 * value - high)), max(float(value), high), method)


def logit_normal_estimate(value: float, error: float, resampling: Resampling, undefined: str) -> Estimate:
    """A normal interval made on the logit scale, so that it stays within (0, 1); `error` is the standard error.

    Recommended for areas under curves by Boyd, Eng and Page (2013). A value of 0 or 1 has no spread to estimate.
    """
    if math.isnan(value):
        return Estimate.undefined(undefined)
    if value <= 0 or value >= 1:
        return Estimate(float(value), float(value), float(value), "normal")
    centre = math.log(value / (1 - value))
    reach = resampling.quantile * error / (value * (1 - value))
    low, high = (1 / (1 + math.exp(-(centre + sign * reach))) for sign in (-1, 1))
    return Estimate(float(value), low, high, "normal")


def normal_estimate(value: float, error: float, resampling: Resampling) -> Estimate:
    """A symmetric normal interval around a value with the given standard error."""
    if math.isnan(value):
        return Estimate.undefined("undefined on these rows")
    reach = resampling.quantile * error
    return Estimate(float(value), float(value - reach), float(value + reach), "normal")


def row_counts(rows: int, resampling: Resampling, purpose: str) -> Iterator[FloatArray]:
    """How often each row is drawn: batches of shape (some draws, rows), every draw summing to `rows`.

    The same `rows`, seed and purpose give the same draws, so that figures of two models computed from them are paired.
    """
    generator = resampling.generator(purpose)
    batch = max(1, _BATCH // max(rows, 1))
    for start in range(0, resampling.resamples, batch):
        size = min(batch, resampling.resamples - start)
        drawn = generator.integers(0, rows, size=(size, rows))
        drawn += np.arange(size)[:, None] * rows
        counted = np.bincount(drawn.ravel(), minlength=size * rows)
        yield counted.reshape(size, rows).astype(np.float64)


def replicate_rows(
    rows: int, resampling: Resampling, purpose: str, statistic: Callable[[FloatArray], FloatArray]
) -> FloatArray:
    """Apply a statistic, (draws, rows) counts to (draws, figures), to every draw; returns (resamples, figures)."""
    return np.concatenate([statistic(counts) for counts in row_counts(rows, resampling, purpose)])


@dataclass(frozen=True, slots=True)
class ResampledSums:
    """Replicates of sums within groups: `sums` is (resamples, groups, columns) for the `groups` that hold rows."""

    groups: IntArray
    sums: FloatArray
    method: Method


def resampled_counts(
    groups: IntArray, resampling: Resampling, purpose: str, weights: FloatArray | None = None
) -> ResampledSums:
    """Replicates of the (weighted) number of rows in each group; one column.

    Without weights they are drawn from the multinomial over the groups: exact, whatever the number of rows.
    """
    if weights is not None:
        return resampled_sums(groups, weights[:, None], resampling, purpose)
    filled, observed = np.unique(groups, return_counts=True)
    generator = resampling.generator(purpose)
    drawn = generator.multinomial(len(groups), observed / len(groups), size=resampling.resamples)
    return ResampledSums(filled, drawn[:, :, None].astype(np.float64), "bootstrap")


def resampled_sums(groups: IntArray | None, values: FloatArray, resampling: Resampling, purpose: str) -> ResampledSums:
    """Replicates of the sums of `values` (rows, columns) within groups (rows,); `groups` None means one group.

    Up to `max_rows` rows are redrawn. Beyond, the sums of a group are drawn from their normal limit: mean Σv,
    covariance Σvvᵀ, groups independent (the Poisson bootstrap), which is right for figures that do not change when
    all weights are scaled together.
    """
    rows = len(values)
    if groups is None:
        present, ordered, starts = np.zeros(1, dtype=np.int64), values, np.zeros(1, dtype=np.intp)
    else:
        # Rows are exchangeable, so they may be put in the order of their groups before anything is drawn.
        order = np.argsort(groups, kind="stable")
        present, starts = np.unique(groups[order], return_index=True)
        ordered = values[order]
    if rows > resampling.max_rows:
        return ResampledSums(present, _normal_sums(ordered, starts, resampling, purpose), "normal")

    def summed(counts: FloatArray) -> FloatArray:
        if len(starts) == 1:
            return (counts @ ordered)[:, None, :]
        columns = [np.add.reduceat(counts * column, starts, axis=1) for column in ordered.T]
        return np.stack(columns, axis=-1)

    return ResampledSums(present, replicate_rows(rows, resampling, purpose, summed), "bootstrap")


def _normal_sums(ordered: FloatArray, starts: npt.NDArray[np.intp], resampling: Resampling, purpose: str) -> FloatArray:
    """Draws of group sums from their normal limit; rows are in the order of their groups, which begin at `starts`."""
    columns = ordered.shape[1]
    means = np.add.reduceat(ordered, starts, axis=0)
    if len(starts) == 1:
        covariance = (ordered.T @ ordered)[None]
    else:
        products = np.einsum("rc,rd->rcd", ordered, ordered).reshape(len(ordered), -1)
        covariance = np.add.reduceat(products, starts, axis=0).reshape(-1, columns, columns)
    variances, vectors = np.linalg.eigh(covariance)
    roots = vectors * np.sqrt(np.clip(variances, 0, None))[:, None, :]
    noise = resampling.generator(purpose).standard_normal((resampling.resamples, len(starts), columns))
    sums: FloatArray = means + np.einsum("rgs,gcs->rgc", noise, roots)
    return sums


def regrouped(sums: FloatArray, keys: IntArray, number: int) -> FloatArray:
    """Add up columns (resamples, groups) that share a key (groups,) in 0..number-1; returns (resamples, number)."""
    total = np.zeros((len(sums), number))
    if len(keys):
        order = np.argsort(keys, kind="stable")
        present, starts = np.unique(keys[order], return_index=True)
        total[:, present] = np.add.reduceat(sums[:, order], starts, axis=1)
    return total
