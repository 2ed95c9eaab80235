"""batch-annotate-submit, -status and -retrieve from their command lines to the rows, undisturbed and disturbed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from actors.engines import openai_batches
from actors.engines.contract import EngineUnusable
from cluster.errors import GristmillError
from jobs import annotate_dataset, batch_annotate_retrieve, batch_annotate_status, batch_annotate_submit
from pipelines.annotation.batch_folder import BatchError
from tests.openai_server import Server, serving

KEY = "sk-that-must-not-show"
PROMPT = """---
name: short
version: 1
kind: task
summary: a short question for tests
schema:
  type: object
  properties:
    score: {type: integer, minimum: 0, maximum: 5}
  required: [score]
  additionalProperties: false
score: {field: score, minimum: 0, maximum: 5}
---
How good is this? {{ text }}
"""
ROWS, PER_BATCH = 2000, 380  # of which 100 are equal to others


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "in" / "train").mkdir(parents=True)
    for shard in range(4):
        rows = [{"id": f"{shard}-{n}", "text": f"the text {(shard * 500 + n) % 1900}"} for n in range(500)]
        lines = [json.dumps(row) for row in rows]
        (tmp_path / "in" / "train" / f"{shard}.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "in" / "train" / "0.jsonl").open("a").write('{"no": "text"}\n')
    (tmp_path / "prompt.md").write_text(PROMPT)
    (tmp_path / "key").write_text(KEY + "\n")
    return tmp_path


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_batches, "PAUSES", (0.05, 0.1, 0.2))
    monkeypatch.setattr("jobs.batch_run.FIRST_PAUSE", 0.1)


def submit_arguments(place: Path, server: Server, *more: str, output: str = "out") -> list[str]:
    asked = ["-d", str(place / "in"), "-o", str(place / output), "--model-name", "gpt-5-mini", "--max-new-tokens", "50"]
    prompt = ["--annotation-task-prompt", str(place / "prompt.md"), "--max-requests-per-batch", str(PER_BATCH)]
    return [*asked, *prompt, "--base-url", f"{server.url}/v1", "--api-key-file", str(place / "key"), *more]


def call(module: Any, *arguments: str) -> Any:
    return module.command.main(list(arguments), standalone_mode=False)


def submitted(place: Path, server: Server, *more: str) -> dict[str, Any]:
    found: dict[str, Any] = call(batch_annotate_submit, *submit_arguments(place, server, "-q", *more))
    return found


def retrieved(place: Path, *more: str, output: str = "out") -> dict[str, Any]:
    found: dict[str, Any] = call(batch_annotate_retrieve, "-o", str(place / output), "-q", *more)
    return found


def tree(root: Path) -> dict[str, bytes]:
    """All files but for where the output stands."""
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    if "_run/summary.json" in found:
        found["_run/summary.json"] = found["_run/summary.json"].replace(str(root).encode(), b"OUT")
    return found


def rows_of(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(output.glob("train/*.jsonl")) for line in path.read_text().splitlines()]


def quarantine_of(output: Path) -> list[dict[str, Any]]:
    paths = sorted((output / "_quarantine").rglob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def batches_of(server: Server) -> Counter[str]:
    """How many batches the server has for each part."""
    server.configure(api_key=None)
    listed = server.get("/v1/batches?limit=10000")["data"]
    server.configure(api_key=KEY)
    return Counter(each["metadata"]["gristmill_part"] for each in listed)


ONCE_EACH = Counter({f"{number:05d}": 1 for number in range(5)})


@pytest.mark.ray
def test_the_whole_way(ray_session: Any, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(api_key=KEY, batch_seconds=3) as server:
        account = submitted(place, server, "--cache-location", str(place / "cache"))
        assert (account["submitted"], account["requests"], account["questions"]) == (5, 1900, 2000)
        assert account["no_question"] == 1
        with pytest.raises(BatchError, match=r"5 of 5 batches have not ended: batch_\w+ \((validating|in_progress)\)"):
            retrieved(place)
        again = submitted(place, server, "--cache-location", str(place / "cache"), "--resubmit")
        assert again["submitted"] == 0 and batches_of(server) == ONCE_EACH
        with pytest.raises(BatchError, match="--fresh would forget 5 batches"):
            submitted(place, server, "--fresh")
        status = call(batch_annotate_status, "-o", str(place / "out"), "--wait", "-q")
        assert (status["ended"], status["completed"], status["failed"]) == (5, 1900, 0)
        before = tree(place / "out")
        shutil.copytree(place / "out", place / "copy")
        summary = retrieved(place)
        assert (summary["rows_in"], summary["rows_out"], summary["quarantined"]) == (2001, 2000, 1)
        assert (summary["batches"], summary["requests"], summary["answers_paid_for"]) == (5, 1900, 1900)
        assert summary["cost_usd"] == pytest.approx(
            summary["prompt_tokens"] * 125e-9 + summary["completion_tokens"] * 1e-6
        )
        rows, asked = rows_of(place / "out"), server.stats()["paths"]
        assert len(rows) == 2000 and all(0 <= row["short"]["score"] <= 5 for row in rows)
        assert rows[7]["short"]["_meta"]["cost_usd"] > 0 and rows[7]["short"]["_meta"]["latency_s"] == 0
        assert [row["reason"] for row in quarantine_of(place / "out")] != []

        done = tree(place / "out")
        assert retrieved(place) == summary == submitted(place, server, "--cache-location", str(place / "cache"))
        assert call(batch_annotate_status, "-o", str(place / "out"), "-q") == summary
        assert tree(place / "out") == done and before.keys() != done.keys()
        assert server.stats()["paths"] == asked | {"GET /_stats": asked["GET /_stats"] + 1}
        retrieved(place, output="copy")  # the journal has the answers already
        assert tree(place / "copy") == done

        live = [*submit_arguments(place, server, output="live"), "--cache-location", str(place / "cache"), "-q"]
        live.remove("--max-requests-per-batch")
        live.remove(str(PER_BATCH))
        found = call(annotate_dataset, *live)
        assert found["rows_out"] == 2000 and found["answers from the journal"] == 2000
        assert "POST /v1/chat/completions" not in server.stats()["paths"]
        assert [row["short"]["score"] for row in rows_of(place / "live")] == [row["short"]["score"] for row in rows]
        # A run whose questions are all answered makes no batch.
        known = [*submit_arguments(place, server, output="known"), "--cache-location", str(place / "cache"), "-q"]
        assert call(batch_annotate_submit, *known)["batches"] == 0
        assert retrieved(place, output="known")["rows_out"] == 2000 and batches_of(server) == ONCE_EACH
    said = capfd.readouterr()
    everything = b"".join([*before.values(), *done.values(), *tree(place / "cache").values()])
    assert KEY not in said.out + said.err and KEY.encode() not in everything


@pytest.mark.ray
def test_what_fails_goes_to_quarantine_with_its_reason_or_is_asked_again(ray_session: Any, place: Path) -> None:
    with serving(batch_seconds=0.3, batch_error_rate=0.2, batch_expire_rate=0.1) as server:
        account = submitted(place, server, "--max-bytes-per-batch", "100000")
        assert account["batches"] > 5
        call(batch_annotate_status, "-o", str(place / "out"), "--wait", "-q")
        shutil.copytree(place / "out", place / "as-it-is")
        summary = retrieved(place, output="as-it-is")
        reasons = Counter(row.get("category", "no question") for row in quarantine_of(place / "as-it-is"))
        assert reasons.keys() == {"no question", "server error", "timeout"} and summary["rows_in"] == 2001
        assert reasons["server error"] == summary["failed: server error"] > 200
        assert reasons["timeout"] == summary["failed: timeout"] > 100
        details = {
            row["reason"].split(":")[1].strip() for row in quarantine_of(place / "as-it-is") if "category" in row
        }
        assert details == {"500", "batch_expired"}

        with pytest.raises(BatchError, match="--max-quarantined"), _as_batch_error():
            retrieved(place, "--max-quarantined", "0.01")
        server.configure(batch_error_rate=0.0, batch_expire_rate=0.0)
        attempts = server.stats()["attempts"]
        assert submitted(place, server, "--max-bytes-per-batch", "100000")["submitted"] == 0
        again = submitted(place, server, "--max-bytes-per-batch", "100000", "--resubmit")
        assert again["submitted"] == again["batches"] - account["batches"] > 0
        found = retrieved(place, "--wait")
        assert (found["rows_out"], found["quarantined"], found["answers_paid_for"]) == (2000, 1, 1900)
        assert server.stats()["attempts"] == 1900 + (1900 - summary["answers_paid_for"]) and attempts == 1900


@contextlib.contextmanager
def _as_batch_error() -> Iterator[None]:
    try:
        yield
    except GristmillError as error:
        raise BatchError(str(error)) from error


@pytest.mark.ray
def test_requests_that_are_too_large_and_batches_that_are_refused(ray_session: Any, place: Path) -> None:
    (place / "in" / "train" / "3.jsonl").write_text(json.dumps({"text": "x" * 30_000}) + "\n")
    with serving(batch_seconds=0.3, max_enqueued_tokens=12_000) as server:
        small = ["--max-bytes-per-batch", "20kB"]
        account = submitted(place, server, *small)
        assert account["oversized"] == 1
        status = call(batch_annotate_status, "-o", str(place / "out"), "--wait", "-q")
        refused = [row for row in status["parts"] if row["status"] == "failed"]
        assert refused and all("token_limit_exceeded" in row["problem"] for row in refused)
        never = sum(row["requests"] for row in refused)
        with pytest.raises(BatchError, match=rf"{never:,} requests were never asked.*token_limit_exceeded.*--resubmit"):
            retrieved(place)
        with pytest.raises(BatchError, match="never asked"):
            retrieved(place)
        server.configure(max_enqueued_tokens=None)
        assert submitted(place, server, *small, "--resubmit")["submitted"] > 0
        found = retrieved(place, "--wait")
        assert (found["rows_out"], found["quarantined"]) == (1500, 2)
        (large,) = [row for row in quarantine_of(place / "out") if row.get("category") == "rejected"]
        assert large["reason"].startswith("rejected: the request has 30,") and large["shard"] == "train/3.jsonl"


@pytest.mark.ray
def test_what_changed_is_refused_and_what_is_missing_is_said(ray_session: Any, place: Path, monkeypatch: Any) -> None:
    with serving(batch_seconds=0.1) as server:
        with pytest.raises(BatchError, match="holds no run: begin with gristmill batch-annotate-submit"):
            retrieved(place)
        monkeypatch.setattr("pipelines.annotation.batches.submit", _killed)
        with pytest.raises(click.Abort):
            submitted(place, server)
        monkeypatch.undo()
        with pytest.raises(BatchError, match="not all batches are submitted"):
            retrieved(place)
        (place / "prompt.md").write_text(PROMPT.replace("How good", "How very good"))
        with pytest.raises(
            BatchError, match=r"prompt of --annotation-task-prompt has changed.*it was short [0-9a-f]+, it"
        ):
            retrieved(place)
        with pytest.raises(GristmillError, match="another configuration"):
            submitted(place, server)
        (place / "prompt.md").write_text(PROMPT)
        assert submitted(place, server)["submitted"] == 5
        monkeypatch.chdir("/")
        monkeypatch.setattr(openai_batches, "find_spec", lambda name: None)
        with pytest.raises(EngineUnusable, match=r"openai package: pip install 'gristmill\[annotate\]'"):
            retrieved(place)
        monkeypatch.undo()
        assert retrieved(place, "--wait")["rows_out"] == 2000


def _killed(*arguments: Any) -> bool:
    raise KeyboardInterrupt


@pytest.mark.ray
def test_a_dry_run_says_what_a_batch_costs_at_most_and_submits_nothing(ray_session: Any, place: Path) -> None:
    with serving() as server:
        found = submitted(place, server, "--dry-run")
        live = ["--annotation-task-prompt", str(place / "prompt.md"), "--max-new-tokens", "50", "--dry-run", "-q"]
        there = ["-d", str(place / "in"), "-o", str(place / "out"), "--model-name", "gpt-5-mini"]
        dearer = call(annotate_dataset, *there, *live)
        assert not server.stats()["paths"].keys() - {"GET /_stats"}
    assert (found["questions"], found["to_be_asked"], found["quarantined"]) == (2000, 2000, 1)
    assert found["cost_at_most_usd"] == pytest.approx(dearer["cost_at_most_usd"] / 2)
    assert "not_counted" in dearer and "not_counted" not in found  # batches ask for no repairs
    assert not (place / "out").exists()


@pytest.mark.ray
def test_what_is_said_of_one_batch_and_of_none(
    ray_session: Any, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def said(output: str, *more: str) -> str:
        call(batch_annotate_submit, *submit_arguments(place, server, *more, output=output))
        return capfd.readouterr().out.splitlines()[0]

    with serving() as server:
        one = ["--limit-rows", "20"]
        assert said("one", *one).endswith("/one: 1 batch submitted")
        assert said("one", *one).endswith("/one: 1 batch, all submitted before; nothing was left to submit")
        larger = [*one, "--max-bytes-per-batch", "10"]
        assert said("larger", *larger).endswith("what is left is larger than a whole file, no batch is needed")
        shutil.rmtree(place / "in")
        (place / "in").mkdir()
        (place / "in" / "empty.jsonl").write_text("")
        assert said("none").endswith("/none: there is no row to ask about, no batch is needed")


def test_a_model_is_needed_and_no_service_tier_is_taken(place: Path) -> None:
    asked = ["-d", str(place / "in"), "-o", str(place / "out"), "--annotation-task-prompt", str(place / "prompt.md")]
    with pytest.raises(click.UsageError, match="model_name"):
        call(batch_annotate_submit, *asked)
    with pytest.raises(click.UsageError, match="up to 200 MB"):
        call(batch_annotate_submit, *asked, "--model-name", "gpt-5-mini", "--max-bytes-per-batch", "200MiB")
    with pytest.raises(click.UsageError, match="--service-tier"):
        call(batch_annotate_submit, *asked, "--model-name", "gpt-5-mini", "--service-tier", "flex")


# Kills


def started(module: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"jobs.{module}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def versions(output: Path) -> set[tuple[str, int]]:
    """All files of the output, by name and time of writing."""
    found = set()
    for folder, _, names in os.walk(output):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found.add((os.path.join(folder, name), os.stat(os.path.join(folder, name)).st_mtime_ns))
    return found


def disturbed(
    module: str, arguments: list[str], output: Path, kills: int, most: int, dice: random.Random
) -> tuple[int, str]:
    """Run to the end, killed up to so many times after up to `most` writes; how often that was, and what was said."""
    said = ""
    for killed in range(kills + 1):
        before, seen, wanted = versions(output), set[tuple[str, int]](), dice.randint(1, most)
        process = started(module, *arguments)
        while process.poll() is None and (killed == kills or len(seen) < wanted):
            seen |= versions(output) - before
            time.sleep(0.001)
        time.sleep(dice.random() * 0.02)
        if killed < kills:
            process.kill()
        said += "".join(process.communicate())
        if process.returncode == 0:
            return killed, said
        assert process.returncode == -9, said
    raise AssertionError(said)


@pytest.mark.component
@pytest.mark.timeout(900)
def test_killed_at_any_moment_nothing_is_submitted_twice_and_the_output_is_the_same(place: Path) -> None:
    dice = random.Random(11)
    with serving(api_key=KEY, batch_seconds=0.5) as server:
        arguments = [*submit_arguments(place, server), "--settle-seconds", "0.1"]
        killed, said = disturbed("batch_annotate_submit", arguments, place / "out", 7, 12, dice)
        assert killed >= 5
        assert batches_of(server) == ONCE_EACH
        shutil.copytree(place / "out", place / "copy")
        retrieved_ = ["-o", str(place / "copy"), "--wait"]
        killed, more = disturbed("batch_annotate_retrieve", retrieved_, place / "copy", 4, 25, dice)
        assert killed >= 2
        undisturbed = started("batch_annotate_retrieve", "-o", str(place / "out"), "--wait")
        said += more + "".join(undisturbed.communicate())
        assert undisturbed.returncode == 0 and tree(place / "copy") == tree(place / "out")
        assert len(rows_of(place / "out")) == 2000 and server.stats()["most_answers_without_fault"] == 1
        assert KEY not in said
