"""list-prompts and show-prompt."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs import list_prompts, show_prompt
from pipelines.annotation import prompt_library

ROOT = Path(__file__).resolve().parents[2]


def shown(command, *arguments, stdin=None):
    done = CliRunner().invoke(command, list(map(str, arguments)), input=stdin, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def module(name, *arguments, stdin=""):
    command = [sys.executable, "-m", f"jobs.{name}", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, cwd=ROOT, check=False)


def test_the_list_is_a_table_with_tasks_first():
    lines = shown(list_prompts.command).splitlines()
    assert lines[0].split() == ["name", "kind", "version", "score", "summary"]
    names = [line.split()[0] for line in lines[1:]]
    assert sorted(names) == prompt_library.names()
    assert names[-2:] == ["code_system", "text_system"]
    assert any("pointwise_judge" in line and "1 to 10" in line for line in lines)
    assert all(line.index("One") == lines[0].index("summary") for line in lines if "pointwise" in line)


def test_the_list_as_json():
    found = {entry["name"]: entry for entry in json.loads(shown(list_prompts.command, "--json"))}
    assert set(found) == set(prompt_library.names())
    assert found["claude_rubric_code"]["score"] == {"field": "score", "minimum": 0, "maximum": 5}
    assert found["claude_rubric_code"]["embedded"] == "code_quality"
    assert found["pairwise_judge"]["fields"] == {
        "prompt": ".prompt",
        "response_a": ".response_a",
        "response_b": ".response_b",
    }


@pytest.mark.parametrize("name", prompt_library.names())
def test_a_prompt_is_shown_as_its_file_is_and_can_be_used_as_one(name, tmp_path):
    source = shown(show_prompt.command, name)
    assert source == (ROOT / "pipelines/annotation/prompts" / f"{name}.md").read_text()
    (tmp_path / "copy.md").write_text(source)
    first, second = (json.loads(shown(show_prompt.command, at, "--json")) for at in (name, tmp_path / "copy.md"))
    assert first == second
    assert first["digest"] == prompt_library.load(name).digest
    assert "messages" not in first


@pytest.mark.parametrize(
    "spelled", ['{"text": "{{ x }} </file> <|im_end|>"}', '{\n "text":\n"{{ x }} </file> <|im_end|>"}\n']
)
def test_a_row_is_rendered_as_a_model_would_get_it(spelled, tmp_path):
    (tmp_path / "row.json").write_text(spelled)
    for output in (
        shown(show_prompt.command, "claude_rubric_code", "--row", tmp_path / "row.json"),
        shown(show_prompt.command, "claude_rubric_code", "--row", "-", stdin=spelled),
    ):
        assert output.startswith("[user]\nGrade one source file")
        assert "\n<file>\n{{ x }} <·/file> <·|im_end|>\n</file>\n" in output


def test_of_several_rows_the_first_is_taken_and_the_text_may_stand_elsewhere():
    rows = '{"content": "one"}\n{"content": "two"}\n'
    found = json.loads(
        shown(show_prompt.command, "fineweb_edu_rubric", "--row", "-", "-t", ".content", "--json", stdin=rows)
    )
    (message,) = found["messages"]
    assert message["role"] == "user"
    assert "<text>\none\n</text>" in message["content"]
    assert "two\n" not in message["content"]
    assert shown(show_prompt.command, "code_system", "--row", "-", stdin="{}").startswith("[system]\nYou are")


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["claude_rubric"], "", "gristmill: no prompt 'claude_rubric': did you mean 'claude_rubric_code'?"),
        (["./nothing.md"], "", "gristmill: ./nothing.md: no such file"),
        (["claude_rubric_code", "--row", "-"], "{}", "gristmill: --row: .text gives no string"),
        (["claude_rubric_code", "--row", "-"], "nonsense", "gristmill: --row: not JSON"),
        (
            ["pointwise_judge", "--row", "-"],
            '{"prompt": "p"}',
            "gristmill: --row: prompt pointwise_judge: response is null",
        ),
    ],
)
def test_what_goes_wrong_is_one_line(arguments, stdin, message):
    done = module("show_prompt", *arguments, stdin=stdin)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_both_are_modules_that_can_be_run():
    assert module("list_prompts").stdout.count("\n") == 1 + len(prompt_library.names())
    assert module("show_prompt", "code_system").stdout.startswith("---\nname: code_system\n")
    for command in (list_prompts.command, show_prompt.command):
        assert f"gristmill {command.name}" in shown(command, "--help")
