"""A dataset annotated by real engines, end to end: vLLM as a server and in the workers of a Ray, transformers.

The model is tiny and says noise; bound to the prompt's schema, the noise is a valid answer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.actors.engines.test_vllm_engine import QUIET, vllm_python
from tests.end_to_end.vllm_server import served_by_vllm
from tests.tiny_models import save_tiny_model

pytestmark = [pytest.mark.component, pytest.mark.timeout(900)]

PROMPT = """---
name: verdict
version: 1
kind: task
summary: Whether a line is code.
schema:
  type: object
  properties:
    kind: {enum: [code, prose, neither]}
    criteria:
      type: object
      properties:
        short: {type: object, properties: {is_pass: {type: boolean}}, required: [is_pass], additionalProperties: false}
        plain: {type: object, properties: {is_pass: {type: boolean}}, required: [is_pass], additionalProperties: false}
      required: [short, plain]
      additionalProperties: false
  required: [kind, criteria]
  additionalProperties: false
---
What is this?

{{ text }}
"""
ROWS = 24


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vllm")
    save_tiny_model(root / "tiny", context=1024)
    (root / "in").mkdir()
    rows = [{"id": number, "text": f"x = {number}"} for number in range(ROWS)]
    (root / "in/a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "verdict.md").write_text(PROMPT)
    return root


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[str]:
    with served_by_vllm(place / "tiny", "tiny") as url:
        yield url


def annotate(python: str, place: Path, output: str, *more: str) -> dict[str, Any]:
    command = [python, "-m", "jobs", "annotate-dataset", "-d", str(place / "in"), "-o", str(place / output), "--json"]
    command += ["-q", "--annotation-task-prompt", str(place / "verdict.md"), "--max-new-tokens", "900", *more]
    done = subprocess.run(command, env=os.environ | QUIET, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check(place: Path, output: str, summary: dict[str, Any]) -> None:
    """Every row has an answer that is of the schema, and tokens were counted."""
    assert (summary["rows_in"], summary["rows_out"]) == (ROWS, ROWS)
    rows = [json.loads(line) for line in (place / output / "a.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(ROWS))
    for row in rows:
        assert row["verdict"]["kind"] in ("code", "prose", "neither")
        assert {type(each["is_pass"]) for each in row["verdict"]["criteria"].values()} == {bool}
        assert row["verdict"]["_meta"]["completion_tokens"] > 5
        assert row["verdict"]["_meta"]["prompt_tokens"] > 10
        assert row["verdict"]["_meta"]["repairs"] == 0
    assert summary["answers_paid_for"] == ROWS


def test_by_its_server(place: Path, server: str) -> None:
    model = ["--model-name", "tiny", "--base-url", server, "--temperature", "0", "--max-concurrent-requests", "8"]
    summary = annotate(sys.executable, place, "served", *model)
    check(place, "served", summary)


def test_in_the_workers(place: Path) -> None:
    model = ["--engine", "vllm", "--model-name", str(place / "tiny"), "--gpus-per-engine", "0", "--temperature", "0"]
    options = ["--engine-option", "dtype=float32", "--engine-option", "enforce_eager=true"]
    cache = ["--cache-location", str(place / "cache")]
    summary = annotate(vllm_python(), place, "worked", *model, *options, *cache)
    check(place, "worked", summary)
    # A second dataset of the same rows asks the model nothing.
    again = annotate(vllm_python(), place, "again", *model, *options, *cache)
    assert (again["rows_out"], again["answers_paid_for"]) == (ROWS, 0)


def test_by_transformers_on_a_cpu(place: Path) -> None:
    """Nothing binds what it writes; with a prompt that takes any answer every row has one."""
    free = PROMPT.split("schema:")[0] + "---\nWhat is this?\n\n{{ text }}\n"
    (place / "free.md").write_text(free)
    model = ["--engine", "transformers", "--model-name", str(place / "tiny"), "--annotation-task-prompt"]
    options = ["--engine-option", "batch_size=8", "--max-new-tokens", "20", "--temperature", "0"]
    summary = annotate(sys.executable, place, "noise", *model, str(place / "free.md"), *options)
    rows = [json.loads(line) for line in (place / "noise/a.jsonl").read_text().splitlines()]
    lost = summary.get("failed: truncated", 0) + summary.get("failed: invalid", 0)
    assert len(rows) + lost == ROWS == summary["answers_paid_for"]
    assert all(isinstance(row["verdict"]["answer"], str) for row in rows)


def test_an_estimate_counts_with_the_model_s_own_tokenizer(place: Path) -> None:
    model = ["--engine", "transformers", "--model-name", str(place / "tiny"), "--dry-run"]
    found = annotate(sys.executable, place, "none", *model)
    assert found["tokens_counted"] == f"with {place / 'tiny/tokenizer.json'}"
    assert found["questions"] == ROWS < found["prompt_tokens"] < ROWS * 60
    assert not (place / "none").exists()
