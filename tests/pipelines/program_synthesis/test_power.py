import numpy as np
import pytest

from pipelines.program_synthesis.power import (
    Design,
    Variances,
    detectable,
    found_with,
    repeats_needed,
    tasks_needed,
    variances_assumed,
    variances_of_one,
    variances_of_pair,
)

REACH = 1.959964 + 0.841621
KNOWN = Variances(0.02, 0.3, "given")


def test_the_detectable_difference_is_that_of_the_formula():
    # sqrt((0.02 + 0.3 / 3) / 20) = 0.0774597
    assert detectable(KNOWN, Design(20, 3)) == pytest.approx(REACH * 0.0774597, rel=1e-5)


def test_the_tasks_needed_are_the_fewest_that_detect_the_difference():
    needed = tasks_needed(KNOWN, 0.05, 3)
    assert needed == 377  # 2.801585² · 0.12 / 0.0025 = 376.75
    assert detectable(KNOWN, Design(needed, 3)) <= 0.05 < detectable(KNOWN, Design(needed - 1, 3))


def test_the_repeats_needed_are_the_fewest_that_detect_the_difference():
    needed = repeats_needed(KNOWN, 0.1, 40)
    assert detectable(KNOWN, Design(40, needed)) <= 0.1 < detectable(KNOWN, Design(40, needed - 1))


def test_no_number_of_repeats_makes_up_for_too_few_tasks():
    assert repeats_needed(KNOWN, 0.05, 20) is None
    assert repeats_needed(Variances(0.0, 0.3, ""), 0.05, 20) is not None


def test_the_power_at_the_detectable_difference_is_eighty_per_cent():
    design = Design(50, 3)
    assert found_with(KNOWN, detectable(KNOWN, design), design) == pytest.approx(0.8, abs=1e-6)
    assert found_with(KNOWN, 1e-9, design) == pytest.approx(0.05, abs=1e-6)
    assert found_with(Variances(0.0, 0.0, ""), 0.1, design) == 1


def rates(random, tasks, mean, correlation, task_share):
    """Rates over tasks of two methods, beta with the wanted variance; a share `correlation` of tasks have equal ones."""
    strength = (1 - task_share) / task_share
    first = random.beta(mean * strength, (1 - mean) * strength, tasks)
    other = random.beta(mean * strength, (1 - mean) * strength, tasks)
    return first, np.where(random.random(tasks) < correlation, first, other)


def runs(random, rate, repeats):
    return (random.random((repeats, len(rate))) < rate).astype(float)


def test_assumptions_are_estimated_back_from_runs_made_by_them():
    random = np.random.default_rng(1)
    first, second = rates(random, 60_000, 0.3, 0.8, 0.7)
    one, other = runs(random, first, 3), runs(random, second, 3)
    assumed = variances_assumed(0.3, 0.8, 0.7)
    for found in (variances_of_pair(one, other), variances_of_one(one, 0.8)):
        assert found.of_tasks == pytest.approx(assumed.of_tasks, rel=0.05)
        assert found.of_runs == pytest.approx(assumed.of_runs, rel=0.05)
    single = variances_of_pair(one[:1], other[:1], 0.7)
    assert single.of_tasks == pytest.approx(assumed.of_tasks, rel=0.1)
    assert "is assumed" in single.source


def test_a_simulated_experiment_finds_the_detectable_difference_in_four_of_five_cases():
    random = np.random.default_rng(2)
    design, difference = Design(100, 3), None
    assumed = variances_assumed(0.4, 0.8, 0.7)
    difference = detectable(assumed, design)
    found = []
    for _ in range(1500):
        first, second = rates(random, design.tasks, 0.4, 0.8, 0.7)
        moved = runs(random, second, 3).mean(axis=0) - runs(random, first, 3).mean(axis=0) + difference
        found.append(abs(moved.mean()) > 1.959964 * moved.std(ddof=1) / np.sqrt(design.tasks))
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)


def test_runs_that_never_vary_need_two_tasks():
    still = np.ones((3, 30))
    assert variances_of_one(still).of_runs == 0
    assert tasks_needed(variances_of_one(still), 0.05, 3) == 2


def test_what_cannot_be_planned_is_refused():
    with pytest.raises(ValueError, match="endlessly many"):
        tasks_needed(KNOWN, 0, 3)
    with pytest.raises(ValueError, match="between 0 and 1"):
        variances_assumed(1.0)


def test_a_design_is_told_in_words():
    assert str(Design(1200, 3)) == "1,200 tasks × 3 repeats"
    assert str(Design(1, 1)) == "1 task × 1 repeat"
