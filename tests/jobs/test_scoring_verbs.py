"""score-run, vote and compare-runs: what they print, write and refuse; none of them starts Ray."""

import json
import subprocess
import sys

import msgspec
import orjson
import pytest
from click.testing import CliRunner

from cluster.errors import GristmillError
from cluster.shards import encode
from jobs.cli import command
from tests.synthesis_attempts import A, B, C, attempt, task, write_run

TASKS = [task(f"t{number:02}") for number in range(12)]


def made(solved, repeats=2, tasks=TASKS, **more):
    return [
        attempt(each, run, 1, train=[A, B], test=[A] if place < solved else [C], **more)
        for run in range(1, repeats + 1)
        for place, each in enumerate(tasks)
    ]


def call(*arguments):
    return CliRunner().invoke(command, [str(each) for each in arguments])


@pytest.fixture
def runs(tmp_path):
    """An old run that solves one of twelve tasks and a new one that solves eleven."""
    old = write_run(tmp_path / "old", TASKS, made(1), 2, model="small")
    return old, write_run(tmp_path / "new", TASKS, made(11), 2, model="large")


def test_a_run_is_scored_and_its_files_are_written(runs):
    found = call("score-run", runs[0])
    assert found.exit_code == 0, found.output
    assert "pass_at_2_weighted" in found.output
    assert "attempts: 24" in found.output
    scores = orjson.loads((runs[0] / "scores.json").read_bytes())
    assert scores["figures"]["pass_at_2_weighted"]["mean"]["value"] == pytest.approx(1 / 12)
    assert "small on tasks" in (runs[0] / "report.html").read_text(encoding="utf-8")


def test_json_is_what_the_file_holds(runs):
    found = call("score-run", runs[0], "--json")
    assert found.stdout_bytes == (runs[0] / "scores.json").read_bytes()


def test_an_unfinished_run_is_scored_as_far_as_it_is_and_says_so(tmp_path):
    run = write_run(tmp_path / "half", TASKS, [each for each in made(3, 3) if each.run != 2], 4)
    found = call("score-run", run)
    assert "  not finished: repeats 2 and 4 are missing" in found.output.splitlines()
    assert "runs 2, 4 of 4 are missing" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("config", [{"mode": "feedback"}, {"mode": "independent", "stop_when_solved": True}])
def test_a_run_whose_attempts_end_early_tells_no_pass_at_k_and_why(tmp_path, config):
    run = write_run(tmp_path / "run", TASKS, made(6), 2, **config)
    found = call("score-run", run)
    assert "pass_at_1" not in found.output
    assert "  no pass@k: " in found.output
    other = write_run(tmp_path / "other", TASKS, made(6), 2)
    assert "pass_at_1" in call("score-run", other).output
    figures = [
        each["figure"] for each in orjson.loads(call("compare-runs", other, run, "--json").output)["differences"]
    ]
    assert "pass_at_2_weighted" in figures and "pass_at_1" not in figures


def test_attempts_without_an_answer_are_told_with_the_reason_and_the_way_on(tmp_path):
    unanswered = [attempt(each, 1, 1, status="api_error", error="no\nsuch host " + 300 * "x") for each in TASKS]
    run = write_run(tmp_path / "run", TASKS, unanswered, 1)
    (line,) = (line for line in call("score-run", run).output.splitlines() if "without an answer" in line)
    assert line.startswith("  without an answer: 12 of 12 attempts, most often: no such host xxx")
    assert "--fresh asks for these again" in line and 201 * "x" not in line
    assert "without an answer" not in call("score-run", write_run(tmp_path / "well", TASKS, made(1), 2)).output


def test_transductive_attempts_are_left_out_where_asked(tmp_path):
    run = write_run(tmp_path / "run", TASKS, made(6, 1, transductive="a literal"), 1)
    assert orjson.loads(call("score-run", run, "--json").output)["figures"]["oracle"]["mean"]["value"] == 0.5
    found = orjson.loads(call("score-run", run, "--json", "--exclude-transductive").output)
    assert found["figures"]["oracle"]["mean"]["value"] == 0
    # The run's own files go on telling of all attempts.
    kept, beside = (orjson.loads((run / f"scores{name}.json").read_bytes()) for name in ("", "-without-transductive"))
    assert kept["figures"]["oracle"]["mean"]["value"] == 0.5
    assert beside == found
    assert (run / "report.html").exists() and (run / "report-without-transductive.html").exists()


