"""The worker of a pool whose stages wait for somebody else: many chunks of many items in work at once.

Chunks finish in any order, and each is staged when it is done; reports come in the order of the shard. Chunk names,
staging and commit are those of `ShardWorker`, and so is what a killed worker leaves behind.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from cluster.errors import Halt
from cluster.ledger import Tally
from cluster.overlap import Overlap
from cluster.rows import Rows
from cluster.shards import DamagedShard, RawChunk
from cluster.stage import AsyncStage
from cluster.worker import GIVE_UP_AFTER, Report, ShardWorker, WorkItem, rows_of

# A report costs the driver tens of milliseconds, and chunks of slow stages are small.
REPORT_CHUNKS = 32

_starting = threading.Lock()
Done = tuple[Tally, bool]  # a chunk's account, and whether an earlier run had made it


@dataclass(slots=True)
class _Begun:
    """An item in work, and its next report."""

    item: WorkItem
    report: Report
    reported: int = 0  # stored bytes of the shard that are in reports or on their way there


@dataclass(slots=True)
class _Line:
    """What was handed to the loop and has not been reported, in order: a chunk's future, or None, and what follows."""

    steps: deque[tuple[Future[Done] | None, Callable[[], Iterator[Report]]]] = field(default_factory=deque)

    @property
    def head(self) -> Future[Done] | None:
        return self.steps[0][0] if self.steps else None

    def ripe(self) -> Iterator[Report]:
        """The reports of what is done, up to the first that is not."""
        while self.steps and (self.steps[0][0] is None or self.steps[0][0].done()):
            yield from self.steps.popleft()[1]()

    def rest(self) -> Iterator[Report]:
        """The reports of everything, waiting for it."""
        while self.steps:
            yield from self.steps.popleft()[1]()

    def settle(self) -> None:
        """Wait until nothing is in work any more, whatever becomes of it."""
        for future, _ in self.steps:
            if future is not None:
                future.exception()


class AsyncShardWorker(ShardWorker):
    """Processes groups of items, with the chunks of several in work at once. Threads may share one."""

    overlap: Overlap | None = None

    def work_all(self, items: Sequence[WorkItem]) -> Iterator[Report]:
        """Do the items. Where a stage halts the run, what else is in work is finished and staged before that is told."""
        place, what = f"{self._attempts(items[0])}/group", f"the rows from shard {items[0].shard.name} on"
        with self._attempt(place, what, GIVE_UP_AFTER):
            overlap, line = self._ready(), _Line()
            try:
                for item in items:
                    yield from self._begin(item, overlap, line)
                yield from line.rest()
            except Halt:
                line.settle()
                raise
        self.step.output.delete_tree(self._attempts(items[0]))

    def _ready(self) -> Overlap:
        """The loop, with the stages set up on it."""
        with _starting:
            if self.overlap is None:
                waiting = [stage for stage in self.stages if isinstance(stage, AsyncStage)]
                overlap = Overlap(min(stage.rows_at_once for stage in waiting))
                for stage in self.stages:
                    stage.setup()
                for stage in waiting:
                    overlap.run(stage.start())
                self.sink.setup()
                self.sink_ready, self.overlap = True, overlap
            return self.overlap

    def _begin(self, item: WorkItem, overlap: Overlap, line: _Line) -> Iterator[Report]:
        if self._is_committed(item):
            reports = list(self._recall(item))
            line.steps.append((None, lambda: iter(reports)))
            return
        staged, begun, total = self.step.staged(item.shard.name), _Begun(item, Report(item.shard.name)), 0
        damage = None
        try:
            for chunk in item.shard.chunks(self.size):
                total = chunk.index + 1
                if chunk.index % item.stride == item.offset:
                    yield from self._hand_in(begun, chunk, chunk.index in staged, overlap, line)
        except DamagedShard as found:
            damage = found
        line.steps.append((None, lambda: self._end(begun, total, damage)))

    def _hand_in(
        self, begun: _Begun, chunk: RawChunk, is_staged: bool, overlap: Overlap, line: _Line
    ) -> Iterator[Report]:
        """Put a chunk to work as soon as there is room, and report what is done meanwhile."""
        yield from line.ripe()
        while not overlap.has_room():
            overlap.wait(line.head)
            yield from line.ripe()
        share = (chunk.read - begun.reported) // begun.item.stride
        begun.reported = chunk.read
        # A staged chunk is read, not worked on; it takes a place all the same, so that not all are read at once.
        rows = chunk.payload.count(b"\n") or 1
        future = overlap.begin(rows, self._do_async(begun.item.shard.name, chunk, is_staged))
        line.steps.append((future, lambda: self._take(begun, future, share)))

    def _take(self, begun: _Begun, future: Future[Done], share: int) -> Iterator[Report]:
        tally, is_reused = future.result()
        report = begun.report
        report.chunks += 1
        report.reused += is_reused
        report.stored_bytes += share
        report.tally.add(tally)
        if self._is_due(report):
            yield report
            begun.report = Report(report.shard)

    def _end(self, begun: _Begun, total: int, damage: DamagedShard | None) -> Iterator[Report]:
        report, item = begun.report, begun.item
        if damage is not None:
            report.damage = str(damage)
            if self.skip_damaged:
                total = self._quarantine_tail(item, damage, total, report)
        report.stored_bytes += (item.shard.size - begun.reported) // item.stride
        report.total = total
        yield report

    def _is_due(self, report: Report) -> bool:
        return report.chunks >= REPORT_CHUNKS

    async def _do_async(self, shard: str, chunk: RawChunk, is_staged: bool) -> Done:
        loop = asyncio.get_running_loop()
        if is_staged:
            tally = await loop.run_in_executor(None, self.step.read_tally, shard, chunk.index)
            if tally is not None:
                return tally, True
        rows = rows_of(shard, chunk)
        for stage in self.stages:
            rows = await stage.process_async(rows) if isinstance(stage, AsyncStage) else stage.process(rows)
        return await loop.run_in_executor(None, self._finish_chunk, rows, chunk), False

    def _finish_chunk(self, rows: Rows, chunk: RawChunk) -> Tally:
        return self.finish(rows, chunk.index, len(chunk.payload))
