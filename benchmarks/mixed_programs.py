"""Many programs in a row through an executor, a part of them hostile: what stays right, and what grows.

Ordinary programs of several kinds, each with one right outcome, are mixed with programs of the attack list. Every so
many programs a line says how many of the ordinary ones had their right outcome so far (all of them, or the run fails),
programs per second, and what the executor consists of: descriptors, threads and processes, the resident memory of the
host, and of the fork servers together. All but the first column and the rate are to be flat.

    python -m benchmarks.mixed_programs [-n 100000] [--hostile 0.05] [--isolation bubblewrap] [--sandboxes 2] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from actors.program_executor import ProgramExecutor
from actors.sandboxes.choice import SandboxChoice
from actors.sandboxes.contract import Limits
from tests.actors.sandboxes.attacks import (
    against_exit,
    against_memory,
    against_output,
    against_processes,
    against_results,
    against_the_harness,
    against_the_system,
    against_time,
)
from tests.actors.sandboxes.process_tree import below, descriptors_of

# Program, input, status, value. A busy machine may make any of them slow: they have seconds.
ORDINARY: list[tuple[str, Any, str, Any]] = [
    ("def transform(grid):\n    return [row[::-1] for row in grid]\n", [[1, 2]], "ok", [[2, 1]]),
    ("import numpy as np\ndef transform(grid):\n    return np.rot90(np.array(grid)).tolist()\n", [[1, 2]], "ok", [[2], [1]]),
    ("import numpy as np\ndef transform(grid):\n    return np.array(grid) + 1\n", [[1, 2]], "ok", [[2, 3]]),
    ("from collections import Counter\ndef transform(grid):\n    return [[Counter(sum(grid, [])).most_common(1)[0][0]]]\n", [[7, 7], [1, 2]], "ok", [[7]]),
    ("import random\ndef transform(grid):\n    return random.randrange(10**6) // 10**6\n", [[1]], "ok", 0),
    ("def transform(grid):\n    print('x' * 1000)\n    return grid\n", [[1]], "ok", [[1]]),
    ("def transform(grid):\n    return grid[99]\n", [[1]], "exception", None),
    ("def transform(grid):\n    return {1, 2}\n", [[1]], "wrong_type", None),
    ("def transform(grid:\n", [[1]], "exception", None),
]  # fmt: skip
HOSTILE = [
    attack
    for group in (
        against_exit, against_memory, against_output, against_processes, against_results, against_the_harness,
        against_the_system, against_time,
    )
    for attack in group.ATTACKS
]  # fmt: skip
PATIENT = Limits(cpu_seconds=10)
BRIEF = Limits(cpu_seconds=0.1, wall_factor=2, memory=256 << 20, output_bytes=1 << 16, result_bytes=1 << 16)


class Mixture:
    """Sends programs to an executor from as many threads as it has sandboxes, and counts."""

    def __init__(self, executor: ProgramExecutor, hostile: float, seed: int = 0) -> None:
        self.executor, self.hostile = executor, hostile
        self.random = random.Random(seed)
        self.ordinary = self.right = 0
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def one(self, draw: float) -> None:
        if draw < self.hostile:
            attack = HOSTILE[int(draw / self.hostile * len(HOSTILE))]
            self.executor.run(attack.program, "transform", attack.inputs, BRIEF)
            return
        program, value, status, expected = ORDINARY[int(draw * 1e6) % len(ORDINARY)]
        outcome = self.executor.run(program, "transform", [value], PATIENT).outcomes[0]
        with self._lock:
            self.ordinary += 1
            if (outcome.status, outcome.value) == (status, expected):
                self.right += 1
            else:
                self.wrong.append(f"{program!r}: {outcome}")

    def run(self, count: int, every: int, callers: int) -> Iterator[dict[str, float]]:
        """Run so many programs; what there is after every so many of them."""
        done = 0
        with ThreadPoolExecutor(callers) as threads:
            while done < count:
                part = min(every, count - done)
                began = time.perf_counter()
                list(threads.map(self.one, [self.random.random() for _ in range(part)]))
                done += part
                yield {"programs": done, "per second": part / (time.perf_counter() - began)} | self.inventory()

    def inventory(self) -> dict[str, float]:
        processes = {pid: line for pid, line in below(os.getpid()).items() if "fork_server.py" in line}
        servers = [
            pid for pid, line in processes.items() if "bwrap" not in line.split()[0] and not _is_child(pid, processes)
        ]
        return {
            "right": self.right / self.ordinary if self.ordinary else 1.0,
            "descriptors": descriptors_of(os.getpid()),
            "threads": threading.active_count(),
            "processes": len(processes),
            "host MiB": resident(os.getpid()),
            "servers MiB": sum(map(resident, servers)),
        }


def _is_child(pid: int, processes: dict[int, str]) -> bool:
    """Whether it was forked by a fork server: its parent is one, and not the box around one."""
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return True
    return parent in processes and "bwrap" not in processes[parent].split()[0]


def resident(pid: int) -> float:
    try:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=100_000)
    parser.add_argument("--every", type=int, default=5_000)
    parser.add_argument("--hostile", type=float, default=0.05)
    parser.add_argument("--isolation", default="bubblewrap")
    parser.add_argument("--sandboxes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    executor = ProgramExecutor(SandboxChoice(options.isolation), sandboxes=options.sandboxes)
    mixture = Mixture(executor, options.hostile)
    try:
        for row in mixture.run(options.n, options.every, options.sandboxes):
            if options.json:
                print(json.dumps(row), flush=True)
            else:
                print("  ".join(f"{name} {value:,.4g}" for name, value in row.items()), flush=True)
        health = msgspec.structs.asdict(asyncio.run(executor.health()))
        print(json.dumps(health) if options.json else "  ".join(f"{name} {value:,}" for name, value in health.items()))
    finally:
        executor.close()
    if mixture.wrong:
        raise SystemExit(
            "\n".join([f"{len(mixture.wrong):,} ordinary programs had another outcome:", *mixture.wrong[:10]])
        )


if __name__ == "__main__":
    main()
