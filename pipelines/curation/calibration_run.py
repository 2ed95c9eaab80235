"""Fitting and judging a calibration over a dataset, from the numbers that a pass kept.

All numbers are held in memory: 8 bytes for each row and column.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from actors.calibration import Calibration, calibration_from_dict, calibration_to_dict
from actors.scored_rows import number_rows
from cluster.errors import GristmillError
from cluster.ledger import Chunks, Pass
from pipelines.curation.calibration import (
    CalibrationReport,
    evaluate_calibration,
    fit_calibration,
    jq_program,
    stretched,
)
from pipelines.report.calibration_report import calibration_report

CALIBRATION = "calibration.json"


class NotCalibratable(GristmillError):
    """The numbers of the dataset do not allow a calibration; the message says why."""


def _columns(step: Pass, chunks: list[Chunks], inputs: int) -> np.ndarray:
    parts = [number_rows(payload, 1 + inputs) for _, payload in step.payloads(chunks)]
    rows = np.concatenate(parts) if parts else np.zeros((0, 1 + inputs))
    if not len(rows):
        raise NotCalibratable("no row of the dataset has a prediction and a label that are numbers")
    return rows


def train(
    step: Pass,
    chunks: list[Chunks],
    kind: Any,
    names: list[str],
    score_range: tuple[float, float] | None,
    expression: str,
) -> bytes:
    """Fit, and publish calibration.json. Returns it, with the jq program that applies it where there is one."""
    rows = _columns(step, chunks, len(names))
    inputs = rows[:, 1] if len(names) == 1 else rows[:, 1:]
    try:
        fitted = fit_calibration(kind, inputs, rows[:, 0], names=names, score_range=score_range)
    except ValueError as error:
        raise NotCalibratable(str(error)) from error
    saved = calibration_to_dict(fitted)
    step.output.publish(CALIBRATION, orjson.dumps(saved, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))
    return orjson.dumps({"rows": len(rows), "jq": jq_program(fitted, expression)})


def evaluate(
    step: Pass,
    chunks: list[Chunks],
    names: list[str],
    saved: dict[str, Any] | None,
    score_range: tuple[float, float] | None,
    expression: str,
) -> bytes:
    """Judge predictions, and the scores that a calibration makes of them; publish evaluation.json and report.html."""
    rows = _columns(step, chunks, len(names))
    labels, inputs = rows[:, 0], rows[:, 1] if len(names) == 1 else rows[:, 1:]
    fitted = calibration_from_dict(saved) if saved is not None else None
    try:
        reports = _reports(labels, inputs, fitted, score_range or (float(labels.min()), float(labels.max())))
    except ValueError as error:
        raise NotCalibratable(str(error)) from error
    plain = {name: report.to_dict() for name, report in reports.items()}
    step.output.publish("evaluation.json", orjson.dumps(plain, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))
    last = "after" if fitted is not None else "before"
    html = calibration_report(
        reports[last],
        title="Calibration",
        before=reports.get("before") if fitted is not None else None,
        calibration=fitted,
        source=expression,
    )
    step.output.publish("report.html", html.encode())
    short = {name: _short(report) for name, report in reports.items()}
    return orjson.dumps({"rows": len(rows), "figures": short}, option=orjson.OPT_SERIALIZE_NUMPY)


def _reports(
    labels: np.ndarray, inputs: np.ndarray, fitted: Calibration | None, scale: tuple[float, float]
) -> dict[str, CalibrationReport]:
    reports = {}
    if inputs.ndim == 1:
        inside = bool(inputs.min() >= 0 and inputs.max() <= 1)
        reports["before"] = evaluate_calibration(stretched(inputs, scale) if inside else inputs, labels, scale)
    if fitted is not None:
        reports["after"] = evaluate_calibration(fitted.predict(inputs), labels, scale)
    return reports


def _short(report: CalibrationReport) -> dict[str, Any]:
    figures = {
        "ECE": report.reliability.error,
        "Brier": report.brier,
        "Spearman": report.regression.spearman,
        "MAE": report.regression.mae,
    }
    return {name: found.to_dict() for name, found in figures.items()}
