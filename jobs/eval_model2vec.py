"""eval-model2vec: how good a model2vec model is on labelled rows, as JSON and as a report."""

from __future__ import annotations

from typing import Any

from jobs.command import run, verb
from jobs.evaluation import evaluate_model, evaluation_options

EXAMPLES = """
gristmill eval-model2vec --dataset-dir data/balanced --model-dir models/m
gristmill eval-model2vec --dataset-dir data/a --dataset-dir data/b --model-dir models/m --output-dir reports/m
"""


@verb("eval-model2vec", EXAMPLES)
@evaluation_options
def command(**arguments: Any) -> Any:
    """Evaluate a model2vec model on the test split of one or several datasets.

    Writes evaluation.json and report.html: per-class precision, recall and F1, ROC AUC, average precision, P@1 and R@1,
    the confusion matrix and the calibration, every figure with a bootstrap 95 % interval, and the most confident
    mistakes. Texts are brought into the model's own normal form first.
    """
    return evaluate_model("eval-model2vec", "model2vec", arguments)


if __name__ == "__main__":
    run(command)
