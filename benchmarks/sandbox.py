"""Programs per second in a sandbox, and what isolation costs beside a bare fork.

The same trivial program (one grid reversed) is run in turns, a second each, round after round:

- a bare fork: a process that has imported numpy forks, the child defines and calls the program, the parent waits. No
  limit, no filter, no result: the kernel's part, which nothing here can be faster than.
- each sandbox with its full isolation and one caller; and two sandboxes with a caller each, beside two bare forks.
- a new Python for each program, without numpy and with it, and `docker run` for each program (a few).

The figure is the median round's, and the ratio is taken within a round, since a busy machine slows all of it down.

    python -m benchmarks.sandbox [--isolations bubblewrap,docker,process] [--rounds 10] [--json]
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from multiprocessing.connection import Connection

PROGRAM = "def transform(grid):\n    return [row[::-1] for row in grid]\n"
GRID = [[1, 2], [3, 4]]
TURN = 1.0  # seconds
FEW = 5  # of what takes long

Times = list[float]  # seconds of each program in a turn
Turn = Callable[[], Times]


def timed(run: Callable[[], object], seconds: float, most: int = 1 << 60) -> Times:
    times: Times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and len(times) < most:
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return times


def fork_once() -> None:
    pid = os.fork()
    if pid == 0:
        names: dict[str, Callable[[object], object]] = {}
        exec(PROGRAM, names)
        names["transform"](GRID)
        os._exit(0)
    os.waitpid(pid, 0)


def in_process(connection: Connection, kind: str) -> None:
    """A process of its own that takes turns when it is told to: `kind` is an isolation, or a bare fork."""
    if kind == "bare fork":
        import numpy as numpy

        gc.collect()
        gc.disable()
        gc.freeze()
        run: Callable[[], object] = fork_once
    else:
        from actors.sandboxes.choice import SandboxChoice
        from actors.sandboxes.contract import Limits

        limits, sandbox = Limits(), SandboxChoice(kind).start()  # type: ignore[arg-type]

        def run() -> None:
            (outcome,) = sandbox.execute(PROGRAM, "transform", [GRID], limits).outcomes
            assert outcome.value == [[2, 1], [4, 3]], outcome

    timed(run, 0.2)
    connection.send("ready")
    while connection.recv():
        connection.send(timed(run, TURN))
    if kind != "bare fork":
        sandbox.close()


@contextmanager
def turns_of(kind: str, callers: int = 1) -> Iterator[Turn]:
    """Turns in processes of their own, so that nothing of this one is in what they fork from."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        ends = []
        for _ in range(callers):
            ours, theirs = context.Pipe()
            process = context.Process(target=in_process, args=(theirs, kind))
            process.start()
            stack.callback(process.join)
            stack.callback(ours.send, False)
            ends.append(ours)
        for end in ends:
            end.recv()

        def turn() -> Times:
            for end in ends:
                end.send(True)
            return [seconds for end in ends for seconds in end.recv()]

        yield turn


def new_python(imports: str) -> Turn:
    code = f"{imports}\n{PROGRAM}transform({GRID})"
    return lambda: timed(lambda: subprocess.run([sys.executable, "-c", code], check=True), TURN, FEW)


@contextmanager
def docker_runs() -> Iterator[Turn]:
    """A container for each program, of the image that the Docker sandbox has made."""
    import docker

    from actors.sandboxes.docker import REPOSITORY
    from actors.sandboxes.runtime import PYTHON

    with closing(docker.from_env()) as client:
        image = client.images.list(name=REPOSITORY)[0]
        code = f"{PROGRAM}transform({GRID})"
        yield lambda: timed(
            lambda: client.containers.run(image, [PYTHON, "-c", code], network_mode="none", remove=True), TURN, FEW
        )


def figures(rounds: list[Times], bare: list[Times]) -> dict[str, float]:
    rates = [len(times) / TURN if len(times) > FEW else 1 / statistics.mean(times) for times in rounds]
    ratios = [rate / (len(times) / TURN) for rate, times in zip(rates, bare, strict=True)]
    every = sorted(seconds for times in rounds for seconds in times)
    return {
        "per second": statistics.median(rates),
        "of a bare fork": statistics.median(ratios),
        "p50 ms": every[len(every) // 2] * 1e3,
        "p99 ms": every[len(every) * 99 // 100] * 1e3,
    }


def measure(isolations: list[str], rounds: int) -> dict[str, dict[str, float]]:
    with ExitStack() as stack:
        turns: dict[str, Turn] = {"bare fork": stack.enter_context(turns_of("bare fork"))}
        for kind in isolations:
            turns[kind] = stack.enter_context(turns_of(kind))
        turns["bare fork, 2 at once"] = stack.enter_context(turns_of("bare fork", 2))
        for kind in isolations:
            turns[f"{kind}, 2 at once"] = stack.enter_context(turns_of(kind, 2))
        turns["a new Python"] = new_python("")
        turns["a new Python with numpy"] = new_python("import numpy")
        if "docker" in isolations:
            turns["docker run"] = stack.enter_context(docker_runs())
        seen: dict[str, list[Times]] = {name: [] for name in turns}
        for _ in range(rounds):
            for name, turn in turns.items():
                seen[name].append(turn())
    return {
        name: figures(times, seen["bare fork, 2 at once" if name.endswith("at once") else "bare fork"])
        for name, times in seen.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isolations", default="bubblewrap,process")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.isolations.split(","), options.rounds)
    if options.json:
        print(json.dumps(found))
        return
    for name, row in found.items():
        print(f"{name:26}", "  ".join(f"{value:8.2f} {figure}" for figure, value in row.items()))


if __name__ == "__main__":
    main()
