"""Files under a local directory, in the bytewise order of their names, as an object store lists them.

Symbolic links are followed; a link back to a directory that is being walked is left out, and a link to
nowhere is an error. Devices, sockets and pipes are no data and left out, and so are unfinished files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from cluster.storage.temporaries import is_temporary


class BrokenTree(Exception):
    """Something in the directory cannot be listed; the message is one line."""


def walk(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """(name relative to `root`, stat) of every regular file; nothing if `root` is no directory."""
    try:
        top = os.stat(root)
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(top.st_mode):
        return
    levels = [(_members(root, ""), (top.st_dev, top.st_ino))]
    while levels:
        found = next(levels[-1][0], None)
        if found is None:
            levels.pop()
            continue
        name, status = found
        if not stat.S_ISDIR(status.st_mode):
            yield name, status
            continue
        identity = (status.st_dev, status.st_ino)
        if all(identity != ancestor for _, ancestor in levels):
            levels.append((_members(root, name + "/"), identity))


def _members(root: str, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Files and directories directly in `root/prefix`; a directory sorts as "name/", as on S3."""
    try:
        with os.scandir(os.path.join(root, prefix)) as scan:
            found = sorted(_sort_key(each) for each in scan)
    except FileNotFoundError:
        return  # removed since its parent was listed
    except OSError as error:
        raise BrokenTree(f"cannot list {os.path.join(root, prefix)!r}: {error.strerror}") from error
    # Only sorted names are kept, so that a directory of a million files fits in little memory.
    folder = os.path.join(os.fsencode(root), prefix.encode(), b"")
    for encoded in found:
        path = folder + encoded
        if is_temporary(os.fsdecode(encoded)):
            continue
        try:
            name = prefix + encoded.rstrip(b"/").decode()
        except UnicodeDecodeError:
            raise BrokenTree(f"the file name {path!r} is not UTF-8; rename the file") from None
        status = _status(path)
        if status is not None:
            yield name, status


def _sort_key(entry: os.DirEntry[str]) -> bytes:
    try:
        is_directory = entry.is_dir()
    except OSError:
        is_directory = False  # a link to itself, which _status reports
    return os.fsencode(entry.name) + b"/" * is_directory


def _status(path: bytes) -> os.stat_result | None:
    """stat of a regular file or directory behind the path, None for anything else."""
    try:
        status = os.stat(path)
    except OSError as error:
        shown = os.fsdecode(path)
        if os.path.islink(path):
            raise BrokenTree(
                f"the link {shown!r} leads nowhere ({error.strerror}); remove it or restore its target"
            ) from error
        if isinstance(error, FileNotFoundError):
            return None  # removed since the directory was listed
        raise BrokenTree(f"cannot read {shown!r}: {error.strerror}") from error
    return status if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) else None
