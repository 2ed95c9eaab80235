"""The record of a classifier's evaluation: what was measured, of every class and on average, as typed values.

Only holds and converts; `evaluation` fills it. `to_dict` gives plain JSON values under the same names.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from pipelines.curation.bootstrap import Estimate, Resampling
from pipelines.curation.ranking_metrics import Curve
from pipelines.curation.reliability import Reliability


@dataclass(frozen=True, slots=True)
class ScoreHistogram:
    """How often each probability of a class was given, in equal bins over [0, 1]: to its rows and to all others."""

    of_class: tuple[float, ...]
    of_others: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One class against the rest. `support` and `predicted` are (weighted) numbers of rows."""

    name: str
    support: float
    predicted: float
    precision: Estimate
    recall: Estimate
    f1: Estimate
    roc_auc: Estimate
    average_precision: Estimate
    roc: Curve
    precision_recall: Curve
    reliability: Reliability
    histogram: ScoreHistogram


@dataclass(frozen=True, slots=True)
class AverageReport:
    """Figures averaged over the classes that occur in the truth (micro: over all decisions)."""

    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True, slots=True)
class ClassificationReport:
    """All figures of one classifier on one set of rows.

    `accuracy` of multi-label rows is the share of rows whose whole set of labels is right. `precision_at_1` and
    `recall_at_1` are fastText's: the most probable class of each row, as a share of all rows, and of all true labels.
    `roc_auc` and `average_precision` are means over the classes that occur. `confusion` is truth × prediction, None
    for multi-label rows. `calibration` is that of each row's most probable class. `approximate` says that some
    intervals are the normal limit of the bootstrap, for there are more rows than it draws one by one. `notes` are
    what a reader must know.
    """

    rows: int
    classes: tuple[str, ...]
    multi_label: bool
    weighted: bool
    accuracy: Estimate
    precision_at_1: Estimate
    recall_at_1: Estimate
    roc_auc: Estimate
    average_precision: Estimate
    brier: Estimate
    macro: AverageReport
    weighted_average: AverageReport
    micro: AverageReport
    per_class: tuple[ClassReport, ...]
    confusion: tuple[tuple[float, ...], ...] | None
    calibration: Reliability
    resampling: Resampling
    approximate: bool
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values, curves and bins included."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> ClassificationReport:
        """The report from what `to_dict` gave, after any trip through JSON; raises ValueError for anything else."""
        return msgspec.convert(plain, cls)
