"""Figures of an order: area under the ROC curve, average precision, Spearman's ρ, with ties treated exactly.

Each is computed from rows sorted once: for any weights of the rows (a bootstrap draw is one set of weights) by
cumulative sums, and, for its spread over very many rows, by its influence: the derivative with respect to each
row's weight, whose root sum of squares is the standard error (the infinitesimal jackknife, Efron 1982; for the ROC
area this is DeLong, DeLong and Clarke-Pearson 1988). Undefined figures are NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.curation.bootstrap import FloatArray
from pipelines.curation.metrics import ratio

# Points kept of a curve that is drawn: more than a screen can show.
CURVE_POINTS = 160


@dataclass(frozen=True, slots=True)
class Order:
    """Rows in an order: their indices `rows`, where each run of equal keys `starts`, and the `run` of each place."""

    rows: npt.NDArray[np.intp]
    starts: npt.NDArray[np.intp]
    run: npt.NDArray[np.intp]

    @property
    def has_ties(self) -> bool:
        return len(self.starts) < len(self.rows)

    def sums(self, values: FloatArray) -> FloatArray:
        """Sums over each run of values (..., rows) that are already in this order."""
        return np.add.reduceat(values, self.starts, axis=-1) if self.has_ties else values

    def spread(self, values: FloatArray) -> FloatArray:
        """Per-run values (..., runs) given to each row of the run, in this order."""
        return values[..., self.run] if self.has_ties else values


@dataclass(frozen=True, slots=True)
class Ranking:
    """Binary truth in the order of falling scores.

    `positive` is 0/1 and `weights` are aligned with `order.rows`. `positions` are the positive rows' places in the
    order, `positive_runs` the runs that hold one, `positive_starts` where each of those begins within `positions`.
    """

    order: Order
    positive: FloatArray
    weights: FloatArray | None
    positions: npt.NDArray[np.intp]
    positive_runs: npt.NDArray[np.intp]
    positive_starts: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a curve, thinned for drawing; figures are never computed from them."""

    x: tuple[float, ...]
    y: tuple[float, ...]


