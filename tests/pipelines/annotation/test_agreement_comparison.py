import json

import numpy as np
import pytest

from pipelines.annotation import agreement_comparison, agreement_statistics
from pipelines.annotation.agreement import measure
from pipelines.annotation.agreement_comparison import compare
from pipelines.annotation.grades import Grades
from pipelines.curation.bootstrap import Resampling

QUICK = Resampling(resamples=400)

# Two rubrics on 2,000 rows. The second agrees on 62.9 % instead of 57.6 %, because two thirds of its labels are 3.
OLD = [
    [7, 12, 9, 1, 1, 0],
    [6, 120, 122, 67, 3, 0],
    [1, 35, 322, 271, 39, 1],
    [0, 4, 75, 516, 129, 1],
    [0, 0, 4, 61, 184, 3],
    [0, 0, 0, 0, 3, 3],
]
PILED_UP = [
    [2, 3, 2, 1, 0, 0],
    [2, 20, 40, 60, 2, 0],
    [1, 20, 150, 260, 10, 1],
    [0, 5, 150, 1040, 60, 1],
    [0, 0, 6, 110, 44, 3],
    [0, 0, 0, 3, 2, 2],
]


def pair(table, names=("first", "second"), prefix="k", seed=0):
    table = np.array(table)
    cells = [cell for cell in np.ndindex(*table.shape) for _ in range(table[cell])]
    order = np.random.default_rng(seed).permutation(len(cells))
    keys = [f"{prefix}{place}" for place in order]
    return tuple(Grades(name, keys, [int(cell[side]) for cell in cells]) for side, name in enumerate(names))


def test_a_rate_that_rises_while_every_kappa_falls_is_said_in_words():
    found = compare(pair(OLD), pair(PILED_UP), True, QUICK)
    assert found.is_misleading
    assert found.outcome == "worse"
    assert found.verdict[0].startswith(
        "Raw agreement rises from 57.6 % to 62.9 %, but kappa falls on every weighting: unweighted 0.4017 to "
    )
    assert found.verdict[1].startswith(
        "The labels have piled up in one class: '3' is 68.2 % of the labels (41.0 % before)"
    )
    assert "by chance alone (29.1 % before)" in found.verdict[1]
    assert found.verdict[-1].endswith("the new pair agrees less beyond chance.")


def test_the_other_way_round_the_lower_rate_is_the_better_agreement():
    found = compare(pair(PILED_UP), pair(OLD), True, QUICK)
    assert not found.is_misleading
    assert found.outcome == "better"
    assert found.verdict[0].startswith("Raw agreement falls from 62.9 % to 57.6 %, but kappa rises on every weighting")


def verdict(old, new):
    """The sentences between what the figures do and how sure it is: the reasons."""
    found = compare(pair(old), pair(new, prefix="other"), True, QUICK)
    return found.verdict[0], list(found.verdict[1:-1])


# Near misses instead of far ones, with more agreement by chance.
FAR, NEAR = [[40, 0, 10], [0, 100, 0], [10, 0, 40]], [[25, 9, 1], [9, 122, 9], [1, 9, 15]]


def test_a_rate_that_falls_because_misses_are_nearer_says_that_and_nothing_of_chance():
    said, why = verdict(FAR, NEAR)
    assert said.startswith("Raw agreement falls from 90.0 % to 81.0 %, but kappa rises on 1 of 3 weightings: quadratic")
    assert why == [
        "Labels match less often, but where they differ they lie nearer: 1.05 apart on average (2.00 before)."
    ]


def test_a_rate_that_rises_because_misses_are_further_says_that_and_nothing_of_piles():
    """The chance agreement rises too, by a hair."""
    near = [[50, 25, 0, 0], [25, 50, 0, 0], [0, 0, 50, 25], [0, 0, 25, 50]]
    far = [[52, 0, 0, 23], [0, 55, 24, 0], [0, 23, 52, 0], [24, 0, 0, 49]]
    said, why = verdict(near, far)
    assert said.startswith("Raw agreement rises from 66.7 % to 68.9 %, but kappa falls on 2 of 3 weightings")
    assert why == [
        "Labels match more often, but where they differ they lie further apart: 2.00 apart on average (1.00 before)."
    ]


def test_less_agreement_by_chance_is_a_reason_where_its_interval_is_below_zero():
    _, why = verdict(PILED_UP, OLD)
    assert why[0] == (
        "Less agreement is to be expected by chance (29.1 %, 50.8 % before), so that what remains of it says more."
    )


def test_no_reason_is_given_where_no_interval_supports_one():
    less = [[10, 3], [3, 14]]
    for old, new, word in ((less, [[6, 2], [3, 19]], "falls"), ([[6, 2], [3, 19]], less, "rises")):
        said, why = verdict(old, new)
        assert f"but kappa {word}" in said
        assert why == []


