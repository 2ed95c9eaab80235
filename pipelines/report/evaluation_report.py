"""The report on one classifier, or on several side by side, over the same rows.

Decides what is shown and says what it means in words; every number comes from a `ClassificationReport` or a
`ModelComparison`, and none is computed here beyond shares of counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.curation.bootstrap import Estimate
from pipelines.curation.classification_report import ClassificationReport, ClassReport
from pipelines.curation.model_comparison import Difference, ModelComparison
from pipelines.curation.reliability import Reliability
from pipelines.report import plots
from pipelines.report.document import (
    SERIES_COLOURS,
    Bars,
    Cell,
    Column,
    Example,
    Examples,
    Fact,
    Figure,
    Forest,
    Grid,
    HeatMap,
    KeyFigures,
    Legend,
    Mark,
    Plot,
    Plots,
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

# More curves in one plot, or plots in one section, than this can no longer be told apart.
_MOST_CLASSES = 6
_MOST_BARS = 40
_MOST_GRID = 40
# A calibration error that is surely above this is worth a sentence.
_MISCALIBRATED = 0.02


@dataclass(frozen=True, slots=True)
class RowToRead:
    """A row that was judged wrongly: `place` is its shard and line."""

    place: str
    truth: str
    predicted: str
    probability: float
    text: str


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A model's name, its figures, and its most confident mistakes."""

    name: str
    report: ClassificationReport
    mistakes: tuple[RowToRead, ...] = ()


def evaluation_report(
    models: Sequence[EvaluatedModel],
    *,
    title: str,
    subtitle: str = "",
    facts: Sequence[Fact] = (),
    comparison: ModelComparison | None = None,
) -> str:
    """The report as HTML; `comparison` is that of the first two models. Raises ValueError without a model."""
    if not models:
        raise ValueError("an evaluation report needs at least one model")
    rows = Fact("Rows", count_text(models[0].report.rows))
    classes = Fact("Classes", count_text(len(models[0].report.classes)))
    sections = list(evaluation_sections(models, comparison))
    kind = "Evaluation" if len(models) == 1 else "Evaluation side by side"
    return render(title, sections, subtitle=subtitle, facts=(rows, classes, *facts), kind=kind)


def evaluation_sections(
    models: Sequence[EvaluatedModel], comparison: ModelComparison | None = None
) -> Iterator[Section]:
    """The sections of the report in their order."""
    first = models[0].report
    yield _in_short(models, comparison)
    yield _key_figures(first) if len(models) == 1 else figures_side_by_side(models)
    if comparison is not None:
        yield difference_table(models[0].name, models[1].name, comparison)
    yield _distribution(models)
    yield _class_table(models[0]) if len(models) == 1 else _classes_side_by_side(models)
    grids = _grids(models)
    if grids:
        yield HeatMap(
            "Confusion",
            grids,
            "Each line is what became of the rows of one true class: on the diagonal what was found, beside it what "
            "it was taken for. Colours show the share of the line.",
        )
    yield _curves(models)
    yield _calibration(models)
    yield _histograms(models)
    for model in models:
        if model.mistakes:
            yield _mistakes(model, alone=len(models) == 1)
    yield interval_method(first.resampling, first.approximate, *_definitions(first))


def _in_short(models: Sequence[EvaluatedModel], comparison: ModelComparison | None) -> Verdict:
    if comparison is not None and len(models) > 1:
        tone, headline, paragraphs = compared_in_words(models[0].name, models[1].name, comparison)
        return Verdict("In short", headline, paragraphs, tone)
    report = models[0].report
    tone, headline = _accuracy_in_words(report)
    paragraphs = (*_weakest_in_words(report), *_confidence_in_words(report), *report.notes)
    return Verdict("In short", headline, paragraphs, tone)


def _accuracy_in_words(report: ClassificationReport) -> tuple[Tone, str]:
    accuracy = in_words(report.accuracy, percent=True)
    if report.multi_label:
        return "neutral", f"All labels right on {accuracy} of {plural(report.rows, 'row')}."
    total = sum(one.support for one in report.per_class)
    largest = max(report.per_class, key=lambda one: one.support)
    baseline = largest.support / total
    headline = f"Right on {accuracy} of {plural(report.rows, 'row')}"
    always = f"always answering “{largest.name}” would be right on {share_text(baseline)}"
    if report.accuracy.low is not None and report.accuracy.low > baseline:
        return "good", f"{headline}; {always}."
    return "bad", f"{headline}, which is not surely more than a model without any skill: {always}."


