"""JSONL shards: finding them in a dataset, reading them as chunks of whole lines, and encoding chunks.

A shard is cut on LF alone, at the first line end at or after the chunk size, so where a chunk begins depends on
the shard's bytes and the settings and on nothing else. Each chunk is encoded as an independent zstd frame or
gzip member: concatenated in order they are a valid file. Lines are opaque bytes here; nothing parses JSON.
"""

from __future__ import annotations

import gzip
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Protocol

from cluster.errors import GristmillError
from cluster.storage import Entry, LocalStorage, Storage, StorageError, open_storage

SPLITS = ("train", "valid", "test")
SUFFIXES = (".jsonl", ".jsonl.zst", ".jsonl.gz")
UTF8_BOM = b"\xef\xbb\xbf"
ZSTD_LEVEL = 3
READ_SIZE = 1 << 18
# A line longer than this is a damaged file (lost line ends) rather than a row, and would not fit a worker.
MAX_LINE_BYTES = 512 << 20
MAX_TAIL_BYTES = 16 << 20  # as much of an incomplete last line is kept for the quarantine


class DatasetError(GristmillError):
    """A dataset that cannot be used as it is; the message says where and what to do."""


class DamagedShard(GristmillError):
    """A shard whose bytes end or break before its last row; `line` is the last whole line that was read.

    `place` is where it lies: one of several datasets may have another shard of the name.
    """

    def __init__(self, shard: str, line: int, reason: str, tail: bytes = b"", place: str = "") -> None:
        super().__init__(shard, line, reason, tail, place)
        self.shard, self.line, self.reason, self.tail, self.place = shard, line, reason, tail, place

    def __str__(self) -> str:
        return f"shard {self.place or self.shard}, after line {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ChunkSize:
    """How much of a shard one chunk holds: bytes of uncompressed lines and, for slow stages, at most `rows`."""

    bytes: int = 4 << 20
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard of a run: where it is read, and the name under which its output is published.

    `name` is unique within the run and starts with the split where there is one. `version` is the storage's
    etag or modification time.
    """

    source: Storage
    path: str
    name: str
    size: int
    version: str

    @property
    def url(self) -> str:
        return f"{self.source.url}/{self.path}"

    @property
    def divisible(self) -> bool:
        """Whether several workers may each read it and take every k-th chunk."""
        return True

    def chunks(self, size: ChunkSize) -> Iterator[RawChunk]:
        return read_chunks(self, size)


class Source(Protocol):
    """What a pass reads: a shard, or something that yields chunks like one (a range of buckets, a Parquet row group).

    `name` is the output's name relative to its directory, `size` what progress and balance are counted in.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def divisible(self) -> bool: ...

    def chunks(self, size: ChunkSize) -> Iterator[RawChunk]: ...


@dataclass(frozen=True)
class RawChunk:
    """A run of whole lines: `index` within the shard, `first_line` counted from 1; the very last may lack its LF."""

    index: int
    first_line: int
    payload: bytes
    read: int  # bytes of the stored (compressed) shard consumed so far

    @cached_property
    def lines(self) -> list[bytes]:
        """The lines without their LF; a CR before it stays, as part of the row's bytes."""
        return lines_of(self.payload)

    @property
    def next_line(self) -> int:
        """The number of the first line after a chunk that ends with an LF."""
        split = self.__dict__.get("lines")
        return self.first_line + (self.payload.count(b"\n") if split is None else len(split))


def split_of(name: str) -> str | None:
    """The split a shard's name belongs to, or None in a dataset without splits."""
    head = name.split("/", 1)[0]
    return head if head in SPLITS and "/" in name else None


def suffix_of(name: str) -> str | None:
    """`.jsonl`, `.jsonl.zst` or `.jsonl.gz`, or None for a file that is no shard."""
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def shards_of(urls: list[str], endpoint_url: str | None = None) -> list[Shard]:
    """All shards of one or several datasets, in an order that depends on names alone.

    With several datasets every name gets its dataset's label as a folder, after the split, so that equal relative
    paths cannot collide. Raises DatasetError for a missing directory and for one that holds no shard.
    """
    labels = labels_of(urls)
    found: list[Shard] = []
    for url, label in zip(urls, labels, strict=True):
        source = open_storage(url, endpoint_url)
        shards = [_shard(source, entry, label) for entry in _entries(source)]
        if not shards:
            raise DatasetError(
                f"{url}: no shards here; a dataset holds {{train,valid,test}}/**/*.jsonl[.zst|.gz], "
                "or such files directly"
            )
        found += shards
    if len({shard.name for shard in found}) < len(found):
        raise DatasetError(f"shards of {' and '.join(urls)} would get the same name: rename one of the folders")
    return found


