"""The HTTP endpoint of a replica, as an ASGI application: from a request's head to its last byte.

Everything that can be wrong with a request has a status of its own and says what to do; a 500 would be a defect.
Nothing of a request is logged. See `serve.openapi` for the interface in full.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import orjson

from serve import docs_page, openapi, playground_page
from serve.api_keys import ApiKeys
from serve.batcher import SLICE_BYTES, Batcher, Overloaded, cost_of
from serve.bodies import Disconnected, decoded, lines_of, whole_body
from serve.metrics import Metrics, as_text
from serve.models import PROBE, Models, ServedModel
from serve.occlusion import MAX_CHARACTERS, effects, pieces_of, without_each
from serve.problems import CONTENT_TYPE, Problem
from serve.results import results
from serve.settings import LOGGER, Limits

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
NDJSON = b"application/x-ndjson"
PREFIX = "/v1/models/"
COMPRESSION = 3
STREAM_BYTES, STREAM_TEXTS = 256 << 10, 1024  # of a stream, classified together
_NEVER_CACHED: Headers = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]

log = logging.getLogger(LOGGER)


class ClassifyRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of :classify. `top_k` may be spelt 3.0: to JSON Schema that is an integer."""

    inputs: list[str]
    top_k: int | float | None = None
    normalize: bool = True


class ExplainRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of :explain. `label` None is the most probable one."""

    input: str
    label: str | None = None


class TextLine(msgspec.Struct):
    """A line of a stream that is an object; what else it holds is passed over."""

    text: str


_CLASSIFY = msgspec.json.Decoder(ClassifyRequest)
_EXPLAIN = msgspec.json.Decoder(ExplainRequest)
_LINE = msgspec.json.Decoder(str | TextLine)


@dataclass(eq=False)
class Request:
    """The head of a request, and what it holds in memory."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    receive: Receive
    send: Send
    began: float = field(default_factory=time.monotonic)
    operation: str = "other"
    model: str = ""
    started: bool = False  # the response has begun

    @property
    def encoding(self) -> str:
        return self.headers.get(b"content-encoding", b"").decode("latin-1")

    @property
    def content_length(self) -> int:
        length = self.headers.get(b"content-length", b"")
        return int(length) if length.isdigit() else 0

    @property
    def expected_cost(self) -> int:
        """What the body will cost, as far as its head can tell: text is compressed to a third or so."""
        return self.content_length * (COMPRESSION if self.encoding else 1)


