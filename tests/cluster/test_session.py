"""Connecting to Ray, and what is said when it is not there or dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.embedded import MARK, SessionError, _Parts, _replaced, lean_data
from cluster.leftovers import Watcher, ended_with_this
from cluster.session import Session, _interruptible, check_interrupted, connect

ROOT = Path(__file__).resolve().parents[2]
WATCHED = """
import subprocess, sys, time
import ray
from cluster import embedded
from cluster.embedded import _native_stderr_silenced, _Parts, _watched
embedded.START_SECONDS = 2.0 if sys.argv[2] == "hangs" else 60.0
ray._private.worker._global_node = object()  # as it is once Ray has its processes
from cluster.leftovers import ended_with_this
with ended_with_this() as watcher, _watched(_Parts("of this test", watcher)):
    child = subprocess.Popen([sys.argv[1], "10"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if sys.argv[2] == "early":
        with _native_stderr_silenced():
            child.kill()
            time.sleep(30)
    elif sys.argv[2] == "late":
        time.sleep(2)
        child.kill()
        time.sleep(30)
    elif sys.argv[2] == "hangs":
        try:
            time.sleep(30)
        finally:
            child.kill()
child.kill()
ray._private.worker._global_node = None
"""

# Speaks to the raylet all the time: Ray's own code then finds it gone sooner than anybody here can.
TALKING = """
import ray
from cluster.session import connect
with connect(None, 1):
    print(ray._private.worker._global_node.all_processes["raylet"][0].process.pid, flush=True)
    while True:
        ray.get(ray.put(bytes(300_000)))
        ray.wait([ray.put(bytes(300_000))])
"""


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    with ended_with_this() as found:
        yield found


@pytest.fixture
def raylet(tmp_path: Path) -> str:
    """A program that goes by the name of Ray's vital process."""
    program = shutil.which("sleep")
    if program is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a `sleep` program that works under another name")
    return shutil.copy(os.path.realpath(program), tmp_path / "raylet")


@pytest.mark.parametrize("when", ["early", "late"])
def test_the_process_ends_with_one_line_when_a_vital_part_of_ray_dies(raylet: str, when: str) -> None:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", WATCHED, raylet, when], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        "gristmill: Ray's raylet died on this machine (killed, or out of memory); run the same command again to "
        "continue\n"
    )
    assert time.monotonic() - began < 25


@pytest.mark.ray
@pytest.mark.parametrize("turn", range(3))
def test_so_it_does_where_rays_own_code_ends_it(turn: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TALKING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        os.kill(int(process.stdout.readline()), signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.count("\n")) == (1, 1)
    assert errors.startswith("gristmill: Ray's raylet died on this machine")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_somebody_dropped_is_not_lost(number: int) -> None:
    """As native code does that imports something when it comes."""
    with _interruptible():
        check_interrupted()
        with suppress(KeyboardInterrupt):
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            check_interrupted()
    check_interrupted()


def test_an_interrupt_during_an_import_waits_for_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "interrupted.py").write_text(
        "import signal, time\n"
        "try:\n    signal.raise_signal(signal.SIGINT)\n    time.sleep(0.3)\n    done = True\n"
        "except KeyboardInterrupt:\n    done = False  # as those do who drop it\n"
    )
    with _interruptible(), pytest.raises(KeyboardInterrupt):
        import interrupted

        assert interrupted.done
        time.sleep(10)


def test_the_process_ends_with_one_line_when_ray_never_starts(raylet: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, raylet, "hangs"], stderr=subprocess.PIPE, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (
        1,
        "gristmill: Ray did not start on this machine within 2 s; run the same command again to continue\n",
    )


def test_a_session_that_is_over_is_watched_no_more(raylet: str) -> None:
    done = subprocess.run([sys.executable, "-c", WATCHED, raylet, "never"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.ray
def test_only_processes_started_from_now_on_are_watched(raylet: str, watcher: Watcher) -> None:
    import ray  # noqa: F401 - makes psutil importable

    earlier = subprocess.Popen([raylet, "60"])
    vitals = _Parts("of this test", watcher)
    now = subprocess.Popen([raylet, "60"])
    try:
        time.sleep(0.2)
        assert vitals.dead() is None
        earlier.kill()
        earlier.wait()
        assert vitals.dead() is None
        now.kill()
        time.sleep(0.2)
        assert vitals.dead() == "raylet"
    finally:
        now.kill()
        now.wait()


@pytest.mark.ray
def test_the_end_reaches_processes_whose_parent_is_gone(watcher: Watcher) -> None:
    parts = _Parts("of this test", watcher)
    shell = subprocess.run(
        ["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"],
        stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, MARK: "of this test"},
    )  # fmt: skip
    orphan = parts.psutil.Process(int(shell.stdout))
    other = subprocess.Popen(["sleep", "60"], env={**os.environ, MARK: "of another run"})
    try:
        parts.end()
        parts.psutil.wait_procs([orphan], timeout=10)
        assert not parts._alive(orphan)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.ray
def test_the_embedded_ray_is_lean_and_listens_to_this_machine_alone(ray_session: Session) -> None:
    import ray

    assert ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()
    import psutil

    started = psutil.Process().children(recursive=True)
    commands = [" ".join(process.cmdline()) for process in started]
    assert any("raylet" in command for command in commands)
    assert not [command for command in commands if "monitor.py" in command or "dashboard.py" in command]
    listening = {
        connection.laddr.ip
        for process in started
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, listening


@pytest.mark.ray
def test_ray_data_runs_without_its_service_actors(ray_session: Session) -> None:
    import ray.data

    class Doubled:
        def __call__(self, batch: dict) -> dict:
            return {"id": batch["id"] * 2}

    def named() -> set[str]:
        return {each["name"] for each in ray.util.list_named_actors(all_namespaces=True)}

    before = named()
    with lean_data():
        rows = ray.data.range(3).map_batches(Doubled, compute=ray.data.ActorPoolStrategy(size=1)).take_all()
        assert named() == before
    assert sorted(row["id"] for row in rows) == [0, 2, 4]


def test_a_part_that_this_ray_does_not_have_stays_as_it_is() -> None:
    with _replaced({"os:no_such_name": 1, "no_such_module:name": 1, "os:path.no_such": 1, "os:path.sep": "|"}):
        assert os.path.sep == "|"
    assert os.path.sep == "/"


@pytest.mark.ray
def test_an_address_without_a_cluster_is_named() -> None:
    script = (
        "import sys\n"
        "from cluster.session import SessionError, connect\n"
        "try:\n"
        "    with connect('127.0.0.1:1'): pass\n"
        "except SessionError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200)
    assert done.stdout.startswith("no Ray cluster could be reached at 127.0.0.1:1: "), done.stderr[-2000:]
    assert done.stdout.count("\n") == 1


@pytest.mark.ray
def test_a_connection_that_stands_is_used_and_left_standing(ray_session: Session) -> None:
    import ray

    with connect(num_workers=3) as session:
        assert session == replace(ray_session, workers=3)
    with connect() as session:
        assert session.workers == os.cpu_count()
    assert ray.is_initialized()
    assert issubclass(SessionError, Exception)
