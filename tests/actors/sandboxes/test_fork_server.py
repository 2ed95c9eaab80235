"""What happens inside a sandbox, without one: values, messages, definitions, and the parts of the parent."""

from __future__ import annotations

import json
import math
import mmap
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.sandboxes import fork_server as wire

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
)  # fmt: skip


@pytest.fixture(autouse=True)
def with_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "numpy", numpy)


@given(json_values)
def test_plain_values_stay_what_they_are(value: Any) -> None:
    wire.numpy = numpy
    assert wire.plain(value, [10**6]) == value
    assert json.loads(wire.ENCODE(wire.plain(value, [10**6]))) == value


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), max_size=5))
def test_an_array_becomes_the_same_lists(grid: list[list[int]]) -> None:
    wire.numpy = numpy
    array = numpy.array(grid, dtype=numpy.int8).reshape(len(grid), 3)
    assert wire.plain(array, [10**6]) == grid


HOLES = """
import gc, json, numpy, fork_server as wire
def pools_of_new_objects():
    new = [bytes(size - bytes.__basicsize__) for size in wire.BLOCKS for _ in range(20)]
    return len({id(each) // wire.POOL for each in new})
gc.collect()
gc.disable()
before = pools_of_new_objects()
kept = wire.fill_holes()
print(json.dumps([before, pools_of_new_objects(), len(kept)]))
"""


def test_after_the_holes_are_filled_new_objects_lie_closer_together() -> None:
    folder = Path(wire.__file__).parent
    told = subprocess.run([sys.executable, "-c", HOLES], cwd=folder, capture_output=True, text=True, check=True).stdout
    before, after, kept = json.loads(told)
    assert after < before
    assert kept < len(wire.BLOCKS) * wire.MOST_HOLES / 4


def test_a_rehearsal_leaves_no_program_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    monkeypatch.setattr(wire.Results, "add", lambda self, *result: results.append(result))
    wire.rehearse()
    assert [(status, payload) for _, status, payload, *_ in results] == [(wire.OK, b"[[2,1],[4,3]]")] * wire.REHEARSALS
    assert "program" not in sys.modules


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [1 << 64, -(1 << 63) - 1, math.nan, math.inf, b"", {1}, {1: 2}, 1j, nested(65), object()]
)
def test_what_is_no_json_value_is_refused(value: Any) -> None:
    with pytest.raises(wire.WrongType):
        wire.plain(value, [10**6])


def test_sixty_four_levels_are_not_too_deep() -> None:
    assert wire.plain(nested(64), [10**6]) == nested(64)


@pytest.mark.parametrize("value", [[0] * 11, [[0] * 5, [0] * 5], numpy.zeros(11), {str(n): 0 for n in range(11)}])
def test_more_values_than_may_be_are_refused(value: Any) -> None:
    with pytest.raises(wire.TooLarge):
        wire.plain(value, [10])


@pytest.mark.parametrize("value", [[0] * 10, [[0] * 4, [0] * 4], numpy.zeros(10), numpy.zeros((2, 4))])
def test_as_many_values_as_may_be_are_taken(value: Any) -> None:
    wire.plain(value, [10])


def test_an_exception_is_told_in_one_line_with_the_programs_own_line() -> None:
    function = wire.define("def transform(x):\n    y = 1\n    return [\n  1][x]\n", "transform")
    assert wire.call(function, 7, 100) == (wire.EXCEPTION, b"IndexError: list index out of range (line 3)")


def test_what_a_program_lacks_is_told() -> None:
    with pytest.raises(NameError, match="does not define solve"):
        wire.define("x = 1", "solve")


def test_a_definition_that_fails_is_the_only_frame() -> None:
    shared = mmap.mmap(-1, 1 << 16)
    wire.run({"program": "1 / 0", "function": "f", "inputs": [1, 2]}, 100, shared)
    phase, used, _, _ = wire.STATE.unpack_from(shared)
    index, status, size, _, _ = wire.FRAME.unpack_from(shared, wire.HEAD)
    assert (phase, index, status, used) == (1, -1, wire.EXCEPTION, wire.FRAME.size + size)


def test_each_input_leaves_a_frame_and_the_phase_goes_on() -> None:
    shared = mmap.mmap(-1, 1 << 16)
    wire.run({"program": "def f(x): return 10 / x", "function": "f", "inputs": [5, 0, 2]}, 100, shared)
    phase, used, _, _ = wire.STATE.unpack_from(shared)
    found, at = [], wire.HEAD
    while at < wire.HEAD + used:
        index, status, size, _, _ = wire.FRAME.unpack_from(shared, at)
        found.append((index, status, shared[at + wire.FRAME.size : at + wire.FRAME.size + size]))
        at += wire.FRAME.size + size
    assert phase == 5
    assert found[0] == (0, wire.OK, b"2.0") and found[2] == (2, wire.OK, b"5.0")
    assert found[1][:2] == (1, wire.EXCEPTION) and found[1][2].startswith(b"ZeroDivisionError")


def test_the_parent_never_reads_a_state_that_is_half_written() -> None:
    """As it would where it is filled with zeros first: an input would seem to run since the machine's start."""
    shared = mmap.mmap(-1, 4096)
    results = wire.Results(shared)
    results.enter(1, 1.0, 1.0)
    writer = os.fork()
    if writer == 0:
        while True:
            for number in range(1, 1000):
                results.enter(number, float(number), float(number))
    try:
        least = min(min(wire.STATE.unpack_from(shared)[2:]) for _ in range(400_000))
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
    assert least >= 1.0


