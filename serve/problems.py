"""Errors as the client sees them: application/problem+json (RFC 9457), each with its status and a way out."""

from __future__ import annotations

from http import HTTPStatus

import orjson

CONTENT_TYPE = b"application/problem+json"


class Problem(Exception):
    """A request that cannot be answered as asked.

    `field` names the part of the body, `retry_after` is in seconds, `allow` lists the methods of a 405.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        field: str | None = None,
        retry_after: int | None = None,
        allow: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.field = status, detail, field
        self.retry_after, self.allow = retry_after, allow

    def body(self) -> bytes:
        """The problem as JSON."""
        found = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        return orjson.dumps(found | ({"field": self.field} if self.field else {}))

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that belong to this status, beside content type and length."""
        found = []
        if self.retry_after is not None:
            found.append((b"retry-after", str(self.retry_after).encode()))
        if self.allow is not None:
            found.append((b"allow", self.allow.encode()))
        if self.status == HTTPStatus.UNAUTHORIZED:
            found.append((b"www-authenticate", b'Bearer realm="gristmill"'))
        return found
