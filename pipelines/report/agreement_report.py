"""The report on graders who labelled the same rows: how far they agree, beyond chance, and where they do not.

Every figure comes from an `AgreementReport`; only shares of counts are computed here. `agreement_comparison_report`
sets two pairs of graders against each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.annotation.agreement import AgreementReport, Figures, PairAgreement, band
from pipelines.annotation.agreement_comparison import AgreementComparison
from pipelines.annotation.disagreements import Disagreement
from pipelines.annotation.key_join import Coverage
from pipelines.curation.bootstrap import Estimate
from pipelines.report.document import (
    Bars,
    Cell,
    Column,
    Example,
    Examples,
    Fact,
    Forest,
    Grid,
    HeatMap,
    Mark,
    Ruled,
    Section,
    Table,
    Tone,
    Verdict,
    common_scale,
    render,
)
from pipelines.report.method_note import interval_method
from pipelines.report.numbers import count_text, figure_text, in_words, plural, share_text

FIGURE_NAMES = {
    "agreement": "Agreement",
    "chance_agreement": "Agreement by chance",
    "cohen_kappa": "Cohen’s κ",
    "cohen_kappa_linear": "Cohen’s κ, linear weights",
    "cohen_kappa_quadratic": "Cohen’s κ, quadratic weights",
    "krippendorff_alpha_nominal": "Krippendorff’s α, nominal",
    "krippendorff_alpha_ordinal": "Krippendorff’s α, ordinal",
    "gwet_ac1": "Gwet’s AC1",
    "fleiss_kappa": "Fleiss’ κ",
    "mean_absolute_error": "Mean distance",
    "bias": "Bias (second minus first)",
    "spearman": "Spearman’s ρ",
}
# Figures in the unit of the labels have no scale of their own to be drawn on.
_UNSCALED = ("mean_absolute_error", "bias")
_OWN_SCALE = "Mean distance and bias, which are in the unit of the labels, are drawn on a scale of their own."
_TONES: dict[str, Tone] = {
    "Poor": "bad",
    "Slight": "bad",
    "Fair": "warning",
    "Moderate": "warning",
    "Substantial": "good",
    "Almost Perfect": "good",
}
_MOST_GRIDS = 6
# Pairs in columns; more of them are listed in rows, with the figures that matter most.
_MOST_COLUMNS = 4
_SHORT = ("agreement", "cohen_kappa", "cohen_kappa_quadratic", "krippendorff_alpha_ordinal", "gwet_ac1", "bias")
_MOST_LABELS = 40
_SHOWN_OF_A_KEY = 60  # characters


def agreement_report(
    report: AgreementReport, *, title: str = "Agreement", subtitle: str = "", facts: Sequence[Fact] = ()
) -> str:
    """The report as HTML, on two graders or more."""
    known = (
        Fact("Graders", count_text(len(report.graders))),
        Fact("Rows in common", count_text(report.common)),
        Fact("Labels", ("ordinal: " if report.is_ordinal else "") + count_text(len(report.labels))),
    )
    sections = list(agreement_sections(report))
    return render(title, sections, subtitle=subtitle, facts=(*known, *facts), kind="Agreement")


def agreement_sections(report: AgreementReport) -> Iterator[Section]:
    """The sections of the report in their order."""
    yield _in_short(report)
    compared = [pair for pair in report.pairs if pair.overlap.common]
    if report.overall and compared:
        yield _overall(report)
    if compared:
        yield _pair_table(report.pairs[0]) if len(report.pairs) == 1 else _pairs_table(report.pairs)
    yield _coverage_table(report.coverage, report.pairs)
    if report.labels:
        yield _labels(report)
    if compared and len(report.labels) <= _MOST_LABELS:
        yield _grids(compared)
    for pair in report.pairs:
        if pair.disagreements:
            yield _disagreements(pair, alone=len(report.pairs) == 1)
    yield interval_method(report.resampling, False, *_definitions(report.is_ordinal))


def _in_short(report: AgreementReport) -> Verdict:
    pairs = [pair for pair in report.pairs if pair.figures["agreement"].value is not None]
    if not pairs:
        reason = report.pairs[0].figures["agreement"].reason or "nothing to compare"
        return Verdict(
            "In short", f"Nothing could be compared: {reason}.", tuple(_warnings(report.coverage, True)), "bad"
        )
    worst = min(pairs, key=lambda pair: _or_last(pair.figures["cohen_kappa"].value))
    headline = f"{worst.first} and {worst.second} {agreement_in_words(worst)}."
    if len(report.pairs) > 1:
        headline = f"Of {len(report.pairs)} pairs the least agreed: {headline}"
    named = worst.bands.get("cohen_kappa")
    paragraphs = (
        *_kappa_in_words(worst),
        *_bias_in_words(worst),
        *_piled_in_words(report),
        *_warnings(report.coverage),
    )
    return Verdict("In short", headline, paragraphs, _TONES[named] if named else "neutral")


def _or_last(value: float | None) -> float:
    return float("inf") if value is None else value


def agreement_in_words(pair: PairAgreement) -> str:
    """`agree on 57.6 % (55.4-59.7 %) of 2,000 rows; chance alone would give 29.1 %`."""
    chance = pair.figures["chance_agreement"]
    alone = "" if chance.value is None else f"; chance alone would give {share_text(chance.value)}"
    agreement = in_words(pair.figures["agreement"], percent=True)
    return f"agree on {agreement} of {plural(pair.overlap.common, 'common row')}{alone}"


def _kappa_in_words(pair: PairAgreement) -> Iterator[str]:
    kappa = pair.figures["cohen_kappa"]
    if kappa.value is None:
        yield f"Cohen’s κ is undefined: {kappa.reason}."
        return
    words = f"Beyond chance that is a κ of {in_words(kappa)}, “{band(kappa.value)}”"
    if kappa.low is not None and kappa.high is not None and band(kappa.low) != band(kappa.high):
        words += f"; the interval reaches from “{band(kappa.low)}” to “{band(kappa.high)}”"
    quadratic = pair.figures["cohen_kappa_quadratic"]
    if quadratic.value is not None:
        words += f". When near misses count for less, κ is {in_words(quadratic)} (quadratic weights)"
    yield f"{words}."


def _bias_in_words(pair: PairAgreement) -> Iterator[str]:
    bias = pair.figures.get("bias")
    if bias is None or bias.low is None or bias.high is None or bias.low <= 0 <= bias.high:
        return
    yield f"{pair.second} grades {'higher' if bias.low > 0 else 'lower'} than {pair.first}, by {in_words(bias)}."


def _piled_in_words(report: AgreementReport) -> Iterator[str]:
    for name, counts in zip(report.graders, report.distributions, strict=True):
        total, largest = sum(counts), max(counts, default=0)
        if total and largest / total > 0.6 and len(report.labels) > 2:
            label = report.labels[counts.index(largest)]
            yield (
                f"{name} gave {share_text(largest / total)} of the rows the label “{label}”: with labels piled up like "
                "that, agreement says little and κ says more."
            )


def _warnings(coverage: Sequence[Coverage], is_headline: bool = False) -> Iterator[str]:
    """What stands in the way of comparing; `is_headline` says that what is missing has been told already."""
    for one in coverage:
        if one.missing and not is_headline:
            yield f"Nothing of {one.name} could be compared: {one.missing}."
        if one.measured:
            yield (
                f"{_how_many(one.measured, one)} hold grades of the static-analysis engine: they measure the form of a "
                "text by rules, and no model has read it."
            )
        if one.beside:
            yield (
                f"{_how_many(one.beside, one)} also hold a grade of the static-analysis engine; nothing beside the label "
                "tells who gave that."
            )
        if one.duplicate_keys:
            left = f", {count_text(one.conflicting_keys)} of them with labels that contradict each other and left out"
            yield (
                f"{one.name} has {plural(one.duplicate_keys, 'key')} more than once"
                f"{left if one.conflicting_keys else ''} (such as {_cut(one.duplicate_examples[0])})."
            )


def _cut(key: str) -> str:
    """A key on one line; often it is a whole text."""
    line = " ".join(key.split())
    return line if len(line) <= _SHOWN_OF_A_KEY else f"{line[:_SHOWN_OF_A_KEY]}…"


def _how_many(rows: int, one: Coverage) -> str:
    which = "The rows" if rows == one.rows else f"{count_text(rows)} of {plural(one.rows, 'row')}"
    return f"{which} of {one.name}"


def _overall(report: AgreementReport) -> Table:
    return _figure_table("All graders together", "Value", report.overall, report.overall_bands)


def _pair_table(pair: PairAgreement) -> Table:
    return _figure_table("Figures", f"{pair.first} and {pair.second}", pair.figures, pair.bands)


def _figure_table(title: str, column: str, figures: Figures, bands: Mapping[str, str]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, estimate in figures.items():
        drawn = "" if name in _UNSCALED else Forest((estimate,), (0.0, 1.0))
        named = bands.get(name)
        strength = Mark(named, _TONES[named]) if named else ""
        rows.append((FIGURE_NAMES.get(name, name), estimate, drawn, strength))
    columns = (Column("", numeric=False), Column(column), Column("0 to 1", numeric=False))
    return Table(title, (*columns, Column("Strength", numeric=False)), tuple(rows), notes=(BAND_NOTE,))


BAND_NOTE = (
    "Strength is the customary name of a coefficient (Landis and Koch 1977): below 0 Poor, below 0.2 Slight, below 0.4 "
    "Fair, below 0.6 Moderate, below 0.8 Substantial, else Almost Perfect. The limits are a convention."
)


def _pairs_table(pairs: Sequence[PairAgreement]) -> Table:
    names = dict.fromkeys(name for pair in pairs for name in pair.figures)
    if len(pairs) > _MOST_COLUMNS:
        names = dict.fromkeys(name for name in names if name in _SHORT)
        columns = (Column("", numeric=False), *(Column(FIGURE_NAMES.get(name, name)) for name in names))
        listed = tuple(
            (f"{pair.first} and {pair.second}", *(_ruled(name, pair.figures[name]) for name in names)) for pair in pairs
        )
        return Table("Every pair", columns, listed, notes=(BAND_NOTE, "The bars run from 0 to 1."))
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        estimates = tuple(pair.figures[name] for pair in pairs)
        scale = common_scale(estimates) if name in _UNSCALED else (0.0, 1.0)
        rows.append((FIGURE_NAMES.get(name, name), *estimates, Forest(estimates, scale)))
    columns = (Column("", numeric=False), *(Column(f"{pair.first} and {pair.second}") for pair in pairs))
    drawn = Column("The same from above, from 0 to 1", numeric=False)
    notes = (BAND_NOTE, _OWN_SCALE) if any(name in _UNSCALED for name in names) else (BAND_NOTE,)
    return Table("Every pair", (*columns, drawn), tuple(rows), notes=notes)


def _ruled(name: str, estimate: Estimate) -> Cell:
    return estimate if name in _UNSCALED else Ruled(estimate, (0.0, 1.0))


def _coverage_table(coverage: Sequence[Coverage], pairs: Sequence[PairAgreement]) -> Table:
    """What each grader labelled, and what is left to compare."""
    labels = ("Rows", "Without a label", "Keys", "Keys repeated", "Rows repeated", "Keys that contradict themselves")
    rows: list[tuple[Cell, ...]] = [
        (
            one.name,
            one.rows,
            one.unlabelled,
            one.keys,
            one.duplicate_keys,
            one.duplicate_rows,
            one.conflicting_keys,
        )
        for one in coverage
    ]
    notes = [
        f"{pair.first} and {pair.second}: {count_text(pair.overlap.common)} in common, "
        f"{count_text(pair.overlap.only_first)} only in {pair.first}, {count_text(pair.overlap.only_second)} only in "
        f"{pair.second}."
        for pair in pairs
    ]
    return Table(
        "Coverage",
        (Column("", numeric=False), *(Column(label) for label in labels)),
        tuple(rows),
        lead="Rows are compared where keys are equal. A repeated key counts once; one whose labels contradict each "
        "other does not count.",
        notes=tuple(notes),
    )


def _labels(report: AgreementReport) -> Bars:
    shown = range(len(report.labels))
    if len(report.labels) > _MOST_LABELS:
        totals = [sum(counts[k] for counts in report.distributions) for k in shown]
        shown = sorted(shown, key=lambda k: (-totals[k], k))[:_MOST_LABELS]  # type: ignore[assignment]
    left = len(report.labels) - len(shown)
    return Bars(
        "Labels",
        tuple(report.labels[k] for k in shown),
        report.graders,
        tuple(tuple(float(counts[k]) for k in shown) for counts in report.distributions),
        lead="How often each grader gave each label, over all its rows.",
        notes=(f"The {left} rarest labels are left out.",) if left else (),
    )


def _grids(pairs: Sequence[PairAgreement]) -> HeatMap:
    grids = tuple(
        Grid(
            f"{pair.first} and {pair.second}" if len(pairs) > 1 else "",
            pair.labels,
            tuple(tuple(float(count) for count in row) for row in pair.confusion),
            pair.first,
            pair.second,
        )
        for pair in pairs[:_MOST_GRIDS]
    )
    left = len(pairs) - len(grids)
    return HeatMap(
        "Who said what",
        grids,
        "Each line is what the second grader said of the rows to which the first gave one label. On the diagonal they "
        "agree. Colours show the share of the line.",
        (f"The grids of {plural(left, 'further pair')} are left out.",) if left else (),
    )


def _disagreements(pair: PairAgreement, alone: bool) -> Examples:
    title = "Rows worth reading" if alone else f"Rows worth reading: {pair.first} and {pair.second}"
    examples = tuple(_example(pair, one) for one in pair.disagreements)
    return Examples(title, examples, "Rows on which the two graders are furthest apart.")


def _example(pair: PairAgreement, one: Disagreement) -> Example:
    facts = [(pair.first, one.labels[0]), (pair.second, one.labels[1])]
    if one.difference is not None:
        facts.append(("Difference", figure_text(one.difference, 0 if one.difference == int(one.difference) else 2)))
    first, second = (count_text(position + 1) for position in one.positions)
    facts.append(("Row", first if first == second else f"{first} and {second}"))
    return Example(one.key, tuple(facts), _row_text(one.row), "bad")


def _row_text(row: Any) -> str:
    if row is None:
        return ""
    if isinstance(row, str):
        return row
    if isinstance(row, dict) and isinstance(row.get("text"), str):
        return str(row["text"])
    import json

    return json.dumps(row, ensure_ascii=False, indent=1)


def _definitions(is_ordinal: bool) -> Iterator[str]:
    yield (
        "κ, α and AC1 are 1 for full agreement and 0 for what chance would give; they differ in what they take for "
        "chance. Agreement by chance is Cohen’s: two graders with these label frequencies who answer at random."
    )
    if is_ordinal:
        yield "Mean distance and bias are in the unit of the labels."


def agreement_comparison_report(
    comparison: AgreementComparison,
    *,
    title: str = "Agreement, old against new",
    subtitle: str = "",
    facts: Sequence[Fact] = (),
) -> str:
    """The report as HTML on two pairs of graders side by side, with the differences and the verdict in words."""
    old, new = comparison.old, comparison.new
    pairs = (("Old pair", old), ("New pair", new))
    compared = [(name, pair) for name, pair in pairs if pair.overlap.common]
    sections: list[Section] = [_verdict(comparison)]
    if len(compared) == len(pairs):
        sections.append(_difference_table(comparison))
    sections.append(_coverage_table(comparison.coverage, (old, new)))
    if compared:
        sections += [_labels_of_pairs(compared), _grids_of_pairs(compared)]
    if new.disagreements:
        lead = "Rows on which the two graders of the new pair are furthest apart."
        examples = tuple(_example(new, one) for one in new.disagreements)
        sections.append(Examples("Rows worth reading: the new pair", examples, lead))
    drawn = "Both pairs were redrawn together, row by row" if comparison.is_paired else "Each pair was redrawn alone"
    method = f"{drawn}: they share {plural(comparison.shared_keys, 'key')}."
    sections.append(interval_method(comparison.resampling, False, method, *_definitions(comparison.is_ordinal)))
    known = [Fact(name, f"{pair.first} and {pair.second}") for name, pair in pairs]
    rows = [Fact(f"Rows, {name.lower()}", count_text(pair.overlap.common)) for name, pair in pairs]
    return render(title, sections, subtitle=subtitle, facts=(*known, *rows, *facts), kind="Agreement compared")


def _verdict(comparison: AgreementComparison) -> Verdict:
    tones: dict[str, Tone] = {"better": "good", "worse": "bad", "undecided": "neutral", "undefined": "neutral"}
    tone = tones[comparison.outcome]
    if comparison.is_misleading and tone != "bad":
        tone = "warning"
    headline, *others = comparison.verdict
    return Verdict(
        "In short", headline, (*others, *_warnings(comparison.coverage, comparison.outcome == "undefined")), tone
    )


def _difference_table(comparison: AgreementComparison) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, difference in comparison.differences.items():
        before, after = comparison.old.figures[name], comparison.new.figures[name]
        scale = common_scale((before, after)) if name in _UNSCALED else (0.0, 1.0)
        drawn = Forest((before, after), scale)
        rows.append((FIGURE_NAMES.get(name, name), before, after, drawn, difference, _judged(name, difference)))
    labels = (("", False), ("Old pair", True), ("New pair", True), ("Old above new, from 0 to 1", False))
    columns = tuple(Column(label, numeric) for label, numeric in (*labels, ("Difference", True), ("The new is", False)))
    return Table(
        "Side by side",
        columns,
        tuple(rows),
        notes=(
            "A difference counts when its interval does not hold 0. More raw agreement is not better agreement as such: "
            "the coefficients take off what chance gives.",
            *((_OWN_SCALE,) if comparison.is_ordinal else ()),
        ),
    )


def _judged(name: str, difference: Estimate) -> Cell:
    """In words what a difference means, for figures that have a better side."""
    if name in ("chance_agreement", "bias") or difference.low is None or difference.high is None:
        return ""
    if difference.low <= 0 <= difference.high:
        return Mark("undecided")
    rises = difference.low > 0
    if name == "agreement":
        return Mark("higher" if rises else "lower")
    is_better = rises != (name == "mean_absolute_error")
    return Mark("better", "good") if is_better else Mark("worse", "bad")


def _labels_of_pairs(pairs: Sequence[tuple[str, PairAgreement]]) -> Bars:
    names = _scale([label for _, pair in pairs for label in pair.labels])
    series, counts = [], []
    for name, pair in pairs:
        for grader, found in ((pair.first, pair.first_labels), (pair.second, pair.second_labels)):
            by_label = dict(zip(pair.labels, found, strict=True))
            series.append(f"{grader} ({name.lower()})")
            counts.append(tuple(float(by_label.get(label, 0)) for label in names))
    lead = "How often each grader gave each label, over the rows of its pair. Labels piled up in one class raise "
    return Bars("Labels", names, tuple(series), tuple(counts), lead=f"{lead}agreement by chance.")


def _scale(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels without repetition: by number where all are numbers, else as they come."""
    distinct = list(dict.fromkeys(labels))
    try:
        return tuple(sorted(distinct, key=float))
    except ValueError:
        return tuple(distinct)


def _grids_of_pairs(pairs: Sequence[tuple[str, PairAgreement]]) -> HeatMap:
    grids = tuple(
        Grid(name, pair.labels, tuple(tuple(map(float, row)) for row in pair.confusion), pair.first, pair.second)
        for name, pair in pairs
        if len(pair.labels) <= _MOST_LABELS
    )
    lead = "Each line is what the second grader said of the rows to which the first gave one label."
    return HeatMap("Who said what", grids, lead)
