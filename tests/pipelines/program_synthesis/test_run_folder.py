import json

import pytest

from pipelines.program_synthesis.run_folder import NoRun, RunFolder, missing_in_words
from tests.synthesis_attempts import attempt, task, write_run

TASKS = [task("b"), task("a")]


def test_a_run_tells_what_was_asked_and_what_is_finished(tmp_path):
    made = [attempt(TASKS[0], run, 1) for run in (1, 3)]
    folder = RunFolder.open(str(write_run(tmp_path / "demo", TASKS, made, 4, model="m")))
    assert (folder.name, folder.runs, folder.missing) == ("demo", (1, 3), (2, 4))
    assert not folder.is_complete
    assert folder.config["model"] == "m"
    assert [task.id for task in folder.tasks()] == ["b", "a"]
    assert list(folder.attempts()) == made


def test_a_run_without_a_finished_repeat_cannot_be_scored_yet(tmp_path):
    with pytest.raises(NoRun, match="none of the 3 runs is finished yet"):
        RunFolder.open(str(write_run(tmp_path, TASKS, [], 3)))


def test_a_place_that_is_no_run_is_said(tmp_path):
    with pytest.raises(NoRun, match=r"no run of tasks lies here.*gristmill vote"):
        RunFolder.open(str(tmp_path))


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ('{"verb": "train-fasttext", "config": {}}', "the output of train-fasttext, not of run-tasks"),
        ("[]", "the output of something else"),
        ('{"verb"', "is damaged"),
        ('{"verb": "run-tasks", "config": {"dataset": "x"}}', "does not say tasks, repeat_runs"),
    ],
)
def test_a_manifest_of_something_else_is_refused(tmp_path, manifest, said):
    write_run(tmp_path, TASKS, [attempt(TASKS[0], 1, 1)], 1)
    (tmp_path / "_run" / "manifest.json").write_text(manifest)
    with pytest.raises(NoRun, match=said):
        RunFolder.open(str(tmp_path))


def test_tasks_that_the_task_set_lacks_are_named(tmp_path):
    folder = RunFolder.open(str(write_run(tmp_path, TASKS, [attempt(TASKS[0], 1, 1)], 1)))
    other = tmp_path / "other.json"
    data = json.loads((tmp_path / "tasks.json").read_text())
    other.write_text(json.dumps({"a": data["a"]}))
    with pytest.raises(NoRun, match=r"1 of its tasks are not in .*other\.json \(such as 'b'\)"):
        folder.tasks(str(other))
    assert len(folder.tasks(str(tmp_path / "tasks.json"))) == 2


def test_missing_repeats_are_named_in_words():
    assert missing_in_words((2,)) == "repeat 2 is missing"
    assert missing_in_words((2, 3)) == "repeats 2 and 3 are missing"
    assert missing_in_words((2, 3, 5)) == "repeats 2, 3 and 5 are missing"
