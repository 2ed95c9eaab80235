import numpy as np
import pytest

from pipelines.program_synthesis.run_comparison import (
    NotComparable,
    common_tasks,
    compare_runs,
    sign_flip,
    verdict,
)
from pipelines.program_synthesis.scores import RESAMPLING
from pipelines.program_synthesis.scoring import score_run
from tests.synthesis_attempts import A, B, C, attempt, task

TASKS = [task(f"t{number:02}") for number in range(40)]


def attempts_of(solved, tasks, repeats):
    """Attempts that solve the first so many tasks, in every repeat."""
    return [
        attempt(each, run, 1, train=[A, B], test=[A] if place < solved else [C])
        for run in range(1, repeats + 1)
        for place, each in enumerate(tasks)
    ]


def run_of(solved, tasks=TASKS, repeats=2, **more):
    return score_run(attempts_of(solved, tasks, repeats), tasks, **more)


def test_a_run_that_solves_more_of_the_same_tasks_is_better():
    found = compare_runs(run_of(10), run_of(20))
    difference = found.headline
    assert (difference.first, difference.second, difference.difference.value) == (0.25, 0.5, 0.25)
    # Ten of forty differences are 1: 0.25 ± 1.96 · sqrt(0.25 · 0.75 / 40).
    assert (difference.difference.low, difference.difference.high) == pytest.approx((0.116, 0.384), abs=0.03)
    assert difference.outcome == "better"
    assert verdict(found, "old", "new").startswith("new is better by 25.0 points [1")
    back = compare_runs(run_of(20), run_of(10))
    assert back.headline.outcome == "worse"
    assert verdict(back, "old", "new").startswith("old is better by 25.0 points [1")


def test_pairing_finds_what_two_separate_intervals_hide():
    old, new = run_of(12), run_of(20)
    separate = [each.figures["pass_at_2_weighted"].mean for each in (old, new)]
    assert separate[0].high > separate[1].low
    assert compare_runs(old, new).headline.outcome == "better"


def test_equal_runs_cannot_be_told_apart():
    found = compare_runs(run_of(10), run_of(10))
    assert found.headline.outcome == "undecided"
    assert found.headline.p == 1
    assert verdict(found, "old", "new") == (
        "these runs cannot tell the two apart: new − old = +0.0 points [0.0, 0.0], p = 1.0000"
    )


def test_three_tasks_decide_nothing_even_if_all_of_them_change():
    # The bootstrap has seen nothing but 1 and its interval leaves out 0; three coins fall alike in a quarter of cases.
    found = compare_runs(run_of(0, TASKS[:3]), run_of(3, TASKS[:3]))
    assert (found.headline.difference.low, found.headline.difference.high) == (1, 1)
    assert found.headline.p == pytest.approx(0.25, abs=0.02)
    assert found.headline.outcome == "undecided"


def test_tasks_are_matched_by_name_not_by_place():
    turned = score_run(attempts_of(10, TASKS, 2), TASKS[::-1])
    found = compare_runs(run_of(10), turned).headline
    assert found.difference.to_dict() | {"p": found.p} == {
        "value": 0,
        "low": 0,
        "high": 0,
        "method": "bootstrap",
        "p": 1,
    }


def test_only_figures_of_both_runs_are_compared():
    more = score_run([attempt(each, 1, n) for each in TASKS for n in (1, 2, 3, 4)], TASKS)
    names = [each.figure for each in compare_runs(run_of(10), more).differences]
    assert "pass_at_1" in names
    assert "pass_at_4" not in names


def test_runs_on_different_tasks_or_terms_are_refused():
    with pytest.raises(NotComparable, match="different tasks"):
        compare_runs(run_of(1), run_of(1, TASKS[1:]))
    with pytest.raises(NotComparable, match="transductive"):
        compare_runs(run_of(1), run_of(1, exclude_transductive=True))


def test_common_tasks_name_those_that_only_one_run_has():
    found = common_tasks(TASKS[:3], TASKS[1:5])
    assert [each.id for each in found.both] == ["t01", "t02"]
    assert (found.only_first, found.only_second) == (("t00",), ("t03", "t04"))


def test_tasks_of_one_name_and_different_content_are_refused():
    with pytest.raises(NotComparable, match=r"1 tasks have the same id .*\(such as 't00'\)"):
        common_tasks(TASKS, [task("t00", test=(B,)), *TASKS[1:]])
    with pytest.raises(NotComparable, match="no task in common"):
        common_tasks(TASKS[:1], TASKS[1:])


def test_the_sign_flip_test_is_that_of_counting_all_flips():
    # Of the 16 flips of (1, 1, 1, −0.5) the four sums 3.5, −3.5, 2.5, −2.5 reach the observed 2.5.
    found = sign_flip(np.array([[1.0], [1.0], [1.0], [-0.5]]), RESAMPLING)
    assert found[0] == pytest.approx(4 / 16, abs=0.02)
    assert found[0] == sign_flip(np.array([[1.0], [1.0], [1.0], [-0.5]]), RESAMPLING)[0]


def test_without_a_difference_in_truth_one_in_twenty_is_found_at_most():
    random = np.random.default_rng(5)
    moved = random.choice([-1.0, 0.0, 1.0], size=(30, 2000), p=[0.2, 0.6, 0.2])
    assert (sign_flip(moved, RESAMPLING) < 0.05).mean() < 0.06
