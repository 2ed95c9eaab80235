"""What is counted before anybody is asked: about, and at most."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from actors.engines.openai_api import most_prompt_tokens
from actors.estimator import CountTokens, EstimateRows
from actors.prices import prices_of
from actors.questions import Questions
from cluster.rows import Rows
from jobs.asking_estimate import least_time, money, token_counting
from pipelines.annotation.prompt_library import task

QUESTIONS = Questions(task("claude_rubric_code"))
LINES = [json.dumps({"text": text}).encode() for text in ("print(1)\n" * 30, "1 2 3 4 5 " * 90)]


def counted(sends_schema: bool = True) -> dict[str, int]:
    stage = EstimateRows(QUESTIONS, {"engine": "openai", "model": "m"}, None, CountTokens(), sends_schema)
    stage.setup()
    rows = stage.process(Rows("a.jsonl", list(LINES), [1, 2]))
    return {name: int(count) for name, count in rows.counters.items()}


def test_the_schema_that_goes_with_every_request_is_counted() -> None:
    schema = len(orjson.dumps(QUESTIONS.prompt.schema))
    with_it, without = counted(), counted(sends_schema=False)
    assert schema > 1_000
    assert with_it["prompt tokens"] - without["prompt tokens"] == 2 * round(schema / 4)
    assert with_it["prompt tokens at most"] - without["prompt tokens at most"] > 2 * schema / 4


def test_at_most_is_what_requests_are_bounded_by_where_they_are_sent() -> None:
    requests = [question.request for question in QUESTIONS.of(LINES)]  # type: ignore[union-attr]
    found = counted()
    assert found["prompt tokens at most"] == sum(map(most_prompt_tokens, requests)) > found["prompt tokens"]


def test_the_cost_at_most_goes_by_the_bound_and_the_prompts_by_the_estimate() -> None:
    arguments = {"model_name": "gpt-5-mini", "service_tier": None, "max_new_tokens": 100}
    found = {"to_be_asked": 10, "prompt_tokens": 1_000_000, "prompt_tokens_at_most": 2_000_000}
    told = money(arguments, found, prices_of("gpt-5-mini", None))
    assert told["cost_at_most_usd"] > 2 * told["cost_of_the_prompts_about_usd"] > 0
    limits: dict[str, Any] = {"max_requests_per_minute": None, "max_tokens_per_minute": 100_000}
    assert least_time(arguments | limits, found) == {"minutes_at_least": 20.0}


def test_tiktoken_counts_where_it_knows_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    encoding = SimpleNamespace(name="o200k_base", encode_ordinary=str.split)

    def encoding_for_model(model: str) -> Any:
        return {"gpt-5-mini": encoding}[model]

    monkeypatch.setitem(sys.modules, "tiktoken", SimpleNamespace(encoding_for_model=encoding_for_model))
    monkeypatch.setattr("jobs.asking_estimate.find_spec", lambda name: object())
    tokens, method = token_counting("gpt-5-mini")
    assert (tokens.counter()("a b c"), method) == (3, "with tiktoken's o200k_base")
    assert token_counting("m")[1].endswith("; tiktoken is installed and has no encoding of m here")


def test_a_rough_count_names_the_ways_to_a_true_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.annotation_estimate import _counting

    monkeypatch.setattr("jobs.asking_estimate.find_spec", lambda name: None)
    _, method = _counting({"model_name": "gpt-5-mini"}, SimpleNamespace(questions=QUESTIONS))  # type: ignore[arg-type]
    assert method.startswith("roughly, as a quarter of the characters; ")
    assert "tiktoken" in method and "--tokenizer FILE" in method
