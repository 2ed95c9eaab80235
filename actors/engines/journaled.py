"""Any engine with the request journal under it: what was answered once is never asked again.

The key covers the engine's identity and the whole request. An answer is in the journal, durably, before anybody sees
it. The same question asked again while its answer is on the way waits for that one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from actors.engines.contract import Completion, Engine, Request
from actors.journal import Journal, request_key
from cluster.storage import Storage

Answer = TypeVar("Answer")

_COMPLETION = msgspec.json.Decoder(Completion)
_LOGPROBS = msgspec.json.Decoder(list[float])


class JournaledEngine(Engine):
    """`engine`, asked only for what the journal at `place` does not hold. `run` is the identity of this run."""

    def __init__(self, engine: Engine, place: Storage, run: str) -> None:
        self.name, self.capabilities = engine.name, engine.capabilities
        self._engine, self._place, self._run = engine, place, run
        self._identity: dict[str, Any] = {}
        self._journal: Journal
        self._on_the_way: dict[bytes, asyncio.Future[Any]] = {}

    def identity(self) -> dict[str, Any]:
        return self._engine.identity()

    async def start(self) -> None:
        self._journal = await asyncio.get_running_loop().run_in_executor(None, Journal.open, self._place, self._run)
        await self._engine.start()
        self._identity = self._engine.identity()

    async def close(self) -> None:
        await self._engine.close()
        await self._journal.close()

    async def generate(self, request: Request) -> Completion:
        key = request_key(self._identity, request)
        entry = await self._journal.lookup(key)
        if entry is None:
            return await self._once(key, lambda: self._engine.generate(request))
        # An answer that this run paid for before it was killed is its own, not a find.
        return msgspec.structs.replace(_COMPLETION.decode(entry.record), is_reused=entry.run != self._run)

    async def score(self, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> list[float]:
        ids = {"score": {"prompt": list(prompt_ids), "response": list(response_ids)}}
        key = request_key(self._identity | ids, Request(()))
        entry = await self._journal.lookup(key)
        if entry is None:
            return await self._once(key, lambda: self._engine.score(prompt_ids, response_ids))
        return _LOGPROBS.decode(entry.record)

    async def _once(self, key: bytes, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask, and keep the answer; who asks the same meanwhile gets it too, or what went wrong."""
        under_way = self._on_the_way.get(key)
        if under_way is not None:
            found: Answer = await asyncio.shield(under_way)
            return found
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._on_the_way[key] = future
        try:
            answer = await ask()
            await self._journal.put(key, msgspec.json.encode(answer))
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)
                future.exception()  # somebody else may wait for it, or nobody
            raise
        else:
            future.set_result(answer)
            return answer
        finally:
            del self._on_the_way[key]
