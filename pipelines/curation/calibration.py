"""Fitting and evaluating the maps from what a classifier says to a score (see `actors.calibration`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from actors.calibration import (
    Calibration,
    IsotonicCalibration,
    Kind,
    RidgeCalibration,
    SigmoidCalibration,
    input_matrix,
    sigmoid,
)
from pipelines.curation.bootstrap import Estimate, FloatArray, Resampling, percentile_estimate, resampled_sums
from pipelines.curation.regression_evaluation import RegressionReport, evaluate_regression
from pipelines.curation.reliability import Reliability, measure_reliability

# Enough for separable data to stop at steep but finite coefficients, too little to move any other fit.
_SIGMOID_PENALTY = 1e-6


def fit_calibration(
    kind: Kind,
    inputs: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    names: Sequence[str] = ("probability",),
    weights: npt.ArrayLike | None = None,
    score_range: tuple[float, float] | None = None,
    penalty: float = 0.01,
) -> Calibration:
    """Fit a map from inputs (rows,) or (rows, inputs) to scores (rows,).

    `score_range` is the scale of the scores (default: the least and the greatest of them), `penalty` the ridge's.
    Raises ValueError for values that are not finite, scores outside the range or all the same, and an isotonic map
    of several inputs.
    """
    matrix, target = input_matrix(inputs, names), np.asarray(scores, dtype=np.float64)
    weight = np.ones(len(target)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(matrix) == len(target) == len(weight):
        raise ValueError(
            f"{len(matrix)} rows of inputs, {len(target)} scores, {len(weight)} weights: one each is needed"
        )
    if not (np.isfinite(matrix).all() and np.isfinite(target).all()):
        raise ValueError("inputs or scores hold values that are not finite numbers: filter those rows out first")
    low, high = score_range or (float(target.min()), float(target.max()))
    if low >= high or target.min() < low or target.max() > high:
        raise ValueError(
            f"scores from {target.min()} to {target.max()} on a scale from {low} to {high}: at least two "
            "different scores within the scale are needed"
        )
    fits: dict[str, Callable[[], Calibration]] = {
        "isotonic": lambda: _fit_isotonic(matrix, target, weight, tuple(names), (low, high)),
        "sigmoid": lambda: _fit_sigmoid(matrix, target, weight, tuple(names), (low, high)),
        "ridge": lambda: _fit_ridge(matrix, target, weight, tuple(names), (low, high), penalty),
    }
    if kind not in fits:
        raise ValueError(f"calibration {kind!r}: one of {', '.join(fits)} is needed")
    return fits[kind]()


def _fit_isotonic(
    matrix: FloatArray,
    target: FloatArray,
    weight: FloatArray,
    names: tuple[str, ...],
    scale: tuple[float, float],
) -> IsotonicCalibration:
    from sklearn.isotonic import IsotonicRegression

    if matrix.shape[1] != 1:
        raise ValueError(f"an isotonic calibration takes one input, not {matrix.shape[1]}: use sigmoid or ridge")
    fitted = IsotonicRegression(out_of_bounds="clip").fit(matrix[:, 0], target, sample_weight=weight)
    knots, scores = fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()
    return IsotonicCalibration(names, scale, tuple(knots), tuple(scores))


def _fit_sigmoid(
    matrix: FloatArray,
    target: FloatArray,
    weight: FloatArray,
    names: tuple[str, ...],
    scale: tuple[float, float],
) -> SigmoidCalibration:
    """Maximum likelihood for graded targets by Newton's method, targets drawn in as Platt (1999) does."""
    low, high = scale
    share = (target - low) / (high - low)
    positives, negatives = float((weight * share).sum()), float((weight * (1 - share)).sum())
    share = share * (positives + 1) / (positives + 2) + (1 - share) / (negatives + 2)
    centre, spread = matrix.mean(axis=0), matrix.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    design = np.column_stack([(matrix - centre) / spread, np.ones(len(matrix))])
    coefficients = np.zeros(design.shape[1])
    penalty = np.diag([_SIGMOID_PENALTY * weight.sum()] * matrix.shape[1] + [0.0])

    def loss(candidate: FloatArray) -> float:
        values = design @ candidate
        likelihood = weight * (np.logaddexp(0, values) - share * values)
        return float(likelihood.sum() + candidate @ penalty @ candidate / 2)

    current = loss(coefficients)
    for _ in range(100):
        predicted = sigmoid(design @ coefficients)
        gradient = design.T @ (weight * (predicted - share)) + penalty @ coefficients
        curvature = weight * np.maximum(predicted * (1 - predicted), 1e-12)
        step = np.linalg.lstsq((design * curvature[:, None]).T @ design + penalty, gradient, rcond=None)[0]
        size = 1.0
        while loss(coefficients - size * step) > current and size > 1e-8:
            size /= 2
        coefficients = coefficients - size * step
        previous, current = current, loss(coefficients)
        if previous - current <= 1e-12 * abs(previous):
            break
    slopes = coefficients[:-1] / spread
    intercept = float(coefficients[-1] - slopes @ centre)
    return SigmoidCalibration(names, scale, tuple(slopes.tolist()), intercept)


