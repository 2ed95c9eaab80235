"""A storage in a directory of a mounted file system.

An object is written into a hidden temporary file beside it and renamed over its name, so a killed writer
leaves nothing but a temporary file, which listings leave out and `sweep` removes. Creating once rests on
hard links. Works on any POSIX file system that keeps its promises about rename and link, NFS included.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, ClassVar

from cluster.storage.interface import (
    BLOCK,
    Entry,
    Storage,
    StorageError,
    blocks,
    blocks_of,
    checked,
    missing,
    printable,
)
from cluster.storage.temporaries import is_abandoned, temporary_name
from cluster.storage.walk import BrokenTree, walk

_BUFFER = 1 << 20  # reads of more than this go past the buffer, straight into the caller's bytes
_WORTH_A_CALL = 1 << 18  # bytes; smaller pieces are joined, and stay in the cache while they are
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_NO_DIRECTORY_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS)
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)


@dataclass(frozen=True)
class LocalStorage(Storage):
    """The storage in the directory `root`, an absolute path; it is created by the first publication."""

    root: str
    is_local: ClassVar[bool] = True

    @property
    def url(self) -> str:
        return self.root

    def local_path(self, name: str = "") -> Path:
        """The path of an object or folder of this storage."""
        return Path(self._path(name) if name else self.root)

    def child(self, name: str) -> LocalStorage:
        return replace(self, root=self._path(name.rstrip("/"))) if name else self

    def list(self, prefix: str = "") -> Iterator[Entry]:
        folder = checked(prefix.rstrip("/"), "folder") + "/" if prefix else ""
        try:
            for name, status in walk(os.path.join(self.root, folder)):
                yield Entry(folder + name, status.st_size, str(status.st_mtime_ns))
        except BrokenTree as error:
            raise StorageError(str(error)) from error

    def open(self, name: str) -> BinaryIO:
        path = self._path(name)
        with explained("read", path, of_reading=True):
            return open(path, "rb", buffering=_BUFFER)

    def read_range(self, name: str, start: int, length: int) -> bytes:
        if start < 0 or length < 0:
            raise ValueError(f"no byte range: start {start}, length {length}")
        path = self._path(name)
        with explained("read", path, of_reading=True), open(path, "rb", buffering=0) as source:
            source.seek(start)
            return b"".join(blocks_of_exactly(source, length))

    def size(self, name: str) -> int:
        path = self._path(name)
        with explained("read", path, of_reading=True):
            status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise missing(path)
        return status.st_size

    def exists(self, name: str) -> bool:
        try:
            self.size(name)
        except FileNotFoundError:
            return False
        return True

    def publish(self, name: str, data: bytes | Iterable[bytes], durable: bool = True) -> None:
        target = self._path(name)
        with _unfinished(target, data, durable) as temporary, explained("write", target):
            os.replace(temporary, target)
            if durable:
                _make_name_durable(target)

    def publish_once(self, name: str, data: bytes) -> bool:
        target = self._path(name)
        if os.path.isfile(target):
            return False
        with _unfinished(target, data, durable=True) as temporary, explained("create", target):
            if not _link(temporary, target):
                return False
            _make_name_durable(target)
            return True

    def fetch(self, name: str, path: Path) -> None:
        beside = LocalStorage(os.path.abspath(path.parent))
        with self.open(name) as source:
            beside.publish(path.name, blocks_of(source), durable=False)

    @contextmanager
    def localize(self, name: str = "") -> Iterator[Path]:
        path = self.local_path(name.rstrip("/"))
        with explained("read", str(path), of_reading=True):
            path.stat()
        yield path

    def delete(self, name: str) -> None:
        path = self._path(name)
        if not os.path.lexists(path):
            return
        with explained("delete", path), suppress(FileNotFoundError):
            os.unlink(path)

    def delete_tree(self, prefix: str) -> None:
        if prefix:
            with explained("delete", path := self._path(prefix.rstrip("/"))):
                _remove_tree(path)
            return
        if self.root == "/":
            raise StorageError("refusing to delete everything under /; name a folder")
        # The root itself stays: it may be a mount point, or a link that the user made.
        with explained("delete", self.root), suppress(FileNotFoundError), os.scandir(self.root) as scan:
            for each in scan:
                _remove_tree(each.path)

    def sweep(self) -> int:
        removed = 0
        for folder, _, files in os.walk(self.root):
            for base in files:
                path = os.path.join(folder, base)
                with explained("delete", path), suppress(FileNotFoundError):
                    if base.endswith(".part") and is_abandoned(base, os.lstat(path).st_mtime):
                        os.unlink(path)
                        removed += 1
        return removed

    def _path(self, name: str) -> str:
        return os.path.join(self.root, checked(name))


@contextmanager
def explained(action: str, path: str, of_reading: bool = False) -> Iterator[None]:
    """Turn an `OSError` from the block into a `StorageError`, or into a `FileNotFoundError` when reading."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise  # boto3's timeouts are OSErrors too
        if of_reading and error.errno in _ABSENT:
            raise missing(path) from error
        raise StorageError(f"cannot {action} {printable(path)}: {_reason(error, path)}") from error


