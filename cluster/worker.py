"""The work on shards, without Ray: read, cut, process, stage; skip what is staged already; commit what is whole.

One `ShardWorker` lives in each actor of a pool. It can be killed between any two instructions: a chunk is staged
atomically or not at all, and the next attempt starts from the first chunk that is not there.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from cluster.isolation import WorkerLost, process_isolated
from cluster.ledger import Pass, StagedChunk, Tally, merged, quarantine_lines
from cluster.rows import Failure, Rejected, Rows
from cluster.shards import ChunkSize, DamagedShard, RawChunk, Source, encoded_nothing, is_utf8
from cluster.stage import Sink, Stage

# An attempt on the same chunk that ends without a trace for the third time is laid to the chunk, not to the machine.
SUSPECT_AFTER = 2
GIVE_UP_AFTER = 20
REPORT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A shard, or every `stride`-th chunk of it beginning at `offset`."""

    shard: Source
    offset: int = 0
    stride: int = 1


@dataclass(slots=True)
class Report:
    """What an item has done since its last report. `chunks` counts the item's, `total` the shard's (at its end)."""

    shard: str
    chunks: int = 0
    tally: Tally = field(default_factory=Tally)
    reused: int = 0  # chunks that an earlier run had finished
    stored_bytes: int = 0  # of the shard's stored bytes, this item's share
    total: int | None = None
    damage: str | None = None


@dataclass(slots=True)
class Shipment:
    """A chunk on its way from one pool to the next; `stored_bytes` is its share of the shard's stored bytes."""

    rows: Rows
    index: int
    bytes_in: int
    stored_bytes: int


