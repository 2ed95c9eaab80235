"""The server that stands in for a hosted model: what a client sees of it is the true protocol, faults included."""

from __future__ import annotations

import bisect
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.openai_server import ROOT, Server, serving
from tests.openai_server.answers import drawn
from tests.openai_server.faults import KINDS, share_of
from tests.openai_server.ledger import peak
from tests.openai_server.scoring import logprobs

VERDICT = {
    "type": "object",
    "properties": {"explanation": {"type": "string", "maxLength": 30}, "is_pass": {"type": "boolean"}},
    "required": ["explanation", "is_pass"],
    "additionalProperties": False,
}


def strict(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


SCORE = {"type": "integer", "minimum": 0, "maximum": 4}
RUBRIC = strict({"criteria": strict(dict.fromkeys("abcd", VERDICT)), "score": SCORE})
LADDER = strict({"score": SCORE, "levels": strict(dict.fromkeys(["one", "two", "three", "four"], VERDICT))})
TREE = {
    "$defs": {
        "node": strict(
            {
                "name": {"type": "string", "minLength": 3, "maxLength": 12},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "all": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
            }
        )
    },
    **strict({"root": {"$ref": "#/$defs/node"}}),
}
SCHEMAS = [
    RUBRIC,
    LADDER,
    TREE,
    strict({"score": {"enum": [1, 2, 4]}, "criteria": strict(dict.fromkeys("abc", VERDICT))}),
    strict({"verdict": {"enum": ["good", "bad"]}, "version": {"const": 3}, "sure": {"type": ["number", "null"]}}),
    strict(
        {"share": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.25}, "low": {"type": "integer", "maximum": -7}}
    ),
    {"type": "object", "properties": {"labels": {"type": "array", "items": {"type": "string"}, "minItems": 2}}},
    {"type": "array", "items": {"type": "integer", "multipleOf": 5, "minimum": 3}, "minItems": 1},
    {"allOf": [strict({"a": {"type": "integer"}}) | {"additionalProperties": True}, {"required": ["a"]}]},
]


