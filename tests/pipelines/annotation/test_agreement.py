import json

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from pipelines.annotation.agreement import COEFFICIENTS, band, measure
from pipelines.annotation.grades import Grades
from pipelines.curation.bootstrap import Resampling

QUICK = Resampling(resamples=300)


def grades(name, labels, keys=None, rows=None):
    return Grades(name, keys or [f"k{place}" for place in range(len(labels))], labels, rows)


def noisy(seed, truth, rate=0.3):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(truth)) < rate, rng.integers(0, 5, len(truth)), truth).tolist()


TRUTH = np.random.default_rng(7).integers(0, 5, 400)


@pytest.mark.parametrize(
    ("coefficient", "name"),
    [
        (-0.01, "Poor"),
        (0.0, "Slight"),
        (0.1999, "Slight"),
        (0.2, "Fair"),
        (0.4, "Moderate"),
        (0.6, "Substantial"),
        (0.7999, "Substantial"),
        (0.8, "Almost Perfect"),
        (1.0, "Almost Perfect"),
    ],
)
def test_a_band_ends_strictly_below_its_limit(coefficient, name):
    assert band(coefficient) == name


def test_every_figure_of_a_pair_has_an_interval_around_it():
    report = measure([grades("a", noisy(1, TRUTH)), grades("b", noisy(2, TRUTH))], True, QUICK)
    figures = report.pairs[0].figures
    assert set(figures) == {
        "agreement",
        "chance_agreement",
        "cohen_kappa",
        "cohen_kappa_linear",
        "cohen_kappa_quadratic",
        "krippendorff_alpha_nominal",
        "krippendorff_alpha_ordinal",
        "gwet_ac1",
        "mean_absolute_error",
        "bias",
        "spearman",
    }
    for name, estimate in figures.items():
        assert estimate.low < estimate.value < estimate.high, name
    assert set(report.pairs[0].bands) == set(COEFFICIENTS) - {"fleiss_kappa"}


