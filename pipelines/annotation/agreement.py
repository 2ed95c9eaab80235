"""How far graders agree on the rows they have in common: every figure with its interval, and what it rests on.

Two graders get Cohen's kappas, Krippendorff's alpha, Gwet's AC1 and, for ordinal labels, error, bias and rank
correlation; more than two also get alpha and Fleiss' kappa over all. A figure that the data leave undefined (one
label only, no row in common) is None with the reason, never 1. Nothing here reads files or makes pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from pipelines.annotation.agreement_statistics import (
    PairStatistics,
    Patterns,
    fleiss_kappa,
    krippendorff_alpha,
    labelled_by_all,
    occurrences,
)
from pipelines.annotation.disagreements import Disagreement, widest_disagreements
from pipelines.annotation.grades import Codes, Grades, LabelScale, encode_labels
from pipelines.annotation.key_join import Coverage, Joined, Overlap, join_keys
from pipelines.curation.bootstrap import Estimate, FloatArray, Resampling, percentile_estimate

Figures = Mapping[str, Estimate]
Statistic = Callable[[FloatArray], FloatArray]

SHOWN_DISAGREEMENTS = 20

# Landis and Koch (1977), each name for the coefficients strictly below its limit.
BANDS = ((0.0, "Poor"), (0.2, "Slight"), (0.4, "Fair"), (0.6, "Moderate"), (0.8, "Substantial"))
# Figures that are corrected for chance, which the bands are made for.
COEFFICIENTS = (
    "cohen_kappa",
    "cohen_kappa_linear",
    "cohen_kappa_quadratic",
    "krippendorff_alpha_nominal",
    "krippendorff_alpha_ordinal",
    "gwet_ac1",
    "fleiss_kappa",
)


def band(coefficient: float) -> str:
    """The customary name of how strong an agreement is."""
    return next((name for limit, name in BANDS if coefficient < limit), "Almost Perfect")


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two graders. `confusion` counts rows of equal key, the first grader's labels down, the second's across.

    `first_labels` and `second_labels` are the counts of each label on the common rows, in the order of `labels`.
    `bands` names the strength of every coefficient that is defined.
    """

    first: str
    second: str
    overlap: Overlap
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    first_labels: tuple[int, ...]
    second_labels: tuple[int, ...]
    figures: Figures
    bands: Mapping[str, str]
    disagreements: tuple[Disagreement, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: figures that are undefined have the value null."""
        plain = asdict(self)
        plain["figures"] = {name: estimate.to_dict() for name, estimate in self.figures.items()}
        return plain


@dataclass(frozen=True, slots=True)
class AgreementReport:
    """Everything measured over a list of graders.

    `distributions` are counts of each label over all rows of a grader, in the order of `labels`. `overall` holds
    Fleiss' kappa and Krippendorff's alpha over all graders if there are more than two, with their `overall_bands`;
    `common` is the number of keys that all of them labelled.
    """

    graders: tuple[str, ...]
    is_ordinal: bool
    labels: tuple[str, ...]
    coverage: tuple[Coverage, ...]
    distributions: tuple[tuple[int, ...], ...]
    common: int
    pairs: tuple[PairAgreement, ...]
    overall: Figures
    overall_bands: Mapping[str, str]
    resampling: Resampling

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: figures that are undefined have the value null."""
        plain = asdict(self)
        plain["pairs"] = [pair.to_dict() for pair in self.pairs]
        plain["overall"] = {name: estimate.to_dict() for name, estimate in self.overall.items()}
        return plain


def measure(
    grades: Sequence[Grades], is_ordinal: bool = False, resampling: Resampling | None = None
) -> AgreementReport:
    """Measure the agreement of two graders or more; intervals are percentile bootstraps over the common rows.

    Raises `ValueError` for fewer than two graders, two of one name, and labels that cannot be compared (see
    `encode_labels`).
    """
    resampling = resampling or Resampling()
    names = tuple(each.name for each in grades)
    if len(grades) < 2:
        raise ValueError(f"{len(grades)} datasets: agreement takes at least two")
    if len(set(names)) < len(names):
        raise ValueError(f"datasets {', '.join(names)}: give each a name of its own")
    scale, codes = encode_labels(grades, is_ordinal)
    joined = join_keys(grades, codes)
    places = combinations(range(len(grades)), 2)
    pairs = tuple(_measure_pair(grades, joined, pair, scale, is_ordinal, resampling) for pair in places)
    overall = overall_figures(joined.labels, len(scale), is_ordinal, resampling) if len(grades) > 2 else {}
    return AgreementReport(
        graders=names,
        is_ordinal=is_ordinal,
        labels=scale.labels,
        coverage=joined.coverage,
        distributions=tuple(_counts(each, len(scale)) for each in codes),
        common=int(labelled_by_all(joined.labels).sum()),
        pairs=pairs,
        overall=overall,
        overall_bands=bands_of(overall),
        resampling=resampling,
    )


def _measure_pair(
    grades: Sequence[Grades],
    joined: Joined,
    pair: tuple[int, int],
    scale: LabelScale,
    is_ordinal: bool,
    resampling: Resampling,
) -> PairAgreement:
    labels = joined.labels[:, pair]
    labels = labels[labelled_by_all(labels)]
    patterns = Patterns.of(labels)
    confusion = np.zeros((len(scale), len(scale)), dtype=np.int64)
    confusion[patterns.labels[:, 0], patterns.labels[:, 1]] = patterns.counts
    missing = [said for place in pair if (said := joined.coverage[place].missing)]
    undefined = f"no row in common, since {'; '.join(missing)}" if missing else undefined_reason(patterns)
    figures = pair_figures(patterns, scale, is_ordinal, resampling, undefined)
    disagreements = widest_disagreements(grades, joined, pair, scale, is_ordinal, resampling.seed, SHOWN_DISAGREEMENTS)
    return PairAgreement(
        first=grades[pair[0]].name,
        second=grades[pair[1]].name,
        overlap=joined.overlap(*pair),
        labels=scale.labels,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        first_labels=tuple(confusion.sum(axis=1).tolist()),
        second_labels=tuple(confusion.sum(axis=0).tolist()),
        figures=figures,
        bands=bands_of(figures),
        disagreements=tuple(disagreements),
    )


def pair_statistics(labels: Codes, scale: LabelScale, is_ordinal: bool) -> dict[str, Statistic]:
    """The figures of two graders by name, over patterns of shape (patterns, 2)."""
    pair = PairStatistics(labels, len(scale), scale.values)
    counts = occurrences(labels, len(scale))
    statistics: dict[str, Statistic] = {
        "agreement": pair.agreement,
        "chance_agreement": pair.chance_agreement,
        "cohen_kappa": lambda weights: pair.kappa(weights, "unweighted"),
    }
    if scale.values is not None:
        statistics["cohen_kappa_linear"] = lambda weights: pair.kappa(weights, "linear")
        statistics["cohen_kappa_quadratic"] = lambda weights: pair.kappa(weights, "quadratic")
    statistics["krippendorff_alpha_nominal"] = lambda weights: krippendorff_alpha(weights, counts, "nominal")
    if is_ordinal:
        statistics["krippendorff_alpha_ordinal"] = lambda weights: krippendorff_alpha(weights, counts, "ordinal")
    statistics["gwet_ac1"] = pair.gwet_ac1
    if is_ordinal:
        statistics["mean_absolute_error"] = pair.mean_absolute_error
        statistics["bias"] = pair.bias
        statistics["spearman"] = pair.spearman
    return statistics


def pair_figures(
    patterns: Patterns, scale: LabelScale, is_ordinal: bool, resampling: Resampling, undefined: str
) -> dict[str, Estimate]:
    """Every figure of two graders with its interval; `undefined` is the reason given where one has no value."""
    statistics = pair_statistics(patterns.labels, scale, is_ordinal)
    figures = estimate_all(statistics, patterns, resampling, undefined)
    if scale.values is None:
        reason = "labels that are no numbers have no distances"
        figures |= {f"cohen_kappa_{distances}": Estimate.undefined(reason) for distances in ("linear", "quadratic")}
    return figures


def overall_figures(labels: Codes, categories: int, is_ordinal: bool, resampling: Resampling) -> dict[str, Estimate]:
    """Fleiss' kappa over the units that every grader labelled, Krippendorff's alpha over all units with two labels."""
    complete = Patterns.of(labels[labelled_by_all(labels)])
    counts = occurrences(complete.labels, categories)
    figures = estimate_all(
        {"fleiss_kappa": lambda weights: fleiss_kappa(weights, counts)},
        complete,
        resampling,
        undefined_reason(complete),
    )
    paired = Patterns.of(labels[(labels >= 0).sum(axis=1) > 1])
    pairable = occurrences(paired.labels, categories)
    alphas: dict[str, Statistic] = {
        "krippendorff_alpha_nominal": lambda weights: krippendorff_alpha(weights, pairable, "nominal")
    }
    if is_ordinal:
        alphas["krippendorff_alpha_ordinal"] = lambda weights: krippendorff_alpha(weights, pairable, "ordinal")
    return figures | estimate_all(alphas, paired, resampling, undefined_reason(paired))


def estimate_all(
    statistics: Mapping[str, Statistic], patterns: Patterns, resampling: Resampling, undefined: str
) -> dict[str, Estimate]:
    """All statistics from the same draws; `undefined` is the reason given where one has no value."""
    if not patterns.units:
        return {name: Estimate.undefined(undefined) for name in statistics}
    values = {name: float(statistic(patterns.observed())[0]) for name, statistic in statistics.items()}
    if patterns.units == 1:
        reason = "a single common row has no spread to resample"
        return {name: _point(value, reason, undefined) for name, value in values.items()}
    drawn = replicates(statistics, patterns.draws(resampling, "agreement"))
    return {name: interval_estimate(value, drawn[name], resampling, undefined) for name, value in values.items()}


def replicates(statistics: Mapping[str, Statistic], draws: Iterable[FloatArray]) -> dict[str, FloatArray]:
    """Every statistic of every draw, each of shape (resamples,)."""
    found: dict[str, list[FloatArray]] = {name: [] for name in statistics}
    for weights in draws:
        for name, statistic in statistics.items():
            found[name].append(statistic(weights))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def interval_estimate(value: float, replicates: FloatArray, resampling: Resampling, undefined: str) -> Estimate:
    """The percentile interval; none where all draws agree, which says that rows repeat, not that the figure is sure."""
    defined = replicates[~np.isnan(replicates)]
    if len(defined) and np.ptp(defined) < 1e-12:
        return _point(value, "every resample gives the same value, so that none shows how far it may be off", undefined)
    return percentile_estimate(value, replicates, resampling, undefined=undefined)


def _point(value: float, reason: str, undefined: str) -> Estimate:
    return Estimate.undefined(undefined) if np.isnan(value) else Estimate(value, reason=reason)


def undefined_reason(patterns: Patterns) -> str:
    """Why a figure over these patterns can be undefined."""
    if not patterns.units:
        return "no row in common: no key occurs in both with a label"
    distinct = np.unique(patterns.labels[patterns.labels >= 0])
    if len(distinct) == 1:
        return "one label only: agreement by chance is certain, and nothing beyond chance can be measured"
    return "a grader gave one label only, so that nothing varies with it"


def bands_of(figures: Figures) -> dict[str, str]:
    """The band of every coefficient that has a value."""
    return {
        name: band(estimate.value)
        for name, estimate in figures.items()
        if name in COEFFICIENTS and estimate.value is not None
    }


def _counts(codes: Codes, categories: int) -> tuple[int, ...]:
    return tuple(np.bincount(codes[codes >= 0], minlength=categories).tolist())