def ascending(keys: npt.NDArray[np.floating]) -> Order:
    """The order of rising keys of shape (rows,)."""
    rows = np.argsort(keys, kind="stable")
    ordered = keys[rows]
    new = np.empty(len(keys), dtype=bool)
    new[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return Order(rows, np.flatnonzero(new), np.cumsum(new) - 1)


def rank(scores: npt.NDArray[np.floating], positive: npt.ArrayLike, weights: FloatArray | None = None) -> Ranking:
    """Sort rows by falling score; `positive` is 0/1 truth, `weights` non-negative row weights; all (rows,)."""
    order = ascending(-scores)
    truth = np.asarray(positive, dtype=np.float64)[order.rows]
    positions = np.flatnonzero(truth)
    runs, starts = np.unique(order.run[positions], return_index=True)
    sorted_weights = None if weights is None else weights[order.rows]
    return Ranking(order, truth, sorted_weights, positions, runs, starts)


def areas(ranking: Ranking, counts: FloatArray | None = None) -> FloatArray:
    """The ROC area and the average precision for each draw, (draws, 2), from row counts (draws, rows).

    ROC area: the chance that a positive outranks a negative, ties counted half; undefined without rows of both
    kinds. Average precision: Σ (R_n - R_{n-1})·P_n over thresholds, not interpolated; undefined without positives.
    """
    weights = np.ones((1, len(ranking.positive))) if counts is None else counts[:, ranking.order.rows]
    if ranking.weights is not None:
        weights = weights * ranking.weights
    if not len(ranking.positions):
        return np.full((len(weights), 2), np.nan)
    positive = weights[:, ranking.positions]
    everything = weights
    if ranking.order.has_ties:
        everything = ranking.order.sums(weights)
        positive = np.add.reduceat(positive, ranking.positive_starts, axis=1)
    # Only thresholds at which a positive is found change either figure.
    found = np.cumsum(positive, axis=1)
    cumulated = np.cumsum(everything, axis=1)
    reached = cumulated[:, ranking.positive_runs]
    outranking = reached - found
    if ranking.order.has_ties:
        outranking -= (everything[:, ranking.positive_runs] - positive) / 2
    positives = found[:, -1].copy()
    pairs = positives * (cumulated[:, -1] - positives)
    # Before the first drawn row nothing is reached and nothing is found: the quotient's value does not count.
    found /= np.maximum(reached, np.finfo(np.float64).tiny)
    area = 1 - ratio(np.einsum("dr,dr->d", positive, outranking), pairs)
    average = ratio(np.einsum("dr,dr->d", positive, found), positives)
    return np.stack([area, average], axis=1)


def _run_masses(ranking: Ranking) -> tuple[FloatArray, FloatArray]:
    """Positive and negative weight of every run, each (runs,)."""
    weights = np.ones(len(ranking.positive)) if ranking.weights is None else ranking.weights
    positive = weights * ranking.positive
    return ranking.order.sums(positive), ranking.order.sums(weights - positive)


def roc_auc_influence(ranking: Ranking) -> FloatArray:
    """The derivative of the ROC area with respect to each row's count, (rows,) in the original order."""
    positive, negative = _run_masses(ranking)
    area = areas(ranking)[0, 0]
    if np.isnan(area):
        return np.full(len(ranking.positive), np.nan)
    total_positive, total_negative = positive.sum(), negative.sum()
    above = (np.cumsum(positive) - positive / 2) / total_positive
    below = (total_negative - np.cumsum(negative) + negative / 2) / total_negative
    of_positive = ranking.order.spread((below - area) / total_positive)
    of_negative = ranking.order.spread((above - area) / total_negative)
    return _unsorted(ranking, np.where(ranking.positive > 0, of_positive, of_negative))


def average_precision_influence(ranking: Ranking) -> FloatArray:
    """The derivative of the average precision with respect to each row's count, (rows,) in the original order."""
    positive, negative = _run_masses(ranking)
    total = positive.sum()
    if total == 0:
        return np.full(len(ranking.positive), np.nan)
    true = np.cumsum(positive)
    reached = np.maximum(true + np.cumsum(negative), np.finfo(np.float64).tiny)
    precision = true / reached
    average = float((positive * precision).sum() / total)
    # A row moves the precision at every threshold at or below its own: sums over the runs from its own to the last.
    gain = np.cumsum((positive / reached)[::-1])[::-1]
    loss = np.cumsum((positive * precision / reached)[::-1])[::-1]
    of_positive = ranking.order.spread((precision - average + gain - loss) / total)
    of_negative = ranking.order.spread(-loss / total)
    return _unsorted(ranking, np.where(ranking.positive > 0, of_positive, of_negative))


def _unsorted(ranking: Ranking, influence: FloatArray) -> FloatArray:
    if ranking.weights is not None:
        influence = influence * ranking.weights
    original = np.empty_like(influence)
    original[ranking.order.rows] = influence
    return original


def standard_error(influence: FloatArray) -> float:
    """The standard error of a figure from its influence on the rows (rows,)."""
    return float(np.sqrt(np.square(influence).sum()))


def roc_curve(ranking: Ranking, points: int = CURVE_POINTS) -> Curve:
    """False-positive rate against true-positive rate, from (0, 0) to (1, 1); empty where a side has no rows."""
    positive, negative = (np.concatenate([[0.0], np.cumsum(mass)]) for mass in _run_masses(ranking))
    if positive[-1] == 0 or negative[-1] == 0:
        return Curve((), ())
    return _thinned(negative / negative[-1], positive / positive[-1], points)


def precision_recall_curve(ranking: Ranking, points: int = CURVE_POINTS) -> Curve:
    """Recall against precision at falling thresholds, from recall 0; empty where there is no positive row."""
    positive, negative = (np.cumsum(mass) for mass in _run_masses(ranking))
    if positive[-1] == 0:
        return Curve((), ())
    reached = positive + negative
    kept = reached > 0
    recall, precision = (positive / positive[-1])[kept], positive[kept] / reached[kept]
    return _thinned(np.concatenate([[0.0], recall]), np.concatenate([precision[:1], precision]), points)


def _thinned(x: FloatArray, y: FloatArray, points: int) -> Curve:
    """At most `points` of the curve, evenly spaced along its length, ends included."""
    if len(x) > points:
        length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        chosen = np.searchsorted(length, np.linspace(0, length[-1], points))
        chosen = np.unique(np.clip(np.concatenate([[0], chosen, [len(x) - 1]]), 0, len(x) - 1))
        x, y = x[chosen], y[chosen]
    return Curve(tuple(np.round(x, 6).tolist()), tuple(np.round(y, 6).tolist()))


@dataclass(frozen=True, slots=True)
class RankPair:
    """Two variables of the same rows, each put in order, for their rank correlation."""

    x: Order
    y: Order
    weights: FloatArray | None


def rank_pair(x: FloatArray, y: FloatArray, weights: FloatArray | None = None) -> RankPair:
    """Sort both variables (rows,) once."""
    return RankPair(ascending(x), ascending(y), weights)


def _midranks(order: Order, weights: FloatArray) -> FloatArray:
    """The weight below each row plus half the weight tied with it, as a share of all, (draws, rows), original order."""
    masses = order.sums(weights[:, order.rows])
    shares = (np.cumsum(masses, axis=1) - masses / 2) / weights.sum(axis=1, keepdims=True)
    original = np.empty_like(weights)
    original[:, order.rows] = order.spread(shares)
    return original


def spearman(pair: RankPair, counts: FloatArray | None = None) -> FloatArray:
    """Spearman's ρ for each draw (draws,): Pearson's correlation of the mid-ranks."""
    weights = np.ones((1, len(pair.x.rows))) if counts is None else counts
    if pair.weights is not None:
        weights = weights * pair.weights
    # Mid-ranks as shares have mean 1/2 under the weights they were made with.
    u, v = _midranks(pair.x, weights) - 0.5, _midranks(pair.y, weights) - 0.5
    covariance = np.einsum("dr,dr,dr->d", weights, u, v)
    variances = np.einsum("dr,dr->d", weights, u * u) * np.einsum("dr,dr->d", weights, v * v)
    # A constant variable has mid-ranks of exactly 1/2 up to rounding.
    constant = (len(pair.x.starts) == 1) | (len(pair.y.starts) == 1) | (variances < 1e-18 * weights.sum(axis=1) ** 2)
    return np.where(constant, np.nan, ratio(covariance, np.sqrt(variances)))


def spearman_influence(pair: RankPair) -> FloatArray:
    """The derivative of Spearman's ρ with respect to each row's count, (rows,).

    ρ = S / √(A·B) with S, A, B the mean products of centred mid-ranks; each of them depends on a row through its own
    term and through the ranks of all rows above and tied with it.
    """
    weights = np.ones(len(pair.x.rows)) if pair.weights is None else pair.weights
    total = weights.sum()
    u, v = (_midranks(order, weights[None, :])[0] - 0.5 for order in (pair.x, pair.y))
    mean_uv, mean_uu, mean_vv = ((weights * a * b).sum() / total for a, b in ((u, v), (u, u), (v, v)))
    raised = {
        "uv": _raised(pair.x, weights * v) + _raised(pair.y, weights * u),
        "uu": 2 * _raised(pair.x, weights * u),
        "vv": 2 * _raised(pair.y, weights * v),
    }
    part = {
        "uv": u * v + raised["uv"] / total - 3 * mean_uv,
        "uu": u * u + raised["uu"] / total - 3 * mean_uu,
        "vv": v * v + raised["vv"] / total - 3 * mean_vv,
    }
    if mean_uu <= 0 or mean_vv <= 0:
        return np.full(len(weights), np.nan)
    scale = np.sqrt(mean_uu * mean_vv)
    shrink = part["uu"] / mean_uu + part["vv"] / mean_vv
    influence: FloatArray = weights / total * (part["uv"] - mean_uv / 2 * shrink) / scale
    return influence


def _raised(order: Order, values: FloatArray) -> FloatArray:
    """Sum of `values` over the rows whose rank a row raises: all above it, and half of those tied with it."""
    masses = order.sums(values[order.rows])
    above = masses.sum() - np.cumsum(masses) + masses / 2
    original = np.empty_like(values)
    original[order.rows] = order.spread(above)
    return original
