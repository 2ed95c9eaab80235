"""Measuring agreement over datasets: what a pass kept becomes graders, figures, a JSON file and a report.

Keys (16 bytes each), labels and the beginning of every key are held in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from actors.keyed_labels import keyed_labels
from cluster.errors import GristmillError
from cluster.ledger import Chunks, Pass
from pipelines.annotation.agreement import AgreementReport, PairAgreement, measure
from pipelines.annotation.agreement_comparison import AgreementComparison, compare
from pipelines.annotation.grades import Grades
from pipelines.annotation.key_join import Coverage
from pipelines.report.agreement_report import agreement_comparison_report, agreement_report

JSON = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY


class NoAgreement(GristmillError):
    """The datasets cannot be compared; the message says why."""


@dataclass(frozen=True, slots=True)
class Grader:
    """A dataset as a grader: its name and the chunks that hold its rows."""

    name: str
    chunks: list[Chunks]


def _grades(step: Pass, grader: Grader) -> Grades:
    hashes: list[bytes] = []
    labels: list[Any] = []
    shown: list[str] = []
    measured = beside = 0
    for shard, payload in step.payloads(grader.chunks):
        part = keyed_labels(payload, shard)
        hashes.append(part.hashes)
        labels += part.labels
        shown += part.shown
        measured += part.measured
        beside += part.beside
    keys = np.frombuffer(b"".join(hashes), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return Grades(grader.name, keys, labels, shown, measured, beside)


def agreement(step: Pass, graders: list[Grader], is_ordinal: bool) -> bytes:
    """Measure, publish agreement.json and report.html, and return the figures in short."""
    try:
        report = measure([_grades(step, grader) for grader in graders], is_ordinal)
    except ValueError as error:
        raise NoAgreement(str(error)) from error
    step.output.publish("agreement.json", orjson.dumps(report.to_dict(), option=JSON))
    step.output.publish("report.html", agreement_report(report).encode())
    return orjson.dumps(_short(report), option=orjson.OPT_SERIALIZE_NUMPY)


def comparison(step: Pass, old: list[Grader], new: list[Grader], is_ordinal: bool) -> bytes:
    """Compare two pairs, publish comparison.json and report.html, and return the figures and the verdict."""
    first, second = (tuple(_grades(step, grader) for grader in pair) for pair in (old, new))
    try:
        found = compare(first, second, is_ordinal)  # type: ignore[arg-type]
    except ValueError as error:
        raise NoAgreement(str(error)) from error
    step.output.publish("comparison.json", orjson.dumps(found.to_dict(), option=JSON))
    step.output.publish("report.html", agreement_comparison_report(found).encode())
    return orjson.dumps(_short_comparison(found), option=orjson.OPT_SERIALIZE_NUMPY)


def _figures(pair: PairAgreement) -> list[dict[str, Any]]:
    return [
        {
            "figure": name,
            "value": found.value,
            "95% from": found.low,
            "to": found.high,
            "strength": pair.bands.get(name, ""),
        }
        for name, found in pair.figures.items()
    ]


def _covered(coverage: Sequence[Coverage]) -> list[dict[str, Any]]:
    is_any_measured, is_any_beside = any(c.measured for c in coverage), any(c.beside for c in coverage)
    return [
        {
            "dataset": c.name,
            "rows": c.rows,
            "without label": c.unlabelled,
            "keys": c.keys,
            "duplicate keys": c.duplicate_keys,
            "contradicting": c.conflicting_keys,
            **({"without a model": c.measured} if is_any_measured else {}),
            **({"also graded without a model": c.beside} if is_any_beside else {}),
        }
        for c in coverage
    ]


def _short(report: AgreementReport) -> dict[str, Any]:
    tables = {"coverage": _covered(report.coverage)}
    compared = [pair for pair in report.pairs if pair.overlap.common]
    for pair in compared:
        only = f"{pair.overlap.only_first:,} and {pair.overlap.only_second:,} in one alone"
        tables[f"{pair.first} against {pair.second}: {pair.overlap.common:,} common keys, {only}"] = _figures(pair)
        rows = [
            {f"{pair.first} ↓": label, **dict(zip(pair.labels, counts, strict=True))}
            for label, counts in zip(pair.labels, pair.confusion, strict=True)
        ]
        if len(pair.labels) <= 12:
            tables[f"confusion of {pair.first} and {pair.second} (the second across)"] = rows
    if report.overall and compared:
        tables[f"all {len(report.graders)} datasets, {report.common:,} keys"] = [
            {"figure": name, "value": found.value, "95% from": found.low, "to": found.high}
            for name, found in report.overall.items()
        ]
    reasons = dict.fromkeys(pair.figures["agreement"].reason for pair in report.pairs if pair not in compared)
    told = {"not_compared": "; ".join(filter(None, reasons))} if reasons else {}
    return {"common_keys": report.common, **told, "tables": tables}


def _short_comparison(found: AgreementComparison) -> dict[str, Any]:
    rows = [
        {
            "figure": name,
            "first pair": found.old.figures[name].value,
            "second pair": found.new.figures[name].value,
            "difference": difference.value,
            "95% from": difference.low,
            "to": difference.high,
        }
        for name, difference in found.differences.items()
    ]
    tables = {"coverage": _covered(found.coverage)}
    if found.old.overlap.common and found.new.overlap.common:
        tables["second pair against the first"] = rows
    return {"verdict": " ".join(found.verdict), "tables": tables}