def _weakest_in_words(report: ClassificationReport) -> Iterator[str]:
    known = [one for one in report.per_class if one.f1.value is not None]
    if len(known) < 2:
        return
    weakest, best = (pick(known, key=lambda one: one.f1.value or 0.0) for pick in (min, max))
    if weakest.f1.value == best.f1.value:
        return
    yield (
        f"The weakest class is “{weakest.name}” with an F1 of {in_words(weakest.f1)} on "
        f"{plural(weakest.support, 'row')}, the best “{best.name}” with {in_words(best.f1)}."
    )


def _confidence_in_words(report: ClassificationReport) -> Iterator[str]:
    error = report.calibration.error
    if error.value is None:
        return
    said, right = confidence(report.calibration)
    if error.low is not None and error.low > _MISCALIBRATED:
        much = "too sure of itself" if said > right else "less sure than it could be"
        yield (
            f"It is {much}: its answers carry a mean probability of {figure_text(said)} and {share_text(right)} of "
            f"them are right (calibration error {in_words(error, brackets=False)}). A calibration would help."
        )
    else:
        yield f"Its probabilities can be taken at their word: calibration error {in_words(error)}."


def confidence(reliability: Reliability) -> tuple[float, float]:
    """The mean prediction and the mean outcome over all bins."""
    total = sum(one.rows for one in reliability.bins)
    said = sum(one.rows * one.predicted for one in reliability.bins) / total
    return said, sum(one.rows * one.observed for one in reliability.bins) / total


def compared_in_words(first: str, second: str, comparison: ModelComparison) -> tuple[Tone, str, tuple[str, ...]]:
    """A tone, a headline and sentences on what the differences between two models amount to."""
    by_verdict: dict[str, list[Difference]] = {"better": [], "worse": [], "undecided": []}
    for difference in comparison.differences:
        by_verdict[difference.verdict].append(difference)
    better, worse = by_verdict["better"], by_verdict["worse"]
    sentences = tuple(_differences_in_words(kind, ones) for kind, ones in by_verdict.items() if ones)
    if better and not worse:
        return "good", f"{second} is better than {first}.", sentences
    if worse and not better:
        return "bad", f"{second} is worse than {first}.", sentences
    if better and worse:
        return "warning", f"{second} is better than {first} in some figures and worse in others.", sentences
    return "neutral", f"These {plural(comparison.rows, 'row')} do not show that {first} and {second} differ.", sentences


def _differences_in_words(verdict: str, differences: Sequence[Difference]) -> str:
    by = "" if verdict == "undecided" else "by "
    parts = [f"{one.name} {by}{in_words(one.difference)}" for one in differences]
    return f"{verdict.capitalize()}: {', '.join(parts)}."


def _key_figures(report: ClassificationReport) -> KeyFigures:
    accuracy = "all labels of a row" if report.multi_label else "the same as P@1 and R@1"
    figures = [Figure("Accuracy", report.accuracy, accuracy, percent=True)]
    if report.multi_label:
        figures += [
            Figure("Precision at 1", report.precision_at_1),
            Figure("Recall at 1", report.recall_at_1),
            Figure("Micro F1", report.micro.f1),
        ]
    figures += [
        Figure("Macro F1", report.macro.f1, "mean over classes"),
        Figure("ROC AUC", report.roc_auc, "mean over classes; 0.5 is chance", scale=(0.5, 1.0)),
        Figure("Average precision", report.average_precision, "mean over classes"),
        Figure("Calibration error", report.calibration.error, "0 is best", scale=(0.0, 0.25)),
        Figure("Brier score", report.brier, "0 is best", scale=(0.0, 1.0)),
    ]
    return KeyFigures("Key figures", tuple(figures))