def question(text: str = "Is this text good?", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-test", "messages": [{"role": "user", "content": text}], **more}


def structured(schema: dict[str, Any], text: str = "Is this text good?", **more: Any) -> dict[str, Any]:
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    return question(text, response_format=form, **more)


class Response:
    """A whole response, read by the standard library's client."""

    def __init__(self, server: Server, path: str, content: Any = None, **headers: str) -> None:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
        body = content if content is None or isinstance(content, bytes) else json.dumps(content)
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        self.status, self.headers, self.body = response.status, response.headers, response.read()
        connection.close()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = self.json["choices"][0]["message"]
        return message


def chat(server: Server, content: Any, **headers: str) -> Response:
    return Response(server, "/v1/chat/completions", content, **headers)


def raw_chat(server: Server, content: Any, timeout: float) -> tuple[bytes, str]:
    """What comes over the socket, and how it ends: closed, reset, or still open."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    body = json.dumps(content).encode()
    got = b""
    with socket.create_connection((host, int(port)), timeout=timeout) as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        try:
            while piece := sock.recv(65536):
                got += piece
        except TimeoutError:
            return got, "open"
        except ConnectionResetError:
            return got, "reset"
    return got, "closed"


def halves(got: bytes) -> tuple[int, bytes]:
    """The length that a response's head says, and the body that came."""
    head, _, body = got.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(lengths[0].split(b":")[1]), body


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """A server without faults and with an empty ledger."""
    shared.reset()
    yield shared
    shared.configure(
        faults={}, fault_script={}, path_faults={}, api_key=None, models=None, max_prompt_characters=None,
        unsupported_parameters=[], delay_seconds=0.0, drip_seconds=0.0, reasoning_tokens=0, cached_share=0.0, seed=0,
        requests_per_minute=None, tokens_per_minute=None, batch_seconds=0.2, batch_error_rate=0.0, batch_expire_rate=0.0,
        max_batch_requests=50_000, max_batch_bytes=200_000_000, max_enqueued_tokens=None,
    )  # fmt: skip


# Answers


@given(st.sampled_from(SCHEMAS), st.integers(0, 2**60))
def test_drawn_values_meet_their_schema(schema: dict[str, Any], seed: int) -> None:
    value = drawn(schema, Random(seed))
    jsonschema.validate(value, schema)
    assert drawn(schema, Random(seed)) == value


@given(st.integers(0, 2**60))
def test_scores_count_what_passed(seed: int) -> None:
    value = drawn(RUBRIC, Random(seed))
    assert value["score"] == sum(each["is_pass"] for each in value["criteria"].values())
    value = drawn(LADDER, Random(seed))
    passed = [each["is_pass"] for each in value["levels"].values()]
    assert passed == sorted(passed, reverse=True) and value["score"] == sum(passed)


def test_a_completion_has_openais_shape(server: Server) -> None:
    response = chat(server, structured(RUBRIC, service_tier="flex", temperature=0.5))
    answer = response.json
    assert answer["object"] == "chat.completion" and answer["model"] == "gpt-test"
    assert answer["id"].startswith("chatcmpl-") and answer["service_tier"] == "flex"
    assert answer["choices"][0]["finish_reason"] == "stop"
    jsonschema.validate(json.loads(response.message["content"]), RUBRIC)
    usage = answer["usage"]
    assert usage["prompt_tokens"] == len("Is this text good?") // 4 + 3
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 0
    for name in ("x-request-id", "openai-processing-ms", "x-ratelimit-limit-requests", "x-ratelimit-remaining-tokens"):
        assert response.headers[name]
    assert len(response.headers["x-digest"]) == 64


def test_the_same_question_has_the_same_answer(server: Server) -> None:
    with serving(seed=99) as other:
        same = [chat(each, structured(RUBRIC, temperature=1)).message for each in (server, server, other)]
    assert same[0] == same[1] == same[2]
    assert len({chat(server, structured(RUBRIC, seed=seed)).message["content"] for seed in range(5)}) == 5


def test_limits_of_tokens_cut_the_answer(server: Server) -> None:
    choice = chat(server, structured(RUBRIC, max_completion_tokens=5)).json["choices"][0]
    assert choice["finish_reason"] == "length" and len(choice["message"]["content"]) == 20
    server.configure(reasoning_tokens=50)
    answer = chat(server, question(max_completion_tokens=50)).json
    assert answer["choices"][0]["finish_reason"] == "length" and answer["choices"][0]["message"]["content"] == ""
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 50


def test_prompts_from_1024_tokens_on_are_cached(server: Server) -> None:
    server.configure(cached_share=0.5)
    usage = chat(server, question("word " * 1000)).json["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] // 2 // 128 * 128


def test_answers_stream_as_events(server: Server) -> None:
    whole = chat(server, question()).message["content"]
    body = chat(server, question(stream=True, stream_options={"include_usage": True})).body.decode()
    *events, last, _ = body.split("\n\n")
    assert last == "data: [DONE]"
    chunks = [json.loads(each.removeprefix("data: ")) for each in events]
    assert "".join(each["delta"].get("content", "") for chunk in chunks for each in chunk["choices"]) == whole
    assert chunks[-1]["usage"]["total_tokens"] > 0


def test_chunked_requests_are_read(server: Server) -> None:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
    body = json.dumps(question()).encode()
    for _ in range(2):  # on one connection
        connection.request(
            "POST", "/v1/chat/completions", iter([body[:10], body[10:]]), encode_chunked=True,
            headers={"Transfer-Encoding": "chunked"},
        )  # fmt: skip
        assert json.loads(connection.getresponse().read())["object"] == "chat.completion"
    connection.close()


# Refusals


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, None),
        ({"model": "gpt-test"}, 400, "missing_required_parameter"),
        ({"messages": []}, 400, None),
        (question(temperature=3), 400, "invalid_value"),
        (question(colour="blue"), 400, "unknown_parameter"),
        (question(top_p=0.5, logit_bias={}), 400, "unsupported_parameter"),
        (question("x" * 101), 400, "context_length_exceeded"),
        ({**question(), "model": "gpt-none"}, 404, "model_not_found"),
        (structured({"type": "object", "properties": {"a": {"type": "string"}}}), 400, None),
        (question(service_tier="fast"), 400, "invalid_value"),
        (structured({"$ref": "#/$defs/none", "type": "object", "additionalProperties": False}), 400, None),
    ],
)
def test_wrong_requests_are_refused(server: Server, content: Any, status: int, code: str | None) -> None:
    server.configure(models=["gpt-test"], max_prompt_characters=100, unsupported_parameters=["logit_bias"])
    response = chat(server, content)
    assert response.status == status
    assert (
        response.json["error"].keys() == {"message", "type", "param", "code"} and response.json["error"]["code"] == code
    )
    assert server.stats()["in_flight"] == 0