def _entries(source: Storage) -> list[Entry]:
    if isinstance(source, LocalStorage) and not source.local_path("").is_dir():
        what = "is a file, not a dataset directory" if source.local_path("").exists() else "no such directory"
        raise DatasetError(f"{source.url}: {what}")
    entries = [
        entry
        for entry in source.list()
        if suffix_of(entry.name) and not any(part[0] in "_." for part in PurePosixPath(entry.name).parts)
    ]
    split = [entry for entry in entries if split_of(entry.name)]
    # Files beside the split folders (a README's sample, say) are not part of a split dataset.
    return sorted(split or entries, key=lambda entry: entry.name.encode("utf-8", "surrogateescape"))


def _shard(source: Storage, entry: Entry, label: str | None) -> Shard:
    name = entry.name
    if label is not None:
        split = split_of(name)
        name = f"{split}/{label}/{name.split('/', 1)[1]}" if split else f"{label}/{name}"
    return Shard(source, entry.name, name, entry.size, entry.version)


def labels_of(urls: list[str]) -> list[str | None]:
    """A folder name for each of several datasets, from its own name and unique; None for a single one."""
    if len(urls) == 1:
        return [None]
    stems = [url.rstrip("/").rsplit("/", 1)[-1].lstrip("_.") or "dataset" for url in urls]
    taken = set(stems)
    labels: list[str | None] = []
    for stem in stems:
        label = stem
        if stems.count(stem) > 1:
            label = next(name for n in count(1) if (name := f"{stem}-{n:02d}") not in taken)
            taken.add(label)
        labels.append(label)
    return labels


class _Meter:
    """A file that counts the bytes read through it; Arrow calls `read`, `close` and `closed`."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.count, self.failure = file, 0, None

    def read(self, size: int = -1) -> bytes:
        try:
            data = self.file.read(size)
        except (OSError, StorageError) as error:
            self.failure = error  # Arrow would report it as its own; keep the one that names the place
            raise
        self.count += len(data)
        return data

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.file.close()

    @property
    def closed(self) -> bool:
        return self.file.closed

    failure: Exception | None


def read_chunks(shard: Shard, size: ChunkSize) -> Iterator[RawChunk]:
    """The chunks of a shard in order, in memory one at a time.

    A UTF-8 byte order mark at the start is the file's, not the first row's, and is left out. Raises DamagedShard
    where the stored bytes end early, are corrupt, or hold a line beyond MAX_LINE_BYTES; the rows before it were
    yielded, and the exception carries the incomplete last line. Raises DatasetError if the file has another length
    than when the shard was found.
    """
    index, line, pending = 0, 1, bytearray()
    searched = last_end = 0
    reader = _Reader(shard)
    at_start = True
    for block in reader.blocks():
        pending += block
        if at_start and (len(pending) >= len(UTF8_BOM) or index):
            at_start = False
            if not index and pending.startswith(UTF8_BOM):
                del pending[: len(UTF8_BOM)]
                searched = 0
        while end := _cut(pending, size, searched):
            yield (chunk := RawChunk(index, line, bytes(memoryview(pending)[:end]), reader.stored))
            del pending[:end]
            index, line, searched, last_end = index + 1, chunk.next_line, 0, 0
        last_end = pending.rfind(b"\n", searched) + 1 or last_end
        searched = len(pending)
        if searched - last_end > MAX_LINE_BYTES:
            reader.damage = f"no line end within {MAX_LINE_BYTES >> 20} MiB"
            break
    if reader.damage is None:
        if pending:
            yield RawChunk(index, line, bytes(pending), reader.stored)
        return
    if last_end:
        yield RawChunk(index, line, bytes(pending[:last_end]), reader.stored)
    last_line = line - 1 + pending.count(b"\n", 0, last_end)
    tail = bytes(pending[last_end : last_end + MAX_TAIL_BYTES])
    raise DamagedShard(shard.name, last_line, reader.damage, tail, shard.url)


class _Reader:
    """The uncompressed bytes of a shard. `stored` counts the stored bytes read, `damage` says why they end early."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.stored = self.delivered = 0
        self.damage: str | None = None

    def blocks(self) -> Iterator[bytes]:
        try:
            yield from self._blocks(READ_SIZE)
        except _Corrupt:
            # Arrow fails a read as a whole; what it had decoded before the damage comes out byte by byte.
            try:
                yield from self._blocks(1)
            except _Corrupt as error:
                self.damage = _plain(error.cause, self.stored, self.shard.size)

    def _blocks(self, step: int) -> Iterator[bytes]:
        """What has not been delivered yet, `step` bytes at a time."""
        position = 0
        with self.shard.source.open(self.shard.path) as raw:
            meter = _Meter(raw)
            stream = _decompressed(meter, self.shard.path)
            while True:
                try:
                    block = stream.read(min(READ_SIZE, self.delivered - position) or step)
                except OSError as error:
                    self.stored = meter.count
                    if meter.failure is not None:
                        raise meter.failure from error
                    raise _Corrupt(error) from error
                self.stored = meter.count
                if not block:
                    break
                position += len(block)
                if position > self.delivered:
                    self.delivered = position
                    yield block
        if self.stored != self.shard.size:
            raise DatasetError(
                f"{self.shard.url} has {self.stored:,} bytes now and had {self.shard.size:,} when this run listed it: "
                "let whatever writes it finish, then run again with --fresh or another --output-dir"
            )


