"""Processing a chunk that killed its worker: in a process of its own, halving until the one row is found.

Used only after repeated deaths at the same chunk. The rows that kill are quarantined with the way the process
ended; all the others come out as if nothing had happened, and an error that a stage raises comes out as itself.
Not a sandbox: see the program executors for that.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import cloudpickle

from cluster.errors import GristmillError, portable
from cluster.rows import Rejected, Rows
from cluster.stage import Stage

# More rows of one chunk than this do not kill by what they hold: then it is the stage, or the machine.
MAX_KILLERS = 64
MARK_RESULT, MARK_ERROR, MARK_READY = "result", "error", "ready"

# The child reads its orders from files, so that nothing a stage prints can be taken for a result.
CHILD = (
    "import pickle, sys\n"
    "sys.path[:0] = pickle.load(open(sys.argv[1] + '/path', 'rb'))\n"
    "from cluster.isolation import run_child\n"
    "run_child(sys.argv[1])\n"
)


class WorkerLost(GristmillError):
    """The worker process died again and again at one place, and not by a row of its chunk."""


def run_child(folder: str) -> None:
    """The child's side: process the pickled rows and leave the result, or the error, beside them."""
    _die_with_parent()
    place = Path(folder)
    try:
        stages, rows = pickle.loads(place.joinpath("work").read_bytes())
        for stage in stages:
            stage.setup()
        place.joinpath(MARK_READY).touch()
        for stage in stages:
            rows = stage.process(rows)
        place.joinpath(MARK_RESULT).write_bytes(cloudpickle.dumps(rows))
    except Exception as error:
        place.joinpath(MARK_ERROR).write_bytes(cloudpickle.dumps(portable(error)))


def _die_with_parent() -> None:
    """A worker that is killed leaves no child behind (on Linux; elsewhere the child ends by itself)."""
    import ctypes

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))


def process_isolated(stages: list[Stage], rows: Rows) -> Rows:
    """What the stages make of the rows, with rows that kill their process quarantined. Costs one process per try.

    Raises WorkerLost where the stages die before they have seen a row, and where more than MAX_KILLERS rows kill.
    """
    return _Search(stages).process(rows)


class _Search:
    """The halving; `killers` counts the rows found so far."""

    def __init__(self, stages: list[Stage]) -> None:
        self.stages = stages
        self.killers = 0

    def process(self, rows: Rows) -> Rows:
        done, ending = _in_child(self.stages, rows)
        if done is not None:
            return done
        if len(rows) <= 1:
            return self._quarantined(rows, ending)
        middle = len(rows) // 2
        first = self.process(_part(rows, 0, middle))
        second = self.process(_part(rows, middle, len(rows)))
        return _joined(rows, first, second)

    def _quarantined(self, rows: Rows, ending: str) -> Rows:
        killed = [
            Rejected(number, raw, f"killed its worker ({ending})")
            for number, raw in zip(rows.numbers, rows.originals, strict=True)
        ]
        self.killers += len(killed)
        if self.killers > MAX_KILLERS:
            raise WorkerLost(
                f"more than {MAX_KILLERS} rows up to line {rows.numbers[0]} of shard {rows.shard} kill their worker "
                f"({ending}): look into the worker's memory and libraries, then run the same command again"
            )
        return replace(rows, lines=[], numbers=[], originals=[], rejected=[*rows.rejected, *killed])


def _part(rows: Rows, start: int, end: int) -> Rows:
    return Rows(rows.shard, rows.lines[start:end], rows.numbers[start:end], rows.originals[start:end])


def _joined(rows: Rows, first: Rows, second: Rows) -> Rows:
    whole = Rows(
        rows.shard,
        first.lines + second.lines,
        first.numbers + second.numbers,
        first.originals + second.originals,
        [*rows.rejected, *first.rejected, *second.rejected],
        rows.filtered + first.filtered + second.filtered,
        dict(rows.counters),
    )
    for counters in (first.counters, second.counters):
        for name, amount in counters.items():
            whole.count(name, amount)
    return whole


def _in_child(stages: list[Stage], rows: Rows) -> tuple[Rows | None, str]:
    """What a child process makes of the rows; None and the way it ended where it died of them."""
    with tempfile.TemporaryDirectory(prefix="gristmill-") as folder:
        place = Path(folder)
        place.joinpath("path").write_bytes(pickle.dumps(sys.path))
        place.joinpath("work").write_bytes(cloudpickle.dumps((stages, rows)))
        command = [sys.executable, "-c", CHILD, folder]
        child = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        if (error := place / MARK_ERROR).exists():
            raise pickle.loads(error.read_bytes())
        if child.returncode == 0 and (result := place / MARK_RESULT).exists():
            done: Rows = pickle.loads(result.read_bytes())
            return done, ""
        ending = _ending(child.returncode)
        if not place.joinpath(MARK_READY).exists():
            said = child.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise WorkerLost(
                f"the worker dies while it sets up ({ending}{said and f': {said}'}): look into its memory and "
                "libraries, then run the same command again"
            )
        return None, ending


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f"signal {-status}"
