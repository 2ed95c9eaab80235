"""The OpenAI engine against a real server: what is sent, what is made of the answer, and what it costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import msgspec
import pytest

from actors.engines import openai_api
from actors.engines.contract import Completion, EngineUnusable, Message, Request, RequestFailed, Sampling
from actors.engines.json_service import Service, Unreadable
from actors.engines.openai_api import (
    DEFAULT_URL,
    TOKENS_PER_IMAGE,
    OpenAIEngine,
    _read,
    _wants_new_length,
    encoded,
    service_at,
)
from actors.gate import Gate, local_visit
from actors.prices import Price, Prices
from actors.spend_limiter import Limits, SpendLimiter
from tests.openai_server import Server, serving

PRICES = Prices("m", "test", {"default": Price(1, 0.5, 10), "flex": Price(0.5, 0.25, 5), "priority": Price(2, 1, 20)})
LIMITS = Limits(10)
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer", "minimum": 0, "maximum": 5}},
    "required": ["score"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(cached_share=0.5, reasoning_tokens=40) as each:
        yield each


def engine_of(url: str, limits: Limits = LIMITS, prices: Prices | None = PRICES) -> OpenAIEngine:
    service = Service("the test server", url, timeout=10, patience=10)
    return OpenAIEngine(service, "gpt-test", Gate(limits, local_visit(SpendLimiter(limits))), prices)


def with_engine(
    url: str, ask: Callable[[OpenAIEngine], Coroutine[Any, Any, Any]], prices: Prices | None = PRICES
) -> Any:
    async def work() -> Any:
        engine = engine_of(url + "/v1", prices=prices)
        await engine._gate.start()
        await engine.start()
        try:
            return await ask(engine)
        finally:
            await engine.close()
            await engine._gate.close()

    return asyncio.run(asyncio.wait_for(work(), 60))


def answer(server: Server, request: Request, prices: Prices | None = PRICES) -> Completion:
    found: Completion = with_engine(server.url, lambda engine: engine.generate(request), prices)
    return found


def last_body(server: Server) -> Any:
    """What the server read of the one question it has been asked."""
    (digest,) = server.stats()["digests"]
    return server.get(f"/_requests/{digest}")


REQUEST = Request((Message("system", "Grade."), Message("user", "text")), Sampling(max_new_tokens=200))


def test_the_body_has_all_that_was_given_and_nothing_else(server: Server) -> None:
    server.reset()
    answer(server, REQUEST)
    assert last_body(server) == {
        "model": "gpt-test",
        "messages": [{"role": "system", "content": "Grade."}, {"role": "user", "content": "text"}],
        "max_tokens": 200,
    }
    server.reset()
    sampling = Sampling(100, 0.5, 0.9, 7, ("END",), "low", "flex")
    found = answer(server, Request(REQUEST.messages, sampling, SCHEMA, "grade", 3))
    body = last_body(server)
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "grade", "schema": SCHEMA, "strict": True},
    }
    names = ("max_tokens", "temperature", "top_p", "seed", "stop", "reasoning_effort", "service_tier")
    assert [body[name] for name in names] == [100, 0.5, 0.9, 10, ["END"], "low", "flex"]
    assert 0 <= json.loads(found.text)["score"] <= 5


def test_pictures_go_as_parts_beside_the_text_and_only_where_there_are_some() -> None:
    seen = Request((Message("system", "See."), Message("user", "text", ("data:image/png;base64,AA==", "data:,b"))))
    assert json.loads(engine_of("http://x/v1").body(seen))["messages"] == [
        {"role": "system", "content": "See."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "text"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "image_url", "image_url": {"url": "data:,b"}},
            ],
        },
    ]


def test_pictures_count_in_what_a_request_may_use() -> None:
    engine = engine_of("http://x/v1")
    without, seen = (Request((Message("user", "text", images),)) for images in ((), ("data:,a", "data:,b")))
    assert engine.bound(seen)[1] == engine.bound(without)[1] + 2 * TOKENS_PER_IMAGE


def test_what_only_servers_of_ones_own_know_is_sent_where_it_is_given() -> None:
    sampling = Sampling(min_p=0.05, chat_template_kwargs={"enable_thinking": False})
    body = json.loads(engine_of("http://x/v1").body(Request(REQUEST.messages, sampling)))
    assert body["min_p"] == 0.05 and body["chat_template_kwargs"] == {"enable_thinking": False}
    assert json.loads(engine_of("http://x/v1").body(Request(REQUEST.messages, Sampling(min_p=0.0))))["min_p"] == 0.0


def test_draws_differ_by_their_seed_where_there_is_one() -> None:
    engine = engine_of("http://x/v1")

    def seed(sample: int, given: int | None) -> Any:
        request = msgspec.structs.replace(REQUEST, sample=sample, sampling=Sampling(seed=given))
        return json.loads(engine.body(request)).get("seed")

    assert [seed(0, 5), seed(2, 5), seed(0, 0), seed(2, None)] == [5, 7, 0, None]


def test_the_hosted_service_gets_the_name_of_the_length_that_it_knows() -> None:
    def fields(url: str) -> set[str]:
        return set(json.loads(engine_of(url).body(REQUEST))) & {"max_tokens", "max_completion_tokens"}

    assert fields(DEFAULT_URL) == fields("https://api.openai.com/v1/") == {"max_completion_tokens"}
    assert (
        fields("https://eu.api.openai.com/v1") == fields("https://x.openai.azure.com/openai/v1") == fields(DEFAULT_URL)
    )
    for other in ("http://127.0.0.1:8000/v1", "https://api.openai.com.evil.example/v1", "https://notopenai.com/v1"):
        assert fields(other) == {"max_tokens"}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "Unsupported", "param": "max_tokens", "code": "unsupported_parameter"}, True),
        ({"message": "'max_tokens' is not supported. Use 'max_completion_tokens' instead.", "code": None}, True),
        ({"message": "Unsupported", "param": "temperature", "code": "unsupported_parameter"}, False),
        ({"message": "'max_tokens' or 'max_completion_tokens' is too large: 5000", "code": 400}, False),
        ("use another", False),
        (None, False),
    ],
)
def test_which_errors_ask_for_the_new_name_of_the_length(error: Any, expected: bool) -> None:
    assert _wants_new_length(json.dumps({"error": error}).encode()) == expected
    assert not _wants_new_length(b"<html>") and not _wants_new_length(b"[]")


def test_a_key_is_needed_for_the_hosted_service_alone() -> None:
    assert service_at(None).needs_key and service_at("https://api.openai.com/v1").needs_key
    assert (
        service_at("https://us.api.openai.com/v1").needs_key and service_at("https://x.openai.azure.com/v1").needs_key
    )
    assert not service_at("http://127.0.0.1:8000/v1").needs_key


# What comes back


def test_usage_and_cost_are_those_of_the_answer(server: Server) -> None:
    found = answer(server, Request((Message("user", "word " * 2000),), Sampling(max_new_tokens=500)))
    usage = found.usage
    assert usage.prompt_tokens > 2000 and usage.cached_tokens > 1000 and usage.reasoning_tokens == 40
    fresh = usage.prompt_tokens - usage.cached_tokens
    assert found.cost == fresh * 1000 + usage.cached_tokens * 500 + usage.completion_tokens * 10_000
    assert found.model == "gpt-test" and found.latency > 0


@pytest.mark.parametrize(("tier", "factor"), [(None, 10_000), ("default", 10_000), ("flex", 5_000), ("auto", 10_000)])
def test_the_tier_that_answered_is_priced(server: Server, tier: str | None, factor: int) -> None:
    request = msgspec.structs.replace(REQUEST, sampling=Sampling(max_new_tokens=200, service_tier=tier))
    found = answer(server, request)
    assert found.cost == found.usage.prompt_tokens * factor // 10 + found.usage.completion_tokens * factor


@pytest.mark.parametrize(("asked", "answered", "cost"), [("flex", "default", 13_000), (None, "flex", 6_500)])
def test_another_tier_than_was_asked_for_costs_its_own_price(asked: str | None, answered: str, cost: int) -> None:
    engine = engine_of("http://x/v1")
    paid: list[int] = []

    async def post(path: str, body: bytes, read: Any, price: Any, *_: int) -> Any:
        content = choice(
            more=f', "service_tier": "{answered}", "usage": {{"prompt_tokens": 3, "completion_tokens": 1}}'
        )
        paid.append(price(read(content)))
        return read(content), 0.1

    engine._service.post = post  # type: ignore[method-assign]
    request = msgspec.structs.replace(REQUEST, sampling=Sampling(service_tier=asked))
    assert asyncio.run(engine.generate(request)).cost == cost == paid[0]


def test_without_prices_there_is_no_cost(server: Server) -> None:
    assert answer(server, REQUEST, prices=None).cost is None


def test_half_characters_are_no_obstacle(server: Server) -> None:
    server.reset()
    answer(server, Request((Message("user", "a\ud800b \ud83d\ude00 c\udfff"),), Sampling(max_new_tokens=50)))
    assert last_body(server)["messages"][0]["content"] == "a\ufffdb \U0001f600 c\ufffd"
    assert encoded({"a": "ä"}) == '{"a":"ä"}'.encode()


def choice(content: str = '"hi"', more: str = "") -> bytes:
    return b'{"choices": [{"message": {"content": %s}}]%s}' % (content.encode(), more.encode())


@pytest.mark.parametrize(
    "content",
    [
        choice(),
        choice("null"),
        choice(more=', "model": null, "usage": null'),
        choice(more=', "usage": {"prompt_tokens": 3, "completion_tokens": null, "prompt_tokens_details": null}'),
        choice(more=', "usage": {"prompt_tokens": null, "prompt_tokens_details": {"cached_tokens": 9}}'),
        choice(more=', "usage": {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": -9}}'),
        b'{"choices": [{"message": {"role": "assistant", "tool_calls": []}, "stop_reason": 7}], "x": {}}',
    ],
)
def test_answers_of_other_servers_are_read(content: bytes) -> None:
    found = engine_of("http://x/v1")._completion(_read(content), 0.1, None)
    assert found.finish_reason == "stop" and found.text in ("hi", "")
    assert 0 <= found.usage.cached_tokens <= found.usage.prompt_tokens


def test_half_a_character_in_an_answer_is_replaced() -> None:
    assert _read(choice(r'"a\ud800b\ud83d\ude00"')).choices[0].message.content == "a\ufffdb\U0001f600"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"choices": []}', b'{"choices": [{}]}', b'{"error": "x"}', choice("7"), rb'{"\ud800', b"\xff"],
)
def test_what_is_no_answer_is_told_apart(content: bytes) -> None:
    with pytest.raises(Unreadable):
        _read(content)


# The most that a request can cost and use


@pytest.mark.parametrize(
    "text",
    ["word " * 500, "def f(x):\n    return x\n" * 100, "ä" * 500, "漢字" * 400, "😀" * 200, "", "0123456789" * 90],
)
def test_the_bound_holds_the_answer(server: Server, text: str) -> None:
    request = Request((Message("user", text),), Sampling(max_new_tokens=200), SCHEMA)
    bound, tokens = engine_of("http://x/v1").bound(request)
    found = answer(server, request)
    assert found.cost is not None and found.cost <= bound
    assert found.usage.prompt_tokens + found.usage.completion_tokens <= tokens


def test_the_bound_knows_the_tier_the_schema_and_what_is_not_given() -> None:
    engine = engine_of("http://x/v1")

    def bound(**fields: Any) -> int:
        return engine.bound(msgspec.structs.replace(REQUEST, **fields))[0]

    def tier(name: str | None) -> int:
        return bound(sampling=Sampling(max_new_tokens=200, service_tier=name))

    assert tier("flex") < tier(None) == tier("default") < tier("priority") == tier("auto")
    assert bound(schema=SCHEMA) > bound()
    assert bound(sampling=Sampling()) > bound()
    assert engine_of("http://x/v1", prices=None).bound(REQUEST)[0] == 0


# Scores


@pytest.mark.parametrize(("told", "error"), [([None, {}, {}], RequestFailed), (None, EngineUnusable)])
def test_scores_of_no_use_hold_no_place(
    server: Server, told: list[Any] | None, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody writes them down: their places would be lost for good, and after a few of them all."""
    useless = json.dumps({"choices": [{"prompt_logprobs": told}]}).encode()
    read = openai_api._read_scored
    monkeypatch.setattr(openai_api, "_read_scored", lambda content: read(useless))

    async def ask(engine: OpenAIEngine) -> None:
        engine.hold_places()
        for _ in range(LIMITS.concurrent_requests + 1):
            with pytest.raises(error):
                await asyncio.wait_for(engine.score([1, 2], [3]), 10)

    with_engine(server.url, ask)


def test_scores_are_those_of_the_response(server: Server) -> None:
    async def scores(engine: OpenAIEngine) -> Any:
        return [await engine.score([1, 2, 3], [4, 5]), await engine.score([1, 2], [3, 4, 5])]

    short, long = with_engine(server.url, scores)
    assert len(short) == 2 and len(long) == 3 and long[1:] == short
    assert all(each <= 0 for each in long)
    with pytest.raises(ValueError, match="at least one token"):
        with_engine(server.url, lambda engine: engine.score([], [1]))


def test_the_identity_has_no_address_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    engine = engine_of("http://10.0.0.1:8000/v1")
    assert engine.identity() == {"engine": "openai", "model": "gpt-test"}
    assert "sk-secret" not in repr(engine._service.service)
