"""Calibration curves and their error."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from pipelines.curation.bootstrap import Resampling
from pipelines.curation.reliability import bin_of, measure_reliability, wilson_interval

pytestmark = pytest.mark.filterwarnings("error")
FEW = Resampling(resamples=300)


@pytest.mark.parametrize(("hits", "rows"), [(0, 10), (3, 10), (10, 10), (470, 1000)])
def test_the_wilson_interval_is_that_of_statsmodels(hits, rows):
    assert wilson_interval(hits / rows, rows) == pytest.approx(
        proportion_confint(hits, rows, method="wilson"), abs=1e-6
    )


def test_the_ends_of_the_scale_belong_to_the_outer_bins():
    assert bin_of(np.array([0.0, 0.099, 0.1, 0.95, 1.0]), 10).tolist() == [0, 0, 1, 9, 9]


def test_the_error_is_the_mean_gap_of_the_bins():
    predictions = np.array([0.05, 0.05, 0.95, 0.95])
    found = measure_reliability(predictions, np.array([0.0, 1.0, 1.0, 1.0]), FEW, "x")
    assert found.error.value == pytest.approx((2 * 0.45 + 2 * 0.05) / 4)
    assert [(one.rows, one.observed) for one in found.bins] == [(2, 0.5), (2, 1.0)]


def test_weights_count_as_repeated_rows():
    random = np.random.default_rng(0)
    predictions, repeats = random.random(80), random.integers(1, 4, 80)
    outcomes = (random.random(80) < predictions).astype(float)
    weighted = measure_reliability(predictions, outcomes, FEW, "x", weights=repeats.astype(float))
    repeated = measure_reliability(np.repeat(predictions, repeats), np.repeat(outcomes, repeats), FEW, "x")
    assert weighted.error.value == pytest.approx(repeated.error.value)
    assert [one.observed for one in weighted.bins] == pytest.approx([one.observed for one in repeated.bins])


@pytest.mark.parametrize("max_rows", [10, 10_000])
def test_the_interval_of_a_calibrated_model_reaches_down_to_0_and_holds_the_estimate(max_rows):
    random = np.random.default_rng(1)
    predictions = random.random(2000)
    outcomes = (random.random(2000) < predictions).astype(float)
    error = measure_reliability(predictions, outcomes, Resampling(resamples=300, max_rows=max_rows), "x").error
    assert error.low < 0.01
    assert error.low <= error.value <= error.high < 0.06


def test_the_interval_of_a_model_too_sure_of_itself_excludes_0():
    random = np.random.default_rng(2)
    outcomes = (random.random(2000) < 0.7).astype(float)
    error = measure_reliability(np.full(2000, 0.9), outcomes, FEW, "x").error
    assert error.low > 0.15
