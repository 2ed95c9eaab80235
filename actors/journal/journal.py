"""The request journal: from a request's key to its whole answer, so that no answer is paid for twice.

Any number of journals, in processes and on nodes that know nothing of each other, share one directory or prefix; each
writes segments of its own and finds the entries of all. An entry is durable when `put` returns. Of two entries with one
key a journal keeps to the one that it met first; those who open it later meet the one of the smallest writer's
name, then of the smallest offset. It does not know what a record means, drops nothing, and is used by one thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from actors.journal.frames import LARGEST_RECORD, decode
from actors.journal.group_commit import GroupCommit
from actors.journal.index import Index
from actors.journal.index_records import Location, Locations
from actors.journal.key import KEY_BYTES
from actors.journal.local_segments import LocalSegments, local_records
from actors.journal.object_segments import ObjectSegments, object_records
from actors.journal.segments import Segments
from cluster.storage import LocalStorage, Storage

_SHARE = 10  # looking for the entries of others takes at most one part of the time in so many
_READERS = 32


@dataclass(frozen=True)
class Entry:
    """An answer as it was put, and the identity of the run that did."""

    record: bytes
    run: str


class Journal:
    """One process's view of the journal, and its writer. Made by `open`, where it is used; not to be pickled."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments
        self._index = Index()
        self._commits = GroupCommit(segments.append, self._add, segments.commit_seconds)
        self._readers = ThreadPoolExecutor(_READERS, "journal-reader") if segments.is_remote else None
        self.refresh_seconds = segments.refresh_seconds  # a lookup looks for the entries of others no more often
        self._next_refresh = 0.0
        self._refreshing: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, storage: Storage, run: str) -> Journal:
        """The journal in a directory or under a prefix, which need not exist, with all entries that are there.

        `run` is the identity of this run, letters and digits. Raises StorageError.
        """
        journal = cls(
            LocalSegments(storage, run) if isinstance(storage, LocalStorage) else ObjectSegments(storage, run)
        )
        journal.refresh()
        journal._next_refresh = time.monotonic() + journal.refresh_seconds  # however long the opening took
        return journal

    @staticmethod
    def records_of(storage: Storage, run: str) -> Iterator[tuple[bytes, bytes]]:
        """(key, record) of every entry that any writer of the run wrote, in the order of writing for each writer."""
        return local_records(storage, run) if isinstance(storage, LocalStorage) else object_records(storage, run)

    def __len__(self) -> int:
        """How many keys are known."""
        return len(self._index)

    def __contains__(self, key: bytes) -> bool:
        """Whether an entry is known, by the first 8 bytes of its key; whether it is sound, only reading tells."""
        return key in self._index

    def find(self, key: bytes) -> Entry | None:
        """The entry, if it is known and sound. Reads the storage, and on an object store waits for it."""
        return self._read(key, self._index.candidates(key))

    async def lookup(self, key: bytes) -> Entry | None:
        """Like `find`, without blocking; before it says None it takes up what others wrote, if that is due."""
        entry = await self._found(key)
        if entry is None and await self._refreshed():
            entry = await self._found(key)
        return entry

    async def put(self, key: bytes, record: bytes) -> None:
        """Keep the record, one line of JSON; returns when it is durable. Raises StorageError."""
        if len(key) != KEY_BYTES or not record or len(record) > LARGEST_RECORD or b"\n" in record:
            raise ValueError(
                f"key of {len(key)} bytes, record of {len(record)}: the journal takes {KEY_BYTES}, "
                f"and one line of JSON of at most {LARGEST_RECORD}"
            )
        await self._commits.put(key, record)

    def refresh(self) -> int:
        """Take up what other writers have added; how many keys are new."""
        batches: list[Locations] = []
        began = time.monotonic()
        try:
            self._segments.news(batches)
        finally:
            new = self._taken_up(batches, began)
        return new

    async def close(self) -> None:
        """Wait until all is durable, and let go of files and threads."""
        await self._commits.close()
        if self._readers:
            self._readers.shutdown(wait=False)
        self._segments.close()

    def _add(self, locations: Locations) -> None:
        self._index.add([locations])

    def _taken_up(self, batches: list[Locations], began: float) -> int:
        new = self._index.add(batches)
        ended = time.monotonic()
        self._next_refresh = ended + max(self.refresh_seconds, (_SHARE - 1) * (ended - began))
        return new

    async def _found(self, key: bytes) -> Entry | None:
        places = self._index.candidates(key)
        if self._readers is None or not places:
            return self._read(key, places)
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, key, places)

    def _read(self, key: bytes, places: list[Location]) -> Entry | None:
        for place in places:
            frame = self._segments.read(place)
            record = decode(frame, key) if frame else None
            if record is not None:
                return Entry(record, self._segments.run_of(place))
        return None

    async def _refreshed(self) -> bool:
        """Refresh if that is due; whether it was. On an object store one refresh serves all who wait for it."""
        if self._refreshing is None or self._refreshing.done():
            if time.monotonic() < self._next_refresh:
                return False
            if self._readers is None:
                self.refresh()
                return True
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh_in_thread())
        await asyncio.shield(self._refreshing)
        return True

    async def _refresh_in_thread(self) -> None:
        batches: list[Locations] = []
        began = time.monotonic()
        try:
            await asyncio.get_running_loop().run_in_executor(self._readers, self._segments.news, batches)
        finally:
            self._taken_up(batches, began)