def figures_side_by_side(models: Sequence[EvaluatedModel]) -> Table:
    """One line per figure, one column per model, each line on a scale of its own."""
    lines: list[tuple[str, list[Estimate]]] = [
        ("Accuracy", [model.report.accuracy for model in models]),
        ("Macro precision", [model.report.macro.precision for model in models]),
        ("Macro recall", [model.report.macro.recall for model in models]),
        ("Macro F1", [model.report.macro.f1 for model in models]),
        ("Weighted F1", [model.report.weighted_average.f1 for model in models]),
        ("Macro ROC AUC", [model.report.roc_auc for model in models]),
        ("Macro average precision", [model.report.average_precision for model in models]),
        ("Brier score (0 is best)", [model.report.brier for model in models]),
        ("Calibration error (0 is best)", [model.report.calibration.error for model in models]),
    ]
    return Table(
        "Figures side by side",
        (
            Column("", numeric=False),
            *(Column(model.name) for model in models),
            Column("From above: " + ", ".join(model.name for model in models), numeric=False),
        ),
        tuple((name, *estimates, Forest(tuple(estimates), common_scale(estimates))) for name, estimates in lines),
        notes=("The bars of one line share a scale; those of different lines do not.",),
    )


def difference_table(first: str, second: str, comparison: ModelComparison) -> Table:
    """The paired differences with their verdicts."""
    tones: dict[str, Tone] = {"better": "good", "worse": "bad", "undecided": "neutral"}
    rows: list[tuple[Cell, ...]] = [
        (
            one.name[0].upper() + one.name[1:],
            one.first,
            one.second,
            one.difference,
            Mark(one.verdict, tones[one.verdict]),
        )
        for one in comparison.differences
    ]
    return Table(
        "Differences",
        (
            Column("", numeric=False),
            Column(first),
            Column(second),
            Column("Difference"),
            Column(f"{second} is", numeric=False),
        ),
        tuple(rows),
        lead="Both models saw the same rows, and the rows were redrawn for both at once. A difference counts when its "
        "interval does not hold 0.",
    )


def _distribution(models: Sequence[EvaluatedModel]) -> Bars:
    report = models[0].report
    shown = sorted(range(len(report.classes)), key=lambda k: -report.per_class[k].support)[:_MOST_BARS]
    shown = sorted(shown) if len(report.classes) <= _MOST_BARS else shown
    counts = [tuple(report.per_class[k].support for k in shown)]
    counts += [tuple(model.report.per_class[k].predicted for k in shown) for model in models]
    said = ("predicted",) if len(models) == 1 else tuple(f"predicted by {model.name}" for model in models)
    left = len(report.classes) - len(shown)
    return Bars(
        "Labels",
        tuple(report.classes[k] for k in shown),
        ("truth", *said),
        tuple(counts),
        (SERIES_COLOURS - 1, *range(len(models))),
        lead="How often each label is true, and how often it was predicted.",
        notes=(f"The {left} rarest labels are left out.",) if left else (),
    )


def _class_table(model: EvaluatedModel) -> Table:
    columns = ("", "Rows", "Precision", "Recall", "F1", "ROC AUC", "Average precision")
    report = model.report
    lines = [
        (one.name, one.support, (one.precision, one.recall, one.f1, one.roc_auc, one.average_precision))
        for one in report.per_class
    ]
    total = sum(one.support for one in report.per_class)
    macro, weighted, micro = report.macro, report.weighted_average, report.micro
    averages: list[tuple[str, float, tuple[Estimate | None, ...]]] = [
        (
            "Macro average",
            total,
            (macro.precision, macro.recall, macro.f1, report.roc_auc, report.average_precision),
        ),
        ("Weighted average", total, (weighted.precision, weighted.recall, weighted.f1, None, None)),
        ("Micro average", total, (micro.precision, micro.recall, micro.f1, None, None)),
    ]
    scales = [common_scale([line[2][i] for line in lines]) for i in range(5)]

    def cells(name: str, rows: float, estimates: Sequence[Estimate | None]) -> tuple[Cell, ...]:
        ruled = [Ruled(one, scale) if one else "" for one, scale in zip(estimates, scales, strict=True)]
        return (name, count_text(rows), *ruled)

    return Table(
        "Every class",
        tuple(Column(label, numeric=bool(label)) for label in columns),
        tuple(cells(*line) for line in lines),
        tuple(cells(*line) for line in averages),
        notes=("The bars of one column share a scale; those of different columns do not.",),
    )


