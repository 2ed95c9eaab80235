"""annotate-dataset: options that do not go together are told before anything is read or written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.annotate_dataset import command
from tests.openai_server import serving

MODEL = ["--model-name", "m", "--base-url", "http://127.0.0.1:9/v1", "--annotation-task-prompt", "claude_rubric_code"]
EMBEDDED = ["--annotation-task-prompt", "code_quality"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*MODEL, "--cache-location"], "'--cache-location' requires an argument"),
        ([*MODEL, "--cache-location", ""], "names no place"),
        ([*MODEL, "--cache-location", "--dry-run"], "--dry-run is an option and no place"),
        ([*MODEL, "--engine-option", "dtype=half"], "--engine-option is for engines in the workers"),
        ([*MODEL, "--max-cost", "nan"], "nan is no number"),
        ([*MODEL, "--temperature", "inf"], "inf is no number"),
        ([*MODEL[:2], *MODEL[4:], "--engine", "vllm", "--max-cost", "5"], "--max-cost is for a server that is asked"),
        (
            [*MODEL[:2], *MODEL[4:], "--engine", "transformers", "--service-tier", "flex"],
            "--service-tier is for a server",
        ),
        ([*EMBEDDED, "--dry-run"], "asks nobody and costs nothing"),
        (
            [*EMBEDDED, "--engine-option", "dtype=half"],
            "--engine-option: the static-analysis engine takes no such option",
        ),
        ([*EMBEDDED, "--patience", "9"], "--patience: the static-analysis engine takes no such option"),
    ],
)
def test_what_does_not_go_together_is_a_wrong_use(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "print(1)"}\n')
    done = CliRunner().invoke(command, ["-d", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *arguments])
    assert done.exit_code == 2 and said in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.ray
def test_a_run_of_which_no_row_comes_out_warns_of_the_most_frequent_reason(
    ray_session: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    rows = [json.dumps({"text": f"print({number})"}) for number in range(9)]
    (tmp_path / "in" / "rows.jsonl").write_text("\n".join([*rows, "{}"]) + "\n")
    asked = ["-d", str(tmp_path / "in"), "--model-name", "m", "--annotation-task-prompt", "claude_rubric_code", "-q"]
    with serving(unsupported_parameters=["temperature"]) as server:
        asked += ["--base-url", f"{server.url}/v1"]
        wrong = [*asked, "-o", str(tmp_path / "out"), "--temperature", "0"]
        summary = command.main(wrong, standalone_mode=False)
        assert (summary["rows_out"], summary["quarantined"]) == (0, 10)
        said = capfd.readouterr().err
        assert "warning: not one row came out, and 10 of 10 are quarantined, most often for: rejected: 400: " in said
        assert "'temperature' is not supported" in said and f"{tmp_path}/out/_quarantine" in said
        command.main([*asked, "-o", str(tmp_path / "right")], standalone_mode=False)
        assert "warning" not in capfd.readouterr().err  # one row of ten is nothing unusual
