"""Tables in Parquet files and Arrow files: how many rows they hold, and reading a range of the rows.

Parquet is read from any storage, by row groups and without holding one whole; Arrow files (the stream format, which
`datasets` keeps its data in, and the file format) from a mounted file system, where only the batches asked for are
touched. Schemas may differ from file to file. Nothing is converted here.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from cluster.errors import GristmillError
from cluster.storage import Entry, LocalStorage, Storage

BATCH_BYTES = 4 << 20
READ_AHEAD = 8 << 20
ARROW_FILE_MAGIC = b"ARROW1"


class TableUnreadable(GristmillError):
    """A file that is not the table its name says."""


@dataclass(frozen=True, slots=True)
class TableFile:
    """A table in a storage; `entry` is its name there, with size and version."""

    source: Storage
    entry: Entry
    kind: Literal["parquet", "arrow"]

    @property
    def url(self) -> str:
        return f"{self.source.url}/{self.entry.name}"


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a table that is read on its own: a Parquet row group, an Arrow batch. `bytes` as if not compressed."""

    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Span:
    """`rows` rows of a table from its row `first` on, which is row `skip` of its unit `unit` (all counted from 0)."""

    file: TableFile
    first: int
    unit: int
    skip: int
    rows: int
    bytes: int

    def batches(self) -> Iterator[Any]:
        """The rows as Arrow record batches of some BATCH_BYTES. Raises TableUnreadable."""
        read = _parquet_batches if self.file.kind == "parquet" else _arrow_batches
        skip, left = self.skip, self.rows
        for batch in read(self):
            wanted = batch.slice(skip, left)
            skip = max(skip - len(batch), 0)
            left -= len(wanted)
            if len(wanted):
                yield from _cut(wanted)
            if not left:
                return
        if left:
            raise TableUnreadable(
                f"{self.file.url}: {left:,} rows fewer than when the import began; run the same command with --fresh"
            )


def units_of(file: TableFile) -> tuple[list[Unit], Any]:
    """The units of a table in order, and its Arrow schema, without reading the rows. Raises TableUnreadable."""
    with _opened(file) as table:
        if file.kind == "arrow":
            return [Unit(len(batch), batch.nbytes) for batch in _all_batches(table)], table.schema
        groups = (table.metadata.row_group(number) for number in range(table.metadata.num_row_groups))
        return [Unit(group.num_rows, group.total_byte_size) for group in groups], table.schema_arrow


def _parquet_batches(span: Span) -> Iterator[Any]:
    with _opened(span.file) as table:
        groups = list(range(span.unit, table.metadata.num_row_groups))
        rows = max(1, min(65_536, span.rows * BATCH_BYTES // max(span.bytes, 1)))
        yield from table.iter_batches(batch_size=rows, row_groups=groups, use_threads=False)


def _arrow_batches(span: Span) -> Iterator[Any]:
    with _opened(span.file) as table:
        for number, batch in enumerate(_all_batches(table)):
            if number >= span.unit:
                yield batch


def _all_batches(table: Any) -> Iterator[Any]:
    if hasattr(table, "get_batch"):
        yield from (table.get_batch(number) for number in range(table.num_record_batches))
    else:
        yield from table


def _cut(batch: Any) -> Iterator[Any]:
    rows = max(1, min(len(batch), len(batch) * BATCH_BYTES // max(batch.nbytes, 1)))
    for start in range(0, len(batch), rows):
        yield batch.slice(start, rows)


@contextmanager
def _opened(file: TableFile) -> Iterator[Any]:
    """The open table: a ParquetFile, or a reader of Arrow batches."""
    import pyarrow as pa

    try:
        if file.kind == "parquet":
            with _parquet(file) as table:
                yield table
        else:
            with _mapped(file) as mapped:
                is_file = mapped.read(len(ARROW_FILE_MAGIC)) == ARROW_FILE_MAGIC
                mapped.seek(0)
                yield pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TableUnreadable(f"{file.url} cannot be read as {file.kind.capitalize()}: {reason}") from error


@contextmanager
def _parquet(file: TableFile) -> Iterator[Any]:
    from pyarrow import PythonFile
    from pyarrow.parquet import ParquetFile

    if isinstance(file.source, LocalStorage):
        opened: Any = file.source.local_path(file.entry.name).open("rb", buffering=0)
    else:
        opened = PythonFile(io.BufferedReader(_Ranges(file.source, file.entry), READ_AHEAD), mode="r")
    with opened, ParquetFile(opened, buffer_size=READ_AHEAD, pre_buffer=False) as table:
        yield table


def _mapped(file: TableFile) -> Any:
    import pyarrow as pa

    if not isinstance(file.source, LocalStorage):
        raise TableUnreadable(f"{file.url}: Arrow files are read from a mounted file system; copy the dataset first")
    return pa.memory_map(str(file.source.local_path(file.entry.name)))


class _Ranges(io.RawIOBase):
    """An object of a storage as a file that can be sought in."""

    def __init__(self, source: Storage, entry: Entry) -> None:
        self.source, self.entry = source, entry
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.entry.size}[whence]
        self.position = base + offset
        return self.position

    def readinto(self, buffer: Any) -> int:
        data = self.source.read_range(self.entry.name, self.position, len(buffer))
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)
