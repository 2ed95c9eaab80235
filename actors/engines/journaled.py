"""Any engine with the request journal under it: what was answered once is never asked again.

The key covers the engine's identity and the whole request. An answer is in the journal, durably, before anybody sees
it. The same question asked again while its answer is on the way waits for that one; an answer on its way arrives in
the journal even if nobody waits for it any more, since it is paid for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
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
        self._on_the_way: dict[bytes, asyncio.Task[Any]] = {}

    def identity(self) -> dict[str, Any]:
        return self._engine.identity()

    async def start(self) -> None:
        self._journal = await asyncio.get_running_loop().run_in_executor(None, Journal.open, self._place, self._run)
        await self._engine.start()
        self._engine.hold_places()
        self._identity = self._engine.identity()

    async def close(self) -> None:
        await asyncio.gather(*self._on_the_way.values(), return_exceptions=True)
        await self._engine.close()
        await self._journal.close()

    async def generate(self, request: Request) -> Completion:
        key = request_key(self._identity, request)
        return await self._once(key, lambda: self._generated(key, request))

    async def score(self, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> list[float]:
        ids = {"score": {"prompt": list(prompt_ids), "response": list(response_ids)}}
        key = request_key(self._identity | ids, Request(()))
        return await self._once(key, lambda: self._scored(key, prompt_ids, response_ids))

    async def _generated(self, key: bytes, request: Request) -> Completion:
        entry = await self._journal.lookup(key)
        if entry is None:
            completion = await self._engine.generate(request)
            await self._put(key, msgspec.json.encode(completion))
            return completion
        # An answer that this run paid for before it was killed is its own, not a find.
        return msgspec.structs.replace(_COMPLETION.decode(entry.record), is_reused=entry.run != self._run)

    async def _scored(self, key: bytes, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> list[float]:
        entry = await self._journal.lookup(key)
        if entry is not None:
            return _LOGPROBS.decode(entry.record)
        logprobs = await self._engine.score(prompt_ids, response_ids)
        await self._put(key, msgspec.json.encode(logprobs))
        return logprobs

    async def _put(self, key: bytes, record: bytes) -> None:
        try:
            await self._journal.put(key, record)
        finally:
            self._engine.kept()

    async def _once(self, key: bytes, find: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Look for the answer or ask for it; who wants the same meanwhile gets it too, or what went wrong.

        It is a task of its own, so that who gives up takes nothing from the others.
        """
        task: asyncio.Task[Answer] | None = self._on_the_way.get(key)
        if task is None:
            task = self._on_the_way[key] = asyncio.get_running_loop().create_task(find())
            task.add_done_callback(lambda done: self._arrived(key, done))
        return await asyncio.shield(task)

    def _arrived(self, key: bytes, task: asyncio.Task[Any]) -> None:
        del self._on_the_way[key]
        if not task.cancelled():
            task.exception()  # somebody may wait for it, or nobody
