"""Regression figures agree with scikit-learn and SciPy; undefined ones carry a reason."""

import json

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from pipelines.curation.bootstrap import Resampling
from pipelines.curation.regression_evaluation import RegressionReport, evaluate_regression

pytestmark = pytest.mark.filterwarnings("error")
FEW = Resampling(resamples=300)


def scored(rows: int, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = random.integers(0, 6, rows) + offset
    return truth, truth + random.normal(size=rows) * 0.8


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("max_rows", [10, 10_000])
def test_figures_agree_with_scikit_learn_and_scipy(offset, max_rows):
    truth, predictions = scored(600, offset)
    report = evaluate_regression(truth, predictions, resampling=Resampling(resamples=300, max_rows=max_rows))
    assert report.mae.value == pytest.approx(mean_absolute_error(truth, predictions))
    assert report.rmse.value == pytest.approx(root_mean_squared_error(truth, predictions))
    assert report.r_squared.value == pytest.approx(r2_score(truth, predictions))
    assert report.pearson.value == pytest.approx(pearsonr(truth, predictions).statistic)
    assert report.spearman.value == pytest.approx(spearmanr(truth, predictions).statistic)
    assert report.bias.value == pytest.approx((predictions - truth).mean())
    for name in ("mae", "rmse", "r_squared", "pearson", "spearman", "bias"):
        figure = getattr(report, name)
        assert figure.low < figure.value < figure.high
        assert figure.method == ("normal" if max_rows == 10 else "bootstrap")


def test_weights_agree_with_scikit_learn():
    truth, predictions = scored(300)
    weights = np.random.default_rng(1).random(300)
    report = evaluate_regression(truth, predictions, weights=weights, resampling=FEW)
    assert report.mae.value == pytest.approx(mean_absolute_error(truth, predictions, sample_weight=weights))
    assert report.r_squared.value == pytest.approx(r2_score(truth, predictions, sample_weight=weights))


def test_approximate_intervals_are_those_of_the_bootstrap():
    truth, predictions = scored(3000)
    exact, limit = (
        evaluate_regression(truth, predictions, resampling=Resampling(max_rows=rows)) for rows in (10_000, 10)
    )
    for name in ("mae", "rmse", "r_squared", "pearson", "spearman"):
        one, other = getattr(exact, name), getattr(limit, name)
        assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.15)


def test_constants_leave_correlations_undefined():
    report = evaluate_regression([2.0, 2.0, 2.0], [1.0, 2.0, 4.0], resampling=FEW)
    assert (report.r_squared.value, report.r_squared.reason) == (None, "the truth is all the same")
    assert report.pearson.value is report.spearman.value is None
    assert report.mae.value == pytest.approx(1.0)


def test_perfect_predictions_have_no_error():
    report = evaluate_regression(np.arange(50.0), np.arange(50.0), resampling=FEW)
    assert (report.mae.value, report.r_squared.value, report.spearman.value) == (0, 1, pytest.approx(1))


@pytest.mark.parametrize("truth", [[1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_input_that_does_not_fit_is_refused(truth):
    with pytest.raises(ValueError, match=r"are needed|not a finite number"):
        evaluate_regression(truth, [1.0, 2.0])


def test_the_report_survives_json():
    report = evaluate_regression(*scored(100), resampling=FEW)
    assert RegressionReport.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False))) == report
