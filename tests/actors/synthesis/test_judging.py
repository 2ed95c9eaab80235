"""Judging outcomes: strict about what a grid is, blind to what follows the task's inputs."""

from __future__ import annotations

from typing import Any

import pytest

from actors.sandboxes.contract import Execution, Outcome, returned
from actors.synthesis.attempt import PairResult
from actors.synthesis.judging import judge, predictions
from actors.synthesis.task import Pair, Task

TASK = Task("t", (Pair([[1]], [[2]]), Pair([[3]], [[4]])), (Pair([[5]], [[6]]),))


def test_results_stand_beside_their_pairs() -> None:
    judged = judge(TASK, Execution((returned([[2]], cpu_ms=1.26), returned([[2]]), returned([[6]]))))
    assert judged.train == (PairResult("ok", True, 1.3), PairResult("ok", False, 0.0))
    assert judged.test == (PairResult("ok", True, 0.0),)
    assert (judged.predicted_train, judged.predicted_test) == (([[2]], [[2]]), ([[6]],))


def test_outcomes_of_other_inputs_are_left_alone() -> None:
    wanted = tuple(returned(value) for value in ([[2]], [[4]], [[6]]))
    assert judge(TASK, Execution((*wanted, returned([[0]]), Outcome("timeout")))) == judge(TASK, Execution(wanted))


def test_too_few_outcomes_are_a_defect() -> None:
    with pytest.raises(ValueError, match="task t: 2 outcomes for 3 inputs"):
        judge(TASK, Execution((returned([[2]]), returned([[4]]))))


@pytest.mark.parametrize("value", [[[2.0]], [[True]], [["2"]], [], [[]], [[2], [2, 2]], None, 2, [[10]], [[2] * 31]])
def test_what_is_no_grid_is_invalid_and_no_prediction(value: Any) -> None:
    judged = judge(TASK, Execution((returned(value),) * 3))
    assert judged.train[0] == PairResult("invalid", False, 0.0)
    assert judged.predicted_train == (None, None)


def test_a_value_beside_a_failure_is_no_prediction() -> None:
    assert predictions([Outcome("timeout", b"[[2]]"), returned([[2]])]) == [None, [[2]]]
