"""Chunks in work side by side, without Ray: the same bytes as one after the other, halts in good order, resuming."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.async_worker import REPORT_CHUNKS, AsyncShardWorker
from cluster.errors import Halt
from cluster.ledger import Pass, Run, Tally, merged
from cluster.resources import Resources
from cluster.rows import Failure, Rows
from cluster.shards import ChunkSize, Shard, encode, shards_of
from cluster.stage import AsyncStage, Flow, ShardSink, Stage
from cluster.storage import open_storage
from cluster.worker import Report, WorkItem, commit

CHUNKS = ChunkSize(rows=4)


class Slow(AsyncStage):
    """Upper-cases rows after a pause that `pause` gives for the number of the chunk's first row; fails rows with "bad"."""

    def __init__(self, rows_at_once: int = 100, pause: Callable[[int], float] = lambda first: 0.0) -> None:
        self.rows_at_once, self.pause = rows_at_once, pause
        self.working = self.most = 0
        self.started = 0
        self.order: list[int] = []
        self.halt_at: set[int] = set()

    async def start(self) -> None:
        self.started += 1

    async def process_async(self, rows: Rows) -> Rows:
        first = rows.numbers[0]
        self.working += len(rows)
        self.most = max(self.most, self.working)
        await asyncio.sleep(self.pause(first))
        self.working -= len(rows)
        self.order.append(first)
        if first in self.halt_at:
            raise Halt(f"no more at {first}")
        return rows.settle([Failure("bad") if b"bad" in line else line.upper() for line in rows.lines])


def make(root: Path, shards: int = 3, rows: int = 41) -> tuple[list[Shard], Pass]:
    for number in range(shards):
        path = root / f"in/s{number}.jsonl.zst"
        path.parent.mkdir(exist_ok=True)
        content = b"".join(b'{"n": %d, "w": "%s"}\n' % (n, b"bad" if n == 7 else b"row") for n in range(rows))
        path.write_bytes(encode(content, path.name))
    found = shards_of([str(root / "in")])
    run = Run(open_storage(str(root / "out")), "verb", {}, found, {})
    run.open()
    return found, run.step("write")


def worker_of(step: Pass, *stages: Stage) -> AsyncShardWorker:
    return AsyncShardWorker(step, list(stages), ShardSink(), CHUNKS)


def finish(step: Pass, shards: list[Shard], reports: list[Report]) -> Tally:
    totals = {report.shard: report.total for report in reports if report.total is not None}
    return merged(commit(step, shard.name, totals[shard.name] or 0) for shard in shards)


def outputs(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "out").glob("*.zst"))}


def items(shards: list[Shard]) -> list[WorkItem]:
    return [WorkItem(shard) for shard in shards]


def expected(tmp_path: Path) -> dict[str, bytes]:
    root = tmp_path / "quiet"
    root.mkdir()
    shards, step = make(root)
    finish(step, shards, list(worker_of(step, Slow()).work_all(items(shards))))
    return outputs(root)


def test_chunks_overlap_across_shards_and_the_output_is_in_order(tmp_path: Path) -> None:
    shards, step = make(tmp_path)
    stage = Slow(pause=lambda first: 0.05 if first % 8 == 1 else 0.0)
    tally = finish(step, shards, list(worker_of(step, stage).work_all(items(shards))))
    assert stage.started == 1
    assert stage.most > 41  # rows of more than one shard were in work at once
    assert stage.order != sorted(stage.order)
    assert (tally.rows_in, tally.rows_out, tally.quarantined) == (123, 120, 3)
    assert outputs(tmp_path) == expected(tmp_path)


def test_no_more_rows_are_in_work_than_the_stage_takes(tmp_path: Path) -> None:
    shards, step = make(tmp_path)
    stage = Slow(rows_at_once=10, pause=lambda first: 0.002)
    list(worker_of(step, stage).work_all(items(shards)))
    assert 4 < stage.most < 10 + CHUNKS.rows  # type: ignore[operator]


def test_reports_come_in_the_order_of_the_shard_however_chunks_end(tmp_path: Path) -> None:
    shards, step = make(tmp_path, 1, rows=4 * REPORT_CHUNKS * 2 + 3)
    backwards = Slow(1000, lambda first: 0.1 if first < 30 else 0.0)
    reports = list(worker_of(step, backwards).work_all(items(shards)))
    assert [report.chunks for report in reports] == [REPORT_CHUNKS, REPORT_CHUNKS, 1]
    assert sum(report.stored_bytes for report in reports) == shards[0].size
    again = list(worker_of(step, Slow()).work_all(items(shards)))
    assert [(r.chunks, r.tally, r.total) for r in again] == [(r.chunks, r.tally, r.total) for r in reports]
    assert sum(report.reused for report in again) == 2 * REPORT_CHUNKS + 1


def test_a_halt_finishes_what_is_in_work_and_the_next_run_does_the_rest(tmp_path: Path) -> None:
    shards, step = make(tmp_path)
    halting = Slow(rows_at_once=1000, pause=lambda first: 0.0 if first == 9 else 0.05)
    halting.halt_at = {9}
    with pytest.raises(Halt, match="no more at 9"):
        list(worker_of(step, halting).work_all(items(shards)))
    assert halting.working == 0
    done = sum(len(step.staged(shard.name)) for shard in shards)
    assert done == len(halting.order) - halting.order.count(9) > 10
    again = Slow()
    tally = finish(step, shards, list(worker_of(step, again).work_all(items(shards))))
    assert len(again.order) == 33 - done
    assert tally.balanced and tally.rows_in == 123
    assert outputs(tmp_path) == expected(tmp_path)


def test_what_is_committed_is_not_done_again(tmp_path: Path) -> None:
    shards, step = make(tmp_path)
    reports = list(worker_of(step, Slow()).work_all(items(shards)))
    commit(step, shards[1].name, reports[1].total or 0)
    again = Slow()
    recalled = list(worker_of(step, again).work_all(items(shards)))
    assert again.order == []
    assert [report.total for report in recalled] == [report.total for report in reports]


def test_striped_items_share_a_shard(tmp_path: Path) -> None:
    shards, step = make(tmp_path, 1)
    reports = [
        report for offset in range(3) for report in worker_of(step, Slow()).work_all([WorkItem(shards[0], offset, 3)])
    ]
    assert sum(report.chunks for report in reports) == 11
    finish(step, shards, reports)
    assert outputs(tmp_path)["s0.jsonl.zst"] == expected(tmp_path)["s0.jsonl.zst"]


def test_a_stage_that_is_not_asynchronous_may_come_before_and_after(tmp_path: Path) -> None:
    class Mark(Stage):
        def process(self, rows: Rows) -> Rows:
            return rows.settle([line + b" " for line in rows.lines])

    shards, step = make(tmp_path, 1)
    finish(step, shards, list(worker_of(step, Mark(), Slow(), Mark()).work_all(items(shards))))
    import zstandard

    with zstandard.open(tmp_path / "out/s0.jsonl.zst", "rb") as stream:
        assert all(line.endswith(b"}  \n") for line in stream.read().splitlines(keepends=True))


def test_an_asynchronous_stage_does_not_share_a_flow_with_other_resources() -> None:
    class Elsewhere(Stage):
        resources = Resources(cpus=0.5)

    with pytest.raises(ValueError, match="asynchronous stage"):
        Flow([Slow(), Elsewhere()], ShardSink()).pools()
