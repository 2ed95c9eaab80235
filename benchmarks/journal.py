"""The request journal with many entries: seconds to open, memory, microseconds to find, and entries put per second.

A journal of synthetic entries is written by the journal's own encoders into eight segments: records of 70 bytes,
every hundredth of 1.5 KB (`--entries` are both together). A fresh process opens it and looks up random keys: short
records, long ones, and keys that are not there. The files are in the page cache, since they were just written. Then
1,000 putters at once put records of 1 KB, and a plain loop writes the same numbers of bytes, commit by commit, into one
file with os.write and fdatasync, which is as fast as the disk can be; the ratio is what is left of that. What this does
not measure is an object store.

    python -m benchmarks.journal [--entries 10000000] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from actors.journal.index_records import Locations
from actors.journal.journal import Journal
from actors.journal.local_segments import LocalSegments
from actors.journal.segment_writer import SegmentWriter
from actors.journal.segments import new_writer
from cluster.storage import LocalStorage

RUN = "benchmark"
SEGMENTS = 8
BATCH = 50_000
LONG_EVERY = 100
LOOKUPS = 100_000
PUTTERS, PUTS_EACH = 1_000, 50
WORDS = [f"{'bdfglmnprst'[n % 11]}{'aeiou'[n % 5]}{n:x}" for n in range(2_000)]


def key_of(number: int) -> bytes:
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=16).digest()


def record_of(size: int, number: int) -> bytes:
    """An answer of words that repeat as little as those of a text do."""
    words = random.Random(number).choices(WORDS, k=size // 5)
    return orjson.dumps({"text": " ".join(words)[: size - 60], "finish_reason": "stop", "number": number})


def entries_of(segment: int, count: int, long_records: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for number in range(segment, count, SEGMENTS):
        if number // SEGMENTS % LONG_EVERY == 0:
            yield key_of(number), long_records[number % len(long_records)]
        else:
            yield key_of(number), b'{"text":"answer %d","finish_reason":"stop","model":"synthetic"}' % number


def build(folder: Path, count: int) -> None:
    long_records = [record_of(1_500, number) for number in range(100)]
    for segment in range(SEGMENTS):
        writer = SegmentWriter(LocalStorage(str(folder)).child("segments"), new_writer(RUN))
        batch: list[tuple[bytes, bytes]] = []
        for entry in entries_of(segment, count, long_records):
            batch.append(entry)
            if len(batch) == BATCH:
                writer.append(batch)
                batch = []
        if batch:
            writer.append(batch)
        writer.close()


def peak_megabytes() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says may be the parent's
        return int((re.search(r"VmHWM:\s+(\d+)", status.read_text()) or [0, 0])[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def find_times(journal: Journal, numbers: Sequence[int], is_there: bool) -> dict[str, float]:
    """Median and 99th percentile of `find`, in microseconds."""
    times = []
    for key in [key_of(number) for number in numbers]:
        began = time.perf_counter()
        found = journal.find(key)
        times.append(time.perf_counter() - began)
        assert (found is not None) == is_there
    return {"median": statistics.median(times) * 1e6, "p99": statistics.quantiles(times, n=100)[98] * 1e6}


def open_and_find(folder: str, count: int) -> dict[str, float]:
    """In a fresh process: what opening and finding cost."""
    began = time.perf_counter()
    journal = Journal.open(LocalStorage(folder), RUN)
    opened = time.perf_counter() - began
    assert len(journal) == count, f"{len(journal)} of {count} entries"
    peak_of_opening, draw = peak_megabytes(), random.Random(1)
    long_ones = range(0, count // SEGMENTS, LONG_EVERY)
    kinds = {
        "short": [draw.randrange(count) for _ in range(LOOKUPS)],
        "1.5 KB": [draw.choice(long_ones) * SEGMENTS + draw.randrange(SEGMENTS) for _ in range(LOOKUPS)],
        "absent": [count + draw.randrange(count) for _ in range(LOOKUPS)],
    }
    results = {"seconds to open": opened, "peak RSS of opening, MiB": peak_of_opening}
    for kind, numbers in kinds.items():
        for figure, value in find_times(journal, numbers, kind != "absent").items():
            results[f"find {kind}, {figure} us"] = value
    results["peak RSS, MiB"] = peak_megabytes()
    return results


class NotedSegments(LocalSegments):
    """Notes how many bytes each commit wrote."""

    def __init__(self, folder: Path) -> None:
        super().__init__(LocalStorage(str(folder)), RUN)
        self.commits: list[int] = []

    def append(self, entries: Sequence[tuple[bytes, bytes]]) -> Locations:
        locations = super().append(entries)
        self.commits.append(int(locations.where["length"].sum()) + 32 * len(entries))
        return locations


async def put_all(segments: NotedSegments) -> float:
    """Seconds that the putters take."""
    journal = Journal(segments)
    entries = [(key_of(number), record_of(1_000, number)) for number in range(PUTTERS * PUTS_EACH)]

    async def putter(number: int) -> None:
        for at in range(number, len(entries), PUTTERS):
            await journal.put(*entries[at])

    began = time.perf_counter()
    await asyncio.gather(*(putter(number) for number in range(PUTTERS)))
    seconds = time.perf_counter() - began
    await journal.close()
    return seconds


def write_plainly(path: Path, sizes: Sequence[int]) -> float:
    """Seconds of the same commits by nothing but writes and syncs."""
    blocks = [os.urandom(size) for size in sizes]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    began = time.perf_counter()
    for block in blocks:
        os.write(descriptor, block)
        os.fdatasync(descriptor)
    seconds = time.perf_counter() - began
    os.close(descriptor)
    return seconds


def measure_puts(folder: Path) -> dict[str, float]:
    segments = NotedSegments(folder / "puts")
    seconds = asyncio.run(put_all(segments))
    plain = write_plainly(folder / "plain", segments.commits)
    count = PUTTERS * PUTS_EACH
    return {
        "put entries/s": count / seconds,
        "plain entries/s": count / plain,
        "ratio": plain / seconds,
        "entries per commit": count / len(segments.commits),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="The request journal with many entries.")
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--inner", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        print(json.dumps(open_and_find(options.inner, options.entries)))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="gristmill-benchmark-"))
    try:
        build(folder, options.entries)
        command = [sys.executable, "-m", "benchmarks.journal", "--entries", str(options.entries)]
        done = subprocess.run([*command, "--inner", str(folder)], check=True, stdout=subprocess.PIPE, text=True)
        results = json.loads(done.stdout) | measure_puts(folder)
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(results))
    else:
        print(f"{options.entries} entries in {SEGMENTS} segments")
        for name, value in results.items():
            print(f"{name:28}{value:14,.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
