"""A JSON service over HTTP, asked by many at once: one pool of connections, the gate, retries, typed errors.

What may pass (busy, broken, silent) is asked again after growing, jittered pauses, or after the pause that the server
names. Attempts count against a request only while others are answered: an outage of a minute costs no row. A service
that answers nobody for as long as `patience`, refuses the key, knows no such model or is something else stops the run
instead; but where only a few requests are left, or others were answered meanwhile, it may be they that cannot be
answered, and they fail.
"""

from __future__ import annotations

import asyncio
import email.utils
import os
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import orjson

from actors.engines.contract import Category, EngineUnusable, RequestFailed
from actors.gate import Gate
from actors.spend_limiter import LOST

Answer = TypeVar("Answer")
Timed = TypeVar("Timed")

CONNECT_SECONDS = 20.0
FIRST_PATIENCE = 60.0  # s
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # s
LONGEST_ASKED = 3600.0  # s; a server that asks for a longer pause is asked again then
# When so many requests in a row are refused as malformed and none was ever answered, nor is one of those that are under
# way then, it is not the rows.
HOPELESS_AFTER = 20
# So many requests may well be the last ones, each of which the service breaks at; if more wait, it is the service.
FEW = 16
DETAIL_SHOWN = 300  # characters
BODY_SHOWN = 100  # characters of what answers in a server's place
_USED_UP = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
# Firewalls in front of a server refuse single texts with a 403 too.
_OF_KEYS = re.compile("auth|key|permission|account|access|denied", re.IGNORECASE)
_REFUSALS = ("content_filter", "content_policy_violation", "moderation_blocked")


class Unreadable(Exception):
    """An answer with status 200 that is not what the protocol says; worth another try."""


class Foreign(Unreadable):
    """A whole answer with status 200, of something that speaks another protocol: no model was asked, nor is paid."""


@dataclass(frozen=True, slots=True)
class Service:
    """Where a service is and how it is asked. `name` is what messages call it.

    The key is the first line of `key_file`, else the variable `key_variable`; it is read where it is used and is part
    of nothing that is stored or shown. `timeout` is for one attempt, in seconds; `first_patience` holds instead of a
    longer `patience` where nobody ever listened, as with a wrong address.
    """

    name: str
    base_url: str
    key_file: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    needs_key: bool = False
    timeout: float = 600.0
    patience: float = 600.0
    first_patience: float = FIRST_PATIENCE
    max_attempts: int = 8

    def key(self) -> str:
        """The API key, or nothing. Raises EngineUnusable for a file that cannot be read and a key that is missing."""
        key = os.environ.get(self.key_variable, "").strip()
        if self.key_file is not None:
            try:
                key = (Path(self.key_file).expanduser().read_text().split() or [""])[0]
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is no text"
                raise EngineUnusable(f"--api-key-file {self.key_file} cannot be read: {reason}") from error
        if self.needs_key and not key:
            raise EngineUnusable(f"{self.name} needs an API key: set {self.key_variable}, or give --api-key-file")
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise EngineUnusable(
                f"the API key for {self.name} holds characters that no key has; look at where it comes from"
            )
        return key

    def checked(self) -> Service:
        """Itself. Raises EngineUnusable for an address that is none."""
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EngineUnusable(f"--base-url {self.base_url}: give http:// or https://, a host and a path such as /v1")
        if parts.username or parts.password:
            raise EngineUnusable("--base-url holds a password; give it by --api-key-file or the environment instead")
        return self