def test_only_the_right_key_is_let_in(server: Server) -> None:
    server.configure(api_key="sk-right")
    assert chat(server, question()).status == 401
    assert chat(server, question(), Authorization="Bearer sk-wrong").json["error"]["code"] == "invalid_api_key"
    assert chat(server, question(), Authorization="Bearer sk-right").status == 200
    stats = server.stats()
    assert len(stats["authorizations"]) == 2 and "sk-right" not in json.dumps(stats)


def test_true_rate_limits_refuse_and_recover(server: Server) -> None:
    server.configure(requests_per_minute=60)
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda number: chat(server, question(f"{number}")), range(200)))
    refused = [each for each in responses if each.status == 429]
    assert 100 < len(refused) <= 140
    assert 0 < int(refused[0].headers["retry-after-ms"]) <= 1000 and refused[0].headers["retry-after"] == "1"
    assert responses[0].headers["x-ratelimit-limit-requests"] == "60"
    time.sleep(1.1)
    assert chat(server, question("later")).status == 200
    server.configure(requests_per_minute=None, tokens_per_minute=1000)
    assert [chat(server, question(max_tokens=600)).status for _ in range(2)] == [200, 429]


# Faults


def test_status_faults_are_true_responses(server: Server) -> None:
    def fails(kind: str, **more: Any) -> Response:
        server.configure(fault_script={"text": [{"kind": kind, **more}, "*"]})
        return chat(server, question())

    response = fails("rate_limit", seconds=7)
    assert (response.status, response.headers["retry-after"]) == (429, "7")
    assert response.json["error"]["code"] == "rate_limit_exceeded"
    response = fails("rate_limit_ms", seconds=0.25)
    assert (response.headers["retry-after-ms"], response.headers["retry-after"]) == ("250", "1")
    moment = parsedate_to_datetime(fails("rate_limit_date", seconds=30).headers["retry-after"]).timestamp()
    assert 28 < moment - time.time() < 32
    assert fails("rate_limit_no_header").headers["retry-after"] is None
    response = fails("quota")
    assert (response.status, response.json["error"]["code"]) == (429, "insufficient_quota")
    assert [fails(kind).status for kind in ("error_500", "error_503")] == [500, 503]
    response = fails("error_502_html")
    assert (response.status, response.headers["content-type"]) == (502, "text/html") and b"<html>" in response.body


def test_broken_connections_are_what_the_socket_sees(server: Server) -> None:
    def sees(kind: str) -> tuple[bytes, str]:
        server.configure(fault_script={"text": [kind, "*"]})
        return raw_chat(server, question(), 0.5 if kind.startswith("hang") else 10)

    assert sees("reset_before") == (b"", "closed")
    got, end = sees("reset_mid_body")
    length, body = halves(got)
    assert end == "reset" and len(body) == length // 2 > 0
    assert sees("hang") == (b"", "open")
    got, end = sees("hang_mid_body")
    length, body = halves(got)
    assert end == "open" and len(body) == length // 2 > 0
    stats = server.stats()
    assert stats["outcomes"] == {"reset_before": 1, "reset_mid_body": 1, "hang": 1, "hang_mid_body": 1}
    assert stats["answered"] == 0 and stats["attempts"] == 4 and stats["in_flight"] == 0


def test_spoiled_bodies_are_whole_responses(server: Server) -> None:
    server.configure(fault_script={"text": ["truncated_json", "not_json", "no_choices", "missing_usage", "ok"]})
    cut, line, empty, unmeasured, right = [chat(server, question()) for _ in range(5)]
    assert cut.status == line.status == 200
    for each in (cut, line):
        assert len(each.body) == int(each.headers["content-length"])
        with pytest.raises(json.JSONDecodeError):
            assert each.json
    assert empty.json["choices"] == [] and "usage" not in unmeasured.json and right.message["content"]
    counts = server.stats()["digests"][right.headers["x-digest"]]
    assert counts == {"attempts": 5, "answered": 5, "answered_without_fault": 1}


