"""Bootstrap intervals: exact in distribution, deterministic, and honest about what they cannot say."""

import math

import numpy as np
import pytest

from pipelines.curation.bootstrap import (
    Estimate,
    Resampling,
    logit_normal_estimate,
    percentile_estimate,
    raised_by_noise_estimate,
    regrouped,
    resampled_counts,
    resampled_sums,
    row_counts,
)

pytestmark = pytest.mark.filterwarnings("error")


def test_every_draw_takes_as_many_rows_as_there_are():
    draws = np.concatenate(list(row_counts(37, Resampling(resamples=500), "rows")))
    assert draws.shape == (500, 37)
    assert (draws.sum(axis=1) == 37).all()
    assert draws.mean() == pytest.approx(1.0)


def test_draws_depend_on_seed_and_purpose_alone():
    def first(seed: int, purpose: str) -> np.ndarray:
        return next(row_counts(50, Resampling(resamples=3, seed=seed), purpose))

    assert np.array_equal(first(1, "a"), first(1, "a"))
    assert not np.array_equal(first(1, "a"), first(2, "a"))
    assert not np.array_equal(first(1, "a"), first(1, "b"))


def test_resampling_counts_is_a_bootstrap_of_the_rows():
    groups = np.repeat([0, 2, 3], [70, 20, 10])
    drawn = resampled_counts(groups, Resampling(resamples=4000), "counts")
    assert drawn.groups.tolist() == [0, 2, 3]
    counts = drawn.sums[:, :, 0]
    assert (counts.sum(axis=1) == 100).all()
    expected = [math.sqrt(100 * p * (1 - p)) for p in (0.7, 0.2, 0.1)]
    assert counts.std(axis=0) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("groups", [None, np.arange(600) % 4])
def test_the_normal_limit_spreads_as_redrawn_rows_do(groups):
    random = np.random.default_rng(5)
    values = np.stack([random.exponential(size=600), np.ones(600)], axis=1)
    exact = resampled_sums(groups, values, Resampling(resamples=4000), "sums")
    limit = resampled_sums(groups, values, Resampling(resamples=4000, max_rows=10), "sums")
    assert (exact.method, limit.method) == ("bootstrap", "normal")
    ratio_of = [drawn.sums[:, :, 0] / drawn.sums[:, :, 1] for drawn in (exact, limit)]
    assert ratio_of[1].mean(axis=0) == pytest.approx(ratio_of[0].mean(axis=0), rel=0.02)
    assert ratio_of[1].std(axis=0) == pytest.approx(ratio_of[0].std(axis=0), rel=0.1)


def test_regrouped_adds_up_columns_that_share_a_key():
    sums = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    assert regrouped(sums, np.array([2, 0, 2]), 4).tolist() == [[2, 0, 5, 0], [16, 0, 40, 0]]
    assert regrouped(np.zeros((2, 0)), np.zeros(0, dtype=np.int64), 2).tolist() == [[0, 0], [0, 0]]


def test_the_percentile_interval_of_a_mean_covers_it_as_often_as_it_says():
    random = np.random.default_rng(11)
    covered = 0
    for trial in range(300):
        hits = random.random(200) < 0.7
        drawn = resampled_counts(hits.astype(np.int64), Resampling(resamples=300, seed=trial), "mean")
        share = drawn.sums[:, 1, 0] / 200
        estimate = percentile_estimate(float(hits.mean()), share, Resampling())
        covered += estimate.low <= 0.7 <= estimate.high
    assert 0.91 <= covered / 300 <= 0.985


def test_an_undefined_value_has_a_reason_and_no_number():
    assert percentile_estimate(math.nan, [1.0, 2.0], Resampling(), undefined="no rows") == Estimate.undefined("no rows")
    assert Estimate.undefined("no rows").to_dict() == {
        "value": None,
        "low": None,
        "high": None,
        "method": "none",
        "reason": "no rows",
    }


def test_a_value_that_most_draws_leave_undefined_has_no_interval():
    estimate = percentile_estimate(0.5, [0.5, math.nan, math.nan], Resampling())
    assert (estimate.value, estimate.low, estimate.high) == (0.5, None, None)
    assert "too few rows" in (estimate.reason or "")


def test_a_figure_that_noise_raises_lies_within_its_interval():
    noisy = np.linspace(0.02, 0.06, 1000)
    estimate = raised_by_noise_estimate(0.01, noisy, Resampling(), "bootstrap")
    assert estimate.low == 0.0
    assert estimate.high == pytest.approx(0.059, abs=1e-3)


def test_the_logit_interval_stays_between_0_and_1():
    estimate = logit_normal_estimate(0.999, 0.01, Resampling(), "")
    assert 0 < estimate.low < 0.999 < estimate.high < 1
    assert logit_normal_estimate(1.0, 0.0, Resampling(), "").low == 1.0


@pytest.mark.parametrize("wrong", [{"resamples": 1}, {"level": 1.0}, {"level": 0.0}])
def test_nonsense_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 2 resamples"):
        Resampling(**wrong)
