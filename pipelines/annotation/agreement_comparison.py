"""Whether one pair of graders agrees better than another: a new rubric against the old one, say.

Both pairs are measured alike, and every figure's difference has an interval of its own. It exists because raw
agreement alone misleads: when labels pile up in one class, graders match more often by chance, and the rate rises
while their agreement beyond chance falls. The verdict says so in words, and gives a reason only where its interval
does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipelines.annotation.agreement import (
    Figures,
    PairAgreement,
    Statistic,
    interval_estimate,
    measure,
    pair_statistics,
    replicates,
)
from pipelines.annotation.agreement_statistics import PairStatistics, Patterns, labelled_by_all
from pipelines.annotation.grades import Codes, Grades, LabelScale, encode_labels
from pipelines.annotation.key_join import Coverage, join_keys
from pipelines.curation.bootstrap import Estimate, FloatArray, Resampling

Mask = npt.NDArray[np.bool_]
Outcome = Literal["better", "worse", "undecided", "undefined"]

KAPPAS = {
    "cohen_kappa": "unweighted",
    "cohen_kappa_linear": "linear",
    "cohen_kappa_quadratic": "quadratic",
}
# Bootstrapped with the figures, for a reason in the verdict; of labels that are numbers.
_MISS_DISTANCE = "miss_distance"


@dataclass(frozen=True, slots=True)
class AgreementComparison:
    """Two pairs side by side; `differences` are the new pair's figures minus the old pair's.

    `shared_keys` is the number of keys that both pairs rest on: where there are any, they are redrawn together (a
    paired bootstrap), otherwise each pair is redrawn on its own. `outcome` goes by the interval of one kappa, the one
    named by `headline`; `is_misleading` says that raw agreement rises while a kappa falls; `verdict` are sentences.
    `coverage` is of the graders of both pairs, each once.
    """

    old: PairAgreement
    new: PairAgreement
    coverage: tuple[Coverage, ...]
    is_ordinal: bool
    shared_keys: int
    is_paired: bool
    differences: Figures
    headline: str
    outcome: Outcome
    is_misleading: bool
    verdict: tuple[str, ...]
    resampling: Resampling

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: figures that are undefined have the value null."""
        return {
            "old": self.old.to_dict(),
            "new": self.new.to_dict(),
            "coverage": [asdict(one) for one in self.coverage],
            "is_ordinal": self.is_ordinal,
            "shared_keys": self.shared_keys,
            "is_paired": self.is_paired,
            "differences": {name: estimate.to_dict() for name, estimate in self.differences.items()},
            "headline": self.headline,
            "outcome": self.outcome,
            "is_misleading": self.is_misleading,
            "verdict": list(self.verdict),
            "resampling": asdict(self.resampling),
        }


def compare(
    old: tuple[Grades, Grades],
    new: tuple[Grades, Grades],
    is_ordinal: bool = False,
    resampling: Resampling | None = None,
) -> AgreementComparison:
    """Compare the agreement of two pairs of graders; a grader may be in both.

    Raises `ValueError` as `measure` does.
    """
    resampling = resampling or Resampling()
    four = (*old, *new)
    scale, codes = encode_labels(four, is_ordinal)
    labels = join_keys(four, codes).labels
    in_old, in_new = labelled_by_all(labels[:, :2]), labelled_by_all(labels[:, 2:])
    shared = int(np.count_nonzero(in_old & in_new))
    alone = [measure(pair, is_ordinal, resampling) for pair in (old, new)]
    before, after = (report.pairs[0] for report in alone)
    drawn = _drawn(labels[in_old | in_new], scale, is_ordinal, shared > 0, resampling)
    differences = _differences(before, after, drawn, resampling)
    misses = _miss_distance(before, after, drawn, resampling)
    headline = "cohen_kappa_quadratic" if is_ordinal else "cohen_kappa"
    is_misleading = _rises(differences["agreement"]) and any(_falls(differences[name]) for name in KAPPAS)
    outcome = _outcome(differences[headline])
    return AgreementComparison(
        old=before,
        new=after,
        coverage=tuple(dict.fromkeys(one for report in alone for one in report.coverage)),
        is_ordinal=is_ordinal,
        shared_keys=shared,
        is_paired=shared > 0,
        differences=differences,
        headline=headline,
        outcome=outcome,
        is_misleading=is_misleading,
        verdict=(
            *_direction(before, after, differences, misses),
            _certainty(differences[headline], headline, outcome, resampling.level),
        ),
        resampling=resampling,
    )


