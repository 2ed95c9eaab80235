"""Figures of a classifier that follow from counts: precision, recall, F1, accuracy and their averages.

Every function takes any number of leading axes, so that one call serves the observed counts and a thousand bootstrap
replicates of them. What a count leaves undefined is NaN here (never 0, never a warning); whoever reports it says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.curation.bootstrap import FloatArray, IntArray, regrouped


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Per class, in the last axis: rows of the class found, rows predicted as it, rows that are of it (weighted)."""

    found: FloatArray
    predicted: FloatArray
    support: FloatArray


@dataclass(frozen=True, slots=True)
class Averages:
    """One figure per leading index; all averages run over the classes that occur in the truth."""

    macro_precision: FloatArray
    macro_recall: FloatArray
    macro_f1: FloatArray
    weighted_precision: FloatArray
    weighted_recall: FloatArray
    weighted_f1: FloatArray
    micro_precision: FloatArray
    micro_recall: FloatArray
    micro_f1: FloatArray


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Element-wise quotient, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient


def confusion_matrix(
    truth: IntArray, predicted: IntArray, classes: int, weights: FloatArray | None = None
) -> FloatArray:
    """Rows of truth i predicted as j, shape (classes, classes), from codes of shape (rows,)."""
    cells = np.bincount(truth * classes + predicted, weights, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.float64)


def counts_of_confusion(confusion: FloatArray) -> ClassCounts:
    """The class counts of confusion matrices of shape (..., classes, classes)."""
    return ClassCounts(
        found=np.diagonal(confusion, axis1=-2, axis2=-1),
        predicted=confusion.sum(axis=-2),
        support=confusion.sum(axis=-1),
    )


def counts_of_cells(sums: FloatArray, truth: IntArray, predicted: IntArray, classes: int) -> ClassCounts:
    """The class counts of `sums` (draws, cells), each cell being rows of one true and one predicted code (cells,)."""
    right = truth == predicted
    return ClassCounts(
        found=regrouped(sums[:, right], truth[right], classes),
        predicted=regrouped(sums, predicted, classes),
        support=regrouped(sums, truth, classes),
    )


def accuracy(confusion: FloatArray) -> FloatArray:
    """The share of rows on the diagonal of confusion matrices of shape (..., classes, classes)."""
    return ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)))


def precision(counts: ClassCounts) -> FloatArray:
    """Found / predicted; undefined for a class that is never predicted."""
    return ratio(counts.found, counts.predicted)


def recall(counts: ClassCounts) -> FloatArray:
    """Found / support; undefined for a class that does not occur in the truth."""
    return ratio(counts.found, counts.support)


def f1(counts: ClassCounts) -> FloatArray:
    """The harmonic mean 2·found / (predicted + support); undefined for a class that does not occur in the truth."""
    return np.where(counts.support > 0, ratio(2 * counts.found, counts.predicted + counts.support), np.nan)


def averages(counts: ClassCounts) -> Averages:
    """Macro, weighted and micro averages, over the classes that occur in the truth.

    A class that occurs but is never predicted has precision 0 in an average: leaving it out would reward a model for
    never predicting what it is bad at.
    """
    occurs = counts.support > 0
    scores = {
        "precision": np.nan_to_num(precision(counts)),
        "recall": np.nan_to_num(recall(counts)),
        "f1": np.nan_to_num(f1(counts)),
    }
    total = counts.support.sum(axis=-1)
    macro = {k: ratio((v * occurs).sum(axis=-1), occurs.sum(axis=-1)) for k, v in scores.items()}
    weighted = {k: ratio((v * counts.support).sum(axis=-1), total) for k, v in scores.items()}
    found, predicted = counts.found.sum(axis=-1), counts.predicted.sum(axis=-1)
    return Averages(
        macro_precision=macro["precision"],
        macro_recall=macro["recall"],
        macro_f1=macro["f1"],
        weighted_precision=weighted["precision"],
        weighted_recall=weighted["recall"],
        weighted_f1=weighted["f1"],
        micro_precision=ratio(found, predicted),
        micro_recall=ratio(found, total),
        micro_f1=ratio(2 * found, predicted + total),
    )


def brier_per_row(probabilities: npt.NDArray[np.floating], truth: npt.NDArray[np.bool_]) -> FloatArray:
    """The squared error of each row's probabilities (rows, classes) against 0/1 truth of the same shape.

    Summed over the classes (Brier 1950, range 0 to 2); with exactly two classes halved, which is the usual binary
    Brier score (range 0 to 1).
    """
    squared: FloatArray = np.square(probabilities.astype(np.float64) - truth).sum(axis=1)
    return squared / 2 if probabilities.shape[1] == 2 else squared