class ShardWorker:
    """Processes work items for one pass with one set of stages and one sink.

    `pool` tells the pools of a flow apart. `wary` is set in a worker that stands in for one that died: it notes
    every chunk that it takes from another pool before it touches it.
    """

    def __init__(
        self, step: Pass, stages: list[Stage], sink: Sink, size: ChunkSize, skip_damaged: bool = False, pool: int = 0
    ) -> None:
        self.step, self.stages, self.sink, self.size = step, stages, sink, size
        self.skip_damaged, self.pool = skip_damaged, pool
        self.wary = False
        self.stages_ready = self.sink_ready = False

    def work(self, item: WorkItem) -> Iterator[Report]:
        """Do an item, chunk by chunk. Where reports fall depends on the item alone, so a retried item repeats them."""
        if self._is_committed(item):
            yield from self._recall(item)
            return
        staged = self.step.staged(item.shard.name)
        first = next(i for i in range(item.offset, 1 << 62, item.stride) if i not in staged)
        place = f"{self._attempts(item)}/{first}"
        with self._attempt(place, f"chunk {first} of shard {item.shard.name}", SUSPECT_AFTER) as suspected:
            yield from self._work(item, staged, suspect=first if suspected else None)
        self.step.output.delete_tree(self._attempts(item))

    def _work(self, item: WorkItem, staged: set[int], suspect: int | None) -> Iterator[Report]:
        report, reported, total = Report(item.shard.name), 0, 0
        try:
            for chunk in item.shard.chunks(self.size):
                total = chunk.index + 1
                if chunk.index % item.stride == item.offset:
                    self._do(item.shard, chunk, staged, report, isolated=chunk.index == suspect)
                    report.stored_bytes += (chunk.read - reported) // item.stride
                    reported = chunk.read
                    if self._is_due(report):
                        yield report
                        report = Report(item.shard.name)
        except DamagedShard as damage:
            report.damage = str(damage)
            if self.skip_damaged:
                total = self._quarantine_tail(item, damage, total, report)
        report.stored_bytes += (item.shard.size - reported) // item.stride
        report.total = total
        yield report

    def _is_due(self, report: Report) -> bool:
        return report.tally.bytes_in >= REPORT_BYTES or self.size.rows is not None

    def _is_committed(self, item: WorkItem) -> bool:
        """Whether the item's chunks are published and gone: a worker that dies has all items of its task done again."""
        return self.sink.commits and self.step.record(item.shard.name) is not None

    def _recall(self, item: WorkItem) -> Iterator[Report]:
        """As many reports as `work` made of an item that is committed. Their content is in the ledger already."""
        report, total = Report(item.shard.name), 0
        with suppress(DamagedShard):
            for chunk in item.shard.chunks(self.size):
                total = chunk.index + 1
                if chunk.index % item.stride == item.offset:
                    report.chunks += 1
                    report.tally.bytes_in += len(chunk.payload)
                    if self._is_due(report):
                        yield report
                        report = Report(item.shard.name)
        recorded = self.step.record(item.shard.name)
        report.total = recorded[0] if recorded else total
        yield report

    def ship(self, item: WorkItem) -> Iterator[Report | Shipment]:
        """Read an item for the pools that follow: chunks that are not staged, processed by this pool's stages."""
        committed = self._is_committed(item)
        staged, reported, total = self.step.staged(item.shard.name), 0, 0
        last = Report(item.shard.name)
        try:
            for chunk in item.shard.chunks(self.size):
                total = chunk.index + 1
                if chunk.index % item.stride != item.offset:
                    continue
                share, reported = (chunk.read - reported) // item.stride, chunk.read
                tally = self.step.read_tally(item.shard.name, chunk.index) if chunk.index in staged else None
                if tally is not None or committed:
                    yield Report(item.shard.name, 1, tally or Tally(), reused=1, stored_bytes=share)
                else:
                    rows = self.process_watched(rows_of(item.shard.name, chunk), chunk.index)
                    yield Shipment(rows, chunk.index, len(chunk.payload), share)
        except DamagedShard as damage:
            last.damage = str(damage)
            if self.skip_damaged:
                total = total + 1 if committed else self._quarantine_tail(item, damage, total, last)
        last.stored_bytes, last.total = (item.shard.size - reported) // item.stride, total
        yield last

    def receive(self, shipment: Shipment) -> Report:
        """Process a shipped chunk by this pool's stages, and stage it."""
        rows = self.process_watched(shipment.rows, shipment.index)
        tally = self.finish(rows, shipment.index, shipment.bytes_in)
        return Report(shipment.rows.shard, 1, tally, stored_bytes=shipment.stored_bytes)

    def _do(self, shard: Source, chunk: RawChunk, staged: set[int], report: Report, isolated: bool) -> None:
        tally = self.step.read_tally(shard.name, chunk.index) if chunk.index in staged else None
        if tally is None:
            rows = rows_of(shard.name, chunk)
            rows = process_isolated(self.stages, rows) if isolated else self.process(rows)
            tally = self.finish(rows, chunk.index, len(chunk.payload))
        else:
            report.reused += 1
        report.chunks += 1
        report.tally.add(tally)

    def process(self, rows: Rows) -> Rows:
        """Take the rows through the stages, which are set up at the first chunk that needs them."""
        if not self.stages_ready:
            for stage in self.stages:
                stage.setup()
            self.stages_ready = True
        for stage in self.stages:
            rows = stage.process(rows)
        return rows

    def process_watched(self, rows: Rows, index: int) -> Rows:
        """`process`, but a chunk at which workers keep dying is taken apart."""
        if not self.wary:
            return self.process(rows)
        place = f"{self.step.folder}/attempts/{rows.shard}/pool-{self.pool}/{index}"
        # The attempt that made this worker wary was not noted.
        with self._attempt(place, f"chunk {index} of shard {rows.shard}", SUSPECT_AFTER - 1) as suspected:
            rows = process_isolated(self.stages, rows) if suspected else self.process(rows)
        self.step.output.delete_tree(place)
        return rows

    @contextmanager
    def _attempt(self, place: str, what: str, suspect_after: int) -> Iterator[bool]:
        """Note that something is attempted; says whether earlier attempts at it ended without a trace too often.

        An attempt that ends with an error has left a trace, and is not counted against the chunk.
        """
        output = self.step.output
        attempts = sum(1 for _ in output.list(place))
        if attempts >= GIVE_UP_AFTER:
            output.delete_tree(place)
            raise WorkerLost(
                f"the worker died {attempts} times at {what}, outside any row: look into the worker logs (out of "
                "memory?), then run the same command again"
            )
        mark = f"{place}/{uuid.uuid4().hex}"
        output.publish(mark, b"", durable=False)
        try:
            yield attempts >= suspect_after
        except (Exception, GeneratorExit):
            output.delete(mark)
            raise

    def finish(self, rows: Rows, index: int, bytes_in: int) -> Tally:
        """Encode and stage a processed chunk, and return its account."""
        rows.rejected.sort(key=lambda row: row.line)
        tally = Tally(
            rows_in=len(rows) + rows.filtered + len(rows.rejected),
            rows_out=len(rows),
            filtered=rows.filtered,
            quarantined=len(rows.rejected),
            bytes_in=bytes_in,
            bytes_out=sum(map(len, rows.lines)) + len(rows),
            counters=rows.counters,
        )
        rejected = quarantine_lines(rows.shard, rows.rejected) if rows.rejected else b""
        if not self.sink_ready:
            self.sink.setup()
            self.sink_ready = True
        chunk = StagedChunk(tally, rejected, self.sink.encode(rows))
        # What is committed is verified and made durable then; what is kept is read as it lies here.
        self.step.stage(rows.shard, index, chunk, durable=not self.sink.commits)
        return tally

    def _quarantine_tail(self, item: WorkItem, damage: DamagedShard, total: int, report: Report) -> int:
        """Stage one more chunk, without rows, that quarantines what could not be read."""
        if total % item.stride == item.offset:
            tail = Rejected(damage.line + 1, damage.tail, damage.reason)
            rows = Rows(item.shard.name, [], [], rejected=[tail])
            report.tally.add(self.finish(rows, total, len(damage.tail)))
            report.chunks += 1
        return total + 1

    def _attempts(self, item: WorkItem) -> str:
        return f"{self.step.folder}/attempts/{item.shard.name}/{item.offset}-of-{item.stride}"


