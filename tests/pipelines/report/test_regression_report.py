"""The regression report says how far off the predictions are, and where."""

import numpy as np

from pipelines.curation.bootstrap import Resampling
from pipelines.curation.regression_evaluation import evaluate_regression
from pipelines.report.document import Fact
from pipelines.report.numbers import in_words
from pipelines.report.regression_report import regression_report

FEW = Resampling(resamples=60)


def test_figures_levels_and_bias_are_told():
    random = np.random.default_rng(0)
    truth = random.integers(0, 6, 500).astype(float)
    predictions = truth + 0.4 + random.normal(size=500) * 0.5
    report = evaluate_regression(truth, predictions, resampling=FEW)
    html = regression_report("potion", report, truth, predictions, facts=(Fact("Dataset", "data/test"),))
    assert f"potion is off by {in_words(report.mae)} on average, over 500 rows." in html
    assert f"too high by {in_words(report.bias)}" in html
    assert "Every level of the truth" in html
    assert html == regression_report("potion", report, truth, predictions, facts=(Fact("Dataset", "data/test"),))


def test_predictions_without_skill_are_called_that():
    random = np.random.default_rng(1)
    truth, predictions = random.random(200), random.random(200)
    report = evaluate_regression(truth, predictions, resampling=FEW)
    html = regression_report("m", report, truth, predictions)
    assert "It is not surely better than always saying the mean" in html
    assert "Every level of the truth" not in html


def test_a_constant_truth_is_reported():
    report = evaluate_regression([1.0, 1.0], [1.0, 2.0], resampling=FEW)
    html = regression_report("m", report, [1.0, 1.0], [1.0, 2.0])
    assert "R² is undefined: the truth is all the same." in html