def test_slow_bodies_come_in_pieces(server: Server) -> None:
    server.configure(fault_script={"text": [{"kind": "slow_tokens", "seconds": 0.5}]})
    began = time.monotonic()
    assert chat(server, question()).status == 200
    assert 0.4 < time.monotonic() - began < 3
    assert server.stats()["outcomes"] == {"slow_tokens": 1}


@pytest.mark.parametrize("schema", [RUBRIC, LADDER])
def test_spoiled_contents_are_spoiled(server: Server, schema: dict[str, Any]) -> None:
    def choice(kind: str, seed: int = 0) -> dict[str, Any]:
        server.configure(fault_script={"text": [kind, "*"]})
        found: dict[str, Any] = chat(server, structured(schema, seed=seed)).json["choices"][0]
        return found

    whole = choice("ok")["message"]["content"]
    assert not jsonschema.Draft202012Validator(schema).is_valid(
        json.loads(choice("wrong_schema")["message"]["content"])
    )
    assert f"```json\n{whole}\n```" in choice("prose")["message"]["content"]
    assert not 0 <= json.loads(choice("score_out_of_range")["message"]["content"])["score"] <= 4
    inconsistent = json.loads(choice("inconsistent_score")["message"]["content"])
    jsonschema.validate(inconsistent, schema)
    assert abs(inconsistent["score"] - json.loads(whole)["score"]) == 1
    assert {choice("empty_content", seed)["message"]["content"] for seed in range(10)} == {"", None}
    cut = choice("length")
    assert cut["finish_reason"] == "length" and whole.startswith(cut["message"]["content"])
    refused = choice("refusal")["message"]
    assert refused["content"] is None and refused["refusal"]
    assert choice("content_filter")["finish_reason"] == "content_filter"


def test_faults_that_find_nothing_to_spoil_do_not_count(server: Server) -> None:
    server.configure(fault_script={"text": ["inconsistent_score", "*"]})
    chat(server, question())
    assert server.stats()["outcomes"] == {"ok": 1}


def test_scripts_go_by_the_attempt(server: Server) -> None:
    server.configure(
        fault_script={"first": ["error_500", "ok", "error_503"], "second": ["error_500", "error_503", "*"]}
    )
    assert [chat(server, question("the first")).status for _ in range(4)] == [500, 200, 503, 200]
    assert [chat(server, question("the second")).status for _ in range(4)] == [500, 503, 503, 503]
    assert chat(server, question("the third")).status == 200


def test_faults_are_drawn_alike_in_every_run_and_anew_for_each_attempt(server: Server) -> None:
    server.configure(faults={"error_500": 0.3, "error_503": 0.3}, seed=5)

    def run() -> list[list[int]]:
        server.reset()
        return [[chat(server, question(f"{number}")).status for _ in range(3)] for number in range(40)]

    first = run()
    assert run() == first
    flat = [status for each in first for status in each]
    assert 25 < flat.count(200) < 72 and 15 < flat.count(500) < 60
    assert any(each[0] != 200 and 200 in each for each in first)
    server.configure(seed=6)
    assert run() != first


def test_what_a_configuration_gets_wrong_is_said(server: Server) -> None:
    for wrong in (
        {"colour": 1},
        {"faults": {"meteor": 0.1}},
        {"faults": {"hang": 1.1}},
        {"fault_script": {"x": ["*"]}},
    ):
        response = Response(server, "/_configure", wrong)
        assert response.status == 400 and response.json["error"]["message"]


def test_every_kind_of_fault_is_tested() -> None:
    text = Path(__file__).read_text()
    assert [kind for kind in KINDS if f'"{kind}"' not in text] == []


# The ledger


@given(st.lists(st.floats(0, 10), max_size=30).map(sorted), st.sampled_from([0.5, 1.0, 3.0]))
def test_peaks_are_those_of_the_fullest_window(moments: list[float], window: float) -> None:
    weights = array("L", [1 + number % 5 for number in range(len(moments))])
    counts, sums = [0], [0]
    for moment in moments:
        last, first = bisect.bisect_right(moments, moment), bisect.bisect_right(moments, moment - window)
        counts.append(last - first)
        sums.append(sum(weights[first:last]))
    assert peak(array("d", moments), None, window) == max(counts)
    assert peak(array("d", moments), weights, window) == max(sums)


