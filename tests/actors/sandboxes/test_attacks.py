"""The attack list: every program of it in every isolation, all in the one warm sandbox of that isolation.

After each attack a known program has its right answer there, and nothing is left: no process, no descriptor, no file.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from actors.sandboxes import runtime, self_test
from actors.sandboxes.choice import SandboxChoice
from actors.sandboxes.contract import Execution, Limits
from actors.sandboxes.owner import owner
from actors.sandboxes.seccomp import ALLOWED
from actors.sandboxes.warm import WarmSandbox
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
from tests.actors.sandboxes.attacks.attack import ANY, Attack
from tests.actors.sandboxes.process_tree import below, descriptors_of

pytestmark = pytest.mark.component

GROUPS = {
    "time": against_time,
    "memory": against_memory,
    "processes": against_processes,
    "output": against_output,
    "exit": against_exit,
    "result": against_results,
    "cheating": against_the_harness,
    "system": against_the_system,
}
LIMITS = Limits(
    cpu_seconds=0.2,
    wall_factor=3,
    memory=256 << 20,
    output_bytes=against_output.LIMIT,
    result_bytes=against_results.RESULT,
)
EASY = Limits(cpu_seconds=10)
LONG = 5.0  # CPU seconds for what has to end by itself, also on a busy machine
KNOWN = "def transform(grid):\n    return [row[::-1] for row in grid]\n"
SETTLING_SECONDS = 5  # until a child that was killed has gone and the next one waits


class Arena:
    """A warm sandbox, and what it consists of when it is at rest."""

    def __init__(self, sandbox: WarmSandbox) -> None:
        self.sandbox = sandbox
        self.tree = runtime.runtime()
        self.run(KNOWN, [[1, 2]])
        gc.collect()  # what earlier tests left open here is closed now, and not in between
        self.at_rest = self.settled(None)

    def run(self, program: str, *inputs: Any, limits: Limits = EASY) -> Execution:
        return self.sandbox.execute(program, "transform", inputs, limits)

    def check_that_nothing_is_left(self) -> None:
        grid = [[1, 2, 3], [4, 5, 6]]
        assert self.run(KNOWN, grid).outcomes[0].value == [[3, 2, 1], [6, 5, 4]]
        assert self.settled(self.at_rest) == self.at_rest

    def settled(self, expected: Any) -> Any:
        """What there is, as soon as it is what is expected, or does not change any more."""
        deadline = time.monotonic() + SETTLING_SECONDS
        last, now = None, self.inventory(expected)
        while now != expected and (expected is not None or now != last) and time.monotonic() < deadline:
            time.sleep(0.05)
            last, now = now, self.inventory(expected)
        return now

    def inventory(self, expected: Any) -> dict[str, Any]:
        """What there is. Fewer descriptors of this process than expected are as many: other tests' may have gone."""
        processes = self.processes()
        here = descriptors_of(os.getpid())
        return {
            "processes": sorted(command for command in processes.values()),
            "descriptors": sum(descriptors_of(pid) for pid in processes),
            "descriptors here": here if expected is None else max(here, expected["descriptors here"]),
            "files": self.files(),
        }

    def processes(self) -> dict[int, str]:
        found = below(os.getpid())
        return {pid: command for pid, command in found.items() if "fork_server.py" in command}

    def files(self) -> Any:
        folders = ("/", "/tmp", "/var/tmp", "/dev/shm", os.getcwd(), os.path.expanduser("~"))
        return [
            sorted((entry.name, entry.stat().st_mtime_ns) for entry in os.scandir(self.tree)),
            [f"{folder}/gristmill-attack" for folder in folders if os.path.exists(f"{folder}/gristmill-attack")],
        ]


class DockerArena(Arena):
    def __init__(self, sandbox: WarmSandbox) -> None:
        import docker

        self.client = docker.from_env().api
        (found,) = self.client.containers(filters={"label": f"gristmill.sandbox={owner()}"})
        self.container = found["Id"]
        super().__init__(sandbox)

    def processes(self) -> dict[int, str]:
        told = self.client.top(self.container)
        pid = told["Titles"].index("PID")
        return {int(row[pid]): row[-1] for row in told["Processes"]}

    def files(self) -> Any:
        return [self.client.diff(self.container) or [], len(self.client.containers(all=True))]


@pytest.fixture(scope="module", params=["bubblewrap", "docker", "process"])
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    kind = request.param
    if kind != "process":
        request.getfixturevalue({"bubblewrap": "bubblewrap_works", "docker": "dockerd"}[kind])
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(against_the_system.SECRET, "not to be seen")
        sandbox = SandboxChoice(kind).start()
        made: Arena | None = None
        try:
            self_test.prove(sandbox)  # above all: no attack runs where the filter does not hold
            made = (DockerArena if kind == "docker" else Arena)(sandbox)
            yield made
        finally:
            sandbox.close()
            if isinstance(made, DockerArena):
                made.client.close()


