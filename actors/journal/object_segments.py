"""Segments as immutable packs in an object store: `packs/<writer>/<number>.jsonl.zst`, one per commit.

An object store has no append, so whatever waits goes into one object; numbers are never used twice, and a number may
be missing where a write failed. What is found under the folder and is no whole pack is ignored.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from actors.journal.frames import entries_in
from actors.journal.index_records import Location, Locations, Records, located
from actors.journal.pack import make_pack, records_of_pack
from actors.journal.segments import Segments, checked_run, new_writer, run_of
from cluster.storage import Storage

_FOLDER = "packs"
_PACK = re.compile(r"([^/]+)/[0-9]{8}\.jsonl\.zst")
_READERS = 32


class ObjectSegments(Segments):
    """Reads all packs under the storage, and writes packs of one writer."""

    is_remote: ClassVar[bool] = True
    refresh_seconds: ClassVar[float] = 10.0
    commit_seconds: ClassVar[float] = 1.0

    def __init__(self, storage: Storage, run: str) -> None:
        self._storage = storage.child(_FOLDER)
        self._writer = new_writer(checked_run(run))
        self._written = 0
        self._packs: list[str] = []  # by number
        self._known: set[str] = set()
        self._looking, self._numbering = threading.Lock(), threading.Lock()

    def news(self, batches: list[Locations]) -> None:
        with self._looking, ThreadPoolExecutor(_READERS) as threads:
            fresh = [(name, size) for name, size in _packs(self._storage) if name not in self._known]
            for (name, _), records in zip(fresh, threads.map(self._records, fresh), strict=True):
                if records is not None and name not in self._known:
                    batches.append(located(records, self._number(name)))
                self._known.add(name)

    def append(self, entries: Sequence[tuple[bytes, bytes]]) -> Locations:
        name = f"{self._writer}/{self._written:08d}.jsonl.zst"
        self._written += 1
        pack, records = make_pack(entries)
        # Before it is there, so that no look at the store meanwhile takes it for another's.
        self._known.add(name)
        try:
            self._storage.publish(name, pack)
        except BaseException:
            self._known.discard(name)  # it may be there for all that, and would then be found
            raise
        return located(records, self._number(name))

    def read(self, location: Location) -> bytes | None:
        try:
            return self._storage.read_range(self._packs[location.segment], location.offset, location.length)
        except FileNotFoundError:
            return None

    def run_of(self, location: Location) -> str:
        return run_of(self._packs[location.segment].partition("/")[0]) or ""

    def close(self) -> None:
        """There is nothing to let go of."""

    def _number(self, name: str) -> int:
        with self._numbering:
            self._packs.append(name)
            return len(self._packs) - 1

    def _records(self, pack: tuple[str, int]) -> Records | None:
        name, size = pack
        try:
            return records_of_pack(size, functools.partial(self._storage.read_range, name))
        except FileNotFoundError:
            return None


def object_records(storage: Storage, run: str) -> Iterator[tuple[bytes, bytes]]:
    """(key, record) of every entry in the packs of the run; one pack at a time is in memory."""
    folder = storage.child(_FOLDER)
    for name, _ in _packs(folder):
        if run_of(name.partition("/")[0]) != run:
            continue
        data = folder.read(name)
        for entry in entries_in(data, 0, len(data)):
            yield entry.key, entry.record


def _packs(folder: Storage) -> Iterator[tuple[str, int]]:
    for entry in folder.list():
        found = _PACK.fullmatch(entry.name)
        if found and run_of(found[1]):
            yield entry.name, entry.size