def test_chance_that_rises_without_a_larger_class_is_told_as_what_it_is():
    apart, alike = [[100, 700], [100, 100]], [[250, 250], [250, 250]]
    old, new = pair(apart), pair(alike, prefix="other")
    found = compare(old, new, resampling=QUICK)
    assert found.differences["chance_agreement"].low > 0
    assert agreement_comparison._piled_up(found.old, found.new).startswith(
        "The two graders use their labels more alike, and two graders with such labels would agree on "
    )


def test_differences_are_new_minus_old_with_an_interval_around_them():
    found = compare(pair(OLD), pair(PILED_UP), True, QUICK)
    for name, difference in found.differences.items():
        assert difference.value == pytest.approx(found.new.figures[name].value - found.old.figures[name].value)
        assert difference.low < difference.value < difference.high, name


def test_the_pairs_figures_are_those_of_measuring_each_alone():
    found = compare(pair(OLD), pair(PILED_UP), True, QUICK)
    assert found.old.figures == measure(pair(OLD), True, QUICK).pairs[0].figures


def shared_truth(rates, prefix="k", rows=600):
    """A reference grader and, for each rate, a grader that errs at the rows that are hard for all."""
    rng = np.random.default_rng(4)
    truth, hardness = rng.integers(0, 4, rows), rng.random(rows)
    keys = [f"{prefix}{place}" for place in range(rows)]
    reference = Grades("reference", keys, truth.tolist())
    others = [np.where(hardness < rate, (truth + 1) % 4, truth).tolist() for rate in rates]
    return reference, [Grades(f"grader {rate}", keys, each) for rate, each in zip(rates, others, strict=True)]


def test_pairs_over_the_same_keys_are_redrawn_together_which_narrows_the_interval():
    reference, (old, new) = shared_truth([0.30, 0.27])
    other_keys = [f"other {key}" for key in reference.keys]
    moved = tuple(Grades(each.name, other_keys, each.labels) for each in (reference, new))
    together = compare((reference, old), (reference, new), resampling=QUICK)
    apart = compare((reference, old), moved, resampling=QUICK)
    assert together.is_paired
    assert together.shared_keys == 600
    assert not apart.is_paired
    widths = [each.differences["cohen_kappa"].high - each.differences["cohen_kappa"].low for each in (together, apart)]
    assert widths[0] < widths[1] / 2
    assert (together.outcome, apart.outcome) == ("better", "undecided")
    assert "do not tell the two pairs apart" in apart.verdict[-1]


def test_pairs_that_share_some_keys_are_paired_on_those():
    reference, (old, new) = shared_truth([0.30, 0.27])
    fewer = Grades("fewer", new.keys[:400], new.labels[:400])
    found = compare((reference, old), (reference, fewer), resampling=QUICK)
    assert found.shared_keys == 400
    assert found.is_paired
    assert found.differences["cohen_kappa"].low < found.differences["cohen_kappa"].high


def test_batches_of_draws_change_nothing(monkeypatch):
    old, new = pair(OLD), pair(PILED_UP, prefix="other")
    at_once = compare(old, new, True, QUICK).differences
    monkeypatch.setattr(agreement_statistics, "_BATCH", 1000)
    assert compare(old, new, True, QUICK).differences == at_once


def test_a_pair_without_a_common_row_leaves_the_comparison_undefined():
    nothing = (Grades("a", ["x"], [1]), Grades("b", ["y"], [1]))
    found = compare(pair(OLD), nothing, True, QUICK)
    assert found.outcome == "undefined"
    assert found.verdict[0].startswith("The pairs cannot be compared: new pair: no row in common")
    json.dumps(found.to_dict(), allow_nan=False)


def test_one_label_only_leaves_kappa_undefined_and_says_so():
    constant = (Grades("a", ["x", "y"], [3, 3]), Grades("b", ["x", "y"], [3, 3]))
    found = compare(pair(OLD), constant, True, QUICK)
    assert not found.is_misleading
    assert found.outcome == "undefined"
    assert "rises from 57.6 % to 100.0 %; kappa is undefined (new pair: one label only" in found.verdict[0]


def test_equal_pairs_are_undecided():
    found = compare(pair(OLD), pair(OLD), True, QUICK)
    assert found.outcome == "undecided"
    assert found.verdict[0].startswith("Raw agreement stays at 57.6 %; kappa: unweighted 0.4017 to 0.4017")


def test_the_comparison_is_plain_json():
    plain = compare(pair(OLD), pair(PILED_UP), True, QUICK).to_dict()
    read = json.loads(json.dumps(plain, allow_nan=False))
    assert read["verdict"] == plain["verdict"]
    assert read["old"]["figures"]["cohen_kappa"]["value"] == pytest.approx(0.4017, abs=5e-5)
    assert set(read["differences"]) == set(read["old"]["figures"])
