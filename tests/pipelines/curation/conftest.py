"""A pass over a small dataset without Ray: what a reduction reads, made by the worker that makes it in a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from cluster.ledger import Chunks, Pass, Run, merged
from cluster.shards import ChunkSize, encode, shards_of
from cluster.stage import Sink, Stage
from cluster.storage import open_storage
from cluster.worker import ShardWorker, WorkItem

Scan = Callable[..., tuple[Pass, list[Chunks]]]


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    """A function from shards (name → lines), stages and a sink to the pass and its chunks, some rows to a chunk."""

    def scan(
        shards: Mapping[str, Sequence[bytes]], stages: list[Stage], sink: Sink, rows: int = 3
    ) -> tuple[Pass, list[Chunks]]:
        for name, lines in shards.items():
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(b"".join(line + b"\n" for line in lines), name))
        found = shards_of([str(tmp_path / "in")])
        run = Run(open_storage(str(tmp_path / "out")), "verb", {}, found, {})
        run.open()
        step = run.step("scan")
        worker = ShardWorker(step, stages, sink, ChunkSize(rows=rows))
        for shard in found:
            reports = list(worker.work(WorkItem(shard)))
            step.finish_shard(shard.name, reports[-1].total or 0, merged(report.tally for report in reports))
        return step, [Chunks(shard.name, (step.record(shard.name) or (0,))[0]) for shard in found]

    return scan
