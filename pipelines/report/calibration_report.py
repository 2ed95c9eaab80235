"""The report on a calibration: the map that was fitted, and what it does to the agreement of scores with labels.

Every figure comes from a `CalibrationReport`; the map is drawn from the fitted `Calibration` itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actors.calibration import Calibration, IsotonicCalibration
from pipelines.curation.bootstrap import Estimate
from pipelines.curation.calibration import CalibrationReport, jq_program
from pipelines.report import plots
from pipelines.report.document import (
    Cell,
    Code,
    Column,
    Fact,
    Forest,
    Legend,
    Plot,
    Plots,
    Prose,
    Section,
    Table,
    Tone,
    Verdict,
    common_scale,
    render,
)
from pipelines.report.evaluation_report import reliability_line
from pipelines.report.method_note import interval_method
from pipelines.report.numbers import count_text, figure_text, in_words

_MAP_POINTS = 101


def calibration_report(
    after: CalibrationReport,
    *,
    title: str,
    before: CalibrationReport | None = None,
    calibration: Calibration | None = None,
    source: str = ".",
    facts: Sequence[Fact] = (),
) -> str:
    """The report as HTML; `before` is the same evaluation of the raw scores, `source` the jq path of the inputs."""
    sections: list[Section] = [_in_short(before, after), _figures(before, after), _reliability(before, after)]
    if calibration is not None:
        sections += _fitted(calibration, source)
    regression = after.regression
    sections.append(
        interval_method(
            regression.resampling,
            regression.approximate,
            "Calibration error and Brier score are on the scale of the labels mapped to 0..1; MAE is in their own "
            "unit. The calibration error is the mean gap between score and label over bins of equal width; as noise "
            "can only raise it, its interval is made wider on the lower side.",
        )
    )
    low, high = after.score_range
    known = (Fact("Rows", count_text(regression.rows)), Fact("Scale", f"{low:g} to {high:g}"))
    return render(title, sections, facts=(*known, *facts), kind="Calibration")


def _in_short(before: CalibrationReport | None, after: CalibrationReport) -> Verdict:
    error = after.reliability.error
    ranks = f"Scores and labels have a rank correlation of {in_words(after.regression.spearman)}"
    ranks += "." if before is None else f", before of {in_words(before.regression.spearman)}."
    if before is None:
        return Verdict("In short", f"The calibration error is {in_words(error)}.", (ranks,))
    was = before.reliability.error
    tone, conclusion = _conclusion(was, error)
    headline = f"The calibration error goes from {in_words(was)} to {in_words(error)}: {conclusion}."
    return Verdict("In short", headline, (ranks,), tone)


def _conclusion(was: Estimate, now: Estimate) -> tuple[Tone, str]:
    if was.low is not None and now.high is not None and now.high < was.low:
        return "good", "the calibration helps"
    if was.high is not None and now.low is not None and now.low > was.high:
        return "bad", "the calibration does harm"
    return "neutral", "these rows do not show that it helps"


def _figures(before: CalibrationReport | None, after: CalibrationReport) -> Table:
    def figures(one: CalibrationReport) -> list[Estimate]:
        regression = one.regression
        return [one.reliability.error, one.brier, regression.mae, regression.rmse, regression.bias, regression.spearman]

    names = ("Calibration error", "Brier score", "MAE", "RMSE", "Bias", "Spearman")
    if before is None:
        alone: list[tuple[Cell, ...]] = list(zip(names, figures(after), strict=True))
        return Table("Figures", (Column("", numeric=False), Column("Value")), tuple(alone))
    rows: list[tuple[Cell, ...]] = [
        (name, was, now, Forest((was, now), common_scale((was, now))))
        for name, was, now in zip(names, figures(before), figures(after), strict=True)
    ]
    labels = (("", False), ("Before", True), ("After", True), ("From above: before, after", False))
    columns = tuple(Column(label, numeric) for label, numeric in labels)
    return Table("Figures", columns, tuple(rows), notes=("The bars of one line share a scale.",))


def _reliability(before: CalibrationReport | None, after: CalibrationReport) -> Plots:
    named = [("after", after)] if before is None else [("before", before), ("after", after)]
    lines = [reliability_line(one.reliability, i) for i, (_, one) in enumerate(named)]
    legend = tuple(Legend(f"{name}: {in_words(one.reliability.error)}", i) for i, (name, one) in enumerate(named))
    svg = plots.reliability_plot(lines, "score, mapped to 0..1", "mean label, mapped to 0..1", "Reliability diagram")
    return Plots(
        "Reliability",
        (Plot("Scores against labels", svg, legend=legend),),
        lead="On the dotted line a score means what it says. Points are bins of equal width with an interval of the "
        "mean label; the legend gives the expected calibration error.",
    )


def _fitted(calibration: Calibration, source: str) -> list[Section]:
    sections: list[Section] = []
    if len(calibration.inputs) == 1:
        grid = np.linspace(0, 1, _MAP_POINTS)
        svg = plots.map_plot(grid.tolist(), calibration.predict(grid).tolist(), "input", "score", "The fitted map")
        plot = Plot(f"{calibration.kind.capitalize()} map", svg, f"What becomes of “{calibration.inputs[0]}”.")
        sections.append(Plots("The map", (plot,)))
    if not isinstance(calibration, IsotonicCalibration):
        rows: list[tuple[Cell, ...]] = [
            (Code(name), figure_text(coefficient, 6))
            for name, coefficient in zip(calibration.inputs, calibration.coefficients, strict=True)
        ]
        sections.append(
            Table(
                "Coefficients",
                (Column("Input", numeric=False), Column("Coefficient")),
                tuple(rows),
                (("Intercept", figure_text(calibration.intercept, 6)),),
            )
        )
    program = jq_program(calibration, source)
    if program is not None:
        sections.append(Prose("As a jq program", ("The same map, for any tool that takes jq:", Code(program))))
    return sections
