"""What a journal asks of the place where its entries lie, and how writers are named.

A segment belongs to one writer, named `<run>-<random>`: one journal object of one process, and nobody else ever writes
to it. That is why no lock is needed anywhere.
"""

from __future__ import annotations

import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from actors.journal.index_records import Location, Locations

_RUN = re.compile(r"[A-Za-z0-9]+")
_WRITER = re.compile(r"([A-Za-z0-9]+)-[0-9a-f]{16}")


class Segments(ABC):
    """The segments of all writers, of which this process reads all and writes one.

    `refresh_seconds` is the least time between two looks at what others wrote, `commit_seconds` between two commits.
    """

    is_remote: ClassVar[bool]
    refresh_seconds: ClassVar[float]
    commit_seconds: ClassVar[float]

    @abstractmethod
    def news(self, batches: list[Locations]) -> None:
        """Append what others wrote since the last call, which an error does not take back.

        What one call finds comes in the order of writers' names, and of offsets within one writer. Blocks.
        """

    @abstractmethod
    def append(self, entries: Sequence[tuple[bytes, bytes]]) -> Locations:
        """Write (key, record) pairs durably; blocks. After an error the next call begins a new segment."""

    @abstractmethod
    def read(self, location: Location) -> bytes | None:
        """The bytes there, or None if they are gone; blocks."""

    @abstractmethod
    def run_of(self, location: Location) -> str:
        """The run that wrote what is there."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files."""


def new_writer(run: str) -> str:
    """A name for a writer of this run that nobody else has."""
    return f"{run}-{secrets.token_hex(8)}"


def checked_run(run: str) -> str:
    """The run's identity itself, or a ValueError if it could not be told from the rest of a writer's name."""
    if not _RUN.fullmatch(run):
        raise ValueError(f"{run!r} is no identity of a run: letters and digits")
    return run


def run_of(writer: str) -> str | None:
    """The run of a writer; None if this is no writer's name."""
    found = _WRITER.fullmatch(writer)
    return found[1] if found else None
