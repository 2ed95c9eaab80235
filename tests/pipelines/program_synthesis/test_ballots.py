import json

import pytest

from pipelines.program_synthesis.attempts import UnreadableAttempts, files_of
from pipelines.program_synthesis.ballots import read_ballots
from pipelines.program_synthesis.votes import Ballot


def read(folder, *rows):
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_ballots(files_of(str(folder / "rows.jsonl")))


def row(task, grid, *marks, **more):
    return {"task_id": task, "predicted_test": [grid], "train": [{"correct": mark} for mark in marks], **more}


def test_rows_need_only_task_predictions_and_marks(tmp_path):
    (found,) = read(tmp_path, row("t", [[1]], True, False), row("t", [[2]], True, True, colour="red"))
    assert (found.task_id, found.run) == ("t", 1)
    assert found.ballots == (Ballot(1, b"[[[1]]]", 1, 2), Ballot(2, b"[[[2]]]", 2, 2))


def test_whatever_a_program_returned_is_read_and_has_no_vote(tmp_path):
    values = [[[True]], [[1.5]], "x", None, [[1], [1, 2]], {}]
    (found,) = read(tmp_path, *(row("t", value, True) for value in values), row("t", [[1]]) | {"predicted_test": None})
    assert [ballot.prediction for ballot in found.ballots] == [None] * 7


def test_tasks_and_runs_are_kept_apart_in_the_order_of_their_rows(tmp_path):
    found = read(tmp_path, row("b", [[1]], run=2), row("a", [[1]], run=1), row("b", [[1]], run=1, transductive="why"))
    assert [(each.task_id, each.run) for each in found] == [("b", 2), ("a", 1), ("b", 1)]
    assert found[2].ballots[0].is_transductive


def test_an_attempt_that_is_there_twice_is_an_error(tmp_path):
    with pytest.raises(UnreadableAttempts, match="task 't', run 1: attempt 3 is there twice"):
        read(tmp_path, row("t", [[1]], attempt=3), row("t", [[1]], attempt=3))


def test_a_row_without_marks_is_an_error_that_names_its_line(tmp_path):
    with pytest.raises(UnreadableAttempts, match=r"rows\.jsonl, line 2: this is no attempt: .*train"):
        read(tmp_path, row("t", [[1]]), {"task_id": "t", "predicted_test": []})


def test_a_row_for_another_number_of_test_inputs_than_most_has_no_vote(tmp_path):
    def of(task, *grids, **more):
        return row(task, None, True, **more) | {"predicted_test": list(grids)}

    found = read(
        tmp_path,
        of("t", [[1]]),
        of("t", [[1]], [[2]]),
        of("t", run=1),
        of("t", None, [[2]], run=2),
        of("t", [[1]], [[2]], [[3]], run=2),
        of("tie", [[1]], [[2]]),
        of("tie", [[1]]),
    )
    assert [(each.task_id, each.run, each.odd) for each in found] == [("t", 1, 1), ("t", 2, 1), ("tie", 1, 1)]
    votes = [[ballot.prediction for ballot in each.ballots] for each in found]
    assert votes == [[None, b"[[[1]],[[2]]]", None], [None, None], [b"[[[1]],[[2]]]", None]]
