"""Reading attempts back: a run's directory, any directory of such files, or one file; local or s3://.

Rows come one at a time, in the order of runs and lines. A line that is no attempt is an error that names file and line,
never skipped: a score over what happened to be readable would look like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from actors.synthesis.attempt import Attempt
from cluster.errors import GristmillError
from cluster.shards import SUFFIXES, ChunkSize, Shard, read_chunks, suffix_of
from cluster.storage import Entry, LocalStorage, Storage, open_storage

Row = TypeVar("Row")
RUN_FILE = re.compile(r"run-([1-9][0-9]*)\.jsonl(\.zst|\.gz)?")
CHUNK = ChunkSize(1 << 20)


class UnreadableAttempts(GristmillError):
    """A place without attempts, or a line that is none; the message says where."""


def read_attempts(place: str, endpoint_url: str | None = None) -> Iterator[Attempt]:
    """Every attempt at a place. Of a run's directory only the finished files, `run-<number>.jsonl.zst`, are read.

    Raises UnreadableAttempts, and DamagedShard for a file whose bytes end early or break.
    """
    return read_rows(files_of(place, endpoint_url), Attempt)


def read_rows(files: Sequence[Shard], kind: type[Row]) -> Iterator[Row]:
    """The lines of files as structs of one kind; lines of white space are passed over."""
    decode = msgspec.json.Decoder(kind).decode
    for file in files:
        for chunk in read_chunks(file, CHUNK):
            for number, line in enumerate(chunk.lines, chunk.first_line):
                if not line.strip():
                    continue
                try:
                    row = decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise UnreadableAttempts(f"{file.url}, line {number}: this is no attempt: {error}") from None
                yield row


def files_of(place: str, endpoint_url: str | None = None) -> list[Shard]:
    """The files of attempts at a place: the file itself, a run's finished runs, or every shard in a directory."""
    if suffix_of(place):
        folder, _, name = place.rpartition("/")
        storage = open_storage(folder or ("/" if place.startswith("/") else "."), endpoint_url)
        found = [entry for entry in _top_level(storage) if entry.name == name]
        if found:
            return [_shard(storage, found[0])]
        if not _is_folder(open_storage(place, endpoint_url)):
            raise UnreadableAttempts(f"{place}: no such file")
    storage = open_storage(place, endpoint_url)
    entries = finished_runs(storage) or [entry for entry in _top_level(storage) if suffix_of(entry.name)]
    if not entries:
        raise UnreadableAttempts(
            f"{storage.url}: no attempts here; give a run's directory, which holds run-1.jsonl.zst once its first run "
            f"is finished, or a file ending in {', '.join(SUFFIXES)}"
        )
    return [_shard(storage, entry) for entry in entries]


def finished_runs(storage: Storage) -> list[Entry]:
    """The files of a run's finished runs, in the order of their numbers."""
    numbered = {int(match[1]): entry for entry in _top_level(storage) if (match := RUN_FILE.fullmatch(entry.name))}
    return [numbered[number] for number in sorted(numbered)]


def run_number(name: str) -> int:
    """The number in a run file's name."""
    match = RUN_FILE.fullmatch(name)
    if match is None:
        raise ValueError(f"{name} is no run's file")
    return int(match[1])


def _top_level(storage: Storage) -> list[Entry]:
    return [entry for entry in storage.list() if "/" not in entry.name and entry.name[0] not in "_."]


def _is_folder(storage: Storage) -> bool:
    if isinstance(storage, LocalStorage):
        return storage.local_path("").is_dir()
    return any(True for _ in storage.list())


def _shard(storage: Storage, entry: Entry) -> Shard:
    return Shard(storage, entry.name, entry.name, entry.size, entry.version)