class _Otherwise(Exception):
    """The request is refused for how it was put, and can be put in another way."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body


class _Again(Exception):
    """Worth another try; `pause` is what the server asks for, in seconds. Not `reached`: there is nobody to ask."""

    def __init__(self, category: Category, detail: str, pause: float = 0.0, *, reached: bool = True) -> None:
        super().__init__(detail)
        self.category, self.detail, self.pause, self.reached = category, detail, pause, reached


@dataclass(frozen=True, slots=True)
class _Doubt:
    """Whether the service takes anything at all, while requests are under way that can still show it."""

    message: str
    awaited: set[object]
    settled: asyncio.Event


class JsonService:
    """A started service. For one event loop."""

    def __init__(self, service: Service, gate: Gate) -> None:
        self.service, self.gate = service, gate
        self._session: Any = None
        self._key = ""
        self._proxy: str | None = None
        self._waiting = self._answers = self._rejections = 0
        self._under_way: set[object] = set()
        self._doubt: _Doubt | None = None
        self._silent_since: float | None = None
        self._is_there = False  # whether anything ever answered at this address, if only with an error
        self._broken: EngineUnusable | None = None
        self._breaking = asyncio.Event()

    async def start(self) -> None:
        """Open the pool. Raises EngineUnusable."""
        missing = [name for name in ("aiohttp", "tenacity") if find_spec(name) is None]
        if missing:
            raise EngineUnusable(
                f"asking a model server needs {' and '.join(missing)}: pip install {' '.join(missing)}"
            )
        import aiohttp

        self.service.checked()
        self._key = self.service.key()
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            timeout=aiohttp.ClientTimeout(total=self.service.timeout, connect=None, sock_connect=CONNECT_SECONDS),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            # It would look for a proxy at every request, and a ~/.netrc would go before the key.
            trust_env=False,
        )
        self._proxy = _proxy_to(self.service.base_url)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(
        self,
        path: str,
        body: bytes,
        read: Callable[[bytes], Answer],
        cost: Callable[[Answer], int],
        bound: int,
        tokens: int,
        amended: Callable[[bytes], bytes | None] | None = None,
    ) -> tuple[Answer, float]:
        """Ask, and ask again. Returns what `read` makes of the body, and the seconds that the answer took.

        `read` raises Unreadable for what it cannot read; `cost` prices what it returns. `bound` and `tokens` are the
        most that one attempt can cost and use. `amended` gives another body for the same request, if what a 400 says
        asks for one. Raises RequestFailed, EngineUnusable, BudgetSpent.
        """
        this = object()

        async def attempt() -> tuple[Answer, float]:
            nonlocal body
            while True:
                try:
                    return await self._attempt(this, path, body, read, cost, bound, tokens, amended)
                except _Otherwise as otherwise:
                    body = otherwise.body
                except RequestFailed:
                    self._ended(this)
                    await self._settled()
                    raise

        self._waiting += 1
        try:
            return await attempt()
        except _Again as error:
            return await self._retried(attempt, error)
        finally:
            self._waiting -= 1
            self._ended(this)

    async def get(self, path: str) -> Any:
        """One GET, parsed. Raises EngineUnusable where it fails."""
        import aiohttp

        try:
            async with self._session.get(self._url(path), proxy=self._proxy) as response:
                content = await response.read()
                if response.status != 200:
                    raise EngineUnusable(self._told(response.status, content))
                return orjson.loads(content)
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
            raise EngineUnusable(f"{self.service.name} does not answer: {self._plain(error)}") from error

    def _url(self, path: str) -> str:
        return self.service.base_url.rstrip("/") + path

    # One attempt

    async def _attempt(
        self,
        this: object,
        path: str,
        body: bytes,
        read: Callable[[bytes], Answer],
        cost: Callable[[Answer], int],
        bound: int,
        tokens: int,
        amended: Callable[[bytes], bytes | None] | None,
    ) -> tuple[Answer, float]:
        import aiohttp

        self._check()
        await self.gate.enter(bound, tokens)
        is_answered, spent = False, 0
        self._under_way.add(this)
        began = time.monotonic()
        try:
            self._check()
            self.gate.count("requests")
            spent = bound  # an answer that gets lost may have to be paid all the same
            async with self._session.post(self._url(path), data=body, proxy=self._proxy) as response:
                self._is_there = True
                content = await response.read()
            if response.status != 200:
                spent = 0
                if response.status == 400 and amended is not None and (other := amended(content)) is not None:
                    raise _Otherwise(other)
                raise self._refusal(response.status, response.headers, content)
            answer = _read(read, content, response.content_type)
            is_answered, spent = True, cost(answer)
            self._count_answer()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            spent = 0
            raise self._failing(_Again(Category.SERVER_ERROR, self._plain(error), reached=False)) from error
        except TimeoutError as error:  # aiohttp's are TimeoutErrors too
            self._ended(this)  # a doubt waits for it no longer than for one answer
            raise self._failing(_Again(Category.TIMEOUT, f"no answer within {self.service.timeout:g} s")) from error
        except Foreign as error:
            spent = 0
            raise self._misdirected(path, str(error), content) from error
        except (aiohttp.ClientError, OSError, Unreadable) as error:
            raise self._failing(_Again(Category.SERVER_ERROR, self._plain(error))) from error
        finally:
            if spent and not is_answered:
                self.gate.count(LOST, spent)
            self.gate.leave(bound, spent, is_answered=is_answered)
        self.gate.count("answered")
        return answer, time.monotonic() - began

    def _check(self) -> None:
        if self._broken is not None:
            raise EngineUnusable(str(self._broken))

    def _refusal(self, status: int, headers: Any, content: bytes) -> Exception:
        """What a status other than 200 means."""
        code, detail = _error_of(content)
        detail = self._shown(f"{status}: {detail}")
        if status == 402 or code in _USED_UP:
            return self._break(f"{self.service.name} says that the quota is used up ({detail})")
        if status == 429:
            self.gate.too_much()
            return self._failing(_Again(Category.RATE_LIMITED, detail, _pause_asked(headers)))
        if status in (408, 409, 425) or status >= 500:
            return self._failing(_Again(Category.SERVER_ERROR, detail, _pause_asked(headers)))
        if status in (401, 403):
            # The body may quote the key.
            way = f"set {self.service.key_variable} or give --api-key-file"
            message = f"{self.service.name} does not accept the API key ({status}); {way}"
            if status == 401 or _OF_KEYS.search(code):
                return self._break(message)
            return self._rejected(detail, message, HOPELESS_AFTER if self._answers else 1)
        if status in (404, 405):
            return self._break(f"{self._told(status, content)}; check --base-url and --model-name")
        if code in _REFUSALS:
            self._count_answer()
            return RequestFailed(Category.REFUSED, detail)
        if self._answers:
            self._silent_since = None
            return RequestFailed(Category.REJECTED, detail)
        message = f"{self.service.name} refused the first {HOPELESS_AFTER} requests, and answered no other: {detail}"
        return self._rejected(detail, message, HOPELESS_AFTER)

    def _misdirected(self, path: str, what: str, content: bytes) -> Exception:
        """What an answer in another protocol means: a wrong address, unless others were answered there."""
        what = f"{what} ({self._shown(content.decode('utf-8', 'replace'))[:BODY_SHOWN]})"
        if self._answers:
            return self._failing(_Again(Category.SERVER_ERROR, f"it answered with {what}"))
        return self._break(
            f"{self._url(path)} answers with {what}: that is no OpenAI-compatible endpoint, nor another that can be "
            "asked; check --base-url, which as a rule ends in /v1"
        )

    def _failing(self, error: _Again) -> _Again:
        if self._silent_since is None:
            self._silent_since = time.monotonic()
        self.gate.failing = f"{error.category}: {error.detail}"
        return error

    def _break(self, message: str) -> EngineUnusable:
        """No request can succeed any more: those that wait for another try are told too."""
        self._broken = self._broken or EngineUnusable(message)
        self._breaking.set()
        self.gate.stop(self._broken)
        return self._broken

    # Whether it is the service or the rows

    def _count_answer(self) -> None:
        self._answers += 1
        self._rejections = 0  # in a row
        self._silent_since = None
        if self._doubt is not None:
            self._doubt.settled.set()
            self._doubt = None

    def _rejected(self, detail: str, message: str, after: int) -> RequestFailed:
        """It may be the row. With so many in a row it seems that none is taken: one of those under way has to be
        answered now, or that stops the run.
        """
        self._silent_since = None
        self._rejections += 1
        if self._rejections >= after and self._doubt is None:
            self._doubt = _Doubt(message, set(self._under_way), asyncio.Event())
        return RequestFailed(Category.REJECTED, detail)

    def _ended(self, request: object) -> None:
        """A request is over. Where it was the last that could settle the doubt, the service takes nothing."""
        self._under_way.discard(request)
        if self._doubt is not None:
            self._doubt.awaited.discard(request)
            if not self._doubt.awaited:
                self._break(self._doubt.message)
                self._doubt.settled.set()

    async def _settled(self) -> None:
        """Wait, where there is a doubt, until it is known whose fault a refused request is: not the row's, perhaps."""
        if self._doubt is not None:
            await self._doubt.settled.wait()
            self._check()

    # Asking again

    async def _retried(self, attempt: Callable[[], Awaitable[Timed]], failed: _Again) -> Timed:
        from tenacity import AsyncRetrying, RetryError, retry_if_exception_type
        from tenacity.wait import wait_random_exponential

        growing = wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE)
        first: list[_Again] = [failed]
        counted, seen = 0, self._answers

        async def again() -> Timed:
            if first:
                raise first.pop()
            self.gate.count("retries")
            return await attempt()

        def pause(state: Any) -> float:
            asked: float = state.outcome.exception().pause
            return max(float(growing(state)), min(asked, LONGEST_ASKED))

        def is_over(state: Any) -> bool:
            nonlocal counted, seen
            # While nobody is answered it is the service that fails, not this request.
            counted += counted == 0 or self._answers != seen
            seen = self._answers
            return counted >= self.service.max_attempts or self._is_hopeless(state.outcome.exception(), counted)

        retrying = AsyncRetrying(retry=retry_if_exception_type(_Again), wait=pause, stop=is_over, sleep=self._sleep)
        try:
            answer: Timed = await retrying(again)
            return answer
        except RetryError as error:
            last = error.last_attempt.exception()
            assert isinstance(last, _Again)
            self._check()
            raise RequestFailed(last.category, f"{last.detail} ({counted} attempts)") from None

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._breaking.wait(), seconds)
        except TimeoutError:
            return
        self._check()

    def _is_hopeless(self, last: Any, counted: int) -> bool:
        """Whether patience is at its end, be it with the request or, which stops the run, with the service."""
        since, patience = self._silent_since, self.service.patience
        if not self._is_there:
            patience = min(patience, self.service.first_patience)
        if since is None or time.monotonic() - since < patience:
            return False
        if not last.reached or (counted < 2 and self._waiting > FEW):
            self._break(
                f"{self.service.name} has answered nothing for {patience:.0f} s ({last.detail}); see that "
                "it is up, and run the same command again to continue"
            )
        return True

    # Words

    def _told(self, status: int, content: bytes) -> str:
        return self._shown(f"{self.service.name} answered {status}: {_error_of(content)[1]}")

    def _plain(self, error: Exception) -> str:
        return self._shown(str(error) or type(error).__name__)

    def _shown(self, text: str) -> str:
        """On one line, without the key, wherever the text may come from."""
        line = " ".join(text.split())
        return (line.replace(self._key, "<key>") if self._key else line)[:DETAIL_SHOWN]