class Endpoint:
    """One replica's endpoint. `models`, `keys` and `limits` may be replaced while it answers."""

    def __init__(self) -> None:
        self.models = Models()
        self.keys = ApiKeys(None)
        self.limits = Limits()
        self.metrics = Metrics()
        self.batcher = Batcher(self.limits.max_wait_ms / 1000)
        self.merged: Callable[[], Awaitable[bytes]] | None = None  # the metrics of all replicas
        self.held_bytes = self._streams = 0

    def set_limits(self, limits: Limits) -> None:
        self.limits = limits
        self.batcher.wait_seconds = limits.max_wait_ms / 1000

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"no {scope['type']} here")
        request = Request(
            scope["method"], scope["path"], scope.get("query_string", b""), dict(scope["headers"]), receive, send
        )
        status = 499  # the client has gone
        try:
            status = await self._answer(request)
        except Problem as problem:
            status = problem.status
            await _refuse(request, problem)
        except Disconnected:
            pass
        except Exception:
            log.exception("a defect, at %s %s", request.operation, request.model)
            status = 500
            await _refuse(request, Problem(500, "a defect of the server; its log says more"))
        self.metrics.requests.labels(request.operation, request.model, str(status)).inc()
        self.metrics.seconds.labels(request.operation).observe(time.monotonic() - request.began)

    async def _answer(self, request: Request) -> int:
        path = request.path
        if path.startswith(PREFIX):
            name, colon, verb = path.removeprefix(PREFIX).rpartition(":")
            if colon and verb in ("classify", "explain"):
                return await self._ask(request, name, verb)
            self._admit(request)
            _only_get(request)
            return await _send_json(request, self._model(path.removeprefix(PREFIX)).describe())
        answer = {
            "/": self._page,
            "/v1/models": self._list,
            "/healthz": self._health,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/openapi.json": self._openapi,
            "/docs": self._docs,
        }.get(path)
        if answer is None:
            if path.startswith("/v1/"):
                self._admit(request)
            raise Problem(404, "nothing is here; GET /docs shows what is")
        _only_get(request)
        request.operation = path.strip("/").replace("v1/", "").partition("/")[0] or "page"
        return await answer(request)

    def _admit(self, request: Request) -> None:
        if not self.keys.admit(request.headers.get(b"authorization")):
            raise Problem(401, "an API key is wanted: send the header Authorization: Bearer KEY")

    def _model(self, name: str) -> ServedModel:
        try:
            return self.models.current[name]
        except KeyError:
            known = ", ".join(sorted(self.models.current)) or "none"
            raise Problem(404, f"no model of this name is served; there are: {known}") from None

    # ---------------------------------------------------------------------------------------- asking a model

    async def _ask(self, request: Request, name: str, verb: str) -> int:
        request.operation = verb
        self._admit(request)
        if request.method != "POST":
            raise _not_allowed(request, "POST")
        model = self._model(name)
        request.model = name
        kind = request.headers.get(b"content-type", JSON).partition(b";")[0].strip().lower()
        if verb == "classify" and kind == NDJSON:
            return await self._stream(request, model)
        if request.content_length > self.limits.max_body_bytes:
            raise Problem(
                413, f"the body is larger than {self.limits.max_body_bytes >> 20} MiB; send it in parts, or as NDJSON"
            )
        self._check_room(request.expected_cost)  # before its body is taken
        with _Held(self) as held:
            body = await whole_body(request.receive, request.encoding, self.limits.max_body_bytes, held.take)
            if verb == "explain":
                return await self._explain(request, model, decoded(body, _EXPLAIN))
            return await self._classify(request, model, decoded(body, _CLASSIFY), held)

    def _check_room(self, cost: int) -> None:
        with _refused():
            self.batcher.check_room(cost)

    async def _classify(self, request: Request, model: ServedModel, asked: ClassifyRequest, held: _Held) -> int:
        if len(asked.inputs) > self.limits.max_texts:
            raise Problem(
                413, f"{len(asked.inputs)} texts, and a request holds {self.limits.max_texts} at most", "inputs"
            )
        top_k = _whole_top_k(asked.top_k)
        held.arrived()
        self._check_room(cost_of(asked.inputs))  # others may have come while the body did
        began = time.monotonic()
        outputs, waited = await self._outputs(model, asked.inputs, asked.normalize)
        found = b",".join(results(model, outputs, top_k))
        timing = b'{"queue_ms":%.3f,"model_ms":%.3f}' % (1000 * waited, 1000 * (time.monotonic() - began - waited))
        head = orjson.dumps({"model": model.name, "version": model.version})[:-1]
        return await _send(request, 200, JSON, b'%b,"results":[%b],"timing":%b}' % (head, found, timing))

    async def _outputs(
        self, model: ServedModel, texts: list[str], normalize: bool, stream: bool = False
    ) -> tuple[Any, float]:
        if not texts:
            return model.outputs([]), 0.0
        outputs, waited = await self.batcher.outputs(model, texts, normalize, stream)
        self.metrics.texts.labels(model.name).inc(len(texts))
        self.metrics.characters.labels(model.name).inc(sum(map(len, texts)))
        self.metrics.waited.inc(waited)
        return outputs, waited

    async def _explain(self, request: Request, model: ServedModel, asked: ExplainRequest) -> int:
        if asked.label is not None and asked.label not in model.labels:
            raise Problem(422, f"the labels of this model are {', '.join(model.labels) or 'none'}", "label")
        text = asked.input[:MAX_CHARACTERS]
        pieces = pieces_of(text)
        places, variants = without_each(pieces)
        self._check_room(cost_of(variants))
        outputs, _ = await self._outputs(model, [text, *variants], True)
        whole = outputs[0]
        column = 0 if model.is_regressor else int(whole.argmax())
        if asked.label is not None:
            column = model.labels.index(asked.label)
        moved = effects(float(whole[column]), outputs[1:, column], places, len(pieces))
        output = round(float(whole[column]), 6)
        answer = {
            "model": model.name,
            "version": model.version,
            "label": None if model.is_regressor else model.labels[column],
            **({"value": output} if model.is_regressor else {"probability": output}),
            "pieces": [{"text": piece, "effect": effect} for piece, effect in zip(pieces, moved, strict=True)],
            "method": "occlusion",
            "truncated": len(text) < len(asked.input),
        }
        return await _send_json(request, answer)

    # ------------------------------------------------------------------------------------------------ streams

    async def _stream(self, request: Request, model: ServedModel) -> int:
        """Answer NDJSON line by line, in order, while it comes. A bad line gets an `error` and stops nothing."""
        options = _stream_options(request.query)
        if self._streams >= self.limits.max_streams:
            raise _busy(1.0)
        self._streams += 1
        try:
            lines = lines_of(request.receive, request.encoding, self.limits.max_body_bytes)
            async for group in _groups(lines):
                await self._send_lines(request, model, group, options)
        finally:
            self._streams -= 1
        if not request.started:
            await _start(request, 200, NDJSON, [(b"x-gristmill-version", model.version.encode())])
        await request.send({"type": "http.response.body", "body": b""})
        return 200

    async def _send_lines(
        self, request: Request, model: ServedModel, group: list[bytes | None], options: tuple[int | None, bool]
    ) -> None:
        texts = [self._text_of(line) for line in group]
        good = [text for text in texts if isinstance(text, str)]
        outputs, _ = await self._outputs(model, good, options[1], stream=True)
        found = iter(results(model, outputs, options[0]))
        answers = [next(found) if isinstance(text, str) else text for text in texts]
        if not request.started:
            await _start(request, 200, NDJSON, [(b"x-gristmill-version", model.version.encode())])
        body = b"\n".join(answers) + b"\n"
        await request.send({"type": "http.response.body", "body": body, "more_body": True})

    def _text_of(self, line: bytes | None) -> str | bytes:
        """The text of a line, or the JSON that says what is wrong with it."""
        try:
            if line is None:
                raise Problem(413, f"the line is longer than {self.limits.max_body_bytes >> 20} MiB")
            found = decoded(line, _LINE, "the line")
        except Problem as problem:
            return orjson.dumps({"error": problem.detail} | ({"field": problem.field} if problem.field else {}))
        return found if isinstance(found, str) else found.text

    # -------------------------------------------------------------------------------------------------- pages

    async def _page(self, request: Request) -> int:
        policy = (b"content-security-policy", playground_page.CONTENT_SECURITY_POLICY.encode())
        return await _send(request, 200, b"text/html; charset=utf-8", playground_page.playground(), [policy])

    async def _docs(self, request: Request) -> int:
        policy = (b"content-security-policy", docs_page.CONTENT_SECURITY_POLICY.encode())
        page = docs_page.docs(self.limits, self.keys.wanted)
        return await _send(request, 200, b"text/html; charset=utf-8", page, [policy])

    async def _openapi(self, request: Request) -> int:
        return await _send(request, 200, JSON, openapi.document(self.limits, self.keys.wanted))

    async def _list(self, request: Request) -> int:
        self._admit(request)
        return await _send_json(request, {"models": [model.describe() for model in self.models.current.values()]})

    async def _health(self, request: Request) -> int:
        for model in list(self.models.current.values()):
            self.probe(model)
        return await _send_json(request, {"status": "ok", "models": sorted(self.models.current)})

    def probe(self, model: ServedModel) -> None:
        """Have the model answer something. Raises Problem 503 if it cannot."""
        try:
            outputs = model.outputs([PROBE])
        except Exception as error:  # whatever is wrong with it
            raise Problem(503, f"model {model.name} does not answer: {error}", retry_after=5) from error
        if not math.isfinite(float(outputs.sum())):
            raise Problem(503, f"model {model.name} answers with what is no number", retry_after=5)

    async def _ready(self, request: Request) -> int:
        if not self.models.current:
            raise Problem(503, "the models are not loaded yet", retry_after=1)
        return await _send_json(request, {"status": "ready", "models": sorted(self.models.current)})

    async def _metrics(self, request: Request) -> int:
        self._admit(request)
        text = await self.merged() if self.merged is not None else as_text(self.report())
        return await _send(request, 200, b"text/plain; version=0.0.4; charset=utf-8", text)

    def report(self) -> list[Any]:
        """The counts of this replica."""
        self.metrics.in_line.set(self.batcher.in_line)
        self.metrics.held.set(self.held_bytes)
        self.metrics.model_info.clear()
        for model in self.models.current.values():
            self.metrics.model_info.labels(model.name, model.version).set(1)
        return self.metrics.report()