def test_the_ledger_counts_concurrency_arrivals_and_tokens(server: Server) -> None:
    server.configure(delay_seconds=0.3)
    questions = [question(f"number {number:02}", max_tokens=40) for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        totals = list(pool.map(lambda each: chat(server, each).json["usage"]["total_tokens"], questions))
    stats = server.stats()
    assert stats["max_in_flight"] == 20 and stats["in_flight"] == 0
    assert stats["paths"]["POST /v1/chat/completions"] == 20 and stats["outcomes"] == {"ok": 20}
    assert stats["questions"] == stats["answered_without_fault"] == 20 and stats["most_answers_without_fault"] == 1
    assert stats["peaks"] == {
        "requests_per_second": 20,
        "requests_per_minute": 20,
        "tokens_per_second": sum(totals),
        "tokens_per_minute": sum(totals),
    }
    assert server.stats(by="reserved")["peaks"]["tokens_per_minute"] == 20 * (len("number 00") // 4 + 3 + 40)
    arrivals = server.arrivals()
    assert sorted(each[1] for each in arrivals) == sorted(totals)
    assert arrivals == sorted(arrivals, key=lambda each: each[0])


def test_clients_that_leave_have_no_answer(server: Server) -> None:
    server.configure(delay_seconds=0.4)
    raw_chat(server, question(), 0.1)
    time.sleep(0.1)
    stats = server.stats()
    assert stats["outcomes"] == {"gone": 1} and stats["answered"] == 0 and stats["in_flight"] == 0


def test_an_answer_that_nobody_reads_is_not_whole(server: Server) -> None:
    schema = {"type": "object", "properties": {"a": {"const": "x" * 20_000_000}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    body = json.dumps(question(response_format=form)).encode()
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((host, int(port)))
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        assert waits_for(lambda: server.stats()["attempts"] == 1)
        assert server.stats()["in_flight"] == 1 and server.stats()["answered"] == 0
    assert waits_for(lambda: server.stats()["in_flight"] == 0)
    assert server.stats()["outcomes"] == {"gone": 1} and server.stats()["answered"] == 0


def test_the_last_body_of_a_question_is_kept(server: Server) -> None:
    digest = chat(server, question("one", temperature=0)).headers["x-digest"]
    assert chat(server, question("one", temperature=0, service_tier="flex")).headers["x-digest"] == digest
    assert server.get(f"/_requests/{digest}")["service_tier"] == "flex"
    assert Response(server, "/_requests/none").status == 404


def test_delays_are_drawn_from_their_range(server: Server) -> None:
    server.configure(delay_seconds=[0.05, 0.15])
    began = time.monotonic()
    digest = chat(server, question()).headers["x-digest"]
    assert time.monotonic() - began >= 0.05 + 0.1 * share_of("delay", digest)


# Scoring


def test_vllm_gives_prompt_logprobs(server: Server) -> None:
    ids = [11, 12, 13, 14]
    body = {"model": "m", "prompt": ids, "max_tokens": 1, "prompt_logprobs": 0, "temperature": 0}
    choice = Response(server, "/v1/completions", body).json["choices"][0]
    none, *places = choice["prompt_logprobs"]
    assert none is None and len(places) == 3
    assert [place[str(token)]["logprob"] for place, token in zip(places, ids[1:], strict=True)] == logprobs(ids)[1:]
    assert places[0]["12"].keys() == {"logprob", "rank", "decoded_token"}
    echo = Response(
        server, "/v1/completions", {"model": "m", "prompt": ids, "max_tokens": 0, "echo": True, "logprobs": 1}
    )
    assert echo.json["choices"][0]["logprobs"]["token_logprobs"] == [None, *logprobs(ids)[1:]]


def test_sglang_generates_and_scores(server: Server) -> None:
    sampling = {"max_new_tokens": 400, "temperature": 0, "json_schema": json.dumps(RUBRIC)}
    answer = Response(server, "/generate", {"text": "Judge this.", "sampling_params": sampling}).json
    jsonschema.validate(json.loads(answer["text"]), RUBRIC)
    assert answer["meta_info"]["finish_reason"]["type"] == "stop"
    assert answer["meta_info"]["completion_tokens"] == len(answer["output_ids"])
    short = {"text": "Judge this.", "sampling_params": {**sampling, "max_new_tokens": 4}}
    answer = Response(server, "/generate", short).json
    assert answer["meta_info"]["finish_reason"] == {"type": "length", "length": 4} and len(answer["output_ids"]) == 4

    ids = [5, 6, 7, 8, 9]
    scoring = {
        "input_ids": ids, "sampling_params": {"max_new_tokens": 1}, "return_logprob": True, "logprob_start_len": 2,
    }  # fmt: skip
    meta = Response(server, "/generate", scoring).json["meta_info"]
    assert meta["prompt_tokens"] == 5 and len(meta["output_token_logprobs"]) == meta["completion_tokens"] == 1
    # SGLang never says the first one's, wherever it starts.
    assert meta["input_token_logprobs"] == [[None, 7, None], [logprobs(ids)[3], 8, None], [logprobs(ids)[4], 9, None]]
    assert Response(server, "/get_model_info").json["model_path"] == "test/model"
    assert Response(server, "/health").status == 200
    assert Response(server, "/generate", {"sampling_params": {}}).status == 400


def test_scoring_meets_faults_too(server: Server) -> None:
    server.configure(fault_script={"5 6 7": ["error_503", "ok"]})
    body = {"input_ids": [5, 6, 7], "sampling_params": {"max_new_tokens": 1}}
    assert [Response(server, "/generate", body).status for _ in range(2)] == [503, 200]


# Batches


def upload(server: Server, content: bytes, purpose: str = "batch") -> Response:
    form = (
        b'--MARK\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n%s\r\n'
        b'--MARK\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%s\r\n--MARK--\r\n"
    ) % (purpose.encode(), content)
    return Response(server, "/v1/files", form, **{"Content-Type": "multipart/form-data; boundary=MARK"})


def line(custom_id: str, body: dict[str, Any] | None = None, url: str = "/v1/chat/completions") -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body or question(custom_id)}


def lines_of(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def created(server: Server, content: bytes) -> dict[str, Any]:
    body = {
        "input_file_id": upload(server, content).json["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    batch: dict[str, Any] = Response(server, "/v1/batches", {**body, "metadata": {"run": "one"}}).json
    return batch


def ended(server: Server, batch: dict[str, Any]) -> dict[str, Any]:
    """The batch at its end; what it went through is under "seen"."""
    seen = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        batch = Response(server, f"/v1/batches/{batch['id']}").json
        seen += [batch["status"]] if batch["status"] not in seen else []
        if batch["status"] in ("completed", "failed", "expired", "cancelled"):
            return {**batch, "seen": seen}
        time.sleep(0.01)
    raise AssertionError(batch)


def results(server: Server, name: str | None) -> list[dict[str, Any]]:
    if name is None:
        return []
    return [json.loads(each) for each in Response(server, f"/v1/files/{name}/content").body.splitlines()]


def test_batches_go_through_their_life(server: Server) -> None:
    server.configure(batch_seconds=0.6)
    names = [f"row-{number}" for number in range(300)]
    batch = created(server, lines_of(*map(line, names)))
    assert batch["status"] == "validating" and batch["metadata"] == {"run": "one"}
    batch = ended(server, batch)
    assert batch["seen"] == ["validating", "in_progress", "finalizing", "completed"]
    assert batch["request_counts"] == {"total": 300, "completed": 300, "failed": 0} and batch["error_file_id"] is None
    output = results(server, batch["output_file_id"])
    found = [each["custom_id"] for each in output]
    assert found != names and sorted(found) == sorted(names)
    direct = chat(server, question("row-7")).message["content"]
    assert direct == next(
        each["response"]["body"]["choices"][0]["message"]["content"] for each in output if each["custom_id"] == "row-7"
    )
    total = sum(each["response"]["body"]["usage"]["total_tokens"] for each in output)
    assert batch["usage"]["total_tokens"] == total
    assert server.stats()["answered_without_fault"] == 301


def test_lines_of_batches_fail_and_expire(server: Server) -> None:
    server.configure(batch_error_rate=0.2, batch_expire_rate=0.2, fault_script={"refuse me": ["refusal"]})
    lines = [line(f"row-{number}") for number in range(100)]
    wrong, refused = line("wrong", question(temperature=9)), line("refused", question("refuse me please"))
    batch = ended(server, created(server, lines_of(*lines, wrong, refused)))
    assert batch["status"] == "expired" and batch["expired_at"]
    output, errors = results(server, batch["output_file_id"]), results(server, batch["error_file_id"])
    counts = {"total": 102, "completed": len(output), "failed": len(errors)}
    assert batch["request_counts"] == counts and len(output) + len(errors) == 102
    expired = [each for each in errors if each["response"] is None]
    assert {each["error"]["code"] for each in expired} == {"batch_expired"} and 5 < len(expired) < 40
    statuses = {each["custom_id"]: each["response"]["status_code"] for each in errors if each["response"]}
    assert statuses["wrong"] == 400 and set(statuses.values()) == {400, 500}
    assert all(each["error"] is None for each in output)


@pytest.mark.parametrize(
    ("content", "code", "number"),
    [
        (lines_of(line("a"), line("b"), line("a")), "duplicate_custom_id", 3),
        (lines_of(line("a")) + b"{\n", "invalid_json_line", 2),
        (b"\n", "empty_file", None),
        (lines_of(*(line(f"{number}") for number in range(11))), "too_many_tasks", None),
        (lines_of(line("a", question("x" * 4000))), "file_too_large", None),
        (lines_of(line("a", url="/v1/embeddings")), "invalid_url", 1),
        (lines_of(line("a"), line("b", {**question(), "model": "other"})), "mismatched_model", None),
        (lines_of(line("a", question("x" * 2500))), "token_limit_exceeded", None),
    ],
)
def test_wrong_files_fail_their_batch(server: Server, content: bytes, code: str, number: int | None) -> None:
    server.configure(max_batch_requests=10, max_batch_bytes=3000, max_enqueued_tokens=600)
    batch = ended(server, created(server, content))
    assert batch["status"] == "failed" and batch["output_file_id"] is None
    error = batch["errors"]["data"][0]
    assert (error["code"], error["line"]) == (code, number)


def test_cancelled_batches_keep_what_is_done(server: Server) -> None:
    server.configure(batch_seconds=4)
    batch = created(server, lines_of(*(line(f"row-{number}") for number in range(200))))
    while Response(server, f"/v1/batches/{batch['id']}").json["request_counts"]["completed"] == 0:
        time.sleep(0.02)
    assert Response(server, f"/v1/batches/{batch['id']}/cancel", {}).json["status"] == "cancelling"
    batch = ended(server, batch)
    assert batch["status"] == "cancelled" and 0 < batch["request_counts"]["completed"] < 200
    assert {each["error"]["code"] for each in results(server, batch["error_file_id"])} == {"batch_cancelled"}
    assert Response(server, f"/v1/batches/{batch['id']}/cancel", {}).status == 409


def test_wrong_requests_for_batches_are_refused(server: Server) -> None:
    right = {"input_file_id": "file-none", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    assert Response(server, "/v1/batches", right).status == 404
    assert Response(server, "/v1/batches", {**right, "completion_window": "1h"}).status == 400
    assert Response(server, "/v1/batches", {**right, "metadata": {"a": "x" * 513}}).status == 400
    assert Response(server, "/v1/batches/batch_none").status == 404
    assert Response(server, "/v1/files", b"", **{"Content-Type": "application/json"}).status == 400
    assert upload(server, b"x", "nothing").status == 400


def test_batches_are_listed_by_pages(server: Server) -> None:
    batches = [created(server, lines_of(line("a")))["id"] for _ in range(5)]
    first = Response(server, "/v1/batches?limit=2").json
    assert [each["id"] for each in first["data"]] == batches[:2:-1] and first["has_more"]
    after = Response(server, f"/v1/batches?limit=3&after={first['last_id']}").json
    assert [each["id"] for each in after["data"]] == batches[2::-1]
    for name in batches:
        ended(server, {"id": name})


def test_answers_of_other_paths_can_get_lost(server: Server) -> None:
    server.configure(path_faults={"POST /v1/batches": ["reset_before", "ok"], "GET /v1/batches/*": ["error_500"]})
    before = len(Response(server, "/v1/batches?limit=100").json["data"])
    with pytest.raises(http.client.RemoteDisconnected):
        created(server, lines_of(line("a")))
    made = Response(server, "/v1/batches?limit=100").json["data"]
    assert len(made) == before + 1  # it was made, though nobody was told
    assert Response(server, f"/v1/batches/{made[0]['id']}").status == 500
    assert ended(server, made[0])["status"] == "completed"


def test_batches_outlive_the_server(tmp_path: Path) -> None:
    with serving(state=tmp_path, batch_seconds=5) as server:
        done = created(server, lines_of(*(line(f"row-{number}") for number in range(20))))
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    with serving(state=tmp_path, batch_seconds=0.1) as server:
        batch = ended(server, done)
        assert batch["status"] == "completed" and len(results(server, batch["output_file_id"])) == 20
    with serving(state=tmp_path) as server:
        assert Response(server, f"/v1/batches/{done['id']}").json["status"] == "completed"
        assert len(results(server, batch["output_file_id"])) == 20


# The official client


def test_the_official_client_understands_it(server: Server) -> None:
    openai = pytest.importorskip("openai")
    server.configure(api_key="sk-right", fault_script={"hurried": ["rate_limit_ms", "ok"]}, retry_after_seconds=0.05)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-right", max_retries=2) as client:
        form = structured(RUBRIC)["response_format"]
        answer = client.chat.completions.create(**question("hurried"), response_format=form, service_tier="flex")
        jsonschema.validate(json.loads(answer.choices[0].message.content), RUBRIC)
        assert answer.usage.total_tokens > 0 and answer.service_tier == "flex" and answer._request_id
        assert server.stats()["outcomes"] == {"rate_limit_ms": 1, "ok": 1}
        chunks = list(client.chat.completions.create(**question(), stream=True))
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert [each.id for each in client.models.list()] == ["test/model"]

        content = lines_of(*(line(f"row-{number}") for number in range(30)))
        file = client.files.create(file=("in.jsonl", io.BytesIO(content)), purpose="batch")
        assert client.files.retrieve(file.id).bytes == len(content)
        assert client.files.content(file.id).read() == content
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"run": "sdk"}
        )
        while client.batches.retrieve(batch.id).status != "completed":
            time.sleep(0.02)
        batch = client.batches.retrieve(batch.id)
        assert batch.request_counts.completed == 30 and batch.usage.total_tokens > 0
        assert len(client.files.content(batch.output_file_id).text.splitlines()) == 30
        assert batch.id in [each.id for each in client.batches.list(limit=5)]


def test_the_official_client_sees_errors_as_it_names_them(server: Server) -> None:
    openai = pytest.importorskip("openai")
    server.configure(
        models=["gpt-test"],
        fault_script={"rate": ["rate_limit"], "quota": ["quota"], "five": ["error_502_html"], "gone": ["reset_before"]},
    )
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-any", max_retries=0) as client:

        def raised(kind: type[Exception], **content: Any) -> Any:
            with pytest.raises(kind) as caught:
                client.chat.completions.create(**content)
            return caught.value

        assert raised(openai.RateLimitError, **question("rate")).code == "rate_limit_exceeded"
        assert raised(openai.RateLimitError, **question("quota")).code == "insufficient_quota"
        assert raised(openai.InternalServerError, **question("five")).status_code == 502
        assert raised(openai.NotFoundError, **{**question(), "model": "none"}).code == "model_not_found"
        assert raised(openai.BadRequestError, **question(temperature=3)).param == "temperature"
        raised(openai.APIConnectionError, **question("gone"))


# The process


def test_it_ends_with_the_process_that_started_it() -> None:
    script = (
        "import time; from tests.openai_server import start; print(start().process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    assert waits_for(lambda: not runs(child))


def test_it_outlives_the_thread_that_started_it() -> None:
    started: list[Server] = []
    context = serving()
    thread = threading.Thread(target=lambda: started.append(context.__enter__()))
    thread.start()
    thread.join()
    time.sleep(0.1)
    try:
        assert chat(started[0], question()).status == 200
    finally:
        started[0].close()


def test_it_says_what_is_wrong_with_its_configuration() -> None:
    with pytest.raises(RuntimeError, match="did not start"), serving(colour="blue"):
        pass


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # An orphan nobody has waited for yet is over as well.
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def waits_for(is_so: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_so()
