"""Examining attempts: which qualify, what is executed, and what their records say."""

from __future__ import annotations

import asyncio

import msgspec
import numpy as np
import pytest

from actors.synthesis.attempt import Attempt
from actors.synthesis.candidates import RECORD, ExamineAttempts, JoinRecords, Wanted
from actors.synthesis.known_tasks import KnownTasks
from cluster.resources import Resources
from cluster.rows import Rows
from tests.actors.synthesis.trusted_execution import TrustedExecutors
from tests.jobs.synthesis_runs import (
    FLIP,
    FLIP_AGAIN,
    FLIP_LONG,
    ONLY_TRAINING,
    RAISES,
    SAME,
    SAME_LONG,
    SPELLED,
    attempt_at,
    flip_task,
)

TASK = flip_task("t", 1)


def examined(*attempts: Attempt | bytes, wanted: Wanted | None = None, **sets: list) -> tuple[Rows, np.ndarray]:
    tasks = KnownTasks.of(sets or {"d": [TASK]})
    stage = ExamineAttempts(tasks, wanted or Wanted(), TrustedExecutors(), Resources(cpus=0.5))
    lines = [each if isinstance(each, bytes) else msgspec.json.encode(each) for each in attempts]
    rows = asyncio.run(stage.process_async(Rows("run-1.jsonl", lines, list(range(1, len(lines) + 1)))))
    return rows, np.frombuffer(JoinRecords().encode(rows), RECORD)


def test_a_program_that_ran_on_all_training_inputs_qualifies_whether_it_is_right_or_not():
    _, records = examined(attempt_at(TASK, 1, FLIP), attempt_at(TASK, 2, SAME), attempt_at(TASK, 3, ONLY_TRAINING))
    assert records["is_candidate"].tolist() == [True] * 3
    assert records["is_right"].tolist() == [True, False, False]
    assert records["line"].tolist() == records["attempt"].tolist() == [1, 2, 3]


def test_what_does_not_qualify_is_counted_with_the_reason_and_keeps_its_record():
    other = flip_task("other", 3)
    rows, records = examined(
        attempt_at(TASK, 1, None),
        attempt_at(TASK, 2, RAISES),
        attempt_at(other, 3, FLIP),
        attempt_at(TASK, 4, FLIP, model="other/model"),
        attempt_at(TASK, 5, SPELLED),
        wanted=Wanted(models=("", "mine/*")),
    )
    assert not records["is_candidate"].any() and len(records) == 5
    assert {name: count for name, count in rows.counters.items() if name.startswith("left out")} == {
        "left out: no program": 1,
        "left out: did not run on all training inputs": 1,
        "left out: another task": 1,
        "left out: another model": 1,
        "left out: transductive": 1,
    }
    assert rows.counters["transductive: input not read"] == 1


def test_transductive_programs_are_kept_if_asked():
    rows, records = examined(attempt_at(TASK, 1, SPELLED), wanted=Wanted(keep_transductive=True))
    assert records["is_candidate"].tolist() == [True]
    assert rows.counters == {"transductive: input not read": 1}


def test_what_the_solver_held_to_be_transductive_stays_so():
    rows, _ = examined(attempt_at(TASK, 1, FLIP, transductive="a person said so"))
    assert rows.counters["left out: transductive"] == 1


def test_a_program_that_answers_otherwise_than_its_attempt_says_is_quarantined():
    told = attempt_at(TASK, 1, FLIP)
    lying = msgspec.structs.replace(told, predicted_train=(told.predicted_train[0], [[1]], [[2]]))
    rows, records = examined(lying)
    assert len(records) == 0
    assert rows.rejected[0].reason.endswith("on inputs 2, 3")


def test_a_test_input_that_is_answered_only_now_is_unsteady():
    rows, _ = examined(msgspec.structs.replace(attempt_at(TASK, 1, FLIP), predicted_test=(None,)))
    assert rows.rejected[0].reason.endswith("on inputs 4")


def test_a_line_that_is_no_attempt_is_quarantined():
    rows, _ = examined(b'{"task_id": 3}', attempt_at(TASK, 1, FLIP))
    assert [(each.line, each.reason[:10]) for each in rows.rejected] == [(1, "no attempt")]


def test_cleaning_is_given_up_where_it_changes_the_answers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("actors.synthesis.candidates.clean", lambda program: SAME)
    rows, records = examined(attempt_at(TASK, 1, FLIP))
    assert records["is_candidate"].tolist() == [True] and records["is_cleaned"].tolist() == [False]
    assert rows.counters["cleaning given up"] == 1


def test_equal_code_after_cleaning_and_equal_outputs_are_the_same():
    attempts = [attempt_at(TASK, n, p) for n, p in enumerate([FLIP, FLIP_AGAIN, FLIP_LONG, SAME, SAME_LONG], 1)]
    _, records = examined(*attempts)
    same = [tuple(each) for each in records["same"].tolist()]
    assert same[0] != same[2] and same[3] == same[4] and len(set(same)) == 3
    assert same[0] == same[1], "they differ in comments alone"


def test_descent_is_noted_within_a_task_and_a_run_and_only_backwards():
    _, records = examined(
        attempt_at(TASK, 1, FLIP),
        attempt_at(TASK, 2, FLIP, parent_attempt=1),
        attempt_at(TASK, 3, FLIP, parent_attempt=3),
        msgspec.structs.replace(attempt_at(TASK, 4, FLIP), run=2),
    )
    assert records["parent"].tolist() == [0, 1, 0, 0]
    assert len(set(records["lineage"].tolist())) == 2
