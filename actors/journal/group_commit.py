"""Many puts, one commit: what comes while a commit is under way waits for the next one.

There is no timer while nothing waits, and the first put after a pause is committed at once. Where commits are dear,
they are at least `seconds` apart, unless much is waiting. How an entry is written is the caller's affair; it happens
in a thread, one commit at a time and in the order of the puts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from actors.journal.index_records import Locations

_URGENT = 8 << 20  # bytes

_Waiting = tuple[bytes, bytes, "asyncio.Future[None]"]


class GroupCommit:
    """`append` writes durably, in the thread; `committed` is told on the event loop, before the puts return."""

    def __init__(
        self,
        append: Callable[[Sequence[tuple[bytes, bytes]]], Locations],
        committed: Callable[[Locations], object],
        seconds: float,
    ) -> None:
        self._append, self._committed, self._seconds = append, committed, seconds
        self._thread = ThreadPoolExecutor(1, "journal")
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._hurry: asyncio.Future[None] | None = None  # ends the pause that is under way

    async def put(self, key: bytes, record: bytes) -> None:
        """Returns when the entry is durable; whoever stops waiting does not stop the commit."""
        if self._is_closed:
            raise RuntimeError("the journal is closed")
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiting.append((key, record, done))
        self._bytes += len(record)
        self._end_pause()
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._commit_what_waits())
        await done

    async def close(self) -> None:
        """Commit what waits, without a pause, and take nothing more."""
        self._is_closed = True
        self._end_pause()
        if self._task and not self._task.done():
            await asyncio.wait([self._task])
        self._thread.shutdown(wait=False)

    async def _commit_what_waits(self) -> None:
        while self._waiting:
            await self._pause()
            batch, self._waiting, self._bytes = self._waiting, [], 0
            try:
                await self._commit([(key, record) for key, record, _ in batch])
            except Exception as error:
                for _, _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            except BaseException:
                for _, _, done in batch:
                    done.cancel()
                raise
            else:
                for _, _, done in batch:
                    if not done.done():
                        done.set_result(None)

    async def _commit(self, entries: list[tuple[bytes, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        self._committed(await loop.run_in_executor(self._thread, self._append, entries))

    async def _pause(self) -> None:
        loop = asyncio.get_running_loop()
        left = self._not_before - loop.time()
        if left > 0 and not self._is_urgent():
            self._hurry = loop.create_future()
            await asyncio.wait([self._hurry], timeout=left)
            self._hurry = None
        self._not_before = loop.time() + self._seconds

    def _is_urgent(self) -> bool:
        return self._is_closed or self._bytes >= _URGENT

    def _end_pause(self) -> None:
        if self._hurry and not self._hurry.done() and self._is_urgent():
            self._hurry.set_result(None)
