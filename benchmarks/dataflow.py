"""The data plane against a bare pool of processes doing the same work on the same shards.

The work is whitespace normalization of the raw line and recompression. The pool reads, works and writes whole shards
with multiprocessing, keeps nothing of what it did, and cannot be continued; the dataflow stages, commits and accounts
for every row. Both are run in turn, several times. Steady state leaves out the time to the first row; the whole is
printed too.

    python -m benchmarks.dataflow --megabytes 1600 --shards 16 --repeat 3
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import zstandard

from cluster.rows import Rows
from cluster.stage import Stage

BLANKS = re.compile(rb"[ \t]+")
CHUNK = 4 << 20


class CollapseBlanks(Stage):
    """The work: runs of blanks to one, on the raw line. Notes when its first row was done."""

    def __init__(self, notes: str) -> None:
        self.notes, self.noted = notes, False

    def process(self, rows: Rows) -> Rows:
        if not self.noted:
            BLANKS.sub(b" ", rows.lines[0])
            self.noted = True
            Path(self.notes, f"{time.time()}-{os.getpid()}").touch()
        return rows.settle([BLANKS.sub(b" ", line) for line in rows.lines])


def documents(budget: int) -> list[bytes]:
    """Rows of real text: the Python sources of the interpreter and its packages."""
    from pipelines.curation.python_sources import python_sources

    rows: list[bytes] = []
    size = 0
    for source in python_sources(20_000):
        from cluster.shards import ChunkSize

        for chunk in source.chunks(ChunkSize()):
            rows += chunk.payload.splitlines(keepends=True)
            size += len(chunk.payload)
        if size > budget:
            break
    return rows


def make_shards(folder: Path, megabytes: int, shards: int, rows: list[bytes]) -> None:
    (folder / "train").mkdir(parents=True)
    compressor = zstandard.ZstdCompressor(level=3)
    position = 0
    for number in range(shards):
        with open(folder / "train" / f"{number:03d}.jsonl.zst", "wb") as file, compressor.stream_writer(file) as out:
            written = 0
            while written < megabytes * 1_000_000 // shards:
                row = rows[position % len(rows)]
                position += 7
                out.write(row)
                written += len(row)


def bare_shard(arguments: tuple[str, str]) -> float:
    """One shard by one process of the pool; returns when its first rows were done."""
    source, target = arguments
    first = 0.0
    decompressor, compressor = zstandard.ZstdDecompressor(), zstandard.ZstdCompressor(level=3)
    with open(source, "rb") as file, open(target, "wb") as out, compressor.stream_writer(out) as writer:
        reader = decompressor.stream_reader(file, read_across_frames=True)
        rest = b""
        while block := reader.read(CHUNK):
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            writer.write(b"\n".join([BLANKS.sub(b" ", line) for line in lines] + [b""]))
            first = first or time.time()
        if rest:
            writer.write(BLANKS.sub(b" ", rest) + b"\n")
    return first


def run_bare(source: Path, target: Path, workers: int) -> dict[str, float]:
    (target / "train").mkdir(parents=True)
    shards = sorted((source / "train").iterdir())
    began = time.time()
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        work = [(str(shard), str(target / "train" / shard.name)) for shard in shards]
        first = min(pool.map(bare_shard, work, chunksize=1))
    return {"total": time.time() - began, "first": first - began}


def run_dataflow(source: Path, target: Path, workers: int) -> dict[str, float]:
    """In a process of its own, so that imports and Ray's start are counted."""
    command = [sys.executable, "-m", "benchmarks.dataflow", "--inner", str(source), str(target), str(workers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def inner(source: str, target: str, workers: int) -> None:
    """The dataflow's side: from before the first import to the end."""
    began = time.time()
    from cluster.ledger import Run
    from cluster.session import connect
    from cluster.shards import shards_of
    from cluster.stage import Flow, Progress, ShardSink
    from cluster.storage import open_storage

    marks: dict[str, float] = {}
    reports: list[tuple[float, int]] = []
    with connect(None, workers) as session:
        marks["connected"] = time.time() - began
        from cluster.dataflow import run_pass

        run = Run(open_storage(target), "benchmark", {}, shards_of([source]), {})
        run.open()

        def watch(progress: Progress) -> None:
            if progress.tally.bytes_in > (reports[-1][1] if reports else 0):
                reports.append((time.time() - began, progress.tally.bytes_in))

        notes = tempfile.mkdtemp(prefix="gristmill-")
        run_pass(session, run, run.step("write"), Flow([CollapseBlanks(notes)], ShardSink()), run.shards, watch)
        marks["total"] = time.time() - began
        marks["first row"] = min(float(note.name.split("-")[0]) for note in Path(notes).iterdir()) - began
        shutil.rmtree(notes)
    marks["ended"] = time.time() - began
    # From where every worker has reported once to where the last has: between these all of them worked.
    (start, done), (end, everything) = reports[min(workers, len(reports)) - 1], reports[-1]
    marks["steady"] = (everything - done) / (end - start)
    print(json.dumps(marks))


def same(one: Path, other: Path) -> bool:
    """Whether both hold the same rows, shard by shard."""
    for shard in sorted((one / "train").iterdir()):
        both = (Path(root, "train", shard.name) for root in (one, other))
        texts = [
            zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True).read() for path in both
        ]
        if texts[0] != texts[1]:
            return False
    return True


def measure(folder: Path, megabytes: int, shards: int, workers: int, repeat: int, rows: list[bytes]) -> dict[str, Any]:
    source = folder / f"source-{shards}"
    make_shards(source, megabytes, shards, rows)
    bare, flow = [], []
    for number in range(repeat):
        for kind, runs, runner in (("bare", bare, run_bare), ("flow", flow, run_dataflow)):
            os.sync()  # neither pays for what the other left to be written
            runs.append(runner(source, folder / f"{kind}-{shards}-{number}", workers))
        assert same(folder / f"bare-{shards}-{number}", folder / f"flow-{shards}-{number}"), "the outputs differ"
        for kind in ("bare", "flow"):
            shutil.rmtree(folder / f"{kind}-{shards}-{number}")
    rate_flow = statistics.median(run["steady"] for run in flow)
    rate_bare = megabytes * 1e6 / statistics.median(run["total"] - run["first"] for run in bare)
    return {
        "shards": shards,
        "megabytes": megabytes,
        "bare MB/s": round(rate_bare / 1e6, 1),
        "dataflow MB/s": round(rate_flow / 1e6, 1),
        "steady ratio": round(rate_flow / rate_bare, 3),
        "connected s": round(statistics.median(run["connected"] for run in flow), 2),
        "first row s": round(statistics.median(run["first row"] for run in flow), 2),
        "whole ratio": round(
            statistics.median(r["total"] for r in bare) / statistics.median(r["total"] for r in flow), 3
        ),
        "whole s": round(statistics.median(run["ended"] for run in flow), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1600)
    parser.add_argument("--shards", type=int, nargs="+", default=[16, 1])
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--inner", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inner:
        inner(chosen.inner[0], chosen.inner[1], int(chosen.inner[2]))
        return
    rows = documents(200_000_000)
    with tempfile.TemporaryDirectory(prefix="gristmill-") as name:
        results = [
            measure(Path(name), chosen.megabytes, shards, chosen.workers, chosen.repeat, rows)
            for shards in chosen.shards
        ]
    for result in results:
        print(json.dumps(result))
    if len(results) > 1:
        first, last = results[0], results[-1]
        ratio = last["dataflow MB/s"] / first["dataflow MB/s"]
        print(f"{last['shards']} shard(s) against {first['shards']}: {ratio:.2f} of the speed")


if __name__ == "__main__":
    main()
