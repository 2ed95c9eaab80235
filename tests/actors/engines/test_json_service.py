"""The path of a request over real HTTP to a server that fails: every request ends, and as what it should."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from actors.engines import json_service
from actors.engines.contract import Category, Completion, EngineUnusable, Message, Request, RequestFailed, Sampling
from actors.engines.json_service import FEW, JsonService, Service, _Again, _error_of, _pause_asked
from actors.engines.openai_api import OpenAIEngine
from actors.gate import Gate, local_visit
from actors.prices import Price, Prices
from actors.spend_limiter import Limits, SpendLimiter
from tests.openai_server import Server, serving, start

KEY = "sk-proj-abcDEF0123456789abcDEF0123456789"
LIMITS = Limits(20)
PLAIN: dict[str, Any] = {
    "faults": {},
    "fault_script": {},
    "api_key": None,
    "models": None,
    "max_prompt_characters": None,
    "delay_seconds": 0.0,
    "retry_after_seconds": 1.0,
    "slow_tokens_seconds": 0.3,
    "unsupported_parameters": [],
}
PRICES = Prices("m", "test", {"default": Price(1, 0.5, 10), "flex": Price(0.5, 0.25, 5)})


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def server(shared_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(json_service, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(json_service, "LONGEST_PAUSE", 0.2)
    shared_server.configure(**PLAIN)
    shared_server.reset()
    return shared_server


@asynccontextmanager
async def engine_at(
    url: str, limits: Limits = LIMITS, prices: Prices | None = PRICES, **options: Any
) -> Any:  # an engine, its gate and its limiter
    service = Service("the test server", url + "/v1", **({"timeout": 20.0, "patience": 20.0} | options))
    limiter = SpendLimiter(limits)
    gate = Gate(limits, local_visit(limiter))
    await gate.start()
    engine = OpenAIEngine(service, "gpt-test", gate, prices)
    try:
        await engine.start()
        yield engine, gate, limiter
    finally:
        await engine.close()
        await gate.close()


def question(text: str, **sampling: Any) -> Request:
    return Request((Message("user", text),), Sampling(**({"max_new_tokens": 300} | sampling)))


async def outcome(work: Awaitable[Completion]) -> Any:
    """The answer, or the error."""
    try:
        return await work
    except (RequestFailed, EngineUnusable) as error:
        return error


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def asked(url: str, texts: list[str], **options: Any) -> list[Any]:
    async def work() -> list[Any]:
        async with engine_at(url, **options) as (engine, gate, _):
            found = await asyncio.gather(*(outcome(engine.generate(question(text))) for text in texts))
            assert gate.under_way == gate._reserved == 0
            return found

    found: list[Any] = run(work())
    return found


# Each fault alone: a first attempt that fails, and one that never ends

PASSING = {
    "rate_limit_ms": Category.RATE_LIMITED,
    "rate_limit_no_header": Category.RATE_LIMITED,
    "error_500": Category.SERVER_ERROR,
    "error_502_html": Category.SERVER_ERROR,
    "error_503": Category.SERVER_ERROR,
    "reset_before": Category.SERVER_ERROR,
    "reset_mid_body": Category.SERVER_ERROR,
    "truncated_json": Category.SERVER_ERROR,
    "not_json": Category.SERVER_ERROR,
    "no_choices": Category.SERVER_ERROR,
    "hang": Category.TIMEOUT,
    "hang_mid_body": Category.TIMEOUT,
}


@pytest.mark.parametrize("kind", PASSING)
def test_what_passes_is_asked_again(server: Server, kind: str) -> None:
    server.configure(fault_script={"question": [kind, kind, "ok"]}, retry_after_seconds=0.05)
    (answer,) = asked(server.url, ["question"], timeout=0.4)
    assert isinstance(answer, Completion) and answer.text and answer.finish_reason == "stop"
    stats = server.stats()
    assert (stats["attempts"], stats["answered_without_fault"]) == (3, 1)


@pytest.mark.parametrize("kind", PASSING)
def test_what_does_not_pass_fails_with_its_category_while_others_are_answered(server: Server, kind: str) -> None:
    server.configure(fault_script={"poison": [kind, "*"]}, retry_after_seconds=0.05, delay_seconds=[0.02, 0.1])

    async def work() -> Any:
        async with engine_at(server.url, timeout=0.3, max_attempts=3) as (engine, _, _):
            poison = asyncio.ensure_future(outcome(engine.generate(question("poison"))))
            number = 0
            while not poison.done():
                await engine.generate(question(f"good {number}"))
                number += 1
            return await poison

    failed = run(work())
    assert isinstance(failed, RequestFailed) and failed.category == PASSING[kind], failed
    assert "(3 attempts)" in failed.detail
    assert server.stats()["most_answers_without_fault"] == 1


@pytest.mark.parametrize(
    "kind", ["length", "refusal", "content_filter", "missing_usage", "slow_tokens", "empty_content"]
)
def test_an_answer_that_came_whole_is_not_asked_for_again(server: Server, kind: str) -> None:
    server.configure(fault_script={"question": [kind]})
    (answer,) = asked(server.url, ["question"])
    assert isinstance(answer, Completion)
    assert server.stats()["attempts"] == 1
    reason = {"length": "length", "content_filter": "content_filter"}.get(kind, "stop")
    assert answer.finish_reason == reason
    assert (answer.refusal is not None) == (kind == "refusal")
    assert bool(answer.text) == (kind not in ("refusal", "empty_content"))
    assert (answer.cost is None) == (kind == "missing_usage")


def test_among_all_faults_every_request_ends_and_none_is_paid_twice(server: Server) -> None:
    kinds = [*PASSING, "rate_limit", "slow_tokens", "length", "refusal", "missing_usage", "empty_content"]
    server.configure(
        faults=dict.fromkeys(kinds, 0.03), retry_after_seconds=0.1, slow_tokens_seconds=0.2, delay_seconds=[0.0, 0.05]
    )
    found = asked(server.url, [f"question {number}" for number in range(400)], timeout=2.5, limits=Limits(40))
    ends = Counter(type(each) for each in found)
    assert ends[Completion] >= 390 and set(ends) <= {Completion, RequestFailed}
    stats = server.stats()
    assert stats["most_answers_without_fault"] == 1
    # A connection that is given up frees its place here a moment before the server sees that.
    assert stats["max_in_flight"] <= 40 + 3


# Retry-After


@pytest.mark.parametrize("kind", ["rate_limit", "rate_limit_ms", "rate_limit_date"])
def test_the_pause_that_the_server_names_is_kept(server: Server, kind: str) -> None:
    seconds = 0.8 if kind == "rate_limit_ms" else 2.0
    server.configure(fault_script={"question": [{"kind": kind, "seconds": seconds}, "ok"]})
    asked(server.url, ["question"])
    (first, *_), (second, *_) = server.arrivals()
    least = {"rate_limit": 2.0, "rate_limit_ms": 0.8, "rate_limit_date": 1.0}[kind]  # a date has whole seconds
    assert least <= second - first < 5


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({}, 0, 0),
        ({"retry-after": "7"}, 7, 7),
        ({"retry-after": " 0.5 "}, 0.5, 0.5),
        ({"retry-after": "-3"}, 0, 0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1, 1),
        ({"retry-after": "nan"}, 0, 0),
        ({"retry-after": "tomorrow"}, 0, 0),
        ({"retry-after": "Mon, 01 Jan 0001 00:00:00 -0000"}, 0, 0),
        ({"retry-after": "Mon, 99 Foo 2030"}, 0, 0),
    ],
)
def test_retry_after_in_all_forms(headers: dict[str, str], low: float, high: float) -> None:
    assert low <= _pause_asked(headers) <= high


def test_retry_after_as_a_date() -> None:
    assert 28 < _pause_asked({"retry-after": formatdate(time.time() + 30, usegmt=True)}) <= 30
    assert _pause_asked({"retry-after": formatdate(time.time() - 30, usegmt=True)}) == 0


# What makes every further request pointless


class Rude:
    """A server that answers everything with one status and one body, which may quote what it was sent."""

    def __init__(self, status: int, body: str, delay: float = 0.0, content_type: str = "application/json") -> None:
        self.status, self.body, self.delay, self.content_type = status, body, delay, content_type
        self.requests = 0

    async def __aenter__(self) -> Rude:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    def reply(self, sent: bytes) -> tuple[int, str, float]:
        return self.status, self.body, self.delay

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        sent = await reader.readexactly(length)
        self.requests += 1
        status, said, delay = self.reply(sent)
        await asyncio.sleep(delay)
        body = said.encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {self.content_type}\r\ncontent-length: {len(body)}\r\n"
        writer.write(head.encode() + b"connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()


def quoting(key: str, code: str = "") -> str:
    return json.dumps({"error": {"message": f"You said {key}, which is wrong", "code": code}})


@pytest.mark.parametrize(
    ("status", "body", "way"),
    [
        (401, quoting(KEY), "OPENAI_API_KEY"),
        (403, quoting(KEY), "--api-key-file"),
        (404, quoting(KEY), "--model-name"),
        (405, quoting(KEY), "--base-url"),
        (402, quoting(KEY, "invalid_request_error"), "quota"),
        (429, quoting(KEY, "insufficient_quota"), "quota"),
        (429, quoting(KEY, "billing_not_active"), "quota"),
        (400, quoting(KEY, "billing_hard_limit_reached"), "quota"),
        (404, "x" * (json_service.DETAIL_SHOWN - 60) + KEY, "--model-name"),
        (404, " " * 100 + "x" * 170 + KEY, "--model-name"),
    ],
)
def test_a_service_that_takes_nobody_stops_everybody_at_once(
    monkeypatch: pytest.MonkeyPatch, status: int, body: str, way: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    async def work() -> list[Any]:
        async with (
            Rude(status, body) as rude,
            engine_at(rude.url, limits=Limits(4, requests_per_minute=120)) as (engine, _, _),
        ):
            return await asyncio.gather(*(outcome(engine.generate(question(f"{n}"))) for n in range(30)))

    began = time.monotonic()
    found = run(work())
    assert time.monotonic() - began < 8  # the pace alone would take 15
    for each in found:
        assert isinstance(each, EngineUnusable) and way in str(each)
        assert not any(KEY[:length] in str(each) for length in (12, 20, len(KEY)))


PAGE = "<html><body>Welcome to nginx</body></html>"


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (PAGE, "text/html; charset=utf-8", r"answers with a web page \(<html><body>Welcome to nginx"),
        ('{"status": "ok"}', "application/json", r'answers with JSON that is not of the protocol \({"status": "ok"}\)'),
        ("[]", "application/json", r"answers with JSON that is not of the protocol \(\[\]\)"),
    ],
)
def test_an_address_where_something_else_answers_costs_nothing_and_is_named(
    body: str, content_type: str, said: str
) -> None:
    async def work() -> None:
        limits = Limits(4, cost=10**9)
        async with Rude(200, body, content_type=content_type) as rude, engine_at(rude.url, limits) as (engine, gate, _):
            found = await asyncio.gather(*(outcome(engine.generate(question(f"{n}"))) for n in range(10)))
            assert rude.requests <= 4 and gate._spent == gate._reserved == 0
            for each in found:
                assert isinstance(each, EngineUnusable) and re.search(said, str(each))
                assert f"{rude.url}/v1/chat/completions" in str(each) and "check --base-url" in str(each)

    run(work())


@pytest.mark.usefixtures("server")
def test_a_web_page_in_the_middle_of_a_run_is_an_outage_that_costs_nothing() -> None:
    """A proxy shows one while the server behind it starts again."""

    async def work() -> None:
        answer = choice_of("hi")
        async with (
            Rude(200, answer) as rude,
            engine_at(rude.url, Limits(4, cost=10**9), max_attempts=2) as (engine, gate, _),
        ):
            await engine.generate(question("first"))
            spent = gate._spent
            rude.body, rude.content_type = PAGE, "text/html"
            row = asyncio.ensure_future(outcome(engine.generate(question("second"))))
            while rude.requests < 5:
                await asyncio.sleep(0.01)
            assert gate._spent == spent and not row.done()
            rude.body, rude.content_type = answer, "application/json"
            assert isinstance(await row, Completion)

    run(work())


def choice_of(content: str) -> str:
    usage = {"prompt_tokens": 10, "completion_tokens": 10}
    return json.dumps({"choices": [{"message": {"content": content}, "finish_reason": "stop"}], "usage": usage})


def test_an_error_with_status_200_is_no_other_address(server: Server) -> None:
    async def work() -> None:
        async with Rude(200, '{"error": {"code": 502}}') as rude, engine_at(rude.url, patience=0.5) as (engine, _, _):
            failed = await outcome(engine.generate(question("a")))
            assert isinstance(failed, RequestFailed) and failed.category == Category.SERVER_ERROR
            assert rude.requests > 1

    run(work())


def test_who_sleeps_between_tries_is_told_too(server: Server) -> None:
    server.configure(
        fault_script={"asleep": [{"kind": "rate_limit", "seconds": 300}, "*"], "quota": ["quota"]}, delay_seconds=0.1
    )

    async def work() -> list[Any]:
        async with engine_at(server.url) as (engine, _, _):
            asleep = asyncio.ensure_future(outcome(engine.generate(question("asleep"))))
            await asyncio.sleep(0.5)
            return [await outcome(engine.generate(question("quota"))), await asleep]

    assert [type(each) for each in run(work())] == [EngineUnusable] * 2


def test_a_key_in_any_error_body_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for status in (400, 500, 502):
        for body in (quoting(KEY), KEY, f"<html>{KEY}</html>", f'{{"detail": "{KEY}"}}', f'["{KEY}"]'):

            async def work(status: int = status, body: str = body) -> list[Any]:
                async with Rude(status, body) as rude, engine_at(rude.url, patience=0.0) as (engine, _, _):
                    return [await outcome(engine.generate(question(f"{number}"))) for number in range(20)]

            for each in run(work()):
                assert isinstance(each, (RequestFailed, EngineUnusable)) and KEY[:12] not in str(each)
                assert "<key>" in str(each)


def test_the_key_is_asked_for_and_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    service = Service("S", "http://x/v1", needs_key=True)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(EngineUnusable, match="set OPENAI_API_KEY, or give --api-key-file"):
        service.key()
    file = tmp_path / "key"
    with pytest.raises(EngineUnusable, match="cannot be read: No such file"):
        replace(service, key_file=str(file)).key()
    file.write_text(f"{KEY}\n# mine\n")
    assert replace(service, key_file=str(file)).key() == KEY
    for odd in ("sk-ä", "sk-\x00a", "sk a b"):
        monkeypatch.setenv("OPENAI_API_KEY", odd.replace("\x00", "\x07"))
        with pytest.raises(EngineUnusable) as raised:
            service.key()
        assert "sk" not in str(raised.value)


@pytest.mark.parametrize("url", ["api.openai.com/v1", "ftp://x/v1", "http:///v1", "http://me:secret-word@x/v1"])
def test_an_address_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(EngineUnusable) as raised:
        Service("S", url).checked()
    assert "secret-word" not in str(raised.value)


# A server that is not there


def free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


@pytest.mark.usefixtures("server")
def test_a_server_that_was_never_there_ends_patience() -> None:
    found = asked(f"http://127.0.0.1:{free_port()}", ["a", "b", "c"], patience=0.5)
    assert all(isinstance(each, EngineUnusable) and "has answered nothing" in str(each) for each in found)


@pytest.mark.usefixtures("server")
def test_where_nobody_listens_from_the_start_little_patience_is_enough() -> None:
    found = asked(f"http://127.0.0.1:{free_port()}", ["a"], patience=50.0, first_patience=0.5)
    assert isinstance(found[0], EngineUnusable) and "has answered nothing for 0 s" in str(found[0])


def test_a_server_that_answers_with_errors_or_has_answered_gets_all_patience() -> None:
    async def work() -> None:
        async with Rude(500, "{}") as rude, engine_at(rude.url, first_patience=0.2) as (engine, _, limiter):
            row = asyncio.ensure_future(outcome(engine.generate(question("a"))))
            while rude.requests < 3:
                await asyncio.sleep(0.05)
            assert not row.done()
            engine._service._silent_since = time.monotonic() - 1
            assert not engine._service._is_hopeless(_Again(Category.SERVER_ERROR, "cannot connect", reached=False), 1)
            rude.status, rude.body = 200, choice_of("hi")
            assert isinstance(await row, Completion)
            rude.server.close()
            row = asyncio.ensure_future(outcome(engine.generate(question("b"))))
            await asyncio.sleep(1.5)
            assert not row.done() and "annot connect" in limiter.shown()[1]
            row.cancel()

    run(work())


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("patience", [0.5, 40.0])
def test_a_server_that_dies_and_comes_back_costs_no_row_within_patience(patience: float) -> None:
    port = free_port()
    first = start(port=port, delay_seconds=0.05)

    async def work() -> list[Any]:
        async with engine_at(first.url, patience=patience, max_attempts=2) as (engine, _, _):
            rows = [asyncio.ensure_future(outcome(engine.generate(question(f"{n}")))) for n in range(400)]
            while sum(row.done() for row in rows) < 20:  # and many are under way
                await asyncio.sleep(0.005)
            first.process.kill()
            await asyncio.sleep(1.5)
            second = await asyncio.to_thread(start, port=port)
            try:
                return await asyncio.gather(*rows)
            finally:
                second.close()

    try:
        ends = Counter(type(each) for each in run(work()))
    finally:
        first.close()
    assert ends[Completion] > 10
    if patience > 10:
        assert ends[Completion] == 400
    else:
        assert ends[EngineUnusable] > 10 and ends[RequestFailed] == 0


def test_a_server_that_fails_for_long_costs_no_row(server: Server) -> None:
    """Many more tries than max_attempts: while nobody is answered, none of them counts."""
    server.configure(faults={"error_503": 0.5, "rate_limit_no_header": 0.5})

    async def work() -> list[Any]:
        async with engine_at(server.url, max_attempts=2) as (engine, _, _):
            rows = [asyncio.ensure_future(outcome(engine.generate(question(f"{n}")))) for n in range(40)]
            await asyncio.sleep(2)
            assert not any(row.done() for row in rows)
            await asyncio.to_thread(server.configure, faults={})
            return await asyncio.gather(*rows)

    ends = Counter(type(each) for each in run(work()))
    # Those that failed at their last try at the moment of recovery count it; no others.
    assert ends[Completion] >= 36 and ends[EngineUnusable] == 0


def test_the_last_rows_fail_by_themselves_and_the_run_goes_on(server: Server) -> None:
    """A second run has only those rows left that the server breaks at: it ends, with them in quarantine."""
    server.configure(fault_script={"breaks": ["error_500", "*"], "hangs": ["hang", "*"]})
    texts = [f"{'breaks' if number % 2 else 'hangs'} {number}" for number in range(FEW)]
    found = asked(server.url, texts, timeout=1.0, patience=3.0)
    assert {type(each) for each in found} == {RequestFailed}
    assert [each.category for each in found] == [Category.TIMEOUT, Category.SERVER_ERROR] * (FEW // 2)


def test_many_rows_without_any_answer_are_the_services_fault(server: Server) -> None:
    server.configure(faults={"error_500": 1.0})
    found = asked(server.url, [f"{number}" for number in range(FEW + 10)], patience=1.0)
    assert {type(each) for each in found} == {EngineUnusable}


# What the server does not take


def test_a_prompt_too_long_is_rejected_alone(server: Server) -> None:
    server.configure(max_prompt_characters=100)
    found = asked(server.url, ["x" * 200, "short"])
    assert isinstance(found[0], RequestFailed) and found[0].category == Category.REJECTED
    assert "maximum context length" in found[0].detail
    assert isinstance(found[1], Completion)


def test_when_everything_is_rejected_it_is_not_the_rows(server: Server) -> None:
    server.configure(unsupported_parameters=["max_tokens", "max_completion_tokens"])
    found = asked(server.url, [f"{number}" for number in range(60)])
    assert {type(each) for each in found} == {RequestFailed, EngineUnusable}
    assert sum(isinstance(each, RequestFailed) for each in found) == json_service.HOPELESS_AFTER - 1
    assert "max_completion_tokens" in str(found[-1])


def test_a_server_that_wants_the_new_name_of_the_length_gets_it_and_no_row_is_lost(server: Server) -> None:
    server.configure(unsupported_parameters=["max_tokens"])

    async def work() -> None:
        async with engine_at(server.url, limits=Limits(40)) as (engine, _, _):
            for part in range(2):
                texts = [f"{part} {number}" for number in range(120)]
                found = await asyncio.gather(*(outcome(engine.generate(question(text))) for text in texts))
                assert {type(each) for each in found} == {Completion}

    run(work())
    # Those that were put with the old name are refused once each, many more than make a run hopeless.
    assert server.stats()["outcomes"] == {"400 unsupported_parameter": 120, "ok": 240}


def test_quick_rejections_stop_nothing_while_others_are_being_answered(server: Server) -> None:
    server.configure(max_prompt_characters=100, delay_seconds=1.0)
    texts = [f"{number} " + "x" * 200 * (number % 4 == 0) for number in range(120)]
    found = asked(server.url, texts, limits=Limits(100))
    assert [type(each) for each in found] == [Completion if n % 4 else RequestFailed for n in range(120)]
    assert server.stats()["answered"] == 90


def test_what_was_under_way_and_fails_as_well_ends_the_doubt(server: Server) -> None:
    server.configure(max_prompt_characters=100, fault_script={"lost": ["hang", "*"]})
    texts = [f"lost {number}" for number in range(5)] + [f"{number} " + "x" * 200 for number in range(40)]
    found = asked(server.url, texts, timeout=1.0)
    ends = Counter(type(each) for each in found)
    assert ends == {RequestFailed: json_service.HOPELESS_AFTER - 1, EngineUnusable: 45 - 19}
    assert "refused the first 20 requests, and answered no other" in str(found[0])


class Particular(Rude):
    """A server that refuses long texts at once, and has something against the first short ones a little later."""

    def __init__(self, refusal: str, status: int) -> None:
        super().__init__(200, choice_of("hi"))
        self.refusal, self.refused, self.left = refusal, status, 30

    def reply(self, sent: bytes) -> tuple[int, str, float]:
        if b"long" in sent:
            return 400, '{"error": {"message": "too long", "code": "context_length_exceeded"}}', 0.0
        self.left -= 1
        if self.left >= 0:
            return self.refused, self.refusal, 0.2
        return 200, self.body, 0.0


@pytest.mark.parametrize(
    ("status", "refusal"),
    [(400, '{"error": {"code": "unsupported_parameter", "param": "max_tokens"}}'), (503, '{"error": "loading"}')],
)
def test_a_request_that_has_to_be_asked_again_may_still_be_answered(status: int, refusal: str) -> None:
    async def work() -> None:
        async with Particular(refusal, status) as particular, engine_at(particular.url, Limits(60)) as (engine, _, _):
            texts = [f"long {n}" if n % 2 else f"short {n}" for n in range(60)]
            found = await asyncio.gather(*(outcome(engine.generate(question(text))) for text in texts))
            assert [type(each) for each in found] == [RequestFailed if n % 2 else Completion for n in range(60)]

    run(work())


def test_rejections_after_an_answer_stop_nothing(server: Server) -> None:
    server.configure(max_prompt_characters=100)

    async def work() -> list[Any]:
        async with engine_at(server.url) as (engine, _, _):
            await engine.generate(question("short"))
            return await asyncio.gather(*(outcome(engine.generate(question("x" * 200 + str(n)))) for n in range(50)))

    assert {type(each) for each in run(work())} == {RequestFailed}


class Walled(Rude):
    """A server behind a firewall that refuses some texts, at once; everything else is answered after a while."""

    def __init__(self, answers: bool = True, page: str = "<html>Attention Required! | Cloudflare</html>") -> None:
        super().__init__(200, choice_of("hi"))
        self.answers, self.page = answers, page

    def reply(self, sent: bytes) -> tuple[int, str, float]:
        if self.answers and b"rm -rf" not in sent:
            return 200, self.body, 0.3
        return 403, self.page, 0.0


def test_what_a_firewall_refuses_is_rejected_alone_also_where_it_comes_first() -> None:
    async def work() -> None:
        async with Walled() as walled, engine_at(walled.url) as (engine, _, _):
            for part in range(2):
                texts = [f"rm -rf {part} {n}" if n % 2 else f"{part} {n}" for n in range(100)]
                found = await asyncio.gather(*(outcome(engine.generate(question(text))) for text in texts))
                assert [type(each) for each in found] == [RequestFailed if n % 2 else Completion for n in range(100)]
            assert found[1].category == Category.REJECTED and "Cloudflare" in found[1].detail

    run(work())


@pytest.mark.parametrize("page", ["<html>blocked</html>", quoting(KEY, "account_deactivated")])
def test_a_403_for_everybody_stops_the_run_also_in_its_middle(page: str) -> None:
    async def work() -> None:
        async with Walled(page=page) as walled, engine_at(walled.url) as (engine, _, _):
            await engine.generate(question("first"))
            walled.answers = False
            found = await asyncio.gather(*(outcome(engine.generate(question(f"{n}"))) for n in range(100)))
            ends = Counter(type(each) for each in found)
            assert (
                ends[RequestFailed] == (19 if "html" in page else 0)
                and ends[EngineUnusable] == 100 - ends[RequestFailed]
            )
            assert "does not accept the API key (403)" in str(found[-1])

    run(work())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"error": {"message": "m", "code": "c"}}', ("c", "m")),
        (b'{"error": {"message": "m", "type": "t", "code": null}}', ("t", "m")),
        (b'{"error": "words"}', ("", "words")),
        (b'{"detail": [{"loc": ["body"]}]}', ("", "[{'loc': ['body']}]")),
        (b'{"object": "error", "message": "m", "code": 404}', ("404", "m")),
        (b"<html>", ("", "<html>")),
        (b"[1]", ("", "[1]")),
        (b"\xff", ("", "\ufffd")),
        (b"", ("", "")),
    ],
)
def test_errors_in_all_shapes(content: bytes, expected: tuple[str, str]) -> None:
    assert _error_of(content) == expected


# Money and places


@pytest.mark.parametrize("kind", ["hang", "reset_mid_body", "truncated_json", "missing_usage"])
def test_an_answer_that_is_lost_counts_as_paid(server: Server, kind: str) -> None:
    server.configure(fault_script={"question": [kind, "ok"]})

    async def work() -> None:
        async with engine_at(server.url, limits=Limits(20, cost=10**9), timeout=0.4) as (engine, gate, limiter):
            answer = await engine.generate(question("question"))
            bound = engine.bound(question("question"))[0]
            await asyncio.sleep(0.5)
            assert gate._spent == bound + (answer.cost or 0) == limiter.totals()["spent"]
            # An answer that came, if without a word on its tokens, is not lost.
            assert limiter.totals().get("lost", 0) == (0 if kind == "missing_usage" else bound)

    run(work())


@pytest.mark.parametrize("kind", ["error_500", "rate_limit_ms", "error_503"])
def test_what_was_refused_costs_nothing(server: Server, kind: str) -> None:
    server.configure(fault_script={"question": [kind, "ok"]}, retry_after_seconds=0.05)

    async def work() -> None:
        async with engine_at(server.url, limits=Limits(20, cost=10**9)) as (engine, gate, _):
            answer = await engine.generate(question("question"))
            assert gate._spent == answer.cost > 0

    run(work())


def test_given_up_at_any_moment_it_leaves_no_place_taken(server: Server) -> None:
    server.configure(delay_seconds=[0.0, 0.2], faults={"error_500": 0.3})

    async def work() -> None:
        async with engine_at(server.url, limits=Limits(5)) as (engine, gate, _):
            rows = [asyncio.ensure_future(outcome(engine.generate(question(f"{n}")))) for n in range(60)]
            for row in rows:
                await asyncio.sleep(0.01)
                row.cancel()
            await asyncio.gather(*rows, return_exceptions=True)
            assert gate.under_way == 0 and not gate._waiting()
            assert engine._service._waiting == 0

    run(work())


def test_half_the_width_after_a_refusal(server: Server) -> None:
    server.configure(requests_per_minute=None, faults={"rate_limit_ms": 1.0}, retry_after_seconds=0.2)

    async def work() -> None:
        async with engine_at(server.url, limits=Limits(64)) as (engine, gate, _):
            rows = [asyncio.ensure_future(outcome(engine.generate(question(f"{n}")))) for n in range(200)]
            await asyncio.sleep(3.5)
            assert gate._width < 30
            server.configure(faults={})
            await asyncio.gather(*rows)
            assert gate._width > 40

    run(work())


# Proxies


def test_a_proxy_is_looked_for_once_and_netrc_never(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hers\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    server.configure(api_key=KEY)
    assert isinstance(asked(server.url, ["question"])[0], Completion)
    monkeypatch.setenv("http_proxy", server.url)  # the server takes no absolute addresses, and says so
    assert isinstance(asked("http://service.invalid:80", ["question"])[0], EngineUnusable)
    assert any("service.invalid" in path for path in server.stats()["paths"])
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert isinstance(asked(server.url, ["question"])[0], Completion)


def test_what_get_says_is_for_a_person(server: Server) -> None:
    async def work(path: str) -> Any:
        limits = Limits(2)
        gate = Gate(limits, local_visit(SpendLimiter(limits)))
        await gate.start()
        service = JsonService(Service("the test server", server.url), gate)
        await service.start()
        try:
            return await service.get(path)
        finally:
            await service.close()
            await gate.close()

    assert run(work("/v1/models"))["object"] == "list"
    with pytest.raises(EngineUnusable, match="the test server answered 404"):
        run(work("/v1/nothing"))
