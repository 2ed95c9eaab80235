"""Requests and answers in the batch format, the stage that renders them, and the engine of what a batch did not answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import orjson
import pytest

from actors.batch_format import BatchFormat, NotOfTheFormat, failed, failure_line, key_of
from actors.batch_requests import ROWS_AT_ONCE, FewRows, KeepRequests, RenderRequests, requests_in
from actors.engine_choice import EngineChoice
from actors.engines.contract import Category, Completion, Message, Request, RequestFailed
from actors.engines.json_service import Service
from actors.engines.openai_api import service_at
from actors.journal import Journal, request_key
from actors.prices import prices_of
from actors.questions import Questions
from cluster.rows import Rows
from cluster.shards import ChunkSize, shards_of
from cluster.storage import open_storage
from pipelines.annotation.prompt_library import task

MODEL = "gpt-5-mini"
SERVICE = Service("the model server here", "http://127.0.0.1:9/v1")
ANSWER = {
    "model": "gpt-5-mini-2025",
    "choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 400}},
}


def line_of(key: bytes, status: int | None = 200, body: object = None, error: object = None) -> bytes:
    response = None if status is None else {"status_code": status, "request_id": "r", "body": body}
    return orjson.dumps({"id": "b", "custom_id": key.hex(), "response": response, "error": error})


def asked(text: str = "a text") -> Request:
    return Request((Message("user", text),))


def test_a_line_has_the_key_and_the_body_of_the_live_engine() -> None:
    form, hosted = BatchFormat(SERVICE, MODEL), BatchFormat(service_at(None), MODEL)
    request = asked("a\nline\u2028and \ud800 half a pair")
    key = form.key(request)
    assert key == request_key({"engine": "openai", "model": MODEL}, request) == hosted.key(request)
    line = form.line(request, key)
    assert b"\n" not in line and key_of(line) == key
    found = orjson.loads(line)
    assert (found["custom_id"], found["method"], found["url"]) == (key.hex(), "POST", "/v1/chat/completions")
    assert found["body"] == orjson.loads(form.body(request))


def test_an_answer_costs_what_a_batch_costs_and_took_no_time() -> None:
    key, answer = BatchFormat(SERVICE, MODEL, prices_of(MODEL)).answer(line_of(bytes(16), 200, ANSWER))
    assert isinstance(answer, Completion) and key == bytes(16)
    assert (answer.text, answer.model, answer.latency) == ("{}", "gpt-5-mini-2025", 0.0)
    # USD per million: 0.125 for 600 tokens, 0.0125 for the 400 of the cache, 1.00 for the answer's 10.
    assert answer.cost == 600 * 125 + 400 * 12.5 + 10 * 1000
    _, unpriced = BatchFormat(SERVICE, MODEL).answer(line_of(bytes(16), 200, ANSWER))
    assert isinstance(unpriced, Completion) and unpriced.cost is None


@pytest.mark.parametrize(
    ("line", "category", "words"),
    [
        (line_of(bytes(16), None, None, {"code": "batch_expired", "message": "too late"}), "timeout", "batch_expired"),
        (line_of(bytes(16), None, None, {"code": "batch_cancelled", "message": "x"}), "server error", "cancelled"),
        (line_of(bytes(16), None), "server error", "without a reason"),
        (line_of(bytes(16), 500, {"error": {"message": "oh\nno"}}), "server error", "500: oh no"),
        (line_of(bytes(16), 429, {"error": {"message": "slow", "code": "x"}}), "rate limited", "429"),
        (line_of(bytes(16), 504, {}), "timeout", "504"),
        (
            line_of(bytes(16), 400, {"error": {"code": "context_length_exceeded", "message": "long"}}),
            "rejected",
            "long",
        ),
        (line_of(bytes(16), 400, {"error": {"code": "content_filter", "message": "no"}}), "refused", "400: no"),
        (line_of(bytes(16), 200, {"choices": []}), "server error", "without choices"),
        (line_of(bytes(16), 200, ["?"]), "server error", "not of the protocol"),
    ],
)
def test_a_line_without_an_answer_has_a_category(line: bytes, category: str, words: str) -> None:
    _, failure = BatchFormat(SERVICE, MODEL).answer(line)
    assert isinstance(failure, RequestFailed)
    assert str(failure.category) == category and words in failure.detail and "\n" not in failure.detail


@pytest.mark.parametrize("line", [b"", b"[]", b'{"custom_id":"not hex"}', b'{"custom_id":1}'])
def test_what_is_no_line_of_ours_is_told_from_a_failure(line: bytes) -> None:
    with pytest.raises(NotOfTheFormat):
        BatchFormat(SERVICE, MODEL).answer(line)


def test_rows_become_the_requests_that_the_journal_does_not_answer(tmp_path: Path) -> None:
    questions = Questions(task("claude_rubric_code"))
    place, form = open_storage(str(tmp_path / "journal")), BatchFormat(SERVICE, MODEL)
    lines = [orjson.dumps({"text": f"x = {number}"}) for number in range(4)]
    known = questions.of(lines)[2].request  # type: ignore[union-attr]

    async def keep() -> None:
        journal = Journal.open(place, "before")
        await journal.put(form.key(known), msgspec.json.encode(Completion("{}")))
        await journal.close()

    asyncio.run(keep())
    stage = RenderRequests(questions, SERVICE, MODEL, place)
    stage.setup()
    rows = stage.process(Rows("a.jsonl", [*lines, b'{"no": "text"}'], [1, 2, 3, 4, 5]))
    assert rows.counters == {"questions": 4, "in the journal": 1, "no question": 1}
    assert (rows.numbers, rows.filtered, rows.rejected) == ([1, 2, 4], 2, [])
    kept = KeepRequests().encode(rows)
    assert list(requests_in(kept)) == rows.lines and list(requests_in(KeepRequests().encode(Rows("a", [], [])))) == []
    assert len(kept) < sum(map(len, rows.lines)) / 2


def test_a_chunk_of_small_rows_is_cut_by_their_number(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text":"x"}\n' * (2 * ROWS_AT_ONCE + 7))
    (shard,) = shards_of([str(tmp_path)])
    assert [len(chunk.lines) for chunk in FewRows(shard).chunks(ChunkSize())] == [ROWS_AT_ONCE, ROWS_AT_ONCE, 7]


def test_the_engine_of_fetched_answers_gives_those_and_the_failures_of_the_others(tmp_path: Path) -> None:
    form, journal, failures = (
        BatchFormat(SERVICE, MODEL),
        open_storage(str(tmp_path / "j")),
        open_storage(str(tmp_path / "f")),
    )
    early, late = failed(Category.TIMEOUT, "batch_expired: x"), failed(Category.REJECTED, "400: y")
    twice = form.key(asked("failed twice"))
    failures.publish("00000.jsonl", failure_line(twice, early) + failure_line(form.key(asked("answered")), early))
    failures.publish("00001.jsonl", failure_line(twice, late))

    async def ask(text: str) -> Completion:
        engine = await EngineChoice(
            "journal", MODEL, journal=journal, run="run1", options={"failures": failures}
        ).started()
        try:
            return await engine.generate(asked(text))
        finally:
            await engine.close()

    async def keep(run: str) -> None:
        book = Journal.open(journal, run)
        await book.put(form.key(asked("answered")), msgspec.json.encode(Completion("yes")))
        await book.close()

    asyncio.run(keep("run1"))
    assert asyncio.run(ask("answered")) == Completion("yes")
    with pytest.raises(RequestFailed, match=r"rejected: 400: y"):
        asyncio.run(ask("failed twice"))
    with pytest.raises(RequestFailed, match=r"neither the journal nor a batch"):
        asyncio.run(ask("never heard of"))
    assert EngineChoice("journal", MODEL).special_tokens() == frozenset()
