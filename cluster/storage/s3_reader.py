"""Sequential reading of one S3 object (or a range of it) that survives broken connections.

botocore retries requests, not bodies: once the first byte is there, a reset or a stall ends the stream. This
stream asks again for the rest, of the same version of the object (If-Match), until several attempts in a row
brought nothing. It does not seek.
"""

from __future__ import annotations

import io
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError
from urllib3.exceptions import HTTPError

from cluster.storage.interface import StorageError, printable
from cluster.storage.s3_client import error_code, explained

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PIECE = 1 << 18  # bytes asked of the socket at once; what arrived before a reset within one piece is lost
_FRUITLESS_ATTEMPTS = 8
_LONGEST_PAUSE = 20.0  # s
_BROKEN = (HTTPClientError, IncompleteReadError, HTTPError, OSError)


class S3Reader(io.RawIOBase):
    """The bytes from `start` up to (not including) `stop`, or to the end, of one object."""

    def __init__(
        self,
        client: Any,
        bucket: str,
        key: str,
        endpoint_url: str | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        super().__init__()
        self._client, self._bucket, self._key, self._endpoint = client, bucket, key, endpoint_url
        self._url = f"s3://{bucket}/{key}"
        self._fruitless = 0
        self._etag: str | None = None
        self._body: Any = None
        self._position = start
        self._checksummed = start == 0 and stop is None
        self._stop = start + self._request(start, stop)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        piece = self._next_piece(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        whole = io.BytesIO()  # hands its buffer out without a copy, unlike joining a list
        while piece := self._next_piece(_PIECE):
            whole.write(piece)
        return whole.getvalue()

    def close(self) -> None:
        if not self.closed:
            self._drop_body()
        super().close()

    def _next_piece(self, limit: int) -> bytes:
        wanted = min(limit, _PIECE, self._stop - self._position)
        while wanted > 0:
            try:
                piece: bytes = self._body.read(wanted)
                if not piece:
                    raise IncompleteReadError(actual_bytes=self._position, expected_bytes=self._stop)
            except _BROKEN as error:
                self._resume(error)
                continue
            self._fruitless = 0
            self._position += len(piece)
            if self._position == self._stop:
                self._finish()
            return piece
        return b""

    def _finish(self) -> None:
        """Let botocore compare the checksum, which it does when it meets the end of an uninterrupted body."""
        if self._checksummed:
            with explained("read", self._url, self._endpoint), suppress(*_BROKEN):
                self._body.read(1)
        self._drop_body()

    def _resume(self, broken: Exception) -> None:
        self._fruitless += 1
        if self._fruitless > _FRUITLESS_ATTEMPTS:
            raise StorageError(
                f"cannot read {printable(self._url)} past byte {self._position}: the connection kept failing "
                f"({type(broken).__name__}); check the network and run the same command again"
            ) from broken
        self._drop_body()
        self._checksummed = False
        time.sleep(random.random() * min(_LONGEST_PAUSE, 0.25 * 2**self._fruitless))
        self._request(self._position, self._stop)

    def _request(self, start: int, stop: int | None) -> int:
        """Open the body; its length in bytes, 0 if the range lies past the end of the object."""
        options: dict[str, str] = {}
        if start > 0 or stop is not None:
            options["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        if self._etag is not None:
            options["IfMatch"] = self._etag
        with explained("read", self._url, self._endpoint):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key, **options)
            except ClientError as error:
                if error_code(error) in ("InvalidRange", "416") and self._etag is None:
                    return 0
                raise
        self._etag, self._body = answer["ETag"], answer["Body"]
        if options.get("Range") and not answer.get("ContentRange", "").startswith(f"bytes {start}-"):
            raise StorageError(f"cannot read {printable(self._url)}: the service ignores byte ranges; use another one")
        return int(answer["ContentLength"])

    def _drop_body(self) -> None:
        if self._body is not None:
            with suppress(*_BROKEN):
                self._body.close()
            self._body = None
