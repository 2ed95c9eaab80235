"""Two classifiers on the same rows: the differences of their figures, each with a paired interval.

The rows are redrawn for both at once, so that what is hard for both cancels; two separate intervals that overlap can
still hide a difference, and this one does not. Deterministic for a given seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipelines.curation import metrics
from pipelines.curation.bootstrap import (
    Estimate,
    FloatArray,
    IntArray,
    Resampling,
    normal_estimate,
    percentile_estimate,
    replicate_rows,
    resampled_counts,
    resampled_sums,
)
from pipelines.curation.evaluation import ONE_SIDED, Judged, judge, mean_of_defined, ranking_of
from pipelines.curation.ranking_metrics import areas, roc_auc_influence, standard_error


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of both models, and second minus first with its paired interval."""

    name: str
    first: float | None
    second: float | None
    difference: Estimate
    higher_is_better: bool

    @property
    def verdict(self) -> Literal["better", "worse", "undecided"]:
        """What the second model is against the first; undecided while the interval holds 0."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None or low <= 0 <= high:
            return "undecided"
        return "better" if (low > 0) == self.higher_is_better else "worse"


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """The differences between two models on the same `rows` rows."""

    rows: int
    differences: tuple[Difference, ...]
    resampling: Resampling
    approximate: bool

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain JSON values, the verdicts included."""
        plain = asdict(self)
        for saved, difference in zip(plain["differences"], self.differences, strict=True):
            saved["verdict"] = difference.verdict
        return plain


def compare_classifications(
    truth: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    classes: Sequence[str],
    *,
    weights: npt.ArrayLike | None = None,
    resampling: Resampling | None = None,
) -> ModelComparison:
    """Compare the probabilities (rows, classes) of two models against truth codes (rows,).

    Both matrices have their columns in the order of `classes`. Raises ValueError as `evaluate_classification` does,
    and for multi-label truth.
    """
    resampling = resampling or Resampling()
    one, two = judge(truth, first, classes, weights), judge(truth, second, classes, weights)
    if one.codes is None:
        raise ValueError("multi-label truth: two models are compared on rows with one label each")
    differences = (
        *_of_decisions(one, one.codes, two.top, resampling),
        _of_roc_areas(one, two, resampling),
        _of_brier(one, two, resampling),
    )
    return ModelComparison(one.rows, differences, resampling, one.rows > resampling.max_rows)


def _of_decisions(one: Judged, codes: IntArray, other: IntArray, resampling: Resampling) -> tuple[Difference, ...]:
    """Accuracy and macro F1, from the joint table truth × first × second."""
    number = len(one.classes)
    drawn = resampled_counts((codes * number + one.top) * number + other, resampling, "decisions", one.weights)
    truth, both = np.divmod(drawn.groups, number * number)
    predictions = np.divmod(both, number)
    weights = np.ones(one.rows) if one.weights is None else one.weights
    observed = [_figures(metrics.counts_of_cells(weights[None], codes, top, number)) for top in (one.top, other)]
    sums = drawn.sums[:, :, 0]
    replicated = [_figures(metrics.counts_of_cells(sums, truth, predicted, number)) for predicted in predictions]

    def difference(name: str, column: int) -> Difference:
        before, after = (float(figures[0, column]) for figures in observed)
        replicates = replicated[1][:, column] - replicated[0][:, column]
        estimate = percentile_estimate(after - before, replicates, resampling, drawn.method)
        return Difference(name, before, after, estimate, True)

    return difference("accuracy", 0), difference("macro F1", 1)


def _figures(counts: metrics.ClassCounts) -> FloatArray:
    averages = metrics.averages(counts)
    return np.stack([averages.micro_recall, averages.macro_f1], axis=1)


def _of_roc_areas(one: Judged, two: Judged, resampling: Resampling) -> Difference:
    number = len(one.classes)
    values = np.zeros((2, number))
    if one.rows > resampling.max_rows:
        influence = np.zeros(one.rows)
        for sign, judged in ((-1, one), (1, two)):
            for code in range(number):
                ranking = ranking_of(judged, code)
                values[(sign + 1) // 2, code] = areas(ranking)[0, 0]
                influence += sign * np.nan_to_num(roc_auc_influence(ranking))
        defined = max(int((~np.isnan(values[0])).sum()), 1)
        before, after = mean_of_defined(values).tolist()
        estimate = normal_estimate(after - before, standard_error(influence / defined), resampling)
    else:
        rankings = [[ranking_of(judged, code) for code in range(number)] for judged in (one, two)]

        def statistic(counts: FloatArray) -> FloatArray:
            means = [
                mean_of_defined(np.stack([areas(ranking, counts)[:, 0] for ranking in of_model], axis=1))
                for of_model in rankings
            ]
            return np.stack(means, axis=1)

        before, after = statistic(np.ones((1, one.rows)))[0].tolist()
        drawn = replicate_rows(one.rows, resampling, "areas", statistic)
        estimate = percentile_estimate(after - before, drawn[:, 1] - drawn[:, 0], resampling, undefined=ONE_SIDED)
    if estimate.value is None:
        return Difference("macro ROC AUC", None, None, Estimate.undefined(ONE_SIDED), True)
    return Difference("macro ROC AUC", before, after, estimate, True)


def _of_brier(one: Judged, two: Judged, resampling: Resampling) -> Difference:
    weights = one.row_weights
    before, after = (metrics.brier_per_row(judged.probabilities, judged.truth) for judged in (one, two))
    values = np.stack([before, after, np.ones(one.rows)], axis=1) * weights[:, None]
    drawn = resampled_sums(None, values, resampling, "brier")
    total, sums = values.sum(axis=0), drawn.sums[:, 0, :]
    replicates = (sums[:, 1] - sums[:, 0]) / sums[:, 2]
    means = (total[:2] / total[2]).tolist()
    estimate = percentile_estimate(means[1] - means[0], replicates, resampling, drawn.method)
    return Difference("Brier score", means[0], means[1], estimate, False)