def test_an_input_that_ends_while_the_clocks_are_read_is_not_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent may lose the processor between its look at the state and its look at the clocks."""
    shared = mmap.mmap(-1, 4096)
    results = wire.Results(shared)
    results.enter(2, 0.0, time.monotonic() - 0.5)
    looks = 0

    def cpu_seconds_of(pid: int) -> float:
        nonlocal looks
        looks += 1
        if looks == 2:  # the first is for all inputs
            results.enter(3, 0.7, time.monotonic())
        return 0.7

    monkeypatch.setattr(wire, "cpu_seconds_of", cpu_seconds_of)
    host, _host = os.pipe()
    ended, _ended = os.pipe()
    output, printing = os.pipe()
    os.write(_ended, b"x")  # the program ends at the next look
    setup: Any = SimpleNamespace(host_in=host)
    header = (0, 2, 0.6, 60.0, 0, 0, 100, 0, 0, 0)
    assert wire.watch(setup, 0, ended, output, shared, header).how == wire.ENDED
    for descriptor in (host, _host, ended, _ended, output, printing):
        os.close(descriptor)


def test_all_parts_are_written_although_a_pipe_takes_few_at_once() -> None:
    reader, writer = os.pipe()
    parts = [b"a" * 70_000, b"", b"b" * 200_000, b"c"]
    received = bytearray()

    def drain() -> None:
        while part := os.read(reader, 999):
            received.extend(part)

    thread = threading.Thread(target=drain)
    thread.start()
    wire.write_all(writer, *parts)
    os.close(writer)
    thread.join()
    os.close(reader)
    assert bytes(received) == b"".join(parts)


def test_what_is_printed_is_kept_up_to_its_room() -> None:
    reader, writer = os.pipe()
    printed = wire.Printed(100)
    os.write(writer, b"x" * 60)
    assert printed.take(reader) and not printed.is_too_much
    os.write(writer, b"y" * 60)
    assert printed.take(reader) and printed.is_too_much
    os.close(writer)
    assert not printed.take(reader)
    out, into = os.pipe()
    printed.send_after(into, b"head", memoryview(b"frames"))
    os.close(into)
    assert os.read(out, 1000) == b"head" + b"frames" + b"x" * 60 + b"y" * 40
    os.close(out)
    os.close(reader)


def test_a_random_generator_starts_the_same_wherever_it_is_imported() -> None:
    script = (
        "import sys\n"
        f"sys.path.insert(0, {os.path.dirname(wire.__file__)!r})\n"
        "import fork_server\n"
        "sys.meta_path.insert(0, fork_server.Seeder)\n"
        "import random, numpy.random\n"
        "print(random.random(), numpy.random.rand())\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert float(told[0]) == random.Random(0).random()
    assert float(told[1]) == numpy.random.RandomState(0).rand()


# The server itself, as a process of this machine that is given nothing hostile


class Server:
    """A fork server without a filter, spoken to by the pipes of its standard streams."""

    def __init__(self) -> None:
        given = {"filter": "", "processes": None, "shared_bytes": 1 << 20, "path": [], "packages": []}
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-P", wire.__file__, json.dumps(given)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        assert self.stdout.read(len(wire.READY)) == wire.READY

    def ask(self, program: str, wall: float = 20.0) -> None:
        body = json.dumps({"program": program, "function": "f", "inputs": [1]}).encode()
        self.stdin.write(wire.HEADER.pack(len(body), 1, 10.0, wall, 1 << 28, 16, 1000, 1000, 32, 0) + body)
        self.stdin.flush()


def test_a_server_whose_host_goes_while_it_waits_ends() -> None:
    server = Server()
    _, errors = server.process.communicate(timeout=20)
    assert (server.process.returncode, errors) == (0, b"")


def test_a_server_whose_host_goes_in_mid_call_ends_with_its_program() -> None:
    server = Server()
    server.ask("import os, time\nprint(os.getpid(), flush=True)\ndef f(x):\n    time.sleep(100)\n", wall=200)
    time.sleep(0.3)
    (child,) = children_of(server.process.pid)
    server.stdin.close()
    assert server.process.wait(20) == 0
    wait_for_the_end_of(child)


def test_a_defect_before_a_program_begins_is_told_and_ends_the_server() -> None:
    server = Server()
    server.stdin.write(wire.HEADER.pack(3, 1, 1.0, 1.0, 1 << 28, 16, 1000, 1000, 32, 0) + b"no!")
    server.stdin.flush()
    _, errors = server.process.communicate(timeout=20)
    assert b"a child ended before it ran its program (exit status 102)" in errors
    assert server.process.returncode == 1


def test_what_a_program_without_a_filter_leaves_in_its_session_is_ended() -> None:
    server = Server()
    server.ask("import os, time\ndef f(x):\n    pid = os.fork()\n    if not pid: time.sleep(100)\n    return pid\n")
    frames = wire.REPLY.unpack(server.stdout.read(wire.REPLY.size))[0]
    left = int(server.stdout.read(frames)[wire.FRAME.size :])
    wait_for_the_end_of(left)
    server.process.communicate(timeout=20)


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def wait_for_the_end_of(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