def _read(read: Callable[[bytes], Answer], content: bytes, content_type: str) -> Answer:
    try:
        return read(content)
    except Unreadable as error:
        if "html" in content_type:
            raise Foreign("a web page") from error
        raise


def _error_of(content: bytes) -> tuple[str, str]:
    """Code and message of an error's body: OpenAI's shape, FastAPI's, or whatever text there is."""
    try:
        body = orjson.loads(content)
        error = body.get("error", body)
        if isinstance(error, dict):
            code = str(error.get("code") or error.get("type") or "")
            return code, str(error.get("message") or error.get("detail") or error)
        return "", str(error)
    except (orjson.JSONDecodeError, AttributeError):
        return "", content.decode("utf-8", "replace")  # whole: half of a key could not be told from other text


def _pause_asked(headers: Any) -> float:
    """The seconds of Retry-After (a number or a date) or of OpenAI's retry-after-ms; 0 where there is neither."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        try:
            if value:
                return max(0.0, float(value) / scale)
        except ValueError:
            try:
                return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
            except (TypeError, ValueError, OverflowError):
                continue
    return 0.0


def _proxy_to(url: str) -> str | None:
    """The proxy that the environment names for this address."""
    parts = urlsplit(url)
    proxies = getproxies()
    if proxy_bypass(parts.netloc):
        return None
    return proxies.get(parts.scheme) or proxies.get("all")