def _differences(
    before: PairAgreement, after: PairAgreement, drawn: Mapping[str, FloatArray], resampling: Resampling
) -> dict[str, Estimate]:
    """The differences of all figures; a figure that either pair lacks has none, for the same reason."""
    found = {}
    for name, earlier in before.figures.items():
        later = after.figures[name]
        if earlier.value is None or later.value is None:
            lacking, pair = (earlier, "old") if earlier.value is None else (later, "new")
            found[name] = Estimate.undefined(f"{pair} pair: {lacking.reason}")
            continue
        found[name] = interval_estimate(later.value - earlier.value, drawn[name], resampling, "undefined")
    return found


def _miss_distance(
    before: PairAgreement, after: PairAgreement, drawn: Mapping[str, FloatArray], resampling: Resampling
) -> Estimate:
    """The difference in how far labels lie apart where they differ."""
    was, now = _mean_miss(before), _mean_miss(after)
    if _MISS_DISTANCE not in drawn or was is None or now is None:
        return Estimate.undefined("labels without distances, or without a miss")
    return interval_estimate(now - was, drawn[_MISS_DISTANCE], resampling, "undefined")


def _mean_miss(pair: PairAgreement) -> float | None:
    confusion = np.array(pair.confusion)
    misses = confusion.sum() - np.trace(confusion)
    try:
        values = np.array(pair.labels, dtype=float)
    except ValueError:
        return None
    return float((confusion * np.abs(values[:, None] - values)).sum() / misses) if misses else None


def _drawn(
    labels: Codes, scale: LabelScale, is_ordinal: bool, is_paired: bool, resampling: Resampling
) -> Mapping[str, FloatArray]:
    """Replicates of every difference; `labels` of shape (units, 4), the old pair's first.

    Paired, the units of both pairs are drawn together, each pair looking at those that it labelled.
    """
    joint = Patterns.of(labels)
    old, new = labelled_by_all(joint.labels[:, :2]), labelled_by_all(joint.labels[:, 2:])
    if not old.any() or not new.any():
        return {}
    before = _statistics(joint.labels[old, :2], scale, is_ordinal)
    after = _statistics(joint.labels[new, 2:], scale, is_ordinal)
    if is_paired:
        together = {name: _difference(before[name], old, after[name], new) for name in before}
        return replicates(together, joint.draws(resampling, "comparison"))
    earlier = replicates(before, Patterns(joint.labels[old], joint.counts[old]).draws(resampling, "old pair"))
    later = replicates(after, Patterns(joint.labels[new], joint.counts[new]).draws(resampling, "new pair"))
    return {name: later[name] - earlier[name] for name in before}


def _statistics(labels: Codes, scale: LabelScale, is_ordinal: bool) -> dict[str, Statistic]:
    statistics = pair_statistics(labels, scale, is_ordinal)
    if scale.values is not None:
        statistics[_MISS_DISTANCE] = PairStatistics(labels, len(scale), scale.values).miss_distance
    return statistics


def _difference(before: Statistic, old: Mask, after: Statistic, new: Mask) -> Statistic:
    """The new pair's figure minus the old pair's, each over the patterns that it labelled."""
    return lambda weights: after(weights[:, new]) - before(weights[:, old])


def _surely_rises(difference: Estimate) -> bool:
    return difference.low is not None and difference.low > 0


def _surely_falls(difference: Estimate) -> bool:
    return difference.high is not None and difference.high < 0


def _rises(difference: Estimate) -> bool:
    return difference.value is not None and difference.value > 0


def _falls(difference: Estimate) -> bool:
    return difference.value is not None and difference.value < 0


def _outcome(difference: Estimate) -> Outcome:
    if difference.value is None:
        return "undefined"
    if difference.low is None or difference.high is None or difference.low <= 0 <= difference.high:
        return "undecided"
    return "better" if difference.low > 0 else "worse"