def _fit_ridge(
    matrix: FloatArray,
    target: FloatArray,
    weight: FloatArray,
    names: tuple[str, ...],
    scale: tuple[float, float],
    penalty: float,
) -> RidgeCalibration:
    """Least squares with an L2 penalty on the coefficients and none on the intercept, from the normal equations."""
    if not penalty >= 0:
        raise ValueError(f"penalty {penalty}: a number of at least 0 is needed")
    total = weight.sum()
    centre, mean = weight @ matrix / total, float(weight @ target / total)
    moved = matrix - centre
    gram = (moved * weight[:, None]).T @ moved + penalty * np.eye(matrix.shape[1])
    coefficients = np.linalg.lstsq(gram, moved.T @ (weight * (target - mean)), rcond=None)[0]
    intercept = float(mean - coefficients @ centre)
    return RidgeCalibration(names, scale, tuple(coefficients.tolist()), intercept, penalty)


def jq_program(calibration: Calibration, source: str) -> str | None:
    """A jq program that computes the score from the object of inputs that `source` yields; None for isotonic maps."""
    if isinstance(calibration, IsotonicCalibration):
        return None
    terms = [
        f"(.[{_quoted(name)}] * {coefficient!r})"
        for name, coefficient in zip(calibration.inputs, calibration.coefficients, strict=True)
    ]
    total = f"({' + '.join(terms)} + {calibration.intercept!r})"
    low, high = calibration.score_range
    if isinstance(calibration, RidgeCalibration):
        return f"{source} | [[{total}, {low!r}] | max, {high!r}] | min"
    return f"{source} | {low!r} + {high - low!r} / (1 + ((-1 * {total}) | exp))"


def _quoted(name: str) -> str:
    import orjson

    return orjson.dumps(name).decode()


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """How well scores on the scale `score_range` match the labels.

    `error` (ECE) and `brier` (mean squared error) are on the scale mapped to [0, 1]; `regression` is in the unit of the
    labels.
    """

    score_range: tuple[float, float]
    reliability: Reliability
    brier: Estimate
    regression: RegressionReport

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> CalibrationReport:
        """The report from what `to_dict` gave, after any trip through JSON; raises ValueError for anything else."""
        return msgspec.convert(plain, cls)


def evaluate_calibration(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    score_range: tuple[float, float],
    *,
    weights: npt.ArrayLike | None = None,
    resampling: Resampling | None = None,
    bins: int = 10,
) -> CalibrationReport:
    """Evaluate scores (rows,) against labels (rows,), both on the scale `score_range`; scores are cut to it.

    To compare before and after a calibration, evaluate the classifier's own probability, stretched to the scale by
    `stretched`, and the calibrated score. Raises ValueError for labels outside the scale.
    """
    resampling = resampling or Resampling()
    low, high = score_range
    truth, cut = (
        np.asarray(labels, dtype=np.float64),
        np.clip(np.asarray(scores, dtype=np.float64), low, high),
    )
    regression = evaluate_regression(truth, cut, weights=weights, resampling=resampling)
    if not low < high or truth.min() < low or truth.max() > high:
        raise ValueError(f"labels from {truth.min()} to {truth.max()} do not fit a scale from {low} to {high}")
    weight = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=np.float64)
    predicted, outcome = (cut - low) / (high - low), (truth - low) / (high - low)
    values = np.stack([weight * (predicted - outcome) ** 2, weight], axis=1)
    drawn = resampled_sums(None, values, resampling, "brier")
    total = values.sum(axis=0)
    brier = percentile_estimate(
        float(total[0] / total[1]), drawn.sums[:, 0, 0] / drawn.sums[:, 0, 1], resampling, drawn.method
    )
    reliability = measure_reliability(
        predicted, outcome, resampling, "calibration", bins, None if weights is None else weight
    )
    return CalibrationReport((low, high), reliability, brier, regression)


def stretched(probabilities: npt.ArrayLike, score_range: tuple[float, float]) -> FloatArray:
    """Probabilities in [0, 1] put on a scale: what a score would be if the probability were already calibrated."""
    low, high = score_range
    return low + (high - low) * np.asarray(probabilities, dtype=np.float64)