class _Held:
    """What a request's body takes of the memory for bodies, until the block ends; a large one also keeps its place."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint, self._bytes = endpoint, 0
        self._ticket: float | None = None

    def __enter__(self) -> _Held:
        return self

    def __exit__(self, *_: object) -> None:
        self._endpoint.held_bytes -= self._bytes
        self.arrived()

    def take(self, size: int) -> None:
        """Take so many bytes more. Raises Problem 503 where there is no room for them."""
        endpoint = self._endpoint
        if endpoint.held_bytes and endpoint.held_bytes + size > endpoint.limits.max_held_bytes:
            raise _busy(1.0)
        if self._bytes <= SLICE_BYTES < self._bytes + size:  # now it is known to be large: before the rest of it comes
            with _refused():
                self._ticket = endpoint.batcher.announce(self._bytes + size)
        self._bytes += size
        endpoint.held_bytes += size

    def arrived(self) -> None:
        """The request gives up the place that was kept for it."""
        if self._ticket is not None:
            self._endpoint.batcher.arrived(self._ticket)


@contextmanager
def _refused() -> Iterator[None]:
    """Within, what the batcher has no room for becomes a Problem."""
    try:
        yield
    except Overloaded as overloaded:
        raise _busy(overloaded.seconds) from None


async def _groups(lines: AsyncIterator[list[bytes | None]]) -> AsyncIterator[list[bytes | None]]:
    """The lines in groups of a bounded size."""
    async for several in lines:
        group: list[bytes | None] = []
        size = 0
        for line in several:
            length = len(line or b"")
            if group and (size + length > STREAM_BYTES or len(group) >= STREAM_TEXTS):
                yield group
                group, size = [], 0
            group.append(line)
            size += length
        if group:
            yield group


def _stream_options(query: bytes) -> tuple[int | None, bool]:
    """top_k and normalize from the query of a stream."""
    options = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    top_k, normalize = options.get("top_k"), options.get("normalize", "true")
    if top_k is not None and not (top_k.isascii() and top_k.isdigit() and len(top_k) < 10):
        raise Problem(422, "top_k is a whole number from 1", "top_k")
    if normalize not in ("true", "false"):
        raise Problem(422, "normalize is true or false", "normalize")
    return _whole_top_k(None if top_k is None else int(top_k)), normalize == "true"


def _whole_top_k(top_k: int | float | None) -> int | None:
    if top_k is not None and (top_k < 1 or top_k != int(top_k)):
        raise Problem(422, "top_k is a whole number from 1", "top_k")
    return None if top_k is None else int(top_k)


def _busy(seconds: float) -> Problem:
    return Problem(503, "the queue is full; come back after Retry-After", retry_after=max(1, math.ceil(seconds)))


def _only_get(request: Request) -> None:
    if request.method not in ("GET", "HEAD"):
        raise _not_allowed(request, "GET, HEAD")


def _not_allowed(request: Request, allowed: str) -> Problem:
    return Problem(405, f"{request.method} cannot be done here; {allowed} can", allow=allowed)


async def _refuse(request: Request, problem: Problem) -> None:
    """Answer with a problem; where the answer has begun already, say it in the stream's last line."""
    if request.started:
        body = orjson.dumps({"error": problem.detail}) + b"\n"
        await request.send({"type": "http.response.body", "body": body})
        return
    await _send(request, problem.status, CONTENT_TYPE, problem.body(), problem.headers())


async def _send_json(request: Request, answer: Any) -> int:
    return await _send(request, 200, JSON, orjson.dumps(answer))


async def _send(request: Request, status: int, kind: bytes, body: bytes, headers: Headers = []) -> int:  # noqa: B006
    await _start(request, status, kind, [(b"content-length", str(len(body)).encode()), *headers])
    await request.send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else body})
    return HTTPStatus(status).value


async def _start(request: Request, status: int, kind: bytes, headers: Headers) -> None:
    request.started = True
    every = [(b"content-type", kind), *_NEVER_CACHED, *headers]
    await request.send({"type": "http.response.start", "status": status, "headers": every})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
