import itertools

import krippendorff
import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa as reference_fleiss

from pipelines.annotation.agreement_statistics import (
    PairStatistics,
    Patterns,
    fleiss_kappa,
    krippendorff_alpha,
    occurrences,
)
from pipelines.curation.bootstrap import Resampling

# 2,000 rows that two graders labelled 0 to 5, with the figures that were published for them.
CHECK_TABLE = np.array(
    [
        [7, 12, 9, 1, 1, 0],
        [6, 120, 122, 67, 3, 0],
        [1, 35, 322, 271, 39, 1],
        [0, 4, 75, 516, 129, 1],
        [0, 0, 4, 61, 184, 3],
        [0, 0, 0, 0, 3, 3],
    ]
)


def rows_of(table):
    cells = list(np.ndindex(*table.shape))
    return np.array([cell for cell in cells for _ in range(table[cell])], dtype=np.int32)


def random_labels(seed, units=60, graders=2, categories=4):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, categories, units)
    noise = rng.integers(0, categories, (units, graders))
    return np.where(rng.random((units, graders)) < 0.6, truth[:, None], noise).astype(np.int32)


def pair(labels, categories, values=None):
    patterns = Patterns.of(labels)
    values = values or tuple(map(float, range(categories)))
    return PairStatistics(patterns.labels, categories, values), patterns.observed()


def test_the_published_figures_of_the_check_table_come_out():
    statistics, observed = pair(rows_of(CHECK_TABLE), 6)
    assert statistics.agreement(observed)[0] == pytest.approx(0.5760, abs=5e-5)
    assert statistics.kappa(observed, "unweighted")[0] == pytest.approx(0.4017, abs=5e-5)
    assert statistics.kappa(observed, "linear")[0] == pytest.approx(0.5217, abs=5e-5)
    assert statistics.kappa(observed, "quadratic")[0] == pytest.approx(0.6458, abs=5e-5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("distances", "weights"), [("unweighted", None), ("linear", "linear"), ("quadratic", "quadratic")]
)
def test_kappa_is_that_of_scikit_learn(seed, distances, weights):
    labels = random_labels(seed)
    statistics, observed = pair(labels, 4)
    assert statistics.kappa(observed, distances)[0] == pytest.approx(
        cohen_kappa_score(labels[:, 0], labels[:, 1], weights=weights)
    )


def test_a_label_that_nobody_gave_still_keeps_its_neighbours_apart():
    labels = np.array([[0, 0], [0, 1], [1, 1], [2, 2], [2, 1]], dtype=np.int32)
    statistics, observed = pair(labels, 3, (0.0, 1.0, 5.0))
    numbers = np.array([0, 1, 5])[labels]
    expected = cohen_kappa_score(numbers[:, 0], numbers[:, 1], labels=range(6), weights="linear")
    assert statistics.kappa(observed, "linear")[0] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scaling", ["nominal", "ordinal"])
@pytest.mark.parametrize("graders", [2, 3, 5])
def test_alpha_is_that_of_the_krippendorff_package_with_labels_missing(seed, scaling, graders):
    labels = random_labels(seed, graders=graders)
    labels[np.random.default_rng(seed + 100).random(labels.shape) < 0.2] = -1
    patterns = Patterns.of(labels)
    found = krippendorff_alpha(patterns.observed(), occurrences(patterns.labels, 4), scaling)[0]
    table = np.where(labels < 0, np.nan, labels).T
    assert found == pytest.approx(krippendorff.alpha(table, level_of_measurement=scaling))


@pytest.mark.parametrize("scaling", ["nominal", "ordinal"])
def test_every_redrawn_alpha_is_that_of_the_krippendorff_package_on_the_redrawn_rows(scaling):
    labels = random_labels(9, units=40, graders=3)
    patterns = Patterns.of(labels)
    (weights,) = patterns.draws(Resampling(resamples=20), "test")
    found = krippendorff_alpha(weights, occurrences(patterns.labels, 4), scaling)
    for counts, alpha in zip(weights.astype(int), found, strict=True):
        redrawn = np.repeat(patterns.labels, counts, axis=0).T.astype(float)
        assert alpha == pytest.approx(krippendorff.alpha(redrawn, level_of_measurement=scaling, value_domain=range(4)))


