import math

import msgspec
import numpy as np
import orjson
import pytest

from pipelines.curation.bootstrap import Resampling
from pipelines.program_synthesis.scores import FIGURES, HEADLINE
from pipelines.program_synthesis.scoring import Unscorable, not_independent, score_run
from tests.synthesis_attempts import A, B, C, attempt, task

FEW = Resampling(resamples=200)
ONE, TWO, THREE = task("one"), task("two", test=(B, C)), task("three")
TASKS = [ONE, TWO, THREE]


def scored(attempts, tasks=TASKS, **more):
    return score_run(attempts, tasks, resampling=FEW, **more)


def shares(scores, run=0):
    return {name: scores.figures[name].per_run[run] for name in scores.figures}


def test_figures_are_shares_of_all_tasks_that_were_asked_for():
    right = attempt(ONE, 1, 1, train=[A, B], test=[A])
    half = attempt(TWO, 1, 1, train=[A, A], test=[B, A])
    found = shares(scored([right, half]))
    assert found[HEADLINE] == pytest.approx(1 / 3)
    assert found["oracle"] == pytest.approx(1 / 3)
    assert found["all_train"] == pytest.approx(1 / 3)
    assert found["min_1_train"] == pytest.approx(2 / 3)
    assert found["pass_at_1"] == pytest.approx(1 / 3)
    # Task one has all pixels right, task two one of two test outputs, task three nothing.
    assert found["pixel_accuracy"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_every_test_output_has_to_be_right():
    made = [attempt(TWO, 1, 1, train=[A, B], test=[B, A]), attempt(TWO, 1, 2, train=[A, B], test=[A, C])]
    found = shares(scored(made, [TWO]))
    assert [found[name] for name in (HEADLINE, "oracle", "pass_at_1", "all_train")] == [0, 0, 0, 1]
    found = shares(scored([*made, attempt(TWO, 1, 3, train=[A, B], test=[B, C])], [TWO]))
    assert [found[name] for name in ("oracle", "pass_at_1")] == [1, pytest.approx(1 / 3)]


def test_the_third_best_group_is_no_guess():
    made = [
        attempt(ONE, 1, 1, train=[A, B], test=[B]),
        attempt(ONE, 1, 2, train=[A, A], test=[C]),
        attempt(ONE, 1, 3, train=[A, A], test=[A]),
    ]
    result = scored(made, [ONE])
    assert shares(result)[HEADLINE] == 0
    assert shares(result)["oracle"] == 1
    # Two with half of the training outputs right (1,002) outweigh one with all of them (1,001).
    result = scored([*made, attempt(ONE, 1, 4, train=[A, A], test=[A])], [ONE])
    assert shares(result)[HEADLINE] == 1
    assert result.results[0][0].guesses_right == (True, False)
    assert shares(result)["pass_at_2_train_majority"] == 0


def test_the_winner_is_the_best_in_training_of_the_first_group():
    made = [
        attempt(ONE, 1, 1, train=[B, A], test=[A]),
        attempt(ONE, 1, 2, train=[A, B], test=[A]),
        attempt(ONE, 1, 3, train=[A, B], test=[A]),
    ]
    assert scored(made, [ONE]).results[0][0].winner == 2
    assert scored([attempt(ONE, 1, 1)], [ONE]).results[0][0].winner is None


def test_each_status_is_a_share_of_all_attempts():
    statuses = ("api_error", "api_timeout", "no_code", "truncated", "empty_response", "execution_timeout")
    made = [attempt(ONE, 1, number, status=status) for number, status in enumerate(statuses, 1)]
    made += [attempt(ONE, 1, 7, train=[A, B], test=[A]), attempt(TWO, 1, 1, train=[A, None], test=[B, C])]
    rates = scored(made).rates
    assert all(rates[status].mean.value == pytest.approx(1 / 8) for status in statuses[:5])
    # One was marked so by hand, one has a training input on which it timed out.
    assert rates["execution_timeout"].mean.value == pytest.approx(2 / 8)
    assert rates["execution_error"].mean.value == 0
    assert sum(rate.mean.value for name, rate in rates.items() if name != "transductive") == pytest.approx(1)


def test_the_most_frequent_reason_for_no_answer_is_kept_and_counted():
    errors = ("refused", "slow", "slow", None)
    made = [attempt(ONE, 1, number, status="api_error", error=error) for number, error in enumerate(errors, 1)]
    made += [attempt(ONE, 1, 5, status="api_timeout", error="refused"), attempt(TWO, 1, 1)]
    scores = scored(made)
    assert (scores.no_answer, scores.unanswered, scores.attempts) == ("refused", 5, 6)  # ties by the words
    assert scored(made[::-1]).no_answer == "refused"
    assert scored([attempt(TWO, 1, 1)]).no_answer is None


def test_transductive_attempts_can_be_left_out_and_are_told_beside():
    spelled = attempt(ONE, 1, 1, train=[A, B], test=[A], transductive="a literal")
    honest = attempt(ONE, 1, 2, train=[A, C], test=[C])
    scores = scored([spelled, honest], [ONE])
    assert shares(scores)[HEADLINE] == 1
    assert scores.without_transductive[HEADLINE].mean.value == 0
    assert scores.without_transductive["all_train"].mean.value == 0
    assert scores.without_transductive["pass_at_1"].mean.value == 0
    assert scores.rates["transductive"].mean.value == pytest.approx(1 / 2)
    left_out = scored([spelled, honest], [ONE], exclude_transductive=True)
    assert (left_out.exclude_transductive, left_out.without_transductive) == (True, None)
    assert shares(left_out)[HEADLINE] == 0
    assert left_out.results[0][0].winner == 2


def test_a_draw_that_is_left_out_stays_a_draw():
    spelled = attempt(ONE, 1, 1, train=[A, B], test=[A], transductive="a literal")
    found = scored([spelled, attempt(ONE, 1, 2, train=[A, B], test=[A])], [ONE])
    assert shares(found)["pass_at_1"] == 1
    assert found.without_transductive["pass_at_1"].mean.value == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, None),
        ({"mode": "independent", "stop_when_solved": False}, None),
        ({"mode": "independent", "stop_when_solved": True}, "end with the first that is right on training"),
        ({"mode": "feedback", "stop_when_solved": True}, "in the mode feedback attempts build on earlier ones"),
        ({"mode": "refine", "stop_when_solved": False}, "in the mode refine attempts build on earlier ones"),
    ],
)
def test_only_independent_attempts_of_a_fixed_number_are_draws(config, why):
    found = not_independent(config)
    assert found is None if why is None else why in found


