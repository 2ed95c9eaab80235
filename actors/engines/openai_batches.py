"""The provider's files and batches, through the official openai SDK: upload, create, look, stream, each safe to repeat.

What creates something is asked once at a time, never by the SDK's own retries: where it is in doubt whether the server
did it (the connection broke, the process was killed), the server is asked for it by name before it is asked to do it
again. Errors are EngineUnusable, one line, without the key.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

from actors.batch_format import PATH
from actors.engines.contract import EngineUnusable
from actors.engines.json_service import Service

Made = TypeVar("Made")

ENDED = ("completed", "failed", "expired", "cancelled")
RETRIES = 6  # of the SDK, for what only looks
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)  # s, between attempts at what creates
SETTLE_SECONDS = 10.0  # after which what a server has done also stands in its lists
DETAIL_SHOWN = 300  # characters


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the provider tells of it. `problems` are the errors of one that failed as a whole."""

    id: str
    status: str
    total: int = 0
    completed: int = 0
    failed: int = 0
    created_at: int = 0
    output_file: str | None = None
    error_file: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


class Refused(EngineUnusable):
    """The provider does not take this request as it is, a file or a batch that is gone for instance."""


class OpenAIBatches:
    """Files and batches at one service. Safe for several threads. Raises EngineUnusable where the SDK is missing."""

    def __init__(self, service: Service, settle_seconds: float = SETTLE_SECONDS) -> None:
        if find_spec("openai") is None:
            raise EngineUnusable("provider batches need the openai package: pip install 'gristmill[annotate]'")
        import openai

        self.service, self._settle = service.checked(), settle_seconds
        self._key = service.key()
        # The SDK wants a key, also for servers that want none.
        self._client = openai.OpenAI(api_key=self._key or "none", base_url=service.base_url, max_retries=RETRIES)
        self._once = self._client.with_options(max_retries=0)

    def upload(self, path: Path, name: str, in_doubt_since: float | None = None) -> str:
        """The id of the file of that name, uploaded now, or by an attempt whose outcome is not known."""
        size = path.stat().st_size

        def make() -> str:
            with path.open("rb") as file:
                return self._once.files.create(file=(name, file), purpose="batch").id

        return self._made(make, lambda: self._file(name, size), in_doubt_since)[0]

    def create(
        self, file: str, metadata: Mapping[str, str], window: Literal["24h"], in_doubt_since: float | None = None
    ) -> Batch:
        """The batch of that metadata, created now, or by an attempt whose outcome is not known."""

        def make() -> Batch:
            again = {"Idempotency-Key": "-".join(metadata.values())}  # for servers that know it
            return _batch(
                self._once.batches.create(
                    completion_window=window,
                    endpoint=PATH,
                    input_file_id=file,
                    metadata=dict(metadata),
                    extra_headers=again,
                )
            )

        batch, was_in_doubt = self._made(make, lambda: next(iter(self._batches(metadata)), None), in_doubt_since)
        return self._only(metadata, batch) if was_in_doubt else batch

    def describe(self, batch: str) -> Batch:
        with self._explained():
            return _batch(self._client.batches.retrieve(batch))

    def lines(self, file: str) -> Iterator[bytes]:
        """The lines of a file, without their LF, as they come; a connection that breaks is made again."""
        delivered = 0
        for pause in (*PAUSES, None):
            try:
                with self._explained():
                    for number, line in enumerate(self._stream(file)):
                        if number >= delivered:
                            delivered += 1
                            yield line
                return
            except _Unreachable:
                if pause is None:
                    raise
                time.sleep(pause)

    def _stream(self, file: str) -> Iterator[bytes]:
        pending = b""
        with self._client.files.with_streaming_response.content(file) as response:
            # Not by the SDK's lines: it also ends them at characters that may stand inside a JSON string.
            for block in response.iter_bytes(1 << 20):
                *lines, pending = (pending + block).split(b"\n")
                yield from lines
        if pending:
            yield pending

    # What creates

    def _made(
        self, make: Callable[[], Made], find: Callable[[], Made | None], in_doubt_since: float | None
    ) -> tuple[Made, bool]:
        """What is found where that is in doubt, else what is made; and whether it ever was in doubt."""
        in_doubt = in_doubt_since is not None
        if in_doubt_since is not None:
            time.sleep(min(self._settle, max(0.0, in_doubt_since + self._settle - time.time())))
        for pause in (*PAUSES, None):
            try:
                with self._explained():
                    found = find() if in_doubt else None
                    return (make() if found is None else found), in_doubt
            except _Unreachable as error:
                if pause is None:
                    raise
                in_doubt = in_doubt or error.in_doubt
                time.sleep(max(pause, self._settle) if error.in_doubt else pause)
        raise AssertionError("the last attempt returns or raises")

    def _file(self, name: str, size: int) -> str | None:
        files = self._client.files.list(purpose="batch", order="desc", limit=1000)
        return next((each.id for each in files if each.filename == name and each.bytes == size), None)

    def _batches(self, metadata: Mapping[str, str]) -> list[Batch]:
        """All batches with this metadata, the oldest first; every page is looked at."""
        listed = self._client.batches.list(limit=100)
        found = [_batch(each) for each in listed if metadata.items() <= (each.metadata or {}).items()]
        return sorted(found, key=lambda batch: (batch.created_at, batch.id))

    def _only(self, metadata: Mapping[str, str], batch: Batch) -> Batch:
        """The oldest of the batches with this metadata. One that an attempt given up for lost made after all is ended."""
        with self._explained():
            first, *others = self._batches(metadata) or [batch]
            for each in others:
                if not each.has_ended:
                    self._client.batches.cancel(each.id)
            return first

    # Words

    @contextmanager
    def _explained(self) -> Iterator[None]:
        import openai

        broken: tuple[type[Exception], ...] = (openai.APIConnectionError, *_transport_errors())
        try:
            yield
        except broken as error:  # a timeout is one too
            cause = str(error.__cause__ or error) or type(error).__name__
            raise _Unreachable(self._shown(f"does not answer: {cause}"), in_doubt=True) from error
        except openai.APIStatusError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Any) -> EngineUnusable:
        status = error.status_code
        message = f"{status}: {error.message.removeprefix(f'Error code: {status} - ')}"
        if status in (401, 403):
            way = f"set {self.service.key_variable} or give --api-key-file"
            return EngineUnusable(f"{self.service.name} does not accept the API key ({status}); {way}")
        if status == 429 and error.code == "insufficient_quota":
            return EngineUnusable(self._shown(f"says that the quota is used up ({message})"))
        if status == 429:
            return _Unreachable(self._shown(f"is asked too much ({message})"), in_doubt=False)
        if status in (408, 409) or status >= 500:
            return _Unreachable(self._shown(f"answered {message}"), in_doubt=True)
        return Refused(
            self._shown(f"answered {message}; check --base-url, and that the API key is of the same project")
        )

    def _shown(self, text: str) -> str:
        line = f"{self.service.name} {' '.join(text.split())}"
        return (line.replace(self._key, "<key>") if self._key else line)[:DETAIL_SHOWN]


class _Unreachable(EngineUnusable):
    """Nothing, or nothing useful, came back; `in_doubt` says that the server may have done what it was asked."""

    def __init__(self, message: str, in_doubt: bool) -> None:
        super().__init__(f"{message}; run the same command again to continue")
        self.in_doubt = in_doubt


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the SDK's HTTP client raises while a body comes; its package has another name in newer versions."""
    return tuple(import_module(name).HTTPError for name in ("httpx", "httpx2") if find_spec(name) is not None)


def _batch(found: Any) -> Batch:
    counts, errors = found.request_counts, found.errors
    return Batch(
        id=found.id,
        status=found.status,
        total=counts.total if counts else 0,
        completed=counts.completed if counts else 0,
        failed=counts.failed if counts else 0,
        created_at=found.created_at or 0,
        output_file=found.output_file_id,
        error_file=found.error_file_id,
        problems=tuple(f"{each.code}: {each.message}" for each in (errors.data if errors else None) or ()),
    )
