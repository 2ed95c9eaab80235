"""Segments as files in a directory, on a disk or shared by many machines.

`segments/<writer>.jsonl.zst` holds the frames, `segments/<writer>.index` the records. When a segment is first seen,
the ranges that its records do not speak of (the end that a killed writer left, or a damaged record) are searched for
frames; later only the records that were added are read. Nobody changes the files of another writer.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from actors.journal.frames import entries_in
from actors.journal.index_records import (
    RECORD,
    Location,
    Locations,
    Records,
    gaps,
    located,
    make_records,
    valid,
)
from actors.journal.segment_writer import DATA, INDEX, SegmentWriter
from actors.journal.segments import Segments, checked_run, new_writer, run_of
from cluster.storage import LocalStorage
from cluster.storage.local import explained

_FOLDER = "segments"
_AT_ONCE = 1 << 20  # index records read at once
_OPEN_FILES = 128


@dataclass(slots=True)
class _Seen:
    """How much of a segment is known: its records up to a count, and the frames found without one."""

    number: int
    size: int = -1
    records: int = 0
    recovered: NDArray[Any] = field(default_factory=lambda: np.empty(0, np.uint64))


class LocalSegments(Segments):
    """Reads all segments under the directory, and appends to one of its own, made with the first entry."""

    is_remote: ClassVar[bool] = False
    refresh_seconds: ClassVar[float] = 1.0
    commit_seconds: ClassVar[float] = 0.0

    def __init__(self, storage: LocalStorage, run: str) -> None:
        self._folder = storage.child(_FOLDER)
        self._run = checked_run(run)
        self._writers: list[str] = []  # by number
        self._seen: dict[str, _Seen] = {}
        self._own: set[str] = set()
        self._writer: SegmentWriter | None = None
        self._own_number = 0
        self._numbering = threading.Lock()  # entries are appended in a thread of their own
        self._files: dict[int, int] = {}

    def news(self, batches: list[Locations]) -> None:
        for writer, size in _index_sizes(self._folder):
            seen = self._seen.get(writer)
            if writer in self._own or (seen and seen.size == size):
                continue
            if seen is None:
                seen = _Seen(self._number(writer))
                batches += self._first_sight(writer, seen)
                self._seen[writer] = seen
            else:
                batches += (located(block, seen.number) for block in self._records(writer, seen))
            seen.size = size

    def append(self, entries: Sequence[tuple[bytes, bytes]]) -> Locations:
        if self._writer is None:
            writer = new_writer(self._run)
            self._own.add(writer)
            self._writer = SegmentWriter(self._folder, writer)
            self._own_number = self._number(writer)
        try:
            return located(self._writer.append(entries), self._own_number)
        except BaseException:
            self._abandon_writer()  # its files may end in half an entry
            raise

    def read(self, location: Location) -> bytes | None:
        try:
            with explained("read", path := self._path(self._writers[location.segment], DATA), of_reading=True):
                return os.pread(self._descriptor(location.segment, path), location.length, location.offset)
        except FileNotFoundError:
            return None

    def run_of(self, location: Location) -> str:
        return run_of(self._writers[location.segment]) or ""

    def close(self) -> None:
        self._abandon_writer()
        while self._files:
            os.close(self._files.popitem()[1])

    def _abandon_writer(self) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None

    def _number(self, writer: str) -> int:
        with self._numbering:
            self._writers.append(writer)
            return len(self._writers) - 1

    def _path(self, writer: str, ending: str) -> str:
        return os.path.join(self._folder.root, writer + ending)

    def _descriptor(self, segment: int, path: str) -> int:
        found = self._files.get(segment)
        if found is None:
            if len(self._files) >= _OPEN_FILES:
                os.close(self._files.pop(next(iter(self._files))))
            found = self._files[segment] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return found

    def _first_sight(self, writer: str, seen: _Seen) -> Iterator[Locations]:
        end = 0
        unknown: list[tuple[int, int]] = []
        for block in self._records(writer, seen):
            unknown += gaps(block, end)
            end = max(end, int((block["offset"] + block["length"]).max()))
            yield located(block, seen.number)
        recovered = self._recovered(writer, unknown, end)
        seen.recovered = recovered["offset"].copy()
        yield located(recovered, seen.number)

    def _records(self, writer: str, seen: _Seen) -> Iterator[Records]:
        """The whole records that were added; a torn or damaged end is looked at again when there is more."""
        path = self._path(writer, INDEX)
        position = seen.records
        while True:
            try:
                with explained("read", path, of_reading=True):
                    block = np.fromfile(path, RECORD, _AT_ONCE, offset=position * RECORD.itemsize)
            except FileNotFoundError:
                return
            if not len(block):
                return
            whole = np.flatnonzero(valid(block))
            if len(whole):
                seen.records = position + int(whole[-1]) + 1
                fresh = block[whole]
                yield fresh if not len(seen.recovered) else fresh[~np.isin(fresh["offset"], seen.recovered)]
            position += len(block)

    def _recovered(self, writer: str, unknown: list[tuple[int, int]], end: int) -> Records:
        """Records of the frames in the ranges that the index does not speak of, and past its end."""
        found = [
            (each.key, each.start, each.length)
            for data in _mapped(self._path(writer, DATA), end if not unknown else 0)
            for start, stop in [*unknown, (end, len(data))]
            for each in entries_in(data, start, min(stop, len(data)))
        ]
        if not found:
            return np.empty(0, RECORD)
        keys, offsets, lengths = zip(*found, strict=True)
        return make_records(keys, lengths, offsets)


def local_records(storage: LocalStorage, run: str) -> Iterator[tuple[bytes, bytes]]:
    """(key, record) of every entry in the segments of the run, whether an index speaks of it or not."""
    folder = storage.child(_FOLDER)
    for writer, _ in _index_sizes(folder):
        if run_of(writer) == run:
            for data in _mapped(str(folder.local_path(writer + DATA)), 0):
                for entry in entries_in(data, 0, len(data)):
                    yield entry.key, entry.record


def _index_sizes(folder: LocalStorage) -> list[tuple[str, int]]:
    """Every segment with the size of its index, in the order of writers; what is no segment is left out."""
    sizes: dict[str, int] = {}
    try:
        with explained("read", folder.root, of_reading=True), os.scandir(folder.root) as scan:
            for each in scan:
                stem, dot, ending = each.name.partition(".")
                if run_of(stem) and dot + ending == INDEX:
                    sizes[stem] = each.stat().st_size
                elif run_of(stem) and dot + ending == DATA:
                    sizes.setdefault(stem, 0)
    except FileNotFoundError:
        return []
    return sorted(sizes.items())


def _mapped(path: str, least: int) -> Iterator[mmap.mmap]:
    """The file mapped for reading, if it is there and longer than `least`: a `for` of one round or none."""
    try:
        with explained("read", path, of_reading=True), open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size <= least:
                return
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        return
    with data:
        yield data
