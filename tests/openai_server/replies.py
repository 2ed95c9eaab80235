"""Responses before they are written: their status, headers and body."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import orjson

from tests.openai_server.errors import ApiError, overloaded, quota_spent, rate_limited, server_error
from tests.openai_server.faults import STATUS_KINDS, Fault

JSON = "application/json"
_BAD_GATEWAY = b"""<html>\r
<head><title>502 Bad Gateway</title></head>\r
<body>\r
<center><h1>502 Bad Gateway</h1></center>\r
<hr><center>cloudflare</center>\r
</body>\r
</html>\r
"""


@dataclass(slots=True)
class Reply:
    """A whole response. `tokens` is what its answer is counted with."""

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    is_chunked: bool = False
    tokens: int = 0
    outcome: str = "ok"


def json_reply(content: Any, status: int = 200) -> Reply:
    return Reply(orjson.dumps(content), status)


def error_reply(error: ApiError, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    return Reply(error.body(), error.status, headers=headers, outcome=error.outcome)


def status_reply(fault: Fault, retry_after: float) -> Reply | None:
    """The response of a fault that is a status, None for other kinds."""
    if fault.kind not in STATUS_KINDS:
        return None
    seconds = retry_after if fault.seconds is None else fault.seconds
    if fault.kind.startswith("rate_limit"):
        reply = error_reply(rate_limited(wait=seconds), retry_headers(fault.kind, seconds))
    elif fault.kind == "quota":
        reply = error_reply(quota_spent())
    elif fault.kind == "error_502_html":
        reply = Reply(_BAD_GATEWAY, 502, "text/html")
    else:
        reply = error_reply(server_error() if fault.kind == "error_500" else overloaded())
    reply.outcome = fault.kind
    return reply


def retry_headers(kind: str, seconds: float) -> tuple[tuple[str, str], ...]:
    """What a refused request is told about when to come again."""
    whole = str(math.ceil(seconds))
    if kind == "rate_limit_ms":
        return ("retry-after-ms", str(round(seconds * 1000))), ("retry-after", whole)
    if kind == "rate_limit_date":
        moment = time.gmtime(math.ceil(time.time() + seconds))
        return (("retry-after", time.strftime("%a, %d %b %Y %H:%M:%S GMT", moment)),)
    return (("retry-after", whole),) if kind == "rate_limit" else ()
