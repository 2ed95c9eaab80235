"""Chunks in work side by side: an event loop in a thread of its own, and a window over the rows that it holds.

The threads that read shards hand chunks in and take the outcomes back in the order in which they handed them in, so
that what they report depends on the shard alone; the chunks themselves finish in any order.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from importlib.util import find_spec
from typing import Any, TypeVar

Result = TypeVar("Result")


class Overlap:
    """An event loop, and at most `rows` rows in work on it. Safe to use from several threads; never ends by itself."""

    def __init__(self, rows: int) -> None:
        _collect_rarely()
        self.room = rows
        self.moved = threading.Condition()
        self.loop = _new_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True, name="overlap").start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run on the loop and wait."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def begin(self, rows: int, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start a chunk of so many rows; ask `has_room` first."""
        with self.moved:
            self.room -= rows
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        future.add_done_callback(lambda _: self._done(rows))
        return future

    def has_room(self) -> bool:
        return self.room > 0

    def wait(self, future: Future[Any] | None) -> None:
        """Return when there is room, or `future` is done, whatever comes first."""
        with self.moved:
            self.moved.wait_for(lambda: self.room > 0 or (future is not None and future.done()))

    def _done(self, rows: int) -> None:
        with self.moved:
            self.room += rows
            self.moved.notify_all()


def _collect_rarely() -> None:
    """Thousands of objects live while their rows wait, and by default each few hundred more have all of them looked at.

    Reference counts free nearly all; what is in cycles waits a little longer. It is a fifth of a client's time and more.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it is installed: a third less CPU for each request."""
    if find_spec("uvloop") is not None:
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return asyncio.new_event_loop()
