"""Reading request bodies: decompressed within bounds, decoded strictly, and never more in memory than allowed.

gzip and zstd are taken. A bomb is stopped while it unfolds: input is fed in pieces so small that not even the best
compression makes more than a few MiB of one.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import msgspec
import zstandard

from serve.problems import Problem

Receive = Callable[[], Awaitable[dict[str, Any]]]
Asked = TypeVar("Asked")

# zstd can say 128 KiB in four bytes: 16 MiB at most come of one piece.
ZSTD_PIECE = 512
GZIP_PIECE_OUT = 1 << 20
ZSTD_WINDOW = 8 << 20
# A body comes at this speed at least, after the first seconds; slower clients hold room that others need.
GRACE_SECONDS = 10.0
IDLE_SECONDS = 60.0  # of a stream, whose client may have to think
LEAST_BYTES_PER_SECOND = 20_000


class Disconnected(Exception):
    """The client went away before its request was whole."""


async def chunks_of(receive: Receive, seconds: float = GRACE_SECONDS) -> AsyncIterator[bytes]:
    """The body as it comes. Raises Disconnected, and Problem 408 where nothing comes for `seconds`."""
    while True:
        try:
            async with asyncio.timeout(seconds):
                message = await receive()
        except TimeoutError:
            raise Problem(408, f"no byte of the body came for {seconds:g} s; send it in one go") from None
        if message["type"] == "http.disconnect":
            raise Disconnected
        if body := message.get("body", b""):
            yield body
        if not message.get("more_body", False):
            return


class Decompressor:
    """Takes the bytes of a Content-Encoding apart, bounded. Raises Problem 415 for an encoding that is not known."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding.strip().lower().removeprefix("x-")
        if self._encoding not in ("", "identity", "gzip", "zstd"):
            raise Problem(415, f"Content-Encoding {encoding[:40]!r} is not known here: send gzip, zstd, or none")
        self._frame: Any = None  # the gzip member or zstd frame that is open

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What comes of these bytes. Raises Problem 400 for damage."""
        if self._encoding in ("", "identity"):
            yield data
            return
        try:
            yield from self._feed_gzip(data) if self._encoding == "gzip" else self._feed_zstd(data)
        except (zlib.error, zstandard.ZstdError) as error:
            raise Problem(400, f"the body is not {self._encoding}, though Content-Encoding says so ({error})") from None

    def finish(self) -> None:
        """Raise Problem 400 if the compressed data broke off."""
        if self._frame is not None:
            raise Problem(400, f"the {self._encoding} data of the body breaks off")

    def _feed_gzip(self, data: bytes) -> Iterator[bytes]:
        while data:
            frame = self._frame = self._frame or zlib.decompressobj(31)
            yield frame.decompress(data, GZIP_PIECE_OUT)
            data = frame.unconsumed_tail
            if frame.eof:
                data, self._frame = frame.unused_data, None

    def _feed_zstd(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), ZSTD_PIECE):
            piece = data[at : at + ZSTD_PIECE]
            while piece:
                frame = self._frame = self._frame or _zstd_frame()
                yield frame.decompress(piece)
                piece = b""
                if frame.eof:
                    piece, self._frame = frame.unused_data, None


def _zstd_frame() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()


async def whole_body(receive: Receive, encoding: str, limit: int, held: Callable[[int], None]) -> bytes:
    """The whole body, decompressed; `held` is told of every byte that is taken into memory. Raises Problem.

    A body that comes too slowly is given up with 408.
    """
    loop = asyncio.get_running_loop()
    began, decompressor, parts, size = loop.time(), Decompressor(encoding), [], 0
    async for chunk in chunks_of(receive):
        for part in decompressor.feed(chunk):
            size += len(part)
            if size > limit:
                raise Problem(
                    413, f"the body is larger than {limit >> 20} MiB; send it in parts, or as a stream of NDJSON"
                )
            held(len(part))
            parts.append(part)
        if loop.time() - began > GRACE_SECONDS + size / LEAST_BYTES_PER_SECOND:
            raise Problem(408, f"the body came at less than {LEAST_BYTES_PER_SECOND} bytes a second")
    decompressor.finish()
    return parts[0] if len(parts) == 1 else b"".join(parts)


def decoded(body: bytes, decoder: msgspec.json.Decoder[Asked], what: str = "the body") -> Asked:
    """The body (or `what` it is) as what the decoder makes. Raises Problem 400 for what is no JSON, 422 for what is of another shape."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _misshapen(error) from None
    except UnicodeDecodeError as error:
        raise Problem(400, f"{what} is not UTF-8: byte {error.start} of a string ({error.reason})") from None
    except RecursionError:
        raise Problem(400, f"{what} is nested too deeply") from None
    except msgspec.DecodeError as error:
        # Half of a surrogate pair is an escape that JSON allows and strict decoders do not.
        if b"\\ud" in body or b"\\uD" in body:
            return _decoded_with_surrogates(body, decoder, what)
        raise Problem(400, f"{what} is not JSON: {error}") from None


def _decoded_with_surrogates(body: bytes, decoder: msgspec.json.Decoder[Asked], what: str) -> Asked:
    """As `decoded`, with U+FFFD in the place of halves of surrogate pairs, which have no UTF-8."""
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"{what} is not JSON: {error}") from None
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    try:
        return decoder.decode(whole)
    except msgspec.ValidationError as error:
        raise _misshapen(error) from None
    except msgspec.DecodeError as error:  # NaN, which Python's own decoder takes
        raise Problem(400, f"{what} is not JSON: {error}") from None


def _misshapen(error: msgspec.ValidationError) -> Problem:
    what, _, where = str(error).partition(" - at ")
    field = where.strip("`").removeprefix("$").removeprefix(".") or None
    return Problem(422, what, field)


async def lines_of(receive: Receive, encoding: str, limit: int) -> AsyncIterator[list[bytes | None]]:
    """The lines of a stream, as many at once as have come; None in the place of one longer than `limit`.

    Raises Problem for compressed data that is damaged, and for a stream that stands still.
    """
    decompressor, line = Decompressor(encoding), _OpenLine(limit)
    async for chunk in chunks_of(receive, IDLE_SECONDS):
        for part in decompressor.feed(chunk):
            if b"\n" not in part:
                line.add(part)
                continue
            first, *others, rest = part.split(b"\n")
            line.add(first)
            yield [line.end(), *(each if len(each) <= limit else None for each in others)]
            line.add(rest)
    decompressor.finish()
    if line.size:
        yield [line.end()]


class _OpenLine:
    """The line that has not ended yet; of one that is too long only the length is kept."""

    def __init__(self, limit: int) -> None:
        self._limit, self._parts, self.size = limit, [b""], 0

    def add(self, part: bytes) -> None:
        self.size += len(part)
        if self.size > self._limit:
            self._parts.clear()
        else:
            self._parts.append(part)

    def end(self) -> bytes | None:
        found = b"".join(self._parts) if self.size <= self._limit else None
        self._parts, self.size = [b""], 0
        return found