def _classes_side_by_side(models: Sequence[EvaluatedModel]) -> Table:
    columns = [Column("", numeric=False), Column("Rows"), *(Column(f"F1, {model.name}") for model in models)]
    columns += [Column("", numeric=False), *(Column(f"ROC AUC, {model.name}") for model in models)]
    of_classes = list(zip(*(model.report.per_class for model in models), strict=True))
    scale = common_scale([one.f1 for of_class in of_classes for one in of_class])
    rows: list[tuple[Cell, ...]] = []
    for of_class in of_classes:
        f1s = tuple(one.f1 for one in of_class)
        support = count_text(of_class[0].support)
        rows.append((of_class[0].name, support, *f1s, Forest(f1s, scale), *(one.roc_auc for one in of_class)))
    return Table(
        "Every class",
        tuple(columns),
        tuple(rows),
        notes=("The bars show the F1 of every class and model on one scale.",),
    )


def _grids(models: Sequence[EvaluatedModel]) -> tuple[Grid, ...]:
    return tuple(
        Grid(model.name if len(models) > 1 else "", model.report.classes, model.report.confusion, "truth", "predicted")
        for model in models
        if model.report.confusion is not None and len(model.report.classes) <= _MOST_GRID
    )


def _shown_classes(report: ClassificationReport) -> list[int]:
    """The classes worth a curve: the most frequent with rows of both kinds, in their order; of two the rarer one."""
    known = [k for k, one in enumerate(report.per_class) if one.roc.x]
    known.sort(key=lambda k: (-report.per_class[k].support, k))
    if len(report.classes) == 2 and len(known) == 2 and not report.multi_label:
        return known[1:]
    return sorted(known[:_MOST_CLASSES])


def _curves(models: Sequence[EvaluatedModel]) -> Plots:
    report = models[0].report
    shown = _shown_classes(report)
    if len(models) == 1:
        of = f": “{report.classes[shown[0]]}”" if len(shown) == 1 else ""
        groups = [(of, [report.classes[k] for k in shown], [report.per_class[k] for k in shown])]
    else:
        names = [model.name for model in models]
        groups = [(f": “{report.classes[k]}”", names, [model.report.per_class[k] for model in models]) for k in shown]
    return Plots(
        "Ranking",
        (*(_roc_plot(*group) for group in groups), *(_precision_plot(*group) for group in groups)),
        lead="How well the probabilities put rows of a class before all others, whatever threshold is chosen later. "
        "Legends give the area under the ROC curve (its dotted line is chance) and the average precision.",
        notes=_left_out(len(shown), report),
    )


def _left_out(shown: int, report: ClassificationReport) -> tuple[str, ...]:
    if len(report.classes) <= max(shown, 2):
        return ()
    return (f"Shown are the {shown} most frequent of {len(report.classes)} classes.",)


def _roc_plot(of: str, names: Sequence[str], classes: Sequence[ClassReport]) -> Plot:
    lines = [plots.Line(one.roc.x, one.roc.y, i) for i, one in enumerate(classes)]
    description = f"ROC curve of {', '.join(names)}{of}"
    svg = plots.curve_plot(lines, "false-positive rate", "true-positive rate", description, diagonal=True)
    return Plot(f"ROC curve{of}", svg, legend=_value_legend(names, [one.roc_auc for one in classes]))


def _precision_plot(of: str, names: Sequence[str], classes: Sequence[ClassReport]) -> Plot:
    lines = [plots.Line(one.precision_recall.x, one.precision_recall.y, i) for i, one in enumerate(classes)]
    description = f"Precision-recall curve of {', '.join(names)}{of}"
    svg = plots.curve_plot(lines, "recall", "precision", description, steps=True)
    legend = _value_legend(names, [one.average_precision for one in classes])
    return Plot(f"Precision and recall{of}", svg, legend=legend)


def _value_legend(names: Sequence[str], estimates: Sequence[Estimate]) -> tuple[Legend, ...]:
    return tuple(
        Legend(f"{name} {figure_text(estimate.value)}" if len(names) > 1 else figure_text(estimate.value), i)
        for i, (name, estimate) in enumerate(zip(names, estimates, strict=True))
    )


