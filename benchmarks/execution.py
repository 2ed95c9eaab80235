"""A whole benchmark's programs through the executors: 400 tasks, eight programs each, on every input of the task.

The tasks are the training tasks of ARC-AGI-1, the programs eight short ones with and without numpy. They go through the
pool of Ray actors as `execute-dataset` sends them (sixteen in a call) and as `run-tasks` does (one by one, many under
way), each in a sandbox of its own process. The ratio is against the same number of bare forks of a process that has
imported numpy, by as many forkers as there are sandboxes, before and after: the kernel's part of it.

    python -m benchmarks.execution [--tasks 400] [--sandboxes 2]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable

from actors.program_executor import Executors
from actors.synthesis.grids import Grid
from benchmarks.sandbox import fork_once

PROGRAMS = [
    "def transform(grid):\n    return [row[::-1] for row in grid]\n",
    "def transform(grid):\n    return grid[::-1]\n",
    "def transform(grid):\n    return [list(row) for row in zip(*grid)]\n",
    "def transform(grid):\n    return [[9 - cell for cell in row] for row in grid]\n",
    "import numpy as np\ndef transform(grid):\n    return np.rot90(np.array(grid)).tolist()\n",
    "import numpy as np\ndef transform(grid):\n    return np.kron(np.array(grid), np.ones((2, 2), int))[:30, :30]\n",
    "import numpy as np\ndef transform(grid):\n    a = np.array(grid)\n    return a[np.ix_(a.any(1), a.any(0))].tolist()\n",
    "from collections import Counter\ndef transform(grid):\n"
    "    return [[Counter(c for r in grid for c in r).most_common(1)[0][0]]]\n",
]
TOGETHER, UNDER_WAY = 16, 64


def forks(count: int) -> None:
    import numpy  # noqa: F401  what a fork of it costs is the point

    for _ in range(count):
        fork_once()


def bare(count: int, forkers: int) -> float:
    """Seconds for so many forks, by so many processes."""
    with multiprocessing.get_context("spawn").Pool(forkers) as pool:
        pool.map(forks, [1] * forkers)  # numpy is imported
        began = time.perf_counter()
        pool.map(forks, [count // forkers] * forkers)
        return time.perf_counter() - began


async def bounded(jobs: list[Callable[[], Awaitable[None]]], at_once: int) -> float:
    """Seconds for all jobs, so many of them under way."""
    places = asyncio.Semaphore(at_once)

    async def one(job: Callable[[], Awaitable[None]]) -> None:
        async with places:
            await job()

    began = time.perf_counter()
    await asyncio.gather(*map(one, jobs))
    return time.perf_counter() - began


async def measured(executors: Executors, tasks: list[list[Grid]]) -> tuple[float, float]:
    """Seconds for all programs of all tasks: in calls of many, and one by one."""
    await executors.pool.call_all("prove")
    work = [(program, inputs) for inputs in tasks for program in PROGRAMS]

    def together(part: list[tuple[str, list[Grid]]]) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            programs, inputs = [program for program, _ in part], [grids for _, grids in part]
            for execution in await executors.execute_all(programs, "transform", inputs):
                assert all(outcome.status == "ok" for outcome in execution.outcomes), execution

        return run

    def alone(program: str, inputs: list[Grid]) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            execution = await executors.execute(program, "transform", inputs)
            assert all(outcome.status == "ok" for outcome in execution.outcomes), execution

        return run

    parts = [work[start : start + TOGETHER] for start in range(0, len(work), TOGETHER)]
    many = await bounded([together(part) for part in parts], UNDER_WAY // TOGETHER)
    return many, await bounded([alone(*each) for each in work], UNDER_WAY)


def main() -> None:
    from actors.program_executor import ProgramExecutor
    from actors.sandboxes.choice import SandboxChoice
    from cluster.actor_pool import actor_pool
    from cluster.session import connect
    from pipelines.program_synthesis.task_sets import load_tasks

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--sandboxes", type=int, default=2)
    options = parser.parse_args()
    tasks = [task.inputs for task in load_tasks("arc-agi-1").training[: options.tasks]]
    programs, grids = len(tasks) * len(PROGRAMS), len(PROGRAMS) * sum(map(len, tasks))
    before = bare(programs, options.sandboxes)
    choice = SandboxChoice()
    with (
        connect(num_workers=options.sandboxes) as session,
        actor_pool("benchmark", "program executor", lambda: ProgramExecutor(choice), session.workers, 0.5) as pool,
    ):
        many, one = asyncio.run(measured(Executors(pool), tasks))
    floor = (before + bare(programs, options.sandboxes)) / 2
    print(f"{programs:,} programs on {grids:,} grids, {options.sandboxes} sandboxes ({choice.resolved})")
    print(f"bare forks             {floor:6.1f} s  {programs / floor:6.0f}/s")
    print(f"in calls of {TOGETHER}         {many:6.1f} s  {programs / many:6.0f}/s  {floor / many:.2f} of bare forks")
    print(f"one by one, {UNDER_WAY} at once  {one:6.1f} s  {programs / one:6.0f}/s  {floor / one:.2f} of bare forks")


if __name__ == "__main__":
    main()