class _Corrupt(Exception):
    """The decompressor's complaint about the stored bytes, told from an error of reading them."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _cut(pending: bytearray, size: ChunkSize, searched: int) -> int:
    """Where the chunk at the start of `pending` ends, or 0 while more bytes are needed to tell."""
    end = 0
    if len(pending) >= size.bytes:
        end = pending.find(b"\n", max(size.bytes - 1, searched)) + 1
    if size.rows is None:
        return end
    position = 0
    for _ in range(size.rows):
        position = pending.find(b"\n", position, end or len(pending)) + 1
        if not position:
            return end
    return position


def _plain(error: OSError, read: int, size: int) -> str:
    if "Truncated" in str(error):
        return f"the compressed stream ends early ({read:,} of {size:,} stored bytes read)"
    return f"the compressed stream is corrupt near stored byte {read:,} ({error})"


def _decompressed(file: _Meter, name: str) -> Any:
    if not name.endswith((".zst", ".gz")):
        return file
    import pyarrow as pa

    # Arrow's stream, unlike zstandard's reader, says so when the input ends inside a frame.
    codec = "zstd" if name.endswith(".zst") else "gzip"
    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), codec)


_of_thread = threading.local()


def _compressor() -> Any:
    """The thread's own: two threads must not use one at once, and a committer has several."""
    try:
        return _of_thread.compressor
    except AttributeError:
        import zstandard

        _of_thread.compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)
        return _of_thread.compressor


def encode(payload: bytes, name: str) -> bytes:
    """The payload as one frame of the codec that the name's ending asks for. Frames concatenate; nothing makes none."""
    if not payload:
        return b""
    if name.endswith(".zst"):
        return bytes(_compressor().compress(payload))
    if name.endswith(".gz"):
        return gzip.compress(payload, compresslevel=6, mtime=0)
    return payload


def encoded_nothing(name: str) -> bytes:
    """A shard without rows: what the usual tools accept as an empty file of its codec (they refuse one of no bytes)."""
    if name.endswith(".zst"):
        return bytes(_compressor().compress(b""))
    return gzip.compress(b"", mtime=0) if name.endswith(".gz") else b""


def lines_of(payload: bytes) -> list[bytes]:
    """The lines of a chunk without their LF; a CR before it stays, as part of the row's bytes."""
    lines = payload.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def is_utf8(payload: bytes) -> bool:
    """Whether the bytes are UTF-8, by Arrow's validator: forty times as fast as decoding, and it allocates nothing."""
    if payload.isascii():
        return True
    import pyarrow as pa

    ends = pa.py_buffer(struct.pack("=qq", 0, len(payload)))
    text = pa.Array.from_buffers(pa.large_utf8(), 1, [None, ends, pa.py_buffer(payload)])
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