def test_attempts_that_are_no_draws_have_no_pass_at_k():
    """One of two attempts is right, since the first right one was the last: pass@1 would say a half of any rate."""
    made = [attempt(ONE, 1, 1, train=[A, C], test=[C]), attempt(ONE, 1, 2, train=[A, B], test=[A])]
    assert shares(scored(made, [ONE]))["pass_at_1"] == 0.5
    scores = scored(made, [ONE], no_pass_at_k="they stop")
    assert list(scores.figures) == list(FIGURES)
    assert orjson.loads(scores.to_json())["no_pass_at_k"] == "they stop"
    assert set(scores.results[0][0].figures) == set(FIGURES)


def test_repeats_have_a_mean_a_deviation_and_a_spread():
    right = [attempt(each, 1, 1, train=[A, B], test=[p.output for p in each.test]) for each in TASKS[:2]]
    scores = scored([*right, attempt(ONE, 2, 1, train=[A, B], test=[A])], TASKS[:2])
    found = scores.figures[HEADLINE]
    assert found.per_run == (1.0, 0.5)
    assert found.mean.value == 0.75
    assert found.deviation == pytest.approx(math.sqrt(0.125))
    assert found.spread == pytest.approx((0.75 - 1.96 * math.sqrt(0.125), 0.75 + 1.96 * math.sqrt(0.125)))


def test_a_single_repeat_has_no_spread():
    found = scored([attempt(ONE, 1, 1)]).figures[HEADLINE]
    assert (found.deviation, found.spread) == (None, None)


@pytest.mark.parametrize(
    ("made", "absent", "first"),
    [([], 3, "one"), ([attempt(ONE, 2, 1)], 2, "two"), ([attempt(ONE, 2, 1), attempt(TWO, 2, 1)], 1, "three")],
)
def test_a_finished_repeat_that_lacks_a_task_is_refused(made, absent, first):
    whole = [attempt(each, 1, 1) for each in TASKS]
    said = rf"run 2 is finished and has no attempt at {absent} of its 3 tasks, such as '{first}': run-2.jsonl.zst is damaged"
    with pytest.raises(Unscorable, match=said):
        scored([*whole, *made], runs=(1, 2))


