"""The evaluation of a classifier on rows whose truth is known: figures with intervals, curves, and its worst mistakes.

Takes arrays, knows nothing of models, files or tasks, and is deterministic for a given seed. Truth is one class per
row, or several (a 0/1 matrix); probabilities are what the model said of every class. Every figure is an `Estimate`:
an undefined one carries the reason, and one whose interval is an approximation carries its method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.curation import metrics
from pipelines.curation.bootstrap import (
    Estimate,
    FloatArray,
    IntArray,
    Method,
    Resampling,
    logit_normal_estimate,
    percentile_estimate,
    replicate_rows,
    resampled_counts,
    resampled_sums,
)
from pipelines.curation.classification_report import (
    AverageReport,
    ClassificationReport,
    ClassReport,
    ScoreHistogram,
)
from pipelines.curation.ranking_metrics import (
    Curve,
    Ranking,
    areas,
    average_precision_influence,
    precision_recall_curve,
    rank,
    roc_auc_influence,
    roc_curve,
    standard_error,
)
from pipelines.curation.reliability import bin_of, measure_reliability

# fastText sums float32 terms and can return 1.00001; more than this is not a probability.
_TOLERANCE = 1e-3
_HISTOGRAM_BINS = 25

NEVER_PREDICTED = "never predicted"
NOT_IN_TRUTH = "no row of this class in the truth"
ONE_SIDED = "needs rows of the class and rows of others"


@dataclass(frozen=True, slots=True)
class Judged:
    """Checked input: `truth` is 0/1 (rows, classes), `codes` the same as codes or None if multi-label, `top` the most
    probable class of each row, `probabilities` within [0, 1]; `weights` (rows,) or None for equal rows."""

    truth: npt.NDArray[np.bool_]
    codes: IntArray | None
    top: IntArray
    probabilities: npt.NDArray[np.float32]
    weights: FloatArray | None
    classes: tuple[str, ...]

    @property
    def rows(self) -> int:
        return len(self.top)

    @property
    def row_weights(self) -> FloatArray:
        return np.ones(self.rows) if self.weights is None else self.weights


def encode_labels(labels: Sequence[str], classes: Sequence[str]) -> tuple[IntArray, tuple[str, ...]]:
    """Codes of the rows' labels, and the classes they index: the model's in its order, then labels it does not know.

    A label that the model cannot predict is still truth: its rows count as mistakes and do not disappear.
    """
    extended = (*classes, *sorted(set(labels) - set(classes)))
    position = {name: i for i, name in enumerate(extended)}
    return np.fromiter((position[label] for label in labels), dtype=np.int64, count=len(labels)), extended


def evaluate_classification(
    truth: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    *,
    weights: npt.ArrayLike | None = None,
    resampling: Resampling | None = None,
    bins: int = 10,
) -> ClassificationReport:
    """Evaluate probabilities (rows, classes) against truth: codes (rows,), or a 0/1 matrix (rows, classes).

    `classes` may name more classes than there are columns (labels that the model does not know): their
    probabilities are taken as 0. Multi-label predictions are the classes with a probability of at least 0.5.
    Raises ValueError for shapes that do not fit, codes out of range, and values that are not probabilities.
    """
    resampling = resampling or Resampling()
    judged = judge(truth, probabilities, classes, weights)
    decided = _decisions(judged, resampling)
    ranked = _areas(judged, resampling)
    at_1, recall_at_1, brier = _row_figures(judged, decided, resampling)
    confidence = judged.probabilities[np.arange(judged.rows), judged.top].astype(np.float64)
    hit = judged.truth[np.arange(judged.rows), judged.top].astype(np.float64)
    macro, weighted, micro = _average_reports(decided, resampling)
    return ClassificationReport(
        rows=judged.rows,
        classes=judged.classes,
        multi_label=judged.codes is None,
        weighted=judged.weights is not None,
        accuracy=decided.accuracy,
        precision_at_1=at_1,
        recall_at_1=recall_at_1,
        roc_auc=ranked.macro_auc,
        average_precision=ranked.macro_average_precision,
        brier=brier,
        macro=macro,
        weighted_average=weighted,
        micro=micro,
        per_class=_class_reports(judged, decided, ranked, resampling, bins),
        confusion=decided.confusion,
        calibration=measure_reliability(confidence, hit, resampling, "calibration", bins, judged.weights),
        resampling=resampling,
        approximate=judged.rows > resampling.max_rows,
        notes=_notes(judged, decided.observed),
    )


def judge(
    truth: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    weights: npt.ArrayLike | None = None,
) -> Judged:
    """Check and convert what `evaluate_classification` takes; raises ValueError as it says."""
    names = tuple(str(name) for name in classes)
    if len(set(names)) < len(names) or len(names) < 2:
        raise ValueError(f"classes {list(names)}: at least two different names are needed")
    scores = _checked_probabilities(np.asarray(probabilities), len(names))
    given = np.asarray(truth)
    if len(given) != len(scores):
        raise ValueError(f"{len(given)} rows of truth for {len(scores)} rows of probabilities")
    if given.ndim == 2:
        if given.shape != scores.shape or not np.isin(given, (0, 1)).all():
            raise ValueError(f"multi-label truth {given.shape}: a 0/1 matrix of shape {scores.shape} is needed")
        codes, matrix = None, given.astype(bool)
    else:
        codes = given.astype(np.int64)
        if codes.min() < 0 or codes.max() >= len(names):
            raise ValueError(f"truth codes {codes.min()}..{codes.max()}: {len(names)} classes need 0..{len(names) - 1}")
        matrix = np.zeros(scores.shape, dtype=bool)
        matrix[np.arange(len(codes)), codes] = True
    return Judged(matrix, codes, scores.argmax(axis=1), scores, _checked_weights(weights, len(scores)), names)


def _checked_probabilities(scores: npt.NDArray[np.floating], classes: int) -> npt.NDArray[np.float32]:
    if scores.ndim != 2 or scores.shape[1] > classes or not len(scores):
        raise ValueError(f"probabilities of shape {scores.shape}: (rows, at most {classes} classes) is needed")
    low, high = float(scores.min()), float(scores.max())
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise ValueError(f"values from {low} to {high} are no probabilities: convert logits before evaluating")
    padded = np.zeros((len(scores), classes), dtype=np.float32)
    np.clip(scores, 0, 1, out=padded[:, : scores.shape[1]], casting="same_kind")
    return padded


def _checked_weights(weights: npt.ArrayLike | None, rows: int) -> FloatArray | None:
    if weights is None:
        return None
    checked = np.asarray(weights, dtype=np.float64)
    if checked.shape != (rows,) or not (checked >= 0).all() or not 0 < checked.sum() < np.inf:
        raise ValueError(f"weights of shape {checked.shape}: {rows} numbers of at least 0, not all 0, are needed")
    return checked


@dataclass(frozen=True, slots=True)
class _Decisions:
    """Class counts as observed (classes,) and in every replicate (resamples, classes), and what follows at once."""

    observed: metrics.ClassCounts
    drawn: metrics.ClassCounts
    method: Method
    accuracy: Estimate
    confusion: tuple[tuple[float, ...], ...] | None


def _decisions(judged: Judged, resampling: Resampling) -> _Decisions:
    if judged.codes is None:
        return _multi_label_decisions(judged, resampling)
    number = len(judged.classes)
    cells = judged.codes * number + judged.top
    drawn = resampled_counts(cells, resampling, "confusion", judged.weights)
    truth, predicted = np.divmod(drawn.groups, number)
    sums = drawn.sums[:, :, 0]
    counts = metrics.counts_of_cells(sums, truth, predicted, number)
    confusion = metrics.confusion_matrix(judged.codes, judged.top, number, judged.weights)
    replicates = metrics.ratio(counts.found.sum(axis=1), counts.support.sum(axis=1))
    accuracy = percentile_estimate(float(metrics.accuracy(confusion)), replicates, resampling, drawn.method)
    table = tuple(tuple(row) for row in confusion.tolist())
    return _Decisions(metrics.counts_of_confusion(confusion), counts, drawn.method, accuracy, table)


def _multi_label_decisions(judged: Judged, resampling: Resampling) -> _Decisions:
    predicted = judged.probabilities >= 0.5
    weights = judged.row_weights[:, None]
    exact = (predicted == judged.truth).all(axis=1, keepdims=True)
    parts = (judged.truth & predicted, predicted, judged.truth, exact, np.ones_like(exact))
    values = np.concatenate(parts, axis=1) * weights
    drawn = resampled_sums(None, values, resampling, "decisions")
    split = np.cumsum([part.shape[1] for part in parts])[:-1]
    observed = np.split(values.sum(axis=0), split)
    replicated = np.split(drawn.sums[:, 0, :], split, axis=1)
    accuracy = percentile_estimate(
        float(observed[3][0] / observed[4][0]),
        replicated[3][:, 0] / replicated[4][:, 0],
        resampling,
        drawn.method,
    )
    # The normal limit can fall below 0 for classes with next to no rows.
    positive = [np.clip(part, 0, None) for part in replicated[:3]]
    return _Decisions(metrics.ClassCounts(*observed[:3]), metrics.ClassCounts(*positive), drawn.method, accuracy, None)


def _row_figures(judged: Judged, decided: _Decisions, resampling: Resampling) -> tuple[Estimate, Estimate, Estimate]:
    """P@1, R@1 and the Brier score."""
    weights = judged.row_weights
    brier = metrics.brier_per_row(judged.probabilities, judged.truth)
    hit = judged.truth[np.arange(judged.rows), judged.top]
    values = np.stack([brier, hit, judged.truth.sum(axis=1), np.ones(judged.rows)], axis=1) * weights[:, None]
    drawn = resampled_sums(None, values, resampling, "rows")
    total, replicated = values.sum(axis=0), drawn.sums[:, 0, :]

    def quotient(above: int, below: int) -> Estimate:
        value = float(metrics.ratio(total[above], total[below]))
        replicates = metrics.ratio(replicated[:, above], replicated[:, below])
        return percentile_estimate(value, replicates, resampling, drawn.method, "no row has a label")

    if judged.codes is not None:
        return decided.accuracy, decided.accuracy, quotient(0, 3)
    return quotient(1, 3), quotient(1, 2), quotient(0, 3)


@dataclass(frozen=True, slots=True)
class _ClassAreas:
    roc_auc: Estimate
    average_precision: Estimate
    roc: Curve
    precision_recall: Curve


@dataclass(frozen=True, slots=True)
class _Areas:
    per_class: tuple[_ClassAreas, ...]
    macro_auc: Estimate
    macro_average_precision: Estimate


def ranking_of(judged: Judged, code: int) -> Ranking:
    """The rows in the order of falling probability of one class."""
    return rank(judged.probabilities[:, code], judged.truth[:, code], judged.weights)


def _areas(judged: Judged, resampling: Resampling) -> _Areas:
    if judged.rows > resampling.max_rows:
        return _linearized_areas(judged, resampling)
    rankings = [ranking_of(judged, code) for code in range(len(judged.classes))]

    def statistic(counts: FloatArray) -> FloatArray:
        return np.concatenate([areas(ranking, counts) for ranking in rankings], axis=1)

    values = np.concatenate([areas(ranking)[0] for ranking in rankings])
    drawn = replicate_rows(judged.rows, resampling, "areas", statistic)
    reasons = (ONE_SIDED, NOT_IN_TRUTH)

    def estimate(column: int) -> Estimate:
        return percentile_estimate(values[column], drawn[:, column], resampling, undefined=reasons[column % 2])

    def macro(kind: int) -> Estimate:
        replicates = mean_of_defined(drawn[:, kind::2])
        value = float(mean_of_defined(values[None, kind::2])[0])
        return percentile_estimate(value, replicates, resampling, undefined=reasons[kind])

    per_class = tuple(
        _ClassAreas(estimate(2 * k), estimate(2 * k + 1), roc_curve(ranking), precision_recall_curve(ranking))
        for k, ranking in enumerate(rankings)
    )
    return _Areas(per_class, macro(0), macro(1))


def mean_of_defined(figures: FloatArray) -> FloatArray:
    """The mean over the last axis of what is not NaN; NaN where nothing is defined."""
    defined = ~np.isnan(figures)
    return metrics.ratio(np.where(defined, figures, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))


def _linearized_areas(judged: Judged, resampling: Resampling) -> _Areas:
    """The same for very many rows: standard errors from influences, one class in memory at a time."""
    per_class: list[_ClassAreas] = []
    values: list[FloatArray] = []
    influences = np.zeros((2, judged.rows))
    for code in range(len(judged.classes)):
        ranking = ranking_of(judged, code)
        value = areas(ranking)[0]
        parts = roc_auc_influence(ranking), average_precision_influence(ranking)
        auc, average = (
            logit_normal_estimate(float(value[i]), standard_error(parts[i]), resampling, reason)
            for i, reason in enumerate((ONE_SIDED, NOT_IN_TRUTH))
        )
        per_class.append(_ClassAreas(auc, average, roc_curve(ranking), precision_recall_curve(ranking)))
        values.append(value)
        influences += np.nan_to_num(np.stack(parts))
    defined = (~np.isnan(np.stack(values))).sum(axis=0)
    means = mean_of_defined(np.stack(values).T)
    macro = [
        logit_normal_estimate(
            float(means[i]), standard_error(influences[i] / max(int(defined[i]), 1)), resampling, ONE_SIDED
        )
        for i in range(2)
    ]
    return _Areas(tuple(per_class), macro[0], macro[1])


def _average_reports(decided: _Decisions, resampling: Resampling) -> tuple[AverageReport, AverageReport, AverageReport]:
    observed, drawn = metrics.averages(decided.observed), metrics.averages(decided.drawn)

    def figure(name: str) -> Estimate:
        value, replicates = float(getattr(observed, name)), getattr(drawn, name)
        return percentile_estimate(value, replicates, resampling, decided.method, NEVER_PREDICTED)

    macro, weighted, micro = (
        AverageReport(figure(f"{kind}_precision"), figure(f"{kind}_recall"), figure(f"{kind}_f1"))
        for kind in ("macro", "weighted", "micro")
    )
    return macro, weighted, micro


def _class_reports(
    judged: Judged, decided: _Decisions, ranked: _Areas, resampling: Resampling, bins: int
) -> tuple[ClassReport, ...]:
    def figures(function: Callable[[metrics.ClassCounts], FloatArray], reason: str) -> list[Estimate]:
        values, replicates = function(decided.observed), function(decided.drawn)
        return [
            percentile_estimate(values[k], replicates[:, k], resampling, decided.method, reason)
            for k in range(len(judged.classes))
        ]

    precisions = figures(metrics.precision, NEVER_PREDICTED)
    recalls, f1s = figures(metrics.recall, NOT_IN_TRUTH), figures(metrics.f1, NOT_IN_TRUTH)
    reports = []
    for k, name in enumerate(judged.classes):
        scores, truth = judged.probabilities[:, k].astype(np.float64), judged.truth[:, k]
        found = ranked.per_class[k]
        reports.append(
            ClassReport(
                name=name,
                support=float(decided.observed.support[k]),
                predicted=float(decided.observed.predicted[k]),
                precision=precisions[k],
                recall=recalls[k],
                f1=f1s[k],
                roc_auc=found.roc_auc,
                average_precision=found.average_precision,
                roc=found.roc,
                precision_recall=found.precision_recall,
                reliability=measure_reliability(
                    scores,
                    truth.astype(np.float64),
                    resampling,
                    f"calibration of {name}",
                    bins,
                    judged.weights,
                ),
                histogram=_histogram(scores, truth, judged.row_weights),
            )
        )
    return tuple(reports)


def _histogram(scores: FloatArray, truth: npt.NDArray[np.bool_], weights: FloatArray) -> ScoreHistogram:
    members = bin_of(scores, _HISTOGRAM_BINS)
    of_class = np.bincount(members[truth], weights[truth], _HISTOGRAM_BINS)
    of_others = np.bincount(members[~truth], weights[~truth], _HISTOGRAM_BINS)
    return ScoreHistogram(tuple(of_class.tolist()), tuple(of_others.tolist()))


def _notes(judged: Judged, observed: metrics.ClassCounts) -> tuple[str, ...]:
    notes = []
    absent = [name for name, rows in zip(judged.classes, observed.support, strict=True) if rows == 0]
    if absent:
        notes.append(f"Not in the truth, and left out of the averages: {', '.join(absent)}.")
    unused = [name for name, rows in zip(judged.classes, observed.predicted, strict=True) if rows == 0]
    if unused:
        notes.append(f"Never predicted, with precision 0 in the averages: {', '.join(unused)}.")
    return tuple(notes)


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row that was judged wrongly: its index, its true and predicted classes, and the predicted one's probability."""

    row: int
    truth: tuple[str, ...]
    predicted: str
    probability: float


def most_confident_mistakes(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, classes: Sequence[str], limit: int = 20
) -> tuple[Mistake, ...]:
    """The wrong rows with the highest probability of the class that was predicted, most confident first, ties by row.

    For multi-label rows a mistake is a most probable class that is not among the true ones.
    """
    judged = judge(truth, probabilities, classes)
    everywhere = np.arange(judged.rows)
    wrong = np.flatnonzero(~judged.truth[everywhere, judged.top])
    confidence = judged.probabilities[wrong, judged.top[wrong]]
    chosen = wrong[np.argsort(-confidence, kind="stable")[:limit]]
    return tuple(
        Mistake(
            row=int(row),
            truth=tuple(judged.classes[k] for k in np.flatnonzero(judged.truth[row])),
            predicted=judged.classes[judged.top[row]],
            probability=round(float(judged.probabilities[row, judged.top[row]]), 6),
        )
        for row in chosen
    )
