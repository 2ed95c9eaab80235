"""The peak resident size of every process of a verb, over corpora of growing size: a flat line is the aim.

The rows are documents of 100 MB over and over, so most are duplicates, in shards of 250 MB and in one shard alone: both
the number of shards and the size of one grow. The peak is the kernel's own (VmHWM), read
from every process that the command starts until it ends.

    python -m benchmarks.memory --gigabytes 1 2 4
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.dataflow import documents, make_shards

VERBS = {
    "normalize": ["normalize-dataset", "-n", "whitespace"],
    "reshard": ["reshard-dataset", "--num-files", "8"],
    "deduplicate": ["deduplicate-dataset"],
    "sample": ["sample-dataset", "--target-size", "100MB"],
}


def peaks(session: int, seen: dict[int, tuple[str, int]]) -> None:
    """Note the name and peak (bytes) of every live process of a session."""
    for place in Path("/proc").iterdir():
        try:
            if not place.name.isdigit() or os.getsid(int(place.name)) != session:
                continue
            status = dict(line.split(":\t", 1) for line in (place / "status").read_text().splitlines() if ":\t" in line)
            seen[int(place.name)] = (status["Name"], int(status["VmHWM"].split()[0]) << 10)
        except (OSError, KeyError):
            continue


def largest(command: list[str]) -> tuple[str, int]:
    """Run the command; the name and peak resident bytes of its largest process."""
    child = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    seen: dict[int, tuple[str, int]] = {}
    while child.poll() is None:
        peaks(child.pid, seen)
        time.sleep(0.1)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
    return max(seen.values(), key=lambda each: each[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--verbs", nargs="+", default=list(VERBS), choices=list(VERBS))
    chosen = parser.parse_args()
    rows = documents(100_000_000)
    with tempfile.TemporaryDirectory(prefix="gristmill-") as name:
        for gigabytes in chosen.gigabytes:
            for shards in (gigabytes * 4, 1):
                source = Path(name, f"{gigabytes}-{shards}")
                make_shards(source, gigabytes * 1000, shards, rows)
                for verb in chosen.verbs:
                    with tempfile.TemporaryDirectory(prefix="gristmill-", dir=name) as output:
                        options = ["--input-dir", str(source), "--output-dir", f"{output}/out", "-q"]
                        process, peak = largest([sys.executable, "-m", "jobs", *VERBS[verb], *options])
                    print(
                        f"{verb:12} {gigabytes:3} GB in {shards:2} shards: {peak / 2**20:6.0f} MiB ({process})",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