@pytest.mark.parametrize("graders", [2, 3, 6])
def test_fleiss_kappa_is_that_of_statsmodels(graders):
    labels = random_labels(3, graders=graders)
    patterns = Patterns.of(labels)
    found = fleiss_kappa(patterns.observed(), occurrences(patterns.labels, 4))[0]
    assert found == pytest.approx(reference_fleiss(occurrences(labels, 4)))


def test_ac1_of_gwets_paradox_by_hand():
    # 118 times yes/yes, 5 yes/no, 2 no/yes, no no/no. Agreement 118/125 = 0.944; the mean share of yes is
    # (123 + 120) / 250 = 0.972, so chance is 2 * 0.972 * 0.028 = 0.054432 and AC1 = 0.889568 / 0.945568.
    labels = rows_of(np.array([[118, 5], [2, 0]]))
    statistics, observed = pair(labels, 2)
    assert statistics.gwet_ac1(observed)[0] == pytest.approx(0.889568 / 0.945568)
    assert statistics.kappa(observed, "unweighted")[0] < 0


def test_ac1_of_three_categories_by_hand():
    # Agreement 4/6; mean shares 5/12, 4/12, 3/12; chance (35 + 32 + 27) / 144 / 2 = 94/288.
    labels = np.array([[0, 0], [0, 0], [1, 1], [2, 2], [0, 1], [1, 2]], dtype=np.int32)
    statistics, observed = pair(labels, 3)
    assert statistics.gwet_ac1(observed)[0] == pytest.approx((4 / 6 - 94 / 288) / (1 - 94 / 288))


@pytest.mark.parametrize("seed", range(3))
def test_error_bias_and_spearman_are_those_of_the_rows(seed):
    labels = random_labels(seed)
    statistics, observed = pair(labels, 4, (0.0, 1.0, 2.5, 7.0))
    numbers = np.array([0.0, 1.0, 2.5, 7.0])[labels]
    difference = numbers[:, 1] - numbers[:, 0]
    assert statistics.mean_absolute_error(observed)[0] == pytest.approx(np.abs(difference).mean())
    assert statistics.bias(observed)[0] == pytest.approx(difference.mean())
    assert statistics.spearman(observed)[0] == pytest.approx(spearmanr(numbers[:, 0], numbers[:, 1]).statistic)


def test_one_label_only_leaves_every_coefficient_undefined():
    labels = np.zeros((10, 2), dtype=np.int32)
    statistics, observed = pair(labels, 3)
    counts = occurrences(Patterns.of(labels).labels, 3)
    assert statistics.agreement(observed)[0] == 1
    undefined = [statistics.kappa(observed, each) for each in ("unweighted", "linear", "quadratic")]
    undefined += [statistics.gwet_ac1(observed), statistics.spearman(observed), fleiss_kappa(observed, counts)]
    undefined += [krippendorff_alpha(observed, counts, each) for each in ("nominal", "ordinal")]
    assert np.isnan(undefined).all()


def test_patterns_are_the_distinct_rows_with_their_counts():
    labels = np.array([[2, -1], [0, 1], [2, -1], [0, 0]], dtype=np.int32)
    patterns = Patterns.of(labels)
    found = {tuple(row): count for row, count in zip(patterns.labels.tolist(), patterns.counts.tolist(), strict=True)}
    assert found == {(2, -1): 2, (0, 1): 1, (0, 0): 1}
    many = np.array(list(itertools.product([0, 199], repeat=10)) * 2, dtype=np.int32)
    assert Patterns.of(many).counts.tolist() == [2] * 1024


def test_the_spread_of_redrawn_patterns_is_that_of_redrawn_rows():
    labels = random_labels(1, units=200)
    patterns = Patterns.of(labels)
    (weights,) = patterns.draws(Resampling(resamples=3000), "test")
    statistics = PairStatistics(patterns.labels, 4, None)
    rng = np.random.default_rng(0)
    rows = [labels[rng.integers(0, 200, 200)] for _ in range(400)]
    kappas = [cohen_kappa_score(each[:, 0], each[:, 1]) for each in rows]
    assert statistics.kappa(weights, "unweighted").std() == pytest.approx(np.std(kappas), rel=0.12)