def test_a_repeat_that_is_missing_is_none_that_failed():
    scores = scored([attempt(ONE, 1, 1, train=[A, B], test=[A])], [ONE], runs=(1,), missing=(2,))
    assert scores.figures[HEADLINE].per_run == (1.0,)
    assert scores.missing == (2,)


def test_the_interval_of_the_mean_is_that_of_redrawing_tasks():
    tasks = [task(f"t{number:03}") for number in range(100)]
    made = [attempt(each, run, 1, train=[A, B], test=[A]) for run in (1, 2) for each in tasks[:30]]
    mean = score_run(made, tasks).figures[HEADLINE].mean
    # Both repeats are alike, so that they are worth no more than one: 1.96 · sqrt(0.3 · 0.7 / 100).
    assert (mean.value - mean.low, mean.high - mean.value) == pytest.approx((0.0898, 0.0898), abs=0.012)


def test_rates_have_the_interval_of_a_ratio_over_tasks():
    made = [attempt(ONE, 1, number) for number in range(1, 9)]
    made += [attempt(THREE, 1, number, train=[A, B], test=[A]) for number in range(1, 9)]
    rate = score_run(made, [ONE, THREE]).rates["no_code"].mean
    assert (rate.value, rate.low, rate.high) == (0.5, 0.0, 1.0)


def test_equal_attempts_give_equal_scores_whatever_their_order():
    made = [attempt(each, run, n, train=[A, B], test=[C]) for run in (1, 2) for each in TASKS for n in (1, 2)]
    assert scored(made).to_json() == scored(made[::-1]).to_json()


def test_scores_are_json_and_tables_with_the_sums_that_belong_to_them():
    made = [attempt(ONE, 1, 1, train=[A, B], test=[A], cost=0.25), attempt(TWO, 1, 1, cost=0.5), attempt(TWO, 1, 2)]
    scores = scored(made)
    plain = orjson.loads(scores.to_json())
    assert plain["tasks"] == 3
    assert plain["per_run"][0]["cost"] == 0.75
    assert plain["per_run"][0]["statuses"]["no_code"] == 2
    assert [each["runs"][0]["solved"] for each in plain["per_task"]] == [True, False, False]
    assert plain["per_task"][0]["runs"][0]["guesses"] == [{"weight": 1001.0, "attempts": [1], "right": True}]
    per_run, over, statuses = scores.tables().values()
    assert per_run[0]["attempts"] == 3
    assert [row["figure"] for row in over] == [*FIGURES, "pass_at_1", "pass_at_2"]
    assert {row["what became of it"] for row in statuses} == {"solved", "no_code"}


def test_the_shares_of_tasks_keep_their_places():
    made = [attempt(THREE, 2, 1, train=[A, B], test=[A]), attempt(ONE, 1, 1)]
    assert np.array_equal(scored(made).of_tasks(HEADLINE), [[0, 0, 0], [0, 0, 1]])


def test_attempts_at_other_tasks_are_refused():
    with pytest.raises(Unscorable, match=r"run 1, task 'two', attempt 4: this task is not among the 1"):
        scored([attempt(TWO, 1, 4)], [ONE])


def test_an_attempt_that_is_there_twice_is_refused():
    with pytest.raises(Unscorable, match="run 2, task 'one', attempt 3: this attempt is there twice"):
        scored([attempt(ONE, 2, 3), attempt(ONE, 2, 1), attempt(ONE, 2, 3)])


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (task("one", train=(A, C)), "is marked right on training pair 2"),
        (task("one", test=(B,)), "is marked right on test pair 1"),
        (task("one", train=(A, B, C)), "has results for 2 training pairs, the task has 3"),
    ],
)
def test_a_run_is_not_scored_against_other_tasks_than_it_was_made_on(other, said):
    with pytest.raises(Unscorable, match=said):
        scored([attempt(ONE, 1, 1, train=[A, B], test=[A])], [other])


@pytest.mark.parametrize("absent", [{"predicted_test": ()}, {"test": ()}, {"predicted_train": ()}])
def test_marks_without_predictions_and_predictions_without_marks_are_refused(absent):
    whole = attempt(ONE, 1, 1, train=[A, B], test=[A])
    with pytest.raises(Unscorable, match=r"run 1, task 'one', attempt 1 has [012] marks and [012] predictions"):
        scored([msgspec.structs.replace(whole, **absent)], [ONE])


def test_nothing_to_score_is_said():
    with pytest.raises(Unscorable, match="no attempts"):
        scored([])
    with pytest.raises(Unscorable, match="no tasks"):
        scored([], [], runs=(1,))
