"""The report on a model that predicts a number: its errors and correlations, and where they come from.

The figures come from a `RegressionReport`; only what is drawn (densities, means per level) is counted here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.curation.bootstrap import FloatArray
from pipelines.curation.regression_evaluation import RegressionReport
from pipelines.report import plots
from pipelines.report.document import (
    Cell,
    Column,
    Fact,
    Figure,
    KeyFigures,
    Plot,
    Plots,
    Section,
    Table,
    Tone,
    Verdict,
    render,
)
from pipelines.report.method_note import interval_method
from pipelines.report.numbers import count_text, figure_text, in_words, plural

_BINS = 28
# More different true values than this are a continuum, not levels.
_MOST_LEVELS = 12


def regression_report(
    name: str,
    report: RegressionReport,
    truth: npt.ArrayLike,
    predictions: npt.ArrayLike,
    *,
    title: str = "",
    facts: Sequence[Fact] = (),
) -> str:
    """The report as HTML on the model `name`, with the truth and predictions (rows,) that were evaluated."""
    y, p = np.asarray(truth, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    sections: tuple[Section, ...] = (
        _in_short(name, report),
        _key_figures(report),
        _plots(report, y, p),
        *_levels(y, p),
        interval_method(
            report.resampling,
            report.approximate,
            "R² is the share of the variance of the truth that the predictions account for: 0 for a model that always "
            "says the mean, negative for a worse one. Bias is prediction minus truth.",
        ),
    )
    rows = Fact("Rows", count_text(report.rows))
    return render(title or f"Evaluation of {name}", sections, facts=(rows, *facts), kind="Regression")


def _in_short(name: str, report: RegressionReport) -> Verdict:
    explained = report.r_squared
    off = f"{name} is off by {in_words(report.mae)} on average, over {plural(report.rows, 'row')}."
    scale = f"The truth runs from {report.truth_range[0]:g} to {report.truth_range[1]:g}."
    tone: Tone = "good"
    if explained.value is None:
        tone, words = "neutral", f"R² is undefined: {explained.reason}."
    elif explained.low is not None and explained.low > 0:
        words = f"It accounts for {in_words(explained, percent=True)} of the variance of the truth."
    else:
        tone, words = "bad", f"It is not surely better than always saying the mean: R² is {in_words(explained)}."
    paragraphs = (scale, words, *_bias_in_words(report))
    return Verdict("In short", off, paragraphs, tone)


def _bias_in_words(report: RegressionReport) -> tuple[str, ...]:
    low, high = report.bias.low, report.bias.high
    if low is None or high is None or low <= 0 <= high:
        return ()
    return (f"Its predictions are too {'high' if low > 0 else 'low'} by {in_words(report.bias)} on average.",)


def _key_figures(report: RegressionReport) -> KeyFigures:
    return KeyFigures(
        "Key figures",
        (
            Figure("MAE", report.mae, "mean absolute error", scale=None),
            Figure("RMSE", report.rmse, "large errors weigh more", scale=None),
            Figure("Bias", report.bias, "prediction minus truth", scale=None),
            Figure("R²", report.r_squared, "1 is perfect"),
            Figure("Pearson", report.pearson, "linear correlation", scale=(-1.0, 1.0)),
            Figure("Spearman", report.spearman, "correlation of ranks", scale=(-1.0, 1.0)),
        ),
    )


def _plots(report: RegressionReport, truth: FloatArray, predictions: FloatArray) -> Plots:
    error = predictions - truth
    reach = float(np.abs(error).max()) or 1.0
    across, along = _span(report.truth_range), _span(report.prediction_range)
    joint = np.histogram2d(truth, predictions, bins=_BINS, range=(across, along))[0]
    residual = np.histogram2d(truth, error, bins=_BINS, range=(across, (-reach, reach)))[0]
    low, high = report.truth_range
    against_truth = plots.density_plot(
        joint.tolist(),
        across,
        along,
        "truth",
        "prediction",
        "Density of predictions by truth",
        ((low, low), (high, high)),
    )
    against_error = plots.density_plot(
        residual.tolist(),
        across,
        (-reach, reach),
        "truth",
        "prediction − truth",
        "Density of errors by truth",
        ((low, 0.0), (high, 0.0)),
    )
    made = (
        Plot("Prediction against truth", against_truth, "On the dotted line the prediction is right."),
        Plot("Error against truth", against_error, "A slope means that the model shies away from the ends."),
    )
    return Plots(
        "Where the errors are",
        made,
        lead="The fuller its colour, the more rows a cell holds (by the square root of their number).",
    )


def _span(limits: tuple[float, float]) -> tuple[float, float]:
    low, high = limits
    room = (high - low) * 0.02 or 0.5
    return low - room, high + room


def _levels(truth: FloatArray, predictions: FloatArray) -> tuple[Table, ...]:
    levels = np.unique(truth)
    if len(levels) > _MOST_LEVELS:
        return ()
    rows: list[tuple[Cell, ...]] = []
    for level in levels:
        given = predictions[truth == level]
        low, middle, high = np.quantile(given, (0.1, 0.5, 0.9)).tolist()
        cells = (float(given.mean()), low, middle, high, float(np.abs(given - level).mean()))
        rows.append((f"{level:g}", count_text(len(given)), *(figure_text(cell) for cell in cells)))
    labels = ("Truth", "Rows", "Mean prediction", "10th percentile", "Median", "90th percentile", "Mean absolute error")
    columns = tuple(Column(label, numeric=label != "Truth") for label in labels)
    return (Table("Every level of the truth", columns, tuple(rows)),)
