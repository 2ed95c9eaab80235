"""The evaluation of predicted scores against true ones: errors and correlations, each with an interval.

Takes arrays; deterministic for a given seed. A figure that the rows leave undefined (a correlation with a constant)
carries the reason instead of a value.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pipelines.curation.bootstrap import (
    Estimate,
    FloatArray,
    Resampling,
    percentile_estimate,
    replicate_rows,
    resampled_sums,
)
from pipelines.curation.metrics import ratio
from pipelines.curation.ranking_metrics import rank_pair, spearman, spearman_influence, standard_error

CONSTANT = "the truth or the predictions are all the same"
_CONSTANT_TRUTH = "the truth is all the same"


@dataclass(frozen=True, slots=True)
class RegressionReport:
    """Errors in the unit of the truth (`bias` is prediction minus truth), explained variance and correlations."""

    rows: int
    weighted: bool
    mae: Estimate
    rmse: Estimate
    bias: Estimate
    r_squared: Estimate
    pearson: Estimate
    spearman: Estimate
    truth_range: tuple[float, float]
    prediction_range: tuple[float, float]
    resampling: Resampling
    approximate: bool

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> RegressionReport:
        """The report from what `to_dict` gave, after any trip through JSON; raises ValueError for anything else."""
        return msgspec.convert(plain, cls)


def evaluate_regression(
    truth: npt.ArrayLike,
    predictions: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    resampling: Resampling | None = None,
) -> RegressionReport:
    """Evaluate predictions (rows,) against the truth (rows,), any real numbers; ValueError for what is not finite."""
    resampling = resampling or Resampling()
    y, p, w = _checked(truth, predictions, weights)
    row_weights = np.ones(len(y)) if w is None else w
    columns = _moments(y, p) * row_weights[:, None]
    drawn = resampled_sums(None, columns, resampling, "regression")
    observed, replicated = _figures(columns.sum(axis=0)), _figures(drawn.sums[:, 0, :])
    reasons = {"r_squared": _CONSTANT_TRUTH, "pearson": CONSTANT}
    found = {
        name: percentile_estimate(
            float(observed[name]), replicated[name], resampling, drawn.method, reasons.get(name, "")
        )
        for name in observed
    }
    return RegressionReport(
        rows=len(y),
        weighted=w is not None,
        mae=found["mae"],
        rmse=found["rmse"],
        bias=found["bias"],
        r_squared=found["r_squared"],
        pearson=found["pearson"],
        spearman=spearman_estimate(y, p, w, resampling),
        truth_range=(float(y.min()), float(y.max())),
        prediction_range=(float(p.min()), float(p.max())),
        resampling=resampling,
        approximate=len(y) > resampling.max_rows,
    )


def _checked(
    truth: npt.ArrayLike, predictions: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    y, p = np.asarray(truth, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    if y.ndim != 1 or y.shape != p.shape or not len(y):
        raise ValueError(f"truth of shape {y.shape} and predictions of shape {p.shape}: two equal (rows,) are needed")
    for name, values in (("truth", y), ("predictions", p)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: row {int(np.argmin(np.isfinite(values)))} is not a finite number")
    if weights is None:
        return y, p, None
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != y.shape or not (w >= 0).all() or not 0 < w.sum() < np.inf:
        raise ValueError(f"weights of shape {w.shape}: {len(y)} numbers of at least 0, not all 0, are needed")
    return y, p, w


def _moments(truth: FloatArray, predictions: FloatArray) -> FloatArray:
    # Centred first: sums of squares of large offsets would cancel.
    y, p, error = truth - truth.mean(), predictions - predictions.mean(), predictions - truth
    return np.stack([np.ones(len(y)), np.abs(error), error, error**2, y, p, y * y, p * p, y * p], axis=1)


def _figures(sums: FloatArray) -> dict[str, FloatArray]:
    n, absolute, error, squared, y, p, yy, pp, yp = np.moveaxis(sums, -1, 0)
    floor = 1e-12
    variance_y = np.where(yy - y * y / n > floor * n, yy - y * y / n, 0.0)
    variance_p = np.where(pp - p * p / n > floor * n, pp - p * p / n, 0.0)
    return {
        "mae": ratio(np.clip(absolute, 0, None), n),
        "rmse": np.sqrt(np.clip(ratio(squared, n), 0, None)),
        "bias": ratio(error, n),
        "r_squared": 1 - ratio(np.clip(squared, 0, None), variance_y),
        "pearson": np.clip(ratio(yp - y * p / n, np.sqrt(variance_y * variance_p)), -1, 1),
    }


def spearman_estimate(
    truth: FloatArray, predictions: FloatArray, weights: FloatArray | None, resampling: Resampling
) -> Estimate:
    """Spearman's ρ; beyond `max_rows` rows its interval is normal on Fisher's z scale, from the rows' influences."""
    pair = rank_pair(truth, predictions, weights)
    value = float(spearman(pair)[0])
    if math.isnan(value):
        return Estimate.undefined(CONSTANT)
    if len(truth) <= resampling.max_rows:
        draws = replicate_rows(len(truth), resampling, "spearman", lambda counts: spearman(pair, counts)[:, None])
        return percentile_estimate(value, draws[:, 0], resampling)
    if abs(value) >= 1 - 1e-12:
        return Estimate(value, value, value, "normal")
    reach = resampling.quantile * standard_error(spearman_influence(pair)) / (1 - value**2)
    return Estimate(value, math.tanh(math.atanh(value) - reach), math.tanh(math.atanh(value) + reach), "normal")
