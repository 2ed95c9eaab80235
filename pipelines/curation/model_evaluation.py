"""Evaluating a model over a dataset: what the judging pass kept becomes figures, a JSON file and a report.

The rows' labels and outputs are held in memory here: about 8 bytes for each label of the model and row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from actors.predictions import judged_rows
from cluster.errors import GristmillError
from cluster.ledger import Chunks, Pass
from cluster.storage import Storage
from pipelines.curation.bootstrap import Estimate
from pipelines.curation.classification_report import ClassificationReport
from pipelines.curation.evaluation import encode_labels, evaluate_classification
from pipelines.curation.regression_evaluation import evaluate_regression
from pipelines.report.document import Fact
from pipelines.report.evaluation_report import EvaluatedModel, RowToRead, evaluation_report

MISTAKES = 20


class NothingToEvaluate(GristmillError):
    """No labelled row was left."""


@dataclass(slots=True)
class Judgements:
    """The judged rows of a dataset, in order. `outputs` is (rows, labels) float32; mistakes are the most confident."""

    truth: list[Any] = field(default_factory=list)
    outputs: Any = None
    mistakes: list[RowToRead] = field(default_factory=list)


def gather(step: Pass, chunks: list[Chunks], labels: list[str]) -> Judgements:
    """Read what the judging pass kept. Raises NothingToEvaluate where it kept no row."""
    found, blocks = Judgements(), []
    for shard, payload in step.payloads(chunks):
        rows = judged_rows(payload)
        if not rows:
            continue
        found.truth += [truth for _, truth, _, _ in rows]
        blocks.append(np.array([outputs for _, _, outputs, _ in rows], np.float32))
        found.mistakes = _worst(found.mistakes, list(_mistakes(shard, rows, labels)))
    if not blocks:
        raise NothingToEvaluate("no row of the dataset has a text and a label: nothing to evaluate")
    found.outputs = np.concatenate(blocks)
    return found


def _mistakes(shard: str, rows: list[Any], labels: list[str]) -> Iterator[RowToRead]:
    for line, truth, outputs, snippet in rows:
        if snippet is not None:
            best = int(np.argmax(outputs))
            probability = round(float(min(outputs[best], 1.0)), 6)
            yield RowToRead(f"{shard}:{line}", ", ".join(truth), labels[best], probability, snippet)


def _worst(known: list[RowToRead], more: list[RowToRead]) -> list[RowToRead]:
    return sorted(known + more, key=lambda row: -row.probability)[:MISTAKES]


def classification(judgements: Judgements, labels: list[str]) -> ClassificationReport:
    """The figures of a classifier; rows with several labels make it a multi-label evaluation."""
    names = [name for truth in judgements.truth for name in truth]
    if all(len(truth) == 1 for truth in judgements.truth):
        codes, classes = encode_labels(names, labels)
        return evaluate_classification(codes, judgements.outputs, classes)
    classes = (*labels, *sorted(set(names) - set(labels)))
    position = {name: column for column, name in enumerate(classes)}
    truth = np.zeros((len(judgements.truth), len(classes)), np.int8)
    for row, of_row in enumerate(judgements.truth):
        truth[row, [position[name] for name in of_row]] = 1
    return evaluate_classification(truth, judgements.outputs, classes)


def evaluate(
    step: Pass, chunks: list[Chunks], name: str, labels: list[str], regression: bool, facts: dict[str, str]
) -> bytes:
    """Evaluate, publish evaluation.json and report.html into the run's output, and return the figures in short."""
    judgements = gather(step, chunks, labels)
    shown = [Fact(key, value) for key, value in facts.items()]
    if regression:
        from pipelines.report.regression_report import regression_report

        truth = np.array(judgements.truth, np.float64)
        figures = evaluate_regression(truth, judgements.outputs[:, 0])
        html = regression_report(name, figures, truth, judgements.outputs[:, 0], facts=shown)
        short = {
            key: estimate_dict(getattr(figures, key)) for key in ("mae", "rmse", "r_squared", "spearman", "pearson")
        }
        report: dict[str, Any] = figures.to_dict()
    else:
        of_classes = classification(judgements, labels)
        model = EvaluatedModel(name, of_classes, tuple(judgements.mistakes))
        html = evaluation_report([model], title=f"Evaluation of {name}", facts=shown)
        short = in_short(of_classes)
        report = of_classes.to_dict()
    step.output.publish(
        "evaluation.json", orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)
    )
    step.output.publish("report.html", html.encode())
    return orjson.dumps({"rows": len(judgements.truth), "figures": short}, option=orjson.OPT_SERIALIZE_NUMPY)


def in_short(report: ClassificationReport) -> dict[str, Any]:
    """The figures that a summary shows."""
    return {
        "accuracy": estimate_dict(report.accuracy),
        "macro F1": estimate_dict(report.macro.f1),
        "ROC AUC": estimate_dict(report.roc_auc),
        "average precision": estimate_dict(report.average_precision),
        "P@1": estimate_dict(report.precision_at_1),
        "R@1": estimate_dict(report.recall_at_1),
        "Brier": estimate_dict(report.brier),
        "ECE": estimate_dict(report.calibration.error),
    }


def estimate_dict(estimate: Estimate) -> dict[str, Any]:
    """A figure with its 95 % interval."""
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def evaluate_tour(
    judged: list[tuple[str, Pass, list[Chunks], list[str]]],
    output: Storage,
    steps: list[dict[str, Any]],
    labels: dict[str, dict[str, float]],
    next_steps: list[tuple[str, str]],
) -> bytes:
    """The report on a quickstart: its steps, and its two classifiers side by side over the same rows."""
    from pipelines.curation.model_comparison import compare_classifications
    from pipelines.report.quickstart_report import NextStep, Step, quickstart_report

    models, outputs = [], []
    classes = judged[0][3]
    for name, step, chunks, of_model in judged:
        judgements = gather(step, chunks, of_model)
        models.append(EvaluatedModel(name, classification(judgements, of_model), tuple(judgements.mistakes)))
        outputs.append(judgements.outputs[:, [of_model.index(label) for label in classes]])
    codes, classes_found = encode_labels([truth[0] for truth in judgements.truth], classes)
    comparison = compare_classifications(codes, outputs[0], outputs[1], classes_found)
    html = quickstart_report(
        [Step(**step) for step in steps],
        labels,
        models,
        comparison=comparison,
        subtitle="From the Python files of this machine to two evaluated classifiers.",
        next_steps=[NextStep(reason, command) for reason, command in next_steps],
    )
    output.publish("report.html", html.encode())
    figures = {model.name: in_short(model.report) for model in models}
    return orjson.dumps({"rows": models[0].report.rows, "figures": figures}, option=orjson.OPT_SERIALIZE_NUMPY)
