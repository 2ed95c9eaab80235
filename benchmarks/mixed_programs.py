"""Many programs in a row through the executors, a part of them hostile: what stays right, and what grows.

Ordinary programs of several kinds, each with one right outcome, are mixed with programs of the attack list and sent to a
pool of Ray actors as run-tasks sends them. Every so many programs a line says how many of the ordinary ones had their
right outcome so far (all of them, or the run fails), programs per second, and what the executors consist of:
descriptors, threads and processes, the resident memory of the actors, and that of the fork servers, all together. All
but the rate are to be flat.

    python -m benchmarks.mixed_programs [-n 100000] [--hostile 0.05] [--isolation bubblewrap] [--executors 2] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from actors.program_executor import Executors
from actors.sandboxes.contract import Execution, Limits
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
UNDER_WAY = 8
PATIENT = Limits(cpu_seconds=10)
BRIEF = Limits(cpu_seconds=0.1, wall_factor=2, memory=256 << 20, output_bytes=1 << 16, result_bytes=1 << 16)


class Executor(Protocol):
    """One executor, or the way to many."""

    async def execute(self, program: str, function: str, inputs: Sequence[Any], limits: Limits) -> Execution: ...


class Mixture:
    """Sends programs to executors, so many of them under way, and counts."""

    def __init__(self, executor: Executor, hostile: float, seed: int = 0) -> None:
        self.executor, self.hostile = executor, hostile
        self.random = random.Random(seed)
        self.ordinary = self.right = 0
        self.wrong: list[str] = []

    async def one(self, draw: float) -> None:
        if draw < self.hostile:
            attack = HOSTILE[int(draw / self.hostile * len(HOSTILE))]
            await self.executor.execute(attack.program, "transform", attack.inputs, BRIEF)
            return
        program, value, status, expected = ORDINARY[int(draw * 1e6) % len(ORDINARY)]
        outcome = (await self.executor.execute(program, "transform", [value], PATIENT)).outcomes[0]
        self.ordinary += 1
        if (outcome.status, outcome.value) == (status, expected):
            self.right += 1
        else:
            self.wrong.append(f"{program!r}: {outcome}")

    async def run(self, count: int, every: int, under_way: int) -> AsyncIterator[dict[str, float]]:
        """Run so many programs; what there is after every so many of them."""
        places = asyncio.Semaphore(under_way)

        async def placed(draw: float) -> None:
            async with places:
                await self.one(draw)

        done = 0
        while done < count:
            part = min(every, count - done)
            began = time.perf_counter()
            await asyncio.gather(*(placed(self.random.random()) for _ in range(part)))
            done += part
            yield {"programs": done, "per second": part / (time.perf_counter() - began)} | self.inventory()

    def inventory(self) -> dict[str, float]:
        processes = {pid: line for pid, line in below(os.getpid()).items() if "fork_server.py" in line}
        servers = [
            pid for pid, line in processes.items() if "bwrap" not in line.split()[0] and not _is_child(pid, processes)
        ]
        hosts = {parent_of(pid) for pid in processes} - processes.keys()
        return {
            "right": self.right / self.ordinary if self.ordinary else 1.0,
            "descriptors": sum(map(descriptors_of, hosts)),
            "threads": sum(map(threads_of, hosts)),
            "processes": len(processes),
            "hosts MiB": sum(map(resident, hosts)),
            "servers MiB": sum(map(resident, servers)),
        }


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def threads_of(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def _is_child(pid: int, processes: dict[int, str]) -> bool:
    """Whether it was forked by a fork server: its parent is one, and not the box around one."""
    parent = parent_of(pid)
    return not parent or (parent in processes and "bwrap" not in processes[parent].split()[0])


def resident(pid: int) -> float:
    try:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


async def told(executors: Executors, options: argparse.Namespace) -> list[str]:
    """Run and print the lines; the ordinary programs that had another outcome."""

    def show(row: dict[str, float]) -> None:
        line = json.dumps(row) if options.json else "  ".join(f"{name} {value:,.4g}" for name, value in row.items())
        print(line, flush=True)

    await executors.pool.call_all("prove")
    mixture = Mixture(executors, options.hostile)
    async for row in mixture.run(options.n, options.every, UNDER_WAY):
        show(row)
    for health in await executors.health():
        show(msgspec.structs.asdict(health))
    return mixture.wrong


def main() -> None:
    from actors.program_executor import ProgramExecutor
    from actors.sandboxes.choice import SandboxChoice
    from cluster.actor_pool import actor_pool
    from cluster.session import connect

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=100_000)
    parser.add_argument("--every", type=int, default=5_000)
    parser.add_argument("--hostile", type=float, default=0.05)
    parser.add_argument("--isolation", default="bubblewrap")
    parser.add_argument("--executors", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    choice = SandboxChoice(options.isolation)
    with (
        connect(num_workers=options.executors) as session,
        actor_pool("mixture", "program executor", lambda: ProgramExecutor(choice), session.workers, 0.5) as pool,
    ):
        wrong = asyncio.run(told(Executors(pool), options))
    if wrong:
        raise SystemExit("\n".join([f"{len(wrong):,} ordinary programs had another outcome:", *wrong[:10]]))


if __name__ == "__main__":
    main()
