"""The choice of the program to refine: its distribution by hand, its independence of everything but its seed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from actors.synthesis.attempt import Attempt, PairResult
from actors.synthesis.refinement import beta_parameters, improvable, parent_of


def attempt(number: int, right: int = 0, of: int = 4, program: str | None = "", **more: Any) -> Attempt:
    results = tuple(PairResult("ok", place < right, 1.0) for place in range(of))
    made = f"program {number}" if program == "" else program
    return Attempt(
        task_id="t", run=1, attempt=number, **{"status": "partial", "program": made, "train": results, **more}
    )


@pytest.mark.parametrize(
    ("accuracy", "tried", "parameters"),
    [
        (0.0, 0, (1, 21)),
        (1.0, 0, (21, 1)),
        (0.5, 0, (11, 11)),
        (0.25, 3, (6, 19)),
        (1.0, 7, (21, 8)),
    ],
)
def test_an_arm_is_the_beta_of_the_formula(accuracy: float, tried: int, parameters: tuple[float, float]) -> None:
    assert beta_parameters(accuracy, tried) == parameters


def share_of(number: int, earlier: list[Attempt], draws: int = 4000) -> float:
    chosen = [parent_of(earlier, seed, "t", 1, 9) for seed in range(draws)]
    return sum(each is not None and each.attempt == number for each in chosen) / draws


def test_arms_are_chosen_as_often_as_their_betas_win() -> None:
    # One of four right is Beta(6, 16), two of four Beta(11, 11); the chance that a draw from Beta(a, b) is below one from
    # Beta(c, d) is Σ_{i<c} B(a + i, b + d) / ((d + i) B(1 + i, d) B(a, b)).
    def beta(a: float, b: float) -> float:
        return math.exp(math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b))

    wins = sum(beta(6 + i, 27) / ((11 + i) * beta(1 + i, 11) * beta(6, 16)) for i in range(11))
    assert 0.9 < wins < 0.97
    assert share_of(2, [attempt(1, 1), attempt(2, 2)]) == pytest.approx(wins, abs=0.02)


def test_what_was_tried_often_gives_way() -> None:
    # Equal accuracy, so the share would be a half; eight tries in vain make Beta(11, 19) against Beta(11, 11).
    tried = [attempt(number, program=None, status="no_code", parent_attempt=1) for number in range(3, 11)]
    even = share_of(1, [attempt(1, 2), attempt(2, 2)])
    assert even == pytest.approx(0.5, abs=0.03)
    assert share_of(1, [attempt(1, 2), attempt(2, 2), *tried]) < 0.2


def test_there_is_nothing_to_refine_before_a_program_has_run() -> None:
    silent = [attempt(1, program=None, status="no_code"), attempt(2, program=None, status="api_error")]
    assert parent_of([], 1, "t", 1, 1) is None
    assert parent_of(silent, 1, "t", 1, 3) is None
    assert parent_of([*silent, attempt(3, status="execution_error", right=0)], 1, "t", 1, 4) is not None


def test_equal_programs_are_one_arm() -> None:
    assert [
        arm.attempt for arm in improvable([attempt(1, 1, program="p"), attempt(2, 1, program="p"), attempt(3)])
    ] == [
        1,
        3,
    ]


def test_the_draw_depends_on_seed_task_run_and_attempt() -> None:
    earlier = [attempt(number, 2) for number in range(1, 9)]

    def drawn(seed: int, task: str, run: int, number: int) -> int:
        found = parent_of(earlier, seed, task, run, number)
        assert found is not None
        return found.attempt

    base = [drawn(42, f"t{n}", 1, 9) for n in range(50)]
    assert base == [drawn(42, f"t{n}", 1, 9) for n in range(50)]
    assert len(set(base)) == 8
    for other in ([drawn(43, f"t{n}", 1, 9) for n in range(50)], [drawn(42, f"t{n}", 2, 9) for n in range(50)]):
        assert other != base
    assert [drawn(42, f"t{n}", 1, 10) for n in range(50)] != base


def test_the_draw_is_the_same_on_every_machine() -> None:
    earlier = [attempt(number, number % 3) for number in range(1, 9)]
    chosen = [parent_of(earlier, 42, "007bbfb7", 1, number) for number in range(9, 21)]
    assert [each.attempt for each in chosen if each] == [2, 2, 5, 8, 5, 2, 5, 8, 5, 2, 2, 2]