def rows_of(shard: str, chunk: RawChunk) -> Rows:
    """The rows of a chunk. Blank lines are no rows; a line that is not UTF-8 is quarantined here."""
    lines = chunk.lines
    numbers = list(range(chunk.first_line, chunk.first_line + len(lines)))
    if not all(map(bytes.strip, lines)):
        filled = [position for position, line in enumerate(lines) if line.strip()]
        lines, numbers = [lines[i] for i in filled], [numbers[i] for i in filled]
    rows = Rows(shard, lines, numbers)
    if not is_utf8(chunk.payload):
        rows.settle([_utf8_or_failure(line) for line in lines])
    return rows


def _utf8_or_failure(line: bytes) -> bytes | Failure:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return Failure(f"not UTF-8: byte 0x{line[error.start]:02x} at byte {error.start + 1} of the line")
    return line


def commit(step: Pass, shard: str, chunks: int, publish: bool = True) -> Tally:
    """Publish a whole shard and its quarantine, record it, and drop its chunks. Idempotent, and safe to race.

    A shard without a quarantined row has no quarantine file. `publish=False` is for a pass that only looks: its
    chunks stay, and only what it quarantined is published.
    """
    recorded = step.record(shard)
    tally = recorded[1] if recorded is not None else _commit(step, shard, chunks, publish)
    if publish:
        step.drop_chunks(shard)
    return tally


def _commit(step: Pass, shard: str, chunks: int, publish: bool) -> Tally:
    try:
        accounts = _published(step, shard, chunks) if publish else [step.read_account(shard, i) for i in range(chunks)]
    except FileNotFoundError:
        # A worker of an earlier, killed driver may have committed this shard under our hands.
        if (recorded := step.record(shard)) is not None:
            return recorded[1]
        step.check_current()
        raise
    rejected = [part for _, part in accounts if part]
    if rejected:
        step.output.publish(f"_quarantine/{shard}", rejected)
    tally = merged(tally for tally, _ in accounts)
    step.finish_shard(shard, chunks, tally)
    return tally


def _published(step: Pass, shard: str, chunks: int) -> list[tuple[Tally, bytes]]:
    """Publish the payloads of a shard's chunks as one file; returns each chunk's account and quarantined rows."""
    accounts: list[tuple[Tally, bytes]] = []

    def payloads() -> Iterator[bytes]:
        empty = True
        for index in range(chunks):
            chunk = step.read(shard, index)
            accounts.append((chunk.tally, chunk.rejected))
            empty = empty and not chunk.payload
            yield chunk.payload
        if empty:
            yield encoded_nothing(shard)
        step.check_current()  # the last moment at which nothing is published yet

    step.output.publish(shard, payloads())
    return accounts