@pytest.mark.parametrize("kept", [0, 9])
def test_a_repeat_that_was_cut_is_not_scored_as_failures(tmp_path, kept):
    run = write_run(tmp_path / "run", TASKS, made(6), 2)
    lines = [orjson.dumps(msgspec.to_builtins(each)) + b"\n" for each in made(6)[12:]]
    (run / "run-2.jsonl.zst").write_bytes(encode(b"".join(lines[:kept]), "run-2.jsonl.zst") if kept else b"")
    for arguments in (["score-run", run], ["compare-runs", run, run]):
        found = call(*arguments)
        assert isinstance(found.exception, GristmillError)
        assert f"run 2 is finished and has no attempt at {12 - kept} of its 12 tasks" in str(found.exception)
    assert not (run / "scores.json").exists()


def test_the_dataset_may_have_moved(runs, tmp_path):
    (runs[0] / "tasks.json").rename(tmp_path / "moved.json")
    assert isinstance(call("score-run", runs[0]).exception, GristmillError)
    assert call("score-run", runs[0], "--dataset", tmp_path / "moved.json").exit_code == 0


def test_votes_are_written_for_each_task_of_each_run(runs, tmp_path):
    found = call("vote", runs[0], "-o", tmp_path / "votes")
    assert "24 of 24 tasks have a guess" in found.output
    rows = [json.loads(line) for line in (tmp_path / "votes" / "votes.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "task_id": "t00",
        "run": 1,
        "attempts": 1,
        "method": "weighted",
        "guesses": [{"weight": 1001.0, "attempts": [1], "output": [A]}],
    }


def test_any_file_of_attempts_can_be_voted_on(tmp_path):
    rows = [
        {"task_id": "x", "predicted_test": [grid], "train": [{"correct": mark}]}
        for grid, mark in ((A, False), (B, True), (C, True), (C, True), ([[True]], True))
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = json.loads(call("vote", tmp_path / "mine.jsonl", "-o", "-").output)
    assert [(each["attempts"], each["weight"]) for each in found["guesses"]] == [([3, 4], 2002.0), ([2], 1001.0)]
    found = json.loads(call("vote", tmp_path / "mine.jsonl", "-o", "-", "--method", "train-majority").output)
    assert [each["weight"] for each in found["guesses"]] == [2.0, 1.0]


def test_a_vote_counts_rows_of_another_number_of_predictions_and_leaves_them_out(tmp_path):
    rows = [{"task_id": "x", "predicted_test": grids, "train": [{"correct": True}]} for grids in ([A], [A, B], [A, B])]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = call("vote", tmp_path / "mine.jsonl", "-o", "-")
    assert [each["attempts"] for each in json.loads(found.stdout)["guesses"]] == [[2, 3]]
    assert (
        found.stderr
        == "vote: 1 attempt predicts for another number of test inputs than most at the task, without a vote\n"
    )


def test_the_better_run_is_named(runs):
    found = call("compare-runs", *runs)
    assert found.output.startswith("new is better by 83.3 points [")
    back = orjson.loads(call("compare-runs", *runs[::-1], "--json").output)
    assert back["verdict"].startswith("new is better by 83.3 points [")
    assert back["differences"][0]["outcome"] == "worse"


def test_a_run_that_is_not_finished_is_named_in_a_comparison(runs, tmp_path):
    half = write_run(tmp_path / "half", TASKS, made(3, 1), 3)
    found = call("compare-runs", runs[0], half)
    assert "  half is not finished: repeats 2 and 3 are missing" in found.output.splitlines()
    assert orjson.loads(call("compare-runs", runs[0], half, "--json").output)["missing_runs"] == {"half": [2, 3]}


def test_what_else_differs_is_said_beneath_the_table(tmp_path):
    lost = [
        each if each.run == 1 else attempt(TASKS[0], 2, 1 + n, status="api_error") for n, each in enumerate(made(6))
    ]
    lost += [attempt(each, 2, 1, train=[A, B], test=[C]) for each in TASKS[1:]]
    old = write_run(tmp_path / "old", TASKS, made(6), 2, mode="independent", max_attempts=1, stop_when_solved=False)
    new = write_run(tmp_path / "new", TASKS, lost, 2, mode="refine", max_attempts=16, stop_when_solved=False)
    said = "attempts at a task: 1 and 16; mode: independent and refine; attempts without an answer: 0.0 % and 34.3 %"
    assert call("compare-runs", old, new).output.splitlines()[-1] == f"  the runs also differ in {said}"
    assert "; ".join(orjson.loads(call("compare-runs", old, new, "--json").output)["other_differences"]) == said
    assert "also differ" not in call("compare-runs", old, old).output


def test_runs_that_cannot_be_told_apart_are_said_to_be_so(tmp_path):
    pair = [write_run(tmp_path / name, TASKS, made(solved), 2) for name, solved in (("old", 5), ("new", 6))]
    found = call("compare-runs", *pair, "--power")
    assert found.output.startswith("these runs cannot tell the two apart: new − old = +8.3 points [")
    assert "12 tasks × 2 repeats can detect no less than" in found.output
    assert "tasks needed" in found.output


def test_tasks_of_one_run_alone_are_refused_or_left_out_and_named(tmp_path):
    old = write_run(tmp_path / "old", TASKS[:10], made(1, tasks=TASKS[:10]), 2)
    new = write_run(tmp_path / "new", TASKS[1:], made(9, tasks=TASKS[1:]), 2)
    refused = call("compare-runs", old, new).exception
    assert isinstance(refused, GristmillError)
    assert "1 tasks are only in" in str(refused)
    assert "compare the 9 they share with --common" in str(refused)
    found = call("compare-runs", old, new, "--common")
    assert "over 9 tasks" in found.output
    assert "left out, only in old: t00" in found.output
    assert "left out, only in new: t10, t11" in found.output


def test_a_comparison_is_planned_before_there_is_a_second_run_or_any(runs):
    found = orjson.loads(
        call("compare-runs", runs[0], "--power", "--difference", 5, "--tasks", 400, "--repeats", 3, "--json").output
    )["power"]
    assert found["design"] == {"tasks": 400, "repeats": 3}
    assert found["difference_points"] == 5
    assert found["repeats_needed"] >= 1
    found = call("compare-runs", "--power", "--base-rate", 0.2, "--tasks", 20, "--repeats", 3)
    # 2.8016 · sqrt((2 · 0.2 · 0.7 · 0.16 + 2 · 0.3 · 0.16 / 3) / 20)
    assert "20 tasks × 3 repeats can detect no less than 17.4 points" in found.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "takes two runs, A and B; to plan with fewer add --power"),
        (["a", "b", "c"], "takes two runs, A and B, not 3"),
        (["a", "b", "--difference", "5"], "--difference is for planning: add --power"),
        (["--power"], "--power without a run needs --base-rate, --tasks, --repeats as well"),
        (["a", "--power", "--base-rate", "0.2"], "give no run"),
        (["--power", "--base-rate", "1", "--tasks", "5", "--repeats", "1"], "between 0 and 1"),
        (["--power", "--difference", "0"], "not in the range"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(arguments, said):
    found = call("compare-runs", *arguments)
    assert found.exit_code == 2
    assert said in found.output


def test_none_of_them_loads_ray(runs, tmp_path):
    script = (
        "import sys; from jobs.cli import command\n"
        f"for line in (['score-run', {str(runs[0])!r}, '-q'], ['vote', {str(runs[0])!r}, '-o', {str(tmp_path)!r}],"
        f" ['compare-runs', {str(runs[0])!r}, {str(runs[1])!r}]):\n"
        "    command.main(line, standalone_mode=False)\n"
        "assert 'ray' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