LISTED = [pytest.param(each, id=f"{group}: {each}") for group, module in GROUPS.items() for each in module.ATTACKS]


@pytest.mark.parametrize("attack", LISTED)
def test_an_attack_ends_as_it_should_and_leaves_nothing(arena: Arena, attack: Attack) -> None:
    if arena.sandbox.name == "process" and not attack.safe_without_a_box:
        pytest.skip("only in a box")
    has_to_run_on = "timeout" not in attack.ends
    limits = msgspec.structs.replace(LIMITS, cpu_seconds=LONG) if has_to_run_on else LIMITS
    execution = arena.run(attack.program, *attack.inputs, limits=limits)
    assert len(execution.outcomes) == len(attack.inputs)
    for outcome in execution.outcomes:
        assert outcome.status in attack.ends, outcome
        assert outcome.message.isprintable() and len(outcome.message) < 1000
        if outcome.status == "ok" and attack.value is not ANY:
            assert outcome.value == attack.value
    if attack.output is not None:
        assert attack.output(execution.output)
    assert len(execution.output) <= LIMITS.output_bytes
    if attack.after is not None:
        assert arena.run(attack.after, [[1]]).outcomes[0].value == []
    arena.check_that_nothing_is_left()


def test_an_endless_input_costs_the_other_inputs_nothing(arena: Arena) -> None:
    execution = arena.run(against_time.ENDLESS_FOR_ONE_INPUT, 1, 2, 3, limits=LIMITS)
    assert [(outcome.status, outcome.value) for outcome in execution.outcomes] == [
        ("ok", 1),
        ("timeout", None),
        ("ok", 3),
    ]


def test_a_forged_clock_buys_one_program_no_more_than_its_time(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have the time of all inputs for the first one, but then not that of the others for the next."""
    asked: list[int] = []
    ask = arena.sandbox._ask

    def counted(*arguments: Any) -> Any:
        asked.append(len(arguments[2]))
        return ask(*arguments)

    monkeypatch.setattr(arena.sandbox, "_ask", counted)
    execution = arena.run(against_time.FORGED_CLOCK, *range(20), limits=LIMITS)
    assert [outcome.status for outcome in execution.outcomes] == ["timeout"] * 20
    assert len(asked) <= 2
    monkeypatch.undo()
    arena.check_that_nothing_is_left()


def test_what_was_printed_too_much_is_the_same_outcome_every_time(arena: Arena) -> None:
    program = (
        f"import os\ndef transform(n):\n    os.write(1, b'x' * ({against_output.LIMIT + 1} * (n == 1)))\n    return n\n"
    )
    for _ in range(30):
        outcomes = arena.run(program, 0, 1, 2, limits=msgspec.structs.replace(LIMITS, cpu_seconds=LONG)).outcomes
        assert [outcome.status for outcome in outcomes] == ["ok", "output_limit", "ok"]


@pytest.mark.parametrize("program", ["DAEMON", "HOLDER", "ZOMBIES"])
def test_the_box_alone_ends_all_that_a_program_started(arena: Arena, program: str) -> None:
    if arena.sandbox.name == "process":
        pytest.skip("only in a box")
    source = getattr(against_processes, program)
    execution = arena.sandbox.execute(source, "transform", [[[1]]], EASY, unfiltered=True)
    assert execution.outcomes[0].value == [[1]]
    arena.check_that_nothing_is_left()


def test_no_program_finds_in_its_memory_what_the_one_before_it_said(arena: Arena) -> None:
    first, second = against_the_harness.WORD
    spoken = arena.run(against_the_harness.SPEAK, 1)
    assert spoken.outcomes[0].value == [first + second] * 100 and first + second in spoken.output
    assert arena.run(against_the_harness.SCAN, [first, second], limits=EASY).outcomes[0].value == [0, True]


def test_the_memory_search_finds_what_is_there(arena: Arena) -> None:
    """The test before would pass with a search that finds nothing at all."""
    first, second = against_the_harness.WORD
    keeping = against_the_harness.SCAN.replace(
        "def transform(halves):", "def transform(halves, kept=[]):\n    kept.append(''.join(halves).encode())"
    )
    hits, has_looked = arena.run(keeping, [first, second]).outcomes[0].value
    assert hits >= 1 and has_looked


def test_no_system_call_but_those_of_the_list_does_anything(arena: Arena) -> None:
    import pyseccomp

    if arena.sandbox.name == "process":
        pytest.skip("only in a box")
    by_their_arguments = ["openat", "clone", "ioctl", "prlimit64", "fcntl"]
    numbers = [pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) for name in [*ALLOWED, *by_their_arguments]]
    outcome = arena.run(against_the_system.EVERY_CALL, numbers).outcomes[0]
    assert outcome.value == [], outcome
