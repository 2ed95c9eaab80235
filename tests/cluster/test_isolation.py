"""Finding the one row that kills its worker."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import pytest

from cluster import isolation
from cluster.isolation import WorkerLost, process_isolated
from cluster.rows import Failure, Rejected, Rows
from cluster.stage import Stage

# The child process gets the stages of this file with their code, and need not import the tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Worker(Stage):
    """Upper-cases rows; a row may say what is to happen to the process that reads it."""

    def process(self, rows: Rows) -> Rows:
        rows.count("seen", len(rows))
        return rows.settle([self.one(line) for line in rows.lines])

    def one(self, line: bytes) -> bytes | Failure | None:
        if line == b"exit":
            os._exit(3)
        if line == b"segfault":
            ctypes.string_at(0)
        if line == b"killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if line == b"sys.exit":
            sys.exit("no more")
        if line == b"error":
            raise LookupError("nothing there")
        if line == b"unpicklable":
            raise Unpicklable(threading.Lock())
        print("noise on stdout", line)
        return {b"drop": None, b"bad": Failure("bad row")}.get(line, line.upper())


class Unpicklable(Exception):
    def __str__(self) -> str:
        return "holds a lock"


def rows_of(*lines: bytes) -> Rows:
    return Rows("train/a.jsonl", list(lines), list(range(11, 11 + len(lines))))


@pytest.mark.parametrize(
    ("poison", "ending"),
    [
        (b"exit", "exit status 3"),
        (b"segfault", "signal SIGSEGV"),
        (b"killed", "signal SIGKILL"),
        (b"sys.exit", "exit status 1"),
    ],
)
def test_only_the_row_that_kills_is_quarantined_and_the_others_come_out_as_ever(poison: bytes, ending: str) -> None:
    rows = process_isolated([Worker()], rows_of(b"a", b"bad", poison, b"drop"))
    assert rows.lines == [b"A"]
    assert (rows.numbers, rows.originals, rows.filtered) == ([11], [b"a"], 1)
    assert sorted(rows.rejected, key=lambda row: row.line) == [
        Rejected(12, b"bad", "bad row"),
        Rejected(13, poison, f"killed its worker ({ending})"),
    ]
    assert rows.counters == {"seen": 3}


def test_without_a_killer_one_process_does_it_all() -> None:
    rows = process_isolated([Worker()], rows_of(b"a", b"bad", b"c", b"drop"))
    expected = Worker().process(rows_of(b"a", b"bad", b"c", b"drop"))
    assert rows == expected


def test_what_earlier_stages_found_is_kept() -> None:
    rows = rows_of(b"a", b"exit")
    rows.rejected, rows.filtered, rows.counters = [Rejected(3, b"x", "early")], 2, {"early": 5}
    done = process_isolated([Worker()], rows)
    assert done.filtered == 2
    assert done.counters == {"early": 5, "seen": 1}
    assert [row.line for row in done.rejected] == [3, 12]
    alone = rows_of(b"exit")
    alone.rejected, alone.filtered, alone.counters = [Rejected(3, b"x", "early")], 2, {"early": 5}
    done = process_isolated([Worker()], alone)
    assert (done.filtered, done.counters, len(done.rejected), done.lines) == (2, {"early": 5}, 2, [])


def test_an_error_of_a_stage_is_raised_and_condemns_no_row() -> None:
    with pytest.raises(LookupError, match="nothing there"):
        process_isolated([Worker()], rows_of(b"a", b"error"))
    with pytest.raises(RuntimeError, match="Unpicklable: holds a lock"):
        process_isolated([Worker()], rows_of(b"unpicklable"))


class DiesInSetup(Stage):
    def setup(self) -> None:
        print("cannot load the model", file=sys.stderr)
        os._exit(7)

    def process(self, rows: Rows) -> Rows:
        return rows


def test_a_stage_that_dies_before_any_row_condemns_no_row() -> None:
    with pytest.raises(WorkerLost, match=r"dies while it sets up \(exit status 7: cannot load the model\): look into"):
        process_isolated([DiesInSetup()], rows_of(b"a", b"b"))


def test_when_too_many_rows_kill_it_is_not_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "MAX_KILLERS", 1)
    with pytest.raises(WorkerLost, match=r"more than 1 rows up to line 12 of shard train/a\.jsonl kill their worker"):
        process_isolated([Worker()], rows_of(b"exit", b"exit", b"a"))


class Sleeps(Stage):
    def __init__(self, place: Path) -> None:
        self.place = place

    def process(self, rows: Rows) -> Rows:
        self.place.joinpath("pid").write_text(str(os.getpid()))
        time.sleep(60)
        return rows


@pytest.mark.skipif(sys.platform != "linux", reason="a child is bound to its parent's life on Linux only")
def test_a_child_does_not_outlive_its_worker(tmp_path: Path) -> None:
    worker = os.fork()
    if worker == 0:
        try:
            process_isolated([Sleeps(tmp_path)], rows_of(b"a"))
        finally:
            os._exit(0)
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    child = Path("/proc", (tmp_path / "pid").read_text())
    while child.exists() and b"isolation" in child.joinpath("cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
