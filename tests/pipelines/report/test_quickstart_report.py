"""The summary of a run shows its steps, its labels, its classifiers, and what to try next."""

import numpy as np

from pipelines.curation.bootstrap import Resampling
from pipelines.curation.evaluation import evaluate_classification
from pipelines.curation.model_comparison import compare_classifications
from pipelines.report.evaluation_report import EvaluatedModel
from pipelines.report.quickstart_report import NextStep, Step, quickstart_report

FEW = Resampling(resamples=60)
STEPS = [
    Step("annotate-dataset", 4000, 3990, 0, 10),
    Step("balance-dataset", 3990, 2000, 1990, 0),
    Step("train-fasttext"),
]


def two_models() -> tuple[list[EvaluatedModel], np.ndarray, list[np.ndarray]]:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 300)
    logits = [random.normal(size=(300, 2)) + strength * np.eye(2)[truth] for strength in (1, 3)]
    probabilities = [np.exp(one) / np.exp(one).sum(axis=1, keepdims=True) for one in logits]
    models = [
        EvaluatedModel(name, evaluate_classification(truth, p, ["poor", "good"], resampling=FEW))
        for name, p in zip(("fastText", "model2vec"), probabilities, strict=True)
    ]
    return models, truth, probabilities


def test_the_whole_run_is_on_one_page():
    models, truth, probabilities = two_models()
    comparison = compare_classifications(truth, *probabilities, ["poor", "good"], resampling=FEW)
    html = quickstart_report(
        STEPS,
        {"train": {"poor": 900, "good": 900}, "test": {"good": 100, "poor": 100}},
        models,
        comparison=comparison,
        next_steps=[NextStep("Grade with a model.", "gristmill annotate-dataset --engine openai")],
    )
    assert "3 steps took you from 4,000 rows to 2 evaluated classifiers." in html
    assert "10 rows could not be processed and lie in quarantine" in html
    assert "model2vec is better than fastText." in html
    assert "gristmill annotate-dataset --engine openai" in html
    assert "How the figures were made" in html
    assert "Seconds" not in html


def test_a_run_without_classifiers_is_still_a_report():
    html = quickstart_report([Step("normalize-dataset", 5, 5, 0, 0, seconds=1.25)], {}, [])
    assert "1 step took you from 5 rows to 0 evaluated classifiers." in html
    assert "No row was lost on the way" in html
    assert "Seconds" in html


def test_one_classifier_has_key_figures():
    html = quickstart_report(STEPS, {}, two_models()[0][:1])
    assert "The classifier" in html
    assert "Figures side by side" not in html
