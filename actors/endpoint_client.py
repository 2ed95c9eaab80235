"""A client of the classifier endpoint (see `serve/`): texts in, results out, through whatever happens between.

Texts go as one compressed stream, which the server reads as fast as it works: nothing is refused half-way, and neither
side holds more than it needs. A server that is busy, restarts or goes away is asked again, with growing, jittered
pauses, until `patience` is over. All results come from one version of the model.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import orjson
import zstandard

from cluster.errors import GristmillError

KEY_VARIABLE = "GRISTMILL_API_KEY"
NDJSON = "application/x-ndjson"
SENT_AT_ONCE = 256 << 10  # characters of text that are compressed together
CONNECT_SECONDS, SILENT_SECONDS = 10.0, 120.0
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0  # seconds


class EndpointError(GristmillError):
    """The endpoint does not answer as it should; the message says which, and what to try."""


class Busy(Exception):
    """Worth another try; `pause` is what the server asks for, in seconds."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.pause = reason, pause


class Result(msgspec.Struct):
    """One line of the answer. Numbers are left as the server wrote them; what it did not write is empty."""

    probabilities: msgspec.Raw = msgspec.Raw()
    value: msgspec.Raw = msgspec.Raw()
    calibrated: msgspec.Raw = msgspec.Raw()
    error: str | None = None


_RESULT = msgspec.json.Decoder(Result)


@dataclass(frozen=True)
class Endpoint:
    """Where a model is served. `key_file` holds an API key; without one the variable GRISTMILL_API_KEY may."""

    url: str
    model: str
    key_file: str | None = None
    patience: float = 300.0

    def headers(self) -> dict[str, str]:
        """The header that lets us in. Raises EndpointError for a file that cannot be read."""
        key = os.environ.get(KEY_VARIABLE, "")
        if self.key_file is not None:
            try:
                lines = Path(self.key_file).expanduser().read_text().splitlines()
            except OSError as error:
                raise EndpointError(f"API key {self.key_file} cannot be read: {error.strerror}") from error
            key = next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")
        return {"Authorization": f"Bearer {key}"} if key else {}

    def place(self, verb: str = "") -> str:
        return f"{self.url.rstrip('/')}/v1/models/{self.model}{verb}"


class EndpointClient:
    """A client with its connections. Close it, or use it as a context manager. For one thread at a time."""

    def __init__(self, endpoint: Endpoint) -> None:
        missing = [name for name in ("aiohttp", "tenacity") if find_spec(name) is None]
        if missing:
            raise EndpointError(f"asking an endpoint needs {' and '.join(missing)}: pip install {' '.join(missing)}")
        self.endpoint = endpoint
        self._headers = endpoint.headers()
        self._runner = asyncio.Runner()
        self._session: Any = None

    def __enter__(self) -> EndpointClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._session is not None:
            self._runner.run(self._session.close())
            self._session = None
        self._runner.close()

    def describe(self) -> dict[str, Any]:
        """What the endpoint says of the model. Raises EndpointError."""
        found: dict[str, Any] = self._runner.run(self._retried(self._describe))
        return found

    def classify(self, texts: Sequence[str], version: str | None = None, normalize: bool = True) -> list[Result]:
        """A result for each text, in order. Raises EndpointError, also where another version answers than `version`."""

        async def ask() -> list[Result]:
            return await self._classify(texts, version, normalize)

        found: list[Result] = self._runner.run(self._retried(ask))
        return found

    async def _retried(self, ask: Any) -> Any:
        import aiohttp
        from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_delay
        from tenacity.wait import wait_random_exponential

        growing = wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE)

        def pause(state: Any) -> float:
            error = state.outcome.exception()
            return max(growing(state), error.pause if isinstance(error, Busy) else 0.0)

        again = (Busy, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, asyncio.TimeoutError)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(again), wait=pause, stop=stop_after_delay(self.endpoint.patience)
        )
        try:
            return await retrying(ask)
        except RetryError as error:
            last = error.last_attempt.exception()
            raise EndpointError(
                f"{self.endpoint.url} does not answer after {self.endpoint.patience:.0f} s of trying "
                f"({last or type(last).__name__}); see that it is up, and run the same command again to continue"
            ) from error

    async def _opened(self) -> Any:
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout, headers=self._headers)
        return self._session

    async def _describe(self) -> dict[str, Any]:
        session = await self._opened()
        try:
            async with session.get(self.endpoint.place()) as response:
                await self._check(response)
                found: dict[str, Any] = orjson.loads(await response.read())
                return found
        except (ValueError, orjson.JSONDecodeError) as error:  # aiohttp's InvalidURL is a ValueError
            raise EndpointError(f"{self.endpoint.url} is no classifier endpoint: {error}") from error

    async def _classify(self, texts: Sequence[str], version: str | None, normalize: bool) -> list[Result]:
        session = await self._opened()
        url = self.endpoint.place(":classify") + ("" if normalize else "?normalize=false")
        headers = {"Content-Type": NDJSON, "Content-Encoding": "zstd"}
        async with session.post(url, data=_stream(texts), headers=headers) as response:
            await self._check(response)
            served = response.headers.get("x-gristmill-version")
            if version is not None and served != version:
                raise EndpointError(
                    f"model {self.endpoint.model} at {self.endpoint.url} is of version {served} now, and this run began "
                    f"with {version}: add --fresh to begin again with the new one"
                )
            lines = (await response.read()).splitlines()
        try:
            results = [_RESULT.decode(line) for line in lines]
        except msgspec.DecodeError as error:
            raise Busy(f"an answer that is no JSON: {error}") from error
        if len(results) != len(texts):
            told = next((result.error for result in reversed(results) if result.error), "it broke off")
            raise Busy(f"{len(results)} results for {len(texts)} texts: {told}")
        return results

    async def _check(self, response: Any) -> None:
        """Raise Busy for what may pass, EndpointError for what will not."""
        if response.status == 200:
            return
        body = await response.read()
        try:
            detail = str(orjson.loads(body)["detail"])
        except (ValueError, KeyError, TypeError):
            detail = body[:200].decode("utf-8", "replace")
        if response.status in (408, 429, 499) or response.status >= 500:
            wait = response.headers.get("retry-after", "")
            raise Busy(f"{response.status}: {detail}", float(wait) if wait.isdigit() else 0.0)
        way = f"; set {KEY_VARIABLE} or give --api-key-file" if response.status == 401 else ""
        raise EndpointError(f"{response.url.origin()}{response.url.path}: {response.status}, {detail}{way}")


async def _stream(texts: Sequence[str]) -> AsyncIterator[bytes]:
    """The texts as NDJSON in one zstd frame, piece by piece."""
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    lines, size = [], 0
    for text in texts:
        lines.append(_as_json(text))
        size += len(text)
        if size >= SENT_AT_ONCE:
            yield compressor.compress(b"\n".join((*lines, b"")))
            lines, size = [], 0
            await asyncio.sleep(0)  # the answers' turn
    yield compressor.compress(b"\n".join((*lines, b""))) + compressor.flush()


def _as_json(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except TypeError:  # half of a surrogate pair
        return json.dumps(text).encode()