def reliability_line(reliability: Reliability, series: int) -> plots.Line:
    """The bins of a calibration curve as points with limits."""
    bins = reliability.bins
    return plots.Line(
        tuple(one.predicted for one in bins),
        tuple(one.observed for one in bins),
        series,
        tuple(one.observed_low for one in bins),
        tuple(one.observed_high for one in bins),
    )


def _calibration(models: Sequence[EvaluatedModel]) -> Plots:
    report = models[0].report
    made = [
        Plot(
            "The answer given",
            plots.reliability_plot(
                [reliability_line(model.report.calibration, i) for i, model in enumerate(models)],
                "probability of the answer",
                "share right",
                "Reliability diagram of the most probable class",
            ),
            legend=_error_legend([(model.name, model.report.calibration) for model in models]),
        )
    ]
    shown = _shown_classes(report)
    for k in shown:
        of_class = [(model.name, model.report.per_class[k].reliability) for model in models]
        made.append(
            Plot(
                f"“{report.classes[k]}”",
                plots.reliability_plot(
                    [reliability_line(reliability, i) for i, (_, reliability) in enumerate(of_class)],
                    "probability given",
                    "share of the class",
                    f"Reliability diagram of the class {report.classes[k]}",
                ),
                legend=_error_legend(of_class),
            )
        )
    return Plots(
        "Calibration",
        tuple(made),
        lead="Whether a probability of 0.8 means that 8 in 10 are right: below the dotted line the model is too sure, "
        "above it not sure enough. Points are bins of equal width with the Wilson interval of what was observed; "
        "legends give the expected calibration error.",
        notes=_left_out(len(shown), report),
    )


def _error_legend(of: Sequence[tuple[str, Reliability]]) -> tuple[Legend, ...]:
    return tuple(
        Legend(f"{name}: {in_words(reliability.error)}" if len(of) > 1 else in_words(reliability.error), i)
        for i, (name, reliability) in enumerate(of)
    )


def _histograms(models: Sequence[EvaluatedModel]) -> Plots:
    report = models[0].report
    shown = _shown_classes(report)
    made = []
    for k in shown:
        for model in models:
            name, histogram = report.classes[k], model.report.per_class[k].histogram
            made.append(
                Plot(
                    f"“{name}”" if len(models) == 1 else f"“{name}”, {model.name}",
                    plots.score_histogram(
                        histogram.of_class, histogram.of_others, f"Histogram of the probability of {name}"
                    ),
                    "",
                    (Legend(f"rows of “{name}”", 0), Legend("all others", 1)),
                )
            )
    return Plots(
        "Scores",
        tuple(made),
        lead="The probability that rows of a class were given, and that all other rows were given. The less the two "
        "overlap, the easier it is to choose a threshold.",
        notes=_left_out(len(shown), report),
    )


def _mistakes(model: EvaluatedModel, alone: bool) -> Examples:
    examples = tuple(
        Example(
            row.place,
            (("Truth", row.truth), ("Predicted", row.predicted), ("Probability", figure_text(row.probability))),
            row.text,
            "bad",
        )
        for row in model.mistakes
    )
    return Examples(
        "Rows worth reading" if alone else f"Rows worth reading: {model.name}",
        examples,
        "The mistakes the model is most sure of. They are where labels are wrong, or where the model misses something.",
    )


def _definitions(report: ClassificationReport) -> Iterator[str]:
    yield (
        "Macro averages are plain means over the classes that occur in the truth, weighted ones weigh by the number "
        "of rows. A class that occurs and is never predicted counts with precision 0. A dash stands for a figure that "
        "these rows leave undefined, with the reason."
    )
    brier = "halved, for two classes: from 0 to 1" if len(report.classes) == 2 else "summed over classes: from 0 to 2"
    yield (
        f"The Brier score is the mean squared error of the probabilities ({brier}). The calibration error is the mean "
        f"gap between probability and share right over {_bins(report)} bins of equal width; as noise can only raise "
        "it, its interval is made wider on the lower side."
    )
    if report.multi_label:
        yield "A label is predicted when its probability is at least 0.5; P@1 and R@1 look at the most probable label."
    if report.weighted:
        yield "Rows carry weights: numbers of rows in tables are sums of weights."


def _bins(report: ClassificationReport) -> int:
    one = report.calibration.bins[0]
    return round(1 / (one.high - one.low))