def _direction(before: PairAgreement, after: PairAgreement, differences: Figures, misses: Estimate) -> list[str]:
    """What raw agreement and the kappas do, and why, where they part."""
    raw = differences["agreement"]
    if raw.value is None:
        return [f"The pairs cannot be compared: {raw.reason}."]
    was, now = _percent(before, "agreement"), _percent(after, "agreement")
    moves = f"Raw agreement stays at {now}"
    if raw.value:
        moves = f"Raw agreement {'rises' if raw.value > 0 else 'falls'} from {was} to {now}"
    defined = {name: value for name in KAPPAS if (value := differences[name].value) is not None}
    if not defined:
        return [f"{moves}; kappa is undefined ({differences['cohen_kappa'].reason})."]
    falling = [name for name, value in defined.items() if value < 0]
    rising = [name for name, value in defined.items() if value > 0]
    if raw.value > 0 and falling:
        said = f"{moves}, but kappa falls {_weightings(falling, defined)}: {_named(falling, before, after)}."
        return [said, *_why_kappa_falls(before, after, differences, misses)]
    if raw.value < 0 and rising:
        said = f"{moves}, but kappa rises {_weightings(rising, defined)}: {_named(rising, before, after)}."
        return [said, *_why_kappa_rises(before, after, differences, misses)]
    return [f"{moves}; kappa: {_named(list(defined), before, after)}."]


def _why_kappa_falls(
    before: PairAgreement, after: PairAgreement, differences: Figures, misses: Estimate
) -> Iterator[str]:
    if _surely_rises(differences["chance_agreement"]):
        yield _piled_up(before, after)
        if _falls(differences["cohen_kappa"]):
            yield "The higher rate is no better agreement."
    if _surely_rises(misses):
        yield f"Labels match more often, but where they differ they lie further apart: {_miss_moves(before, after)}."


def _why_kappa_rises(
    before: PairAgreement, after: PairAgreement, differences: Figures, misses: Estimate
) -> Iterator[str]:
    if _surely_falls(differences["chance_agreement"]):
        yield (
            f"Less agreement is to be expected by chance ({_percent(after, 'chance_agreement')}, "
            f"{_percent(before, 'chance_agreement')} before), so that what remains of it says more."
        )
    if _surely_falls(misses):
        yield f"Labels match less often, but where they differ they lie nearer: {_miss_moves(before, after)}."


def _miss_moves(before: PairAgreement, after: PairAgreement) -> str:
    return f"{_mean_miss(after):.2f} apart on average ({_mean_miss(before):.2f} before)"


def _piled_up(before: PairAgreement, after: PairAgreement) -> str:
    """Which label the chance agreement grew by most: the product of the two graders' shares of it."""
    shares = [
        {
            label: (first / sum(pair.first_labels), second / sum(pair.second_labels))
            for label, first, second in zip(pair.labels, pair.first_labels, pair.second_labels, strict=True)
        }
        for pair in (before, after)
    ]

    def by_chance(pair: int, label: str) -> float:
        first, second = shares[pair].get(label, (0.0, 0.0))
        return first * second

    label = max(after.labels, key=lambda each: by_chance(1, each) - by_chance(0, each))
    was, now = (sum(shares[pair].get(label, (0.0, 0.0))) / 2 for pair in (0, 1))
    # Chance also grows where no label does: when the two graders come to use their labels alike.
    cause = "The two graders use their labels more alike"
    if now > was:
        cause = (
            f"The labels have piled up in one class: {label!r} is {100 * now:.1f} % of the labels "
            f"({100 * was:.1f} % before)"
        )
    return (
        f"{cause}, and two graders with such labels would agree on {_percent(after, 'chance_agreement')} of the rows "
        f"by chance alone ({_percent(before, 'chance_agreement')} before)."
    )


def _certainty(difference: Estimate, headline: str, outcome: Outcome, level: float) -> str:
    name = f"{KAPPAS[headline]} kappa"
    if outcome == "undefined":
        return f"The difference in {name} is undefined: {difference.reason}."
    if difference.low is None or difference.high is None:
        return f"The difference in {name} has no interval ({difference.reason}): nothing can be concluded from it."
    interval = f"{difference.value:+.4f}, {100 * level:g} % interval {difference.low:+.4f} to {difference.high:+.4f}"
    meaning = {
        "better": "the new pair agrees better beyond chance",
        "worse": "the new pair agrees less beyond chance",
        "undecided": "these rows do not tell the two pairs apart",
    }[outcome]
    return f"Difference in {name}: {interval}; {meaning}."


def _percent(pair: PairAgreement, name: str) -> str:
    value = pair.figures[name].value
    return "nothing" if value is None else f"{100 * value:.1f} %"


def _weightings(moving: list[str], defined: Mapping[str, float]) -> str:
    if len(defined) == 1:
        return "as well"
    return "on every weighting" if len(moving) == len(defined) else f"on {len(moving)} of {len(defined)} weightings"


def _named(names: list[str], before: PairAgreement, after: PairAgreement) -> str:
    return ", ".join(
        f"{KAPPAS[name]} {before.figures[name].value:.4f} to {after.figures[name].value:.4f}" for name in names
    )
