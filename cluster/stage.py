"""The contract of a stage, of the sink at the end, and the flow that they make.

A stage is a plain picklable class. It runs without Ray in a unit test: `setup()` once, then `process(rows)` per
chunk. What it returns for a chunk must depend on the chunk and on its own configuration alone, never on which
actor ran it, when, or after which other chunk: a chunk may be processed again after a failure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

from cluster.ledger import Tally
from cluster.resources import Resources
from cluster.rows import Rows
from cluster.shards import ChunkSize, encode


class Stage:
    """One step over the rows of a chunk. Adjacent stages with equal `resources` share one actor pool."""

    resources: Resources = Resources(cpus=1)
    # Whether the rows that it makes hold measured times: their size is then never the same twice.
    measures: bool = False

    def setup(self) -> None:
        """Load what has to be held open (a model, a compiled program), once per actor."""

    def process(self, rows: Rows) -> Rows:
        """Change the rows in place (see `Rows.settle`) and return them."""
        raise NotImplementedError


class AsyncStage(Stage):
    """A step that waits for somebody else (a model, a server), so that many chunks are in work at once in one actor.

    What is promised and asked of a stage holds here too; `start` and `process_async` run on one event loop, which is
    theirs for the actor's life. `rows_at_once` is how many rows an actor takes in before it waits for some to be done.
    A chunk that raises `Halt` is left for a later run, and the others that are under way are finished.
    """

    rows_at_once: int = 1000

    async def start(self) -> None:
        """Like `setup`, which comes before it, for what belongs to the event loop."""

    async def process_async(self, rows: Rows) -> Rows:
        """Change the rows in place (see `Rows.settle`) and return them."""
        raise NotImplementedError


class Sink(Protocol):
    """What is kept of a processed chunk. `commits` says whether finished shards are published as files."""

    commits: bool

    def setup(self) -> None: ...

    def encode(self, rows: Rows) -> bytes: ...


class ShardSink:
    """Writes the rows as they are to a shard of the same name, in the codec of its ending."""

    commits = True

    def setup(self) -> None:
        """Nothing to hold open."""

    def encode(self, rows: Rows) -> bytes:
        return encode(b"\n".join((*rows.lines, b"")), rows.shard) if rows.lines else b""


class Summarizer(Stage):
    """A sink for a pass that only looks: keeps a few bytes per chunk, which a reduction then reads in order."""

    commits = False

    def encode(self, rows: Rows) -> bytes:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Flow:
    """What is done to every chunk, and what is kept of it."""

    stages: list[Stage]
    sink: Sink
    chunk_size: ChunkSize = field(default_factory=ChunkSize)
    skip_damaged: bool = False

    def pools(self) -> list[tuple[Resources, list[Stage]]]:
        """Adjacent stages with equal resources, together: a row is read and written once per pool.

        Raises ValueError where an asynchronous stage shares a flow with stages of other resources.
        """
        grouped = groupby(self.stages, key=lambda stage: stage.resources)
        pools = [(resources, list(stages)) for resources, stages in grouped] or [(Resources(cpus=1), [])]
        if self.is_async and len(pools) > 1:
            raise ValueError("an asynchronous stage reads and writes for itself: give all stages its resources")
        return pools

    @property
    def is_async(self) -> bool:
        return any(isinstance(stage, AsyncStage) for stage in self.stages)


@dataclass(slots=True)
class Progress:
    """How far a pass is, as its display shows it. Bytes are stored bytes of the input."""

    step: str
    shards: int
    stored_bytes: int
    shards_done: int = 0
    stored_bytes_done: int = 0
    tally: Tally = field(default_factory=Tally)
