"""The report on a whole run from raw rows to evaluated classifiers: what each step did, and what came of it.

Puts together what the steps reported; measures nothing itself. Times are shown where given, and make two reports of
the same work differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.curation.model_comparison import ModelComparison
from pipelines.report.document import (
    Bars,
    Cell,
    Code,
    Column,
    Examples,
    Fact,
    Figure,
    KeyFigures,
    Prose,
    Section,
    Table,
    Verdict,
    render,
)
from pipelines.report.evaluation_report import (
    EvaluatedModel,
    compared_in_words,
    difference_table,
    evaluation_sections,
    figures_side_by_side,
)
from pipelines.report.numbers import figure_text, in_words, plural

# Sections of the full evaluation that a summary repeats; the rest is in the reports of the models.
_REPEATED = ("Confusion", "Ranking", "Calibration", "How the figures were made")


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the run. Rows that a step does not have (training has none) are None."""

    name: str
    rows_in: int | None = None
    rows_out: int | None = None
    filtered: int | None = None
    quarantined: int | None = None
    seconds: float | None = None
    command: str = ""


@dataclass(frozen=True, slots=True)
class NextStep:
    """Something to try next: why, and the command."""

    reason: str
    command: str


def quickstart_report(
    steps: Sequence[Step],
    labels: Mapping[str, Mapping[str, float]],
    models: Sequence[EvaluatedModel],
    *,
    title: str = "Quickstart",
    subtitle: str = "",
    facts: Sequence[Fact] = (),
    comparison: ModelComparison | None = None,
    next_steps: Sequence[NextStep] = (),
) -> str:
    """The report as HTML. `labels` are rows per split and label; `comparison` is that of the first two models."""
    sections: list[Section] = [_in_short(steps, models, comparison), _step_table(steps)]
    if labels:
        sections.append(_labels(labels))
    sections += _evaluations(models, comparison)
    if next_steps:
        sections.append(_next(next_steps))
    if models:
        sections += [one for one in evaluation_sections(models, comparison) if one.title == _REPEATED[-1]]
    return render(title, sections, subtitle=subtitle, facts=facts, kind="Run summary")


def _in_short(steps: Sequence[Step], models: Sequence[EvaluatedModel], comparison: ModelComparison | None) -> Verdict:
    lost = sum(step.quarantined or 0 for step in steps)
    rows = next((step.rows_in or step.rows_out for step in steps if step.rows_in or step.rows_out), None)
    begun = f"from {plural(rows, 'row')} " if rows else ""
    headline = f"{plural(len(steps), 'step')} took you {begun}to {plural(len(models), 'evaluated classifier')}."
    paragraphs = [
        f"{plural(lost, 'row')} could not be processed and lie in quarantine with the reason."
        if lost
        else "No row was lost on the way: rows in are rows out, filtered and quarantined."
    ]
    paragraphs += [
        f"{one.name} is right on {in_words(one.report.accuracy, percent=True)} of "
        f"{plural(one.report.rows, 'test row')}."
        for one in models
    ]
    if comparison is not None and len(models) > 1:
        paragraphs.append(compared_in_words(models[0].name, models[1].name, comparison)[1])
    return Verdict("In short", headline, tuple(paragraphs), "good" if models and not lost else "neutral")


def _step_table(steps: Sequence[Step]) -> Table:
    timed = any(step.seconds is not None for step in steps)
    columns = [Column("Step", numeric=False), Column("Rows in"), Column("Rows out"), Column("Filtered")]
    columns += [Column("Quarantined"), *([Column("Seconds")] if timed else [])]
    rows: list[tuple[Cell, ...]] = []
    for step in steps:
        numbers = (step.rows_in, step.rows_out, step.filtered, step.quarantined)
        cells: list[Cell] = [Code(step.name), *numbers]
        if timed:
            cells.append(None if step.seconds is None else figure_text(step.seconds, 1))
        rows.append(tuple(cells))
    return Table("Steps", tuple(columns), tuple(rows))


def _labels(labels: Mapping[str, Mapping[str, float]]) -> Bars:
    names = tuple(dict.fromkeys(name for of_split in labels.values() for name in of_split))
    counts = tuple(tuple(float(of_split.get(name, 0)) for name in names) for of_split in labels.values())
    return Bars("Labels", names, tuple(labels), counts, lead="The rows of each label that the classifiers learnt from.")


def _evaluations(models: Sequence[EvaluatedModel], comparison: ModelComparison | None) -> list[Section]:
    if not models:
        return []
    sections: list[Section] = []
    if len(models) > 1:
        sections.append(figures_side_by_side(models))
        if comparison is not None:
            sections.append(difference_table(models[0].name, models[1].name, comparison))
    else:
        report = models[0].report
        figures = (Figure("Accuracy", report.accuracy, percent=True), Figure("Macro F1", report.macro.f1))
        sections.append(KeyFigures("The classifier", (*figures, Figure("ROC AUC", report.roc_auc, scale=(0.5, 1.0)))))
    for section in evaluation_sections(models, comparison):
        if section.title in _REPEATED[:-1] or isinstance(section, Examples):
            sections.append(section)
    return sections


def _next(next_steps: Sequence[NextStep]) -> Prose:
    parts = [part for step in next_steps for part in (step.reason, Code(step.command))]
    return Prose("What to try next", tuple(parts))