def test_an_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(5)
    table = np.array([[0.3, 0.1, 0.0], [0.1, 0.2, 0.1], [0.0, 0.05, 0.15]]).ravel()
    true_agreement, covered = 0.65, 0
    for seed in range(100):
        cells = rng.choice(9, 200, p=table)
        pair = [grades("a", (cells // 3).tolist()), grades("b", (cells % 3).tolist())]
        estimate = measure(pair, resampling=Resampling(resamples=200, seed=seed)).pairs[0].figures["agreement"]
        covered += estimate.low <= true_agreement <= estimate.high
    assert 88 <= covered <= 99


def test_nominal_labels_have_no_distances():
    words = ["low", "middle", "high"]
    first = [words[place % 3] for place in range(30)]
    figures = measure([grades("a", first), grades("b", [*first[:-1], "low"])], resampling=QUICK).pairs[0].figures
    assert figures["cohen_kappa"].value == pytest.approx(cohen_kappa_score(first, [*first[:-1], "low"]))
    assert figures["cohen_kappa_linear"].value is None
    assert figures["cohen_kappa_linear"].reason == "labels that are no numbers have no distances"
    assert "bias" not in figures


def test_the_same_seed_gives_the_same_report_and_another_seed_other_intervals():
    pair = [grades("a", noisy(1, TRUTH)), grades("b", noisy(2, TRUTH))]
    report = measure(pair, True, QUICK).to_dict()
    assert measure(pair, True, QUICK).to_dict() == report
    other = measure(pair, True, Resampling(resamples=300, seed=1)).to_dict()
    assert other["pairs"][0]["figures"]["cohen_kappa"] != report["pairs"][0]["figures"]["cohen_kappa"]


def test_the_order_of_rows_changes_nothing():
    first, second = noisy(1, TRUTH), noisy(2, TRUTH)
    order = np.random.default_rng(3).permutation(len(TRUTH))
    keys = [f"k{place}" for place in order]
    plain = measure([grades("a", first), grades("b", second)], True, QUICK)
    mixed = measure([grades("a", first), grades("b", [second[place] for place in order], keys)], True, QUICK)
    assert mixed.pairs[0].figures == plain.pairs[0].figures
    found = [(each.key, each.labels) for each in mixed.pairs[0].disagreements]
    assert found == [(each.key, each.labels) for each in plain.pairs[0].disagreements]


def test_three_graders_are_measured_in_all_pairs_and_over_all():
    three = [grades(name, noisy(seed, TRUTH)) for seed, name in enumerate("abc")]
    report = measure(three, True, QUICK)
    assert [(pair.first, pair.second) for pair in report.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert set(report.overall) == {"fleiss_kappa", "krippendorff_alpha_nominal", "krippendorff_alpha_ordinal"}
    assert all(estimate.low < estimate.value < estimate.high for estimate in report.overall.values())
    assert report.overall_bands["fleiss_kappa"] == band(report.overall["fleiss_kappa"].value)
    assert report.common == 400


def test_rows_that_only_one_grader_has_take_no_part():
    first = grades("a", [1, 2, 3, 1], ["p", "q", "r", "s"])
    second = grades("b", [1, 2, 1, 3], ["p", "q", "x", "s"])
    report = measure([first, second], resampling=QUICK)
    pair = report.pairs[0]
    assert (pair.overlap.common, pair.overlap.only_first, pair.overlap.only_second) == (3, 1, 1)
    assert pair.labels == ("1", "2", "3")
    assert pair.confusion == ((1, 0, 1), (0, 1, 0), (0, 0, 0))
    assert (pair.first_labels, pair.second_labels) == ((2, 1, 0), (1, 1, 1))
    assert report.distributions == ((2, 1, 1), (2, 1, 1))
    assert pair.figures["agreement"].value == pytest.approx(2 / 3)


def test_the_widest_differences_are_shown_first_with_their_rows():
    first = grades("a", [0, 0, 5, 3], rows=["w", "x", "y", "z"])
    second = grades("b", [0, 1, 1, 5])
    shown = measure([first, second], True, QUICK).pairs[0].disagreements
    assert [(each.key, each.difference, each.row) for each in shown] == [
        ("k2", -4.0, "y"),
        ("k3", 2.0, "z"),
        ("k1", 1.0, "x"),
    ]
    assert shown[0].labels == ("5", "1")
    assert shown[0].positions == (2, 2)


def test_nominal_disagreements_are_a_sample_that_the_seed_chooses():
    first, second = noisy(1, TRUTH, 1.0), noisy(2, TRUTH, 1.0)

    def shown(seed):
        pair = measure([grades("a", first), grades("b", second)], resampling=Resampling(resamples=2, seed=seed)).pairs[
            0
        ]
        return [each.key for each in pair.disagreements]

    assert len(shown(1)) == 20
    assert shown(1) == shown(1) != shown(2)


DEGENERATE = [
    ([], [], "no row in common"),
    ([None, 1], [1, None], "no row in common"),
    ([3], [3], "one label only"),
    ([3] * 50, [3] * 50, "one label only"),
]


@pytest.mark.parametrize(("first", "second", "reason"), DEGENERATE)
def test_what_cannot_be_measured_is_none_with_the_reason_and_never_one(first, second, reason):
    report = measure([grades("a", first), grades("b", second)], True, QUICK)
    for name in COEFFICIENTS:
        if name != "fleiss_kappa":
            estimate = report.pairs[0].figures[name]
            assert estimate.value is None
            assert estimate.reason.startswith(reason)
    assert not report.pairs[0].bands
    text = json.dumps(report.to_dict(), allow_nan=False)
    assert json.loads(text)["pairs"][0]["figures"]["cohen_kappa"]["value"] is None


def test_a_figure_that_no_resample_moves_has_no_interval():
    for labels in ([1], [1, 2] * 20):
        figures = measure([grades("a", labels), grades("b", labels)], True, QUICK).pairs[0].figures
        assert figures["agreement"].value == 1
        assert figures["agreement"].low is None
        assert "resample" in figures["agreement"].reason


def test_a_single_row_is_no_reason_to_crash():
    figures = measure([grades("a", [1]), grades("b", [2])], True, QUICK).pairs[0].figures
    assert figures["agreement"].value == 0
    assert figures["mean_absolute_error"].value == 1
    assert figures["spearman"].value is None


def test_a_constant_grader_agrees_with_another_no_better_than_chance():
    figures = measure([grades("a", [1] * 40), grades("b", [1, 2] * 20)], True, QUICK).pairs[0].figures
    assert figures["cohen_kappa"].value == 0
    assert figures["spearman"].value is None
    assert figures["spearman"].reason.startswith("a grader gave one label only")


def test_three_graders_without_a_common_row_have_no_fleiss_kappa():
    three = [grades(name, [1, 2], keys) for name, keys in (("a", ["p", "q"]), ("b", ["q", "r"]), ("c", ["r", "p"]))]
    report = measure(three, True, QUICK)
    assert report.overall["fleiss_kappa"].value is None
    assert report.overall["krippendorff_alpha_nominal"].value is not None
    assert report.common == 0


def test_too_few_graders_and_equal_names_are_refused():
    with pytest.raises(ValueError, match="at least two"):
        measure([grades("a", [1])])
    with pytest.raises(ValueError, match="name of its own"):
        measure([grades("a", [1]), grades("a", [1])])
