"""HTTP/1.1 on one connection: requests are read, responses written, and broken off where a fault says so.

Keep-alive, bodies with Content-Length or chunked, no pipelining. An exchange is settled as whole when the last byte of
its answer has left for the socket's buffer, and as gone when its connection ends before that.
"""

from __future__ import annotations

import asyncio
import http
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, cast
from urllib.parse import parse_qsl, unquote

import httptools

from tests.openai_server.faults import Fault
from tests.openai_server.ledger import Exchange
from tests.openai_server.replies import Reply

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset
_PIECES = 400  # at most, of a body that comes slowly


@dataclass(slots=True)
class Request:
    """A whole request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[bytes, bytes]
    body: bytes


class Application(Protocol):
    """What answers requests, by `Connection.send` or `Connection.answer`."""

    def handle(self, connection: Connection, request: Request) -> None: ...

    def settle(self, exchange: Exchange, *, whole: bool) -> None: ...

    def limit_headers(self) -> bytes: ...


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, application: Application, loop: asyncio.AbstractEventLoop) -> None:
        self._application, self._loop = application, loop
        self._parser = httptools.HttpRequestParser(self)
        self._exchange: Exchange | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._is_all_written = False
        self._keeps_alive = True
        self._clear()

    def _clear(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # which uvloop's is, but not by its class
        # Then a pause follows each write that is not with the socket yet, and the end of the pause says it is.
        self._transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._keeps_alive = False
            self.send(Reply(b"Bad Request", 400, "text/plain"))

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._settle_if_whole()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._exchange is not None:
            self._application.settle(self._exchange, whole=False)
            self._exchange = None

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._clear()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        self._keeps_alive = self._parser.should_keep_alive()
        path, _, query = self._url.partition(b"?")
        method, body = self._parser.get_method().decode(), b"".join(self._pieces)
        asked = dict(parse_qsl(query.decode())) if query else {}
        request = Request(method, unquote(path.decode("latin-1")), asked, self._headers, body)
        self._clear()
        self._application.handle(self, request)

    # What the application calls.

    def send(self, reply: Reply) -> None:
        """Answer at once; for all that is no question to a model."""
        self._transport.write(_head(reply) + b"\r\n" + _framed(reply))
        self._end_of_body()

    def drop(self) -> None:
        """End the connection without an answer."""
        self._transport.close()

    def answer(self, exchange: Exchange, reply: Reply, fault: Fault | None, delay: float, drip: float) -> None:
        """Answer a question after a delay, in the way the fault says, or slowly over `drip` seconds."""
        self._exchange, self._is_all_written = exchange, False
        self._later(delay, lambda: self._deliver(exchange, reply, fault, drip))

    # Writing.

    def _deliver(self, exchange: Exchange, reply: Reply, fault: Fault | None, drip: float) -> None:
        kind = fault.kind if fault else None
        if kind == "hang":
            return
        if kind == "reset_before":
            self._transport.close()
            return
        if kind == "truncated_json":
            reply.body = reply.body[: len(reply.body) * 3 // 5]
        elif kind == "not_json":
            reply.body = b"upstream connect error or disconnect/reset before headers"
        head = _head(reply) + self._own_headers(exchange) + b"\r\n"
        body = _framed(reply)
        if kind in ("reset_mid_body", "hang_mid_body"):
            self._transport.write(head + body[: len(body) // 2])
            if kind == "reset_mid_body":
                self._later(0.02, self._reset)  # so that the half arrives before the reset
        elif drip > 0:
            self._transport.write(head)
            size = -(-len(body) // _PIECES)
            self._drip(body, drip * size / len(body), size)
        else:
            self._transport.write(head + body)
            self._all_written()

    def _drip(self, body: bytes, pause: float, size: int) -> None:
        self._transport.write(body[:size])
        if rest := body[size:]:
            self._later(pause, lambda: self._drip(rest, pause, size))
        else:
            self._all_written()

    def _all_written(self) -> None:
        self._is_all_written = True
        if not self._is_paused:
            self._settle_if_whole()
        self._end_of_body()

    def _settle_if_whole(self) -> None:
        if self._exchange is not None and self._is_all_written:
            self._application.settle(self._exchange, whole=True)
            self._exchange = None

    def _end_of_body(self) -> None:
        if not self._keeps_alive:
            self._transport.close()

    def _reset(self) -> None:
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _later(self, delay: float, work: Callable[[], None]) -> None:
        if delay > 0:
            self._timer = self._loop.call_later(delay, work)
        else:
            work()

    def _own_headers(self, exchange: Exchange) -> bytes:
        spent = round((time.monotonic() - exchange.arrival) * 1000)
        lines = f"openai-processing-ms: {spent}\r\nx-digest: {exchange.digest}\r\nx-attempt: {exchange.attempt}\r\n"
        return lines.encode() + self._application.limit_headers()


_serials = iter(range(1 << 62))


def _head(reply: Reply) -> bytes:
    """The status line and headers, without the empty line that ends them."""
    length = "transfer-encoding: chunked" if reply.is_chunked else f"content-length: {len(reply.body)}"
    more = "".join([f"{name}: {value}\r\n" for name, value in reply.headers])
    return (
        f"HTTP/1.1 {reply.status} {_phrase(reply.status)}\r\n{_date(int(time.time()))}content-type: {reply.content_type}\r\n"
        f"{length}\r\nx-request-id: req_{next(_serials):032x}\r\nopenai-version: 2020-10-01\r\n{more}"
    ).encode()


def _framed(reply: Reply) -> bytes:
    if reply.is_chunked:
        return b"%x\r\n%s\r\n0\r\n\r\n" % (len(reply.body), reply.body)
    return reply.body


@lru_cache
def _phrase(status: int) -> str:
    return http.HTTPStatus(status).phrase


@lru_cache(2)
def _date(second: int) -> str:
    return time.strftime("date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime(second))
