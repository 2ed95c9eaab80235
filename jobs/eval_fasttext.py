"""eval-fasttext: how good a fastText model is on labelled rows, as JSON and as a report."""

from __future__ import annotations

from typing import Any

from jobs.command import run, verb
from jobs.evaluation import evaluate_model, evaluation_options

EXAMPLES = """
gristmill eval-fasttext --dataset-dir data/balanced --model-dir models/m
gristmill eval-fasttext --dataset-dir data/a --dataset-dir data/b --model-dir models/m --output-dir reports/m
"""


@verb("eval-fasttext", EXAMPLES)
@evaluation_options
def command(**arguments: Any) -> Any:
    """Evaluate a fastText model on the test split of one or several datasets.

    Writes evaluation.json and report.html: per-class precision, recall and F1, ROC AUC, average precision, P@1 and R@1,
    the confusion matrix and the calibration, every figure with a bootstrap 95 % interval, and the most confident
    mistakes. Texts are brought into the model's own normal form first.
    """
    return evaluate_model("eval-fasttext", "fasttext", arguments)


if __name__ == "__main__":
    run(command)
