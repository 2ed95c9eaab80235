"""The options that choose a sandbox, and what `execute` says of one program."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from jobs.execute import command
from jobs.execute_dataset import command as execute_dataset
from jobs.executors import sandbox_choice
from tests.actors.sandboxes.process_tree import below

GIVEN: dict[str, Any] = {
    "isolation": "auto",
    "docker_runtime": None,
    "unsafe_sandbox": False,
    "program_packages": "numpy, scipy",
    "cpu_seconds": 2.0,
    "memory": 1 << 30,
}
TURN = "def transform(grid):\n    print('turning')\n    return [row[::-1] for row in grid]\n"


def test_the_options_of_a_sandbox_reach_the_box_and_the_limits() -> None:
    arguments = GIVEN | {"isolation": "docker", "docker_runtime": "runsc", "other": 1}
    choice, limits = sandbox_choice(arguments)
    assert (choice.isolation, choice.packages, choice.runtime) == ("docker", ("numpy", "scipy"), "runsc")
    assert limits.cpu_seconds == 2.0
    assert limits.memory == choice.memory == 1 << 30
    assert arguments == {"other": 1}


def test_the_process_sandbox_has_to_be_called_unsafe() -> None:
    with pytest.raises(click.UsageError, match="--unsafe-sandbox"):
        sandbox_choice(GIVEN | {"isolation": "process"})
    choice, _ = sandbox_choice(GIVEN | {"isolation": "process", "unsafe_sandbox": True})
    assert choice.resolved == "process"


def test_a_runtime_is_not_asked_for_in_vain() -> None:
    for isolation in ("auto", "bubblewrap"):
        with pytest.raises(click.UsageError, match="--docker-runtime runsc is for --isolation docker"):
            sandbox_choice(GIVEN | {"isolation": isolation, "docker_runtime": "runsc"})


@pytest.mark.parametrize("given", [["--cpu-seconds", "nan"], ["--cpu-seconds", "inf"], ["--cpu-seconds", "1e9"]])
def test_limits_that_are_none_are_a_wrong_use(given: list[str], tmp_path: Path) -> None:
    found = run(tmp_path, "--input", "1", *given)
    assert found.exit_code == 2 and "--cpu-seconds" in found.output


@pytest.mark.parametrize(("memory", "said"), [("1kB", "give at least 1MiB"), ("9000000TB", "give at most 16TiB")])
def test_memory_that_no_program_or_no_machine_has_is_a_wrong_use(memory: str, said: str, tmp_path: Path) -> None:
    found = run(tmp_path, "--input", "1", "--memory", memory)
    assert found.exit_code == 2 and said in found.output


def test_a_program_does_not_command_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text("def transform(grid):\n    print('\\x1b]0;mine\\x07\\tred')\n    return 1\n")
    found = run(tmp_path, "--program", str(tmp_path / "loud.py"), "--input", "1")
    assert "\ufffd]0;mine\ufffd\tred" in found.output and "\x1b" not in found.output


def run(tmp_path: Path, *arguments: str) -> Any:
    (tmp_path / "turn.py").write_text(TURN)
    unboxed = ["--isolation", "process", "--unsafe-sandbox"]
    return CliRunner().invoke(command, ["--program", str(tmp_path / "turn.py"), *unboxed, *arguments])


def test_every_input_has_its_outcome_and_what_was_printed_is_shown(tmp_path: Path) -> None:
    found = run(tmp_path, "--input", "[[1, 2]]", "--input", "5")
    first, second, *rest = found.output.splitlines()
    assert first.startswith("input 1: ok, ") and first.endswith("[[2, 1]]")
    assert second.startswith("input 2: exception, ") and "TypeError: 'int' object is not iterable (line 3)" in second
    assert rest[:3] == ["printed:", "turning", "turning"]
    assert found.exit_code == 1


def test_the_outcomes_come_as_json_with_status_0_where_all_is_well(tmp_path: Path) -> None:
    (tmp_path / "inputs.json").write_text("[[[1, 2]], [[3]]]")
    found = run(tmp_path, "--inputs", str(tmp_path / "inputs.json"), "--json")
    told = json.loads(found.output)
    assert [outcome["value"] for outcome in told["outcomes"]] == [[[2, 1]], [[3]]]
    assert (told["isolation"], told["output"], found.exit_code) == ("process", "turning\nturning\n", 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "inputs.json holds no list of inputs but one dict: put it in brackets"),
        ("[1,", "inputs.json is not JSON: "),
        ("[" * 100_000, "inputs.json is nested more than 400 levels deep"),
        ("[NaN]", "inputs.json is not JSON: it has no NaN"),
        (None, "inputs.json cannot be read: No such file or directory"),
    ],
)
def test_inputs_that_cannot_be_read_are_told_by_file_and_reason(content: str | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "inputs.json").write_text(content)
    found = run(tmp_path, "--inputs", str(tmp_path / "inputs.json"))
    assert found.exit_code == 1
    assert said in str(found.exception)


def test_the_mark_that_windows_puts_before_a_text_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_bytes(b"\xef\xbb\xbf" + TURN.encode())
    (tmp_path / "inputs.json").write_bytes(b"\xef\xbb\xbf[[[1, 2]]]")
    files = ["--program", str(tmp_path / "program.py"), "--inputs", str(tmp_path / "inputs.json")]
    assert run(tmp_path, *files).exit_code == 0


def test_program_and_inputs_are_not_both_read_from_standard_input(tmp_path: Path) -> None:
    found = run(tmp_path, "--program", "-", "--inputs", "-")
    assert found.exit_code == 2 and "cannot both be read from standard input" in found.output


def test_an_empty_list_of_inputs_is_told_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "inputs.json").write_text("[]")
    found = run(tmp_path, "--inputs", str(tmp_path / "inputs.json"))
    assert found.exit_code == 2 and "inputs.json holds an empty list" in found.output


def test_no_inputs_is_a_wrong_use(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert found.exit_code == 2
    assert "give --inputs FILE.json or --input JSON" in found.output


def test_an_expression_that_does_not_compile_leaves_no_output_behind(tmp_path: Path) -> None:
    places = ["-d", str(tmp_path), "-o", str(tmp_path / "out")]
    found = CliRunner().invoke(execute_dataset, [*places, "--inputs-expression", ".a |"])
    assert "jq program '.a |' does not compile" in str(found.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.component
def test_an_interrupt_ends_it_at_once(tmp_path: Path) -> None:
    (tmp_path / "sleep.py").write_text(
        "import time\ndef transform(x):\n    print('.', flush=True)\n    time.sleep(10**6)\n"
    )
    command = [sys.executable, "-m", "jobs.execute", "--program", str(tmp_path / "sleep.py"), "--input", "1"]
    unboxed = ["--isolation", "process", "--unsafe-sandbox", "--cpu-seconds", "1000"]
    with subprocess.Popen([*command, *unboxed], stderr=subprocess.PIPE, text=True) as process:
        while not [line for line in below(process.pid).values() if "fork_server.py" in line]:
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=30)[1]
    assert process.returncode == 1 and "Traceback" not in told


@pytest.mark.component
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_a_program_in_a_box_sees_nothing_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text("import os\ndef transform(path):\n    return sorted(os.listdir(path))\n")
    found = CliRunner().invoke(command, ["--program", str(tmp_path / "look.py"), "--input", '"/"', "--json"])
    seen = json.loads(found.output)["outcomes"][0]["value"]
    assert "python" in seen and not {"home", "root", "usr", "var"} & set(seen)
