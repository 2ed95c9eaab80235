"""The interface of a storage: objects under relative POSIX names, each published whole or not at all.

A reader sees an object as it was or as it is, never a part of it, whatever is killed meanwhile. Listings
come in the bytewise order of names on every backend and leave out what is still being written. Missing
objects raise `FileNotFoundError`, everything else a `StorageError` whose one line names the thing, the
place and the way out. It does not append, lock or rename, and knows nothing of what the objects hold.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

from cluster.errors import GristmillError
from cluster.storage.temporaries import temporary_name
from cluster.storage.walk import BrokenTree, walk

BLOCK = 8 << 20  # bytes moved at once; larger gains nothing measurable on disk or network


class StorageError(GristmillError):
    """A storage that cannot do what was asked; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing; `version` changes when its content does (etag, or modification time in ns)."""

    name: str
    size: int
    version: str


class Storage(ABC):
    """A directory or prefix. Immutable, picklable, safe to share between threads."""

    is_local: ClassVar[bool]

    @property
    @abstractmethod
    def url(self) -> str:
        """Where this is, as `open_storage` takes it: an absolute path or s3://bucket/prefix."""

    @abstractmethod
    def child(self, name: str) -> Storage:
        """The storage rooted at a folder of this one; the folder need not exist."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every object under the folder `prefix`, in bytewise order of name; none if it is missing.

        Names are relative to this storage (not to `prefix`). Links are followed; a link to nowhere is an
        error, since it would silently shorten a dataset.
        """

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """A buffered stream over the object, to be read from front to back and closed."""

    def read(self, name: str) -> bytes:
        """The whole object."""
        with self.open(name) as stream:
            return stream.read()

    @abstractmethod
    def read_range(self, name: str, start: int, length: int) -> bytes:
        """At most `length` bytes from offset `start`; fewer, or none, past the end."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Size of the object in bytes."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether the object is there; a folder is no object."""

    @abstractmethod
    def publish(self, name: str, data: bytes | Iterable[bytes], durable: bool = True) -> None:
        """Write or replace an object atomically, in bounded memory.

        `durable`: on return it survives a power failure (always so on S3). Errors raised by the iterable pass
        through as they are, and nothing is published.
        """

    @abstractmethod
    def publish_once(self, name: str, data: bytes) -> bool:
        """Create the object, durably, unless it exists: of any number of racing writers one gets True."""

    def publish_file(self, name: str, path: Path) -> None:
        """Publish the content of a local file."""
        with path.open("rb", buffering=0) as source:
            self.publish(name, blocks_of(source))

    def publish_tree(self, name: str, directory: Path, marker: str = "card.json") -> None:
        """Publish every file of a local directory under the folder `name`, its `marker` file last.

        A marker of an earlier tree is removed first: who sees the marker sees a whole tree. Other files
        already there stay.
        """
        folder = self.child(name) if name else self
        try:
            names = [entry[0] for entry in walk(os.path.abspath(directory))]
        except BrokenTree as error:
            raise StorageError(str(error)) from error
        if not names:
            raise StorageError(f"{printable(str(directory))} holds no files to publish to {printable(folder.url)}")
        folder.delete(marker)
        for member in sorted(names, key=lambda each: each == marker):
            folder.publish_file(member, directory / member)

    @abstractmethod
    def fetch(self, name: str, path: Path) -> None:
        """Copy the object to a local file, which appears whole or not at all; parents are created."""

    @abstractmethod
    def localize(self, name: str = "") -> AbstractContextManager[Path]:
        """A local path with the tree or object `name`: itself when local, else a copy removed on exit."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove an object; a missing one is fine."""

    @abstractmethod
    def delete_tree(self, prefix: str) -> None:
        """Remove everything under the folder `prefix`; a missing one is fine, and links are not followed."""

    @abstractmethod
    def sweep(self) -> int:
        """Remove what killed writers left behind, never what a live one is writing; how many there were."""

    def check_writable(self) -> None:
        """Raise a `StorageError` unless objects can be created and deleted here. Creates the directory."""
        probe = temporary_name("writable")
        first = self.publish_once(probe, bytes(4096))
        try:
            second = self.publish_once(probe, b"")
        finally:
            self.delete(probe)
        if not first or second:
            raise StorageError(
                f"{printable(self.url)}: this store ignores 'create only if absent' (If-None-Match), "
                "on which resuming rests; use another place"
            )


def checked(name: str, what: str = "name") -> str:
    """The name itself, or a `StorageError` if it could mean another place than a child of the root."""
    parts = name.split("/")
    encodable = not any("\ud800" <= each <= "\udfff" for each in name)
    if "" in parts or "." in parts or ".." in parts or "\0" in name or not encodable:
        raise StorageError(f"{printable(name)!r} is no relative {what} in a storage (no '..', '//' or NUL; UTF-8)")
    return name


def missing(url: str) -> FileNotFoundError:
    """The error for an object that is not there."""
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url)


def printable(text: str) -> str:
    """Text for a one-line message: control characters and the like as escapes."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def blocks(data: bytes | Iterable[bytes], size: int = BLOCK) -> Iterator[bytes]:
    """The data in pieces of at least `size` bytes (the last may be smaller), large pieces as they came."""
    if isinstance(data, bytes | bytearray | memoryview):
        yield data  # type: ignore[misc]
        return
    pending: list[bytes] = []
    held = 0
    for piece in data:
        pending.append(piece)
        held += len(piece)
        if held >= size:
            yield pending[0] if len(pending) == 1 else b"".join(pending)
            pending, held = [], 0
    if pending:
        yield b"".join(pending)


def blocks_of(source: BinaryIO, size: int = BLOCK) -> Iterator[bytes]:
    """What is left of a stream, `size` bytes at a time."""
    while block := source.read(size):
        yield block
