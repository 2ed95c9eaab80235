"""annotate-dataset: options that do not go together are told before anything is read or written."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.annotate_dataset import command

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
