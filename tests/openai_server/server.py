"""A local server that speaks OpenAI's HTTP protocol and fails on demand: what tests ask in place of a hosted model.

Its answers meet the schema they are asked for and are drawn from a hash of the question, so that the same question
has the same answer; it is no model. Beside OpenAI's paths it takes vLLM's and SGLang's for scoring, and paths of its
own that begin with an underscore: GET /_stats, /_arrivals, /_requests/DIGEST, POST /_configure, /_reset.

    python -m tests.openai_server.server --port 0 --config FILE.json [--state DIR]

Its first line is `listening on 127.0.0.1:PORT`. It ends on SIGTERM, and with the process that started it.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import orjson
import uvloop

from tests.openai_server import chat, scoring
from tests.openai_server.batches import Batches
from tests.openai_server.config import Config
from tests.openai_server.errors import ApiError, missing_key, not_found, rate_limited, wrong_key
from tests.openai_server.faults import CONTENT_KINDS, Fault, fault_of, scripted, share_of
from tests.openai_server.files import Files
from tests.openai_server.ledger import Exchange, Ledger
from tests.openai_server.limits import Limits
from tests.openai_server.questions import Question, Said, said_to
from tests.openai_server.replies import Reply, error_reply, json_reply, retry_headers, status_reply
from tests.openai_server.wire import Connection, Request

_PR_SET_PDEATHSIG = 1
_BATCH_KINDS = (*CONTENT_KINDS, "error_500", "error_503")  # what a line of a batch can meet

Read = Callable[[bytes, Config], Question]
Say = Callable[[Question, Said, int], Reply]


class Server:
    """Routes requests to what answers them, and keeps the ledger."""

    def __init__(self, config: Config, state: Path | None, loop: asyncio.AbstractEventLoop) -> None:
        self.config, self.loop = config, loop
        self.ledger = Ledger(config.keep_bodies)
        self._limits = Limits()
        self._serial = int(time.time() * 1000) << 20
        self._files = Files(state)
        self._batches = Batches(config, self.ledger, self._files, self._batch_line, state)
        self._models: dict[str, tuple[Read, Say]] = {
            "/v1/chat/completions": (chat.read, self._chat),
            "/v1/completions": (scoring.read_completion, self._completion),
            "/generate": (scoring.read_generate, self._generate),
        }
        self._paths: dict[tuple[str, str], Callable[[Request], Reply]] = {
            ("GET", "/v1/models"): self._list_models,
            ("GET", "/health"): lambda request: Reply(b"", content_type="text/plain"),
            ("GET", "/get_model_info"): lambda request: json_reply(scoring.model_info(self.config)),
            ("GET", "/model_info"): lambda request: json_reply(scoring.model_info(self.config)),
            ("POST", "/v1/files"): self._upload,
            ("GET", "/v1/files"): lambda request: json_reply(self._files.listed()),
            ("POST", "/v1/batches"): lambda request: json_reply(self._batches.create(request.body)),
            ("GET", "/v1/batches"): lambda request: json_reply(self._batches.listed(request.query)),
            ("GET", "/_stats"): self._stats,
            ("GET", "/_arrivals"): lambda request: json_reply(self.ledger.arrivals()),
            ("POST", "/_configure"): self._configure,
            ("POST", "/_reset"): self._reset,
        }

    # What a connection calls.

    def handle(self, connection: Connection, request: Request) -> None:
        self.ledger.paths[f"{request.method} {request.path}"] += 1
        try:
            if request.path.startswith("/v1/") or request.path in self._models:
                self._authorize(request)
            if request.method == "POST" and (model := self._models.get(request.path)):
                self._ask(connection, request, *model)
                return
            reply: Reply | None = self._answered_with_faults(request)
        except ApiError as error:
            self.ledger.outcomes[error.outcome] += 1
            reply = error_reply(error)
        if reply is None:
            connection.drop()
        else:
            connection.send(reply)

    def settle(self, exchange: Exchange, *, whole: bool) -> None:
        self.ledger.settle(exchange, whole=whole)

    def limit_headers(self) -> bytes:
        return self._limits.headers(self.config, time.monotonic())

    # Questions to a model.

    def _ask(self, connection: Connection, request: Request, read: Read, say: Say) -> None:
        question = read(request.body, self.config)
        exchange = self.ledger.arrive(question)
        try:
            reply, fault = self._decided(question, exchange, say)
        except ApiError:
            self.ledger.settle(exchange, whole=False)
            raise
        exchange.fault, exchange.status = fault, reply.status
        delay = 0.0 if reply.status == 429 else self._delay(question)
        connection.answer(exchange, reply, fault, delay, self._drip(fault))

    def _decided(self, question: Question, exchange: Exchange, say: Say) -> tuple[Reply, Fault | None]:
        """The reply to a question, and the fault that it, or its delivery, has."""
        limited = self._limits.wait(self.config, question.reserved_tokens, exchange.arrival)
        fault = None if limited else fault_of(self.config, question.digest, exchange.attempt, question.text)
        refusal = status_reply(fault, self.config.retry_after_seconds) if fault else None
        if limited:
            refusal = error_reply(rate_limited(*limited), retry_headers("rate_limit_ms", limited[1]))
        if refusal is not None:
            exchange.outcome = refusal.outcome
            return refusal, fault
        reply, fault = self._said(question, fault, say)
        self.ledger.charge(exchange, reply.tokens)
        exchange.outcome = fault.kind if fault else "ok"
        return reply, fault

    def _said(self, question: Question, fault: Fault | None, say: Say) -> tuple[Reply, Fault | None]:
        """The answer, and the fault without the one of the content that found nothing to spoil."""
        spoils = fault is not None and fault.kind in CONTENT_KINDS
        said = said_to(question, fault if spoils else None, self.config)
        self._serial += 1
        return say(question, said, self._serial), said.fault if spoils else fault

    def _chat(self, question: Question, said: Said, serial: int) -> Reply:
        answer = chat.completion(question, said, serial)
        tokens = question.prompt_tokens + said.completion_tokens
        if question.body.get("stream"):
            return Reply(chat.events(answer, question), 200, "text/event-stream; charset=utf-8", (), True, tokens)
        return Reply(orjson.dumps(answer), tokens=tokens)

    def _completion(self, question: Question, said: Said, serial: int) -> Reply:
        answer = scoring.completion(question, said, serial)
        return Reply(orjson.dumps(answer), tokens=question.prompt_tokens + said.completion_tokens)

    def _generate(self, question: Question, said: Said, serial: int) -> Reply:
        answer = scoring.generated(question, said, self._delay(question))
        return Reply(orjson.dumps(answer), tokens=question.prompt_tokens + said.completion_tokens)

    def _batch_line(self, body: dict[str, Any]) -> tuple[Question, int, dict[str, Any], Fault | None]:
        """The answer to a line of a batch; what faults do to connections does not concern it."""
        question = chat.read(orjson.dumps(body), self.config)
        fault = fault_of(self.config, question.digest, self.ledger.attempt(question), question.text)
        if fault is not None and fault.kind not in _BATCH_KINDS:
            fault = None
        if fault is not None and (reply := status_reply(fault, 0)):
            return question, reply.status, orjson.loads(reply.body), fault
        said = said_to(question, fault, self.config)
        self._serial += 1
        return question, 200, chat.completion(question, said, self._serial), said.fault

    def _delay(self, question: Question) -> float:
        delay = self.config.delay_seconds
        if isinstance(delay, list):
            return delay[0] + (delay[1] - delay[0]) * share_of("delay", question.digest)
        return delay

    def _drip(self, fault: Fault | None) -> float:
        if fault is None or fault.kind != "slow_tokens":
            return self.config.drip_seconds
        return self.config.slow_tokens_seconds if fault.seconds is None else fault.seconds

    # All the rest.

    def _authorize(self, request: Request) -> None:
        header = request.headers.get(b"authorization")
        if header is not None:
            self.ledger.authorized(header)
        if self.config.api_key is None:
            return
        if header is None:
            raise missing_key()
        if header != b"Bearer " + self.config.api_key.encode():
            raise wrong_key()

    def _answered_with_faults(self, request: Request) -> Reply | None:
        """The reply after the faults of its path; None where the work is done, but its answer gets lost."""
        path = f"{request.method} {request.path}"
        steps = next((each for name, each in self.config.path_faults.items() if fnmatchcase(path, name)), None)
        fault = scripted(steps, self.ledger.paths[path]) if steps else None
        if fault is not None and (reply := status_reply(fault, self.config.retry_after_seconds)) is not None:
            self.ledger.outcomes[reply.outcome] += 1
            return reply
        reply = self._answered(request)
        return None if fault is not None else reply

    def _answered(self, request: Request) -> Reply:
        if handler := self._paths.get((request.method, request.path)):
            return handler(request)
        match request.method, *request.path.strip("/").split("/"):
            case "GET", "_requests", digest:
                return self._last_body(digest)
            case "GET", "v1", "files", name:
                return json_reply(self._files.describe(name))
            case "DELETE", "v1", "files", name:
                return json_reply(self._files.delete(name))
            case "GET", "v1", "files", name, "content":
                return Reply(self._files.content(name), content_type="application/octet-stream")
            case "GET", "v1", "batches", name:
                return json_reply(self._batches.describe(name))
            case "POST", "v1", "batches", name, "cancel":
                return json_reply(self._batches.cancel(name))
        raise not_found(request.method, request.path)

    def _upload(self, request: Request) -> Reply:
        return json_reply(self._files.upload(request.headers.get(b"content-type", b""), request.body))

    def _list_models(self, request: Request) -> Reply:
        names = self.config.models or [self.config.model_path]
        models = [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "system"} for name in names]
        return json_reply({"object": "list", "data": models})

    def _stats(self, request: Request) -> Reply:
        by, digests = request.query.get("by", "usage"), request.query.get("digests", "1") != "0"
        return json_reply(self.ledger.stats(digests=digests, by=by))

    def _last_body(self, digest: str) -> Reply:
        if digest not in self.ledger.bodies:
            raise ApiError(404, f"no question {digest} is kept")
        return Reply(self.ledger.bodies[digest])

    def _configure(self, request: Request) -> Reply:
        try:
            self.config.merge(orjson.loads(request.body))
        except (ValueError, TypeError) as error:
            raise ApiError(400, str(error)) from None
        self.ledger.keep_bodies = self.config.keep_bodies
        return json_reply({})

    def _reset(self, request: Request) -> Reply:
        self.ledger.clear()
        return json_reply({})


async def serve(config: Config, host: str, port: int, state: Path | None) -> None:
    """Answer until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    ends = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ends.set)
    server = Server(config, state, loop)
    listener = await loop.create_server(lambda: Connection(server, loop), host, port, backlog=4096)
    print(f"listening on {host}:{listener.sockets[0].getsockname()[1]}", flush=True)
    await ends.wait()
    listener.close()


def end_with_parent() -> None:
    """Have this process ended when the one that started it is gone."""
    parent = os.getppid()

    def look(number: int, frame: object) -> None:
        # The signal also comes when only the parent's thread that started this process is over.
        if os.getppid() != parent:
            os._exit(0)

    signal.signal(signal.SIGUSR1, look)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    look(0, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--config", type=Path, help="a JSON file with keys of config.py")
    parser.add_argument("--state", type=Path, help="a directory that keeps files and batches over restarts")
    arguments = parser.parse_args()
    config = Config()
    try:
        config.merge(orjson.loads(arguments.config.read_bytes()) if arguments.config else {})
    except (OSError, ValueError, TypeError) as error:
        sys.exit(f"--config: {error}")
    _prepare_process()
    uvloop.run(serve(config, arguments.host, arguments.port, arguments.state))


def _prepare_process() -> None:
    end_with_parent()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # What is kept between requests is no garbage, and looking through it often costs more than all the rest.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


if __name__ == "__main__":
    main()
