"""Areas and rank correlations agree with scikit-learn and SciPy, their influences with their derivatives."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from pipelines.curation import ranking_metrics as ranking
from pipelines.curation.bootstrap import Resampling, replicate_rows

pytestmark = pytest.mark.filterwarnings("error")


def scores_and_truth(rows: int, tied: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.random(rows) < 0.25
    scores = random.normal(size=rows) + truth
    return np.round(scores, 1) if tied else scores, truth


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_areas_agree_with_scikit_learn(tied, weighted):
    scores, truth = scores_and_truth(700, tied)
    weights = np.random.default_rng(1).random(700) if weighted else None
    area, average = ranking.areas(ranking.rank(scores, truth, weights))[0]
    assert area == pytest.approx(roc_auc_score(truth, scores, sample_weight=weights))
    assert average == pytest.approx(average_precision_score(truth, scores, sample_weight=weights))


@pytest.mark.parametrize("tied", [False, True])
def test_a_draw_counts_as_rows_repeated(tied):
    scores, truth = scores_and_truth(60, tied)
    counts = np.random.default_rng(2).multinomial(60, np.full(60, 1 / 60), size=8).astype(float)
    found = ranking.areas(ranking.rank(scores, truth), counts)
    for row, drawn in zip(found, counts.astype(int), strict=True):
        repeated = np.repeat(np.arange(60), drawn)
        assert row[0] == pytest.approx(roc_auc_score(truth[repeated], scores[repeated]))
        assert row[1] == pytest.approx(average_precision_score(truth[repeated], scores[repeated]))


def test_areas_without_rows_of_both_kinds_are_undefined():
    scores = np.array([0.1, 0.2, 0.2])
    assert np.isnan(ranking.areas(ranking.rank(scores, [0, 0, 0]))).tolist() == [[True, True]]
    area, average = ranking.areas(ranking.rank(scores, [1, 1, 1]))[0]
    assert np.isnan(area)
    assert average == 1
    assert np.isnan(ranking.average_precision_influence(ranking.rank(scores, [0, 0, 0]))).all()
    assert np.isnan(ranking.roc_auc_influence(ranking.rank(scores, [1, 1, 1]))).all()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_influences_are_derivatives_by_the_count_of_a_row(tied, weighted):
    scores, truth = scores_and_truth(90, tied)
    weights = np.random.default_rng(3).random(90) + 0.1 if weighted else None
    ranked = ranking.rank(scores, truth, weights)
    pair = ranking.rank_pair(scores, truth + np.round(np.random.default_rng(4).normal(size=90)), weights)
    figures = [
        (lambda counts: ranking.areas(ranked, counts)[0, 0], ranking.roc_auc_influence(ranked)),
        (lambda counts: ranking.areas(ranked, counts)[0, 1], ranking.average_precision_influence(ranked)),
        (lambda counts: ranking.spearman(pair, counts)[0], ranking.spearman_influence(pair)),
    ]
    for figure, influence in figures:
        for row in (0, 17, int(np.flatnonzero(truth)[3])):
            more, less = np.ones((1, 90)), np.ones((1, 90))
            more[0, row] += 1e-5
            less[0, row] -= 1e-5
            assert influence[row] == pytest.approx((figure(more) - figure(less)) / 2e-5, abs=1e-8, rel=1e-5)


def test_standard_errors_from_influences_are_those_of_the_bootstrap():
    scores, truth = scores_and_truth(1500, tied=False)
    ranked = ranking.rank(scores, truth)
    drawn = replicate_rows(1500, Resampling(resamples=800), "areas", lambda counts: ranking.areas(ranked, counts))
    errors = [
        ranking.standard_error(influence)
        for influence in (ranking.roc_auc_influence(ranked), ranking.average_precision_influence(ranked))
    ]
    assert drawn.std(axis=0) == pytest.approx(errors, rel=0.1)


@pytest.mark.parametrize("tied", [False, True])
def test_spearman_agrees_with_scipy(tied):
    random = np.random.default_rng(6)
    x = random.normal(size=400)
    y = x + random.normal(size=400)
    if tied:
        x, y = np.round(x), np.round(y, 1)
    assert ranking.spearman(ranking.rank_pair(x, y))[0] == pytest.approx(spearmanr(x, y).statistic)
    counts = random.multinomial(400, np.full(400, 1 / 400), size=3).astype(float)
    for found, drawn in zip(ranking.spearman(ranking.rank_pair(x, y), counts), counts.astype(int), strict=True):
        repeated = np.repeat(np.arange(400), drawn)
        assert found == pytest.approx(spearmanr(x[repeated], y[repeated]).statistic)


def test_spearman_with_a_constant_is_undefined():
    pair = ranking.rank_pair(np.zeros(5), np.arange(5.0))
    assert np.isnan(ranking.spearman(pair)[0])
    assert np.isnan(ranking.spearman_influence(pair)).all()


def test_curves_keep_their_ends_and_their_area_when_thinned():
    scores, truth = scores_and_truth(5000, tied=False)
    ranked = ranking.rank(scores, truth)
    curve = ranking.roc_curve(ranked)
    assert len(curve.x) <= ranking.CURVE_POINTS + 2
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(roc_auc_score(truth, scores), abs=2e-3)
    precision = ranking.precision_recall_curve(ranked)
    assert precision.x[-1] == 1
    assert precision.y[-1] == pytest.approx(truth.mean(), abs=1e-6)
    assert ranking.roc_curve(ranking.rank(scores, np.zeros(5000))) == ranking.Curve((), ())