def blocks_of_exactly(source: BinaryIO, length: int) -> Iterator[bytes]:
    """The next `length` bytes of an unbuffered stream, fewer if it ends."""
    while length > 0 and (block := source.read(min(length, BLOCK))):
        length -= len(block)
        yield block


def _reason(error: OSError, path: str) -> str:
    said = error.strerror or type(error).__name__
    if error.errno in _NO_SPACE:
        place = printable(os.path.dirname(path))
        return f"no space left on {place}: {said}; free space and run the same command again; what is finished is kept"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{said}; change its permissions or use another directory"
    if error.errno == errno.EROFS:
        return f"{said}; use another directory"
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY):
        return f"{said}; a file stands where a directory is needed or the other way round; move it away"
    if error.errno == errno.ENAMETOOLONG:
        return f"{said}; shorten it"
    return f"{said}; check the disk and its mount, then run the same command again"


@contextmanager
def _unfinished(target: str, data: bytes | Iterable[bytes], durable: bool) -> Iterator[str]:
    """The path of a complete temporary file beside `target`, removed on exit if it is still there."""
    directory, base = os.path.split(target)
    with explained("write", target):
        _make_directories(directory)
    temporary = os.path.join(directory, temporary_name(base))
    try:
        _write(temporary, target, data, durable)
        yield temporary
    finally:
        with suppress(OSError):  # it must not hide why the writing failed
            os.unlink(temporary)


def _write(temporary: str, target: str, data: bytes | Iterable[bytes], durable: bool) -> None:
    with explained("write", target):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        for block in blocks(data, _WORTH_A_CALL):  # outside of `explained`: the iterable's own errors pass as they are
            with explained("write", target):
                _write_whole(descriptor, block)
        if durable:
            with explained("write", target):
                os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            os.close(descriptor)
        raise
    with explained("write", target):
        os.close(descriptor)  # where network file systems report a full disk


def _write_whole(descriptor: int, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _link(temporary: str, target: str) -> bool:
    try:
        os.link(temporary, target)
    except FileExistsError:
        if os.path.isdir(target):
            raise
        # An NFS server whose answer got lost is asked again, and finds the link that it made itself.
        return os.path.samefile(temporary, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        raise StorageError(
            f"cannot create {printable(target)}: this file system has no hard links, which resuming needs; "
            "use another directory"
        ) from error
    return True


def _make_directories(directory: str) -> None:
    """Create the directory and its parents. They become durable with the first durable object below them."""
    if not os.path.isdir(directory):
        os.makedirs(directory, exist_ok=True)


# The directories, by device and inode, whose names this process has made durable in their parents.
_durable: set[tuple[int, int]] = set()


def _make_name_durable(path: str) -> None:
    """Make the name of a new object survive a power failure, and those of the directories on the way to it."""
    directory = os.path.dirname(path)
    _sync_directory(directory)
    while (status := os.stat(directory)) and (key := (status.st_dev, status.st_ino)) not in _durable:
        parent = os.path.dirname(directory)
        if parent != directory:
            _sync_directory(parent)
        _durable.add(key)
        directory = parent


def _sync_directory(directory: str) -> None:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # a directory may be writable without being readable
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
    finally:
        os.close(descriptor)


def _remove_tree(path: str) -> None:
    """Remove a file, a link (not what it leads to) or a directory, patient with those who still write."""
    for attempt in range(5):
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        except OSError as error:
            if not os.path.lexists(path):
                return
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT) or attempt == 4:
                raise
        else:
            return
