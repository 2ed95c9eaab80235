"""The one segment that this process appends to: frames into one file, their index records into the other beside it.

First the frames, then the records, then both are synced: whenever it is killed, the frames that the records do not
mention yet stand at the end, where a reader finds them. A failed write leaves a torn end; the writer is then done for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from actors.journal.frames import encode
from actors.journal.index_records import Records, make_records, moved
from cluster.storage import LocalStorage
from cluster.storage.local import explained

DATA, INDEX = ".jsonl.zst", ".index"


class SegmentWriter:
    """Creates both files, durably, in a folder that need not exist."""

    def __init__(self, folder: LocalStorage, writer: str) -> None:
        self._end = 0
        self._files: list[tuple[int, str]] = []
        try:
            for ending in (DATA, INDEX):
                folder.publish(writer + ending, b"")  # makes the names and their directories survive a power failure
                path = str(folder.local_path(writer + ending))
                with explained("write", path):
                    self._files.append((os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC), path))
        except BaseException:
            self.close()
            raise

    def append(self, entries: Sequence[tuple[bytes, bytes]]) -> Records:
        """Write the entries and sync; the records of where they lie. Raises StorageError."""
        frames = encode(entries)
        records = moved(make_records([key for key, _ in entries], [len(frame) for frame in frames]), self._end)
        data = b"".join(frames)
        for (descriptor, path), content in zip(self._files, (data, records.tobytes()), strict=True):
            with explained("write", path):
                _write_whole(descriptor, content)
        for descriptor, path in self._files:
            with explained("write", path):
                os.fdatasync(descriptor)
        self._end += len(data)
        return records

    def close(self) -> None:
        """Close the files; everything in them that counts is synced already."""
        for descriptor, _ in self._files:
            with suppress(OSError):
                os.close(descriptor)
        self._files.clear()


def _write_whole(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
