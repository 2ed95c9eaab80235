"""The OpenAI batch format, both ways: a request as a line of an input file, a line of an output or error file as an answer.

A line's `custom_id` is the key of its request in the journal, in hex, so that an answer finds its place whoever asks
for it later. It asks nobody, and knows nothing of files.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import orjson

from actors.engines.contract import Category, Completion, Request, RequestFailed
from actors.engines.json_service import _REFUSALS, Service, Unreadable, _error_of
from actors.engines.openai_api import OpenAIEngine, _read
from actors.gate import Gate, local_visit
from actors.journal import request_key
from actors.prices import Prices
from actors.spend_limiter import Limits, SpendLimiter

PATH: Final = "/v1/chat/completions"
DETAIL_SHOWN = 300  # characters
_START = b'{"custom_id":"'
_KEY_DIGITS = 32
# What becomes of a request that was not worked on, by the code of its error.
_UNDONE = {"batch_expired": Category.TIMEOUT, "batch_cancelled": Category.SERVER_ERROR}


class NotOfTheFormat(Exception):
    """A line that is none of a batch's output, or speaks of no request of ours."""


class _Error(msgspec.Struct):
    code: Any = None
    message: Any = None


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: _Error | None = None


_LINE = msgspec.json.Decoder(_Line)


class BatchFormat(OpenAIEngine):
    """The live engine's requests and answers as lines. Never started: it opens no connection.

    Its keys are those of the live engine, its answers cost what `prices` say of the tier `batch`.
    """

    def __init__(self, service: Service, model: str, prices: Prices | None = None) -> None:
        super().__init__(service, model, Gate(Limits(), local_visit(SpendLimiter(Limits()))), prices)

    def key(self, request: Request) -> bytes:
        return request_key(self.identity(), request)

    def line(self, request: Request, key: bytes) -> bytes:
        """A line of an input file, without its LF."""
        method = b'","method":"POST","url":"' + PATH.encode() + b'","body":'
        return b"".join((_START, key.hex().encode(), method, self.body(request), b"}"))

    def answer(self, line: bytes) -> tuple[bytes, Completion | RequestFailed]:
        """The key and the answer of a line of an output or error file. Raises NotOfTheFormat."""
        try:
            found = _LINE.decode(line)
            key = bytes.fromhex(found.custom_id)
        except (msgspec.DecodeError, ValueError) as error:
            raise NotOfTheFormat(str(error)) from error
        if found.response is None:
            return key, _undone(found.error or _Error())
        if found.response.status_code != 200:
            return key, refused(found.response.status_code, bytes(found.response.body))
        try:
            return key, self._priced(bytes(found.response.body))
        except Unreadable as error:
            return key, RequestFailed(Category.SERVER_ERROR, str(error))

    def _priced(self, body: bytes) -> Completion:
        answer = _read(body)
        is_priced = self._prices is not None and answer.usage is not None
        cost = self._prices.of("batch").cost(answer.usage.plain()) if is_priced else None  # type: ignore[union-attr]
        return self._completion(answer, 0.0, cost)


def key_of(line: bytes) -> bytes:
    """The key in a line that `BatchFormat.line` made."""
    return bytes.fromhex(line[len(_START) : len(_START) + _KEY_DIGITS].decode())


def refused(status: int, body: bytes) -> RequestFailed:
    """What a line's status other than 200 means."""
    code, message = _error_of(body)
    detail = f"{status}: {message}"
    if status == 429:
        return failed(Category.RATE_LIMITED, detail)
    if status in (408, 504):
        return failed(Category.TIMEOUT, detail)
    if status >= 500:
        return failed(Category.SERVER_ERROR, detail)
    return failed(Category.REFUSED if code in _REFUSALS else Category.REJECTED, detail)


def _undone(error: _Error) -> RequestFailed:
    code = str(error.code or "error")
    return failed(_UNDONE.get(code, Category.SERVER_ERROR), f"{code}: {error.message or 'without a reason'}")


def failed(category: Category, detail: str) -> RequestFailed:
    """With the detail on one line and of bounded length."""
    return RequestFailed(category, " ".join(detail.split())[:DETAIL_SHOWN])


def failure_line(key: bytes, failure: RequestFailed) -> bytes:
    """A failure as the run keeps it, one line of JSON with its LF."""
    kept = {"key": key.hex(), "category": str(failure.category), "detail": failure.detail}
    return orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE)
