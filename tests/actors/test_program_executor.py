"""The executor's own decisions, with sandboxes that break as told; then real ones."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from actors.program_executor import PROBE, ExecutorBusy, ExecutorClosed, ProgramExecutor
from actors.sandboxes.choice import SandboxChoice
from actors.sandboxes.contract import Execution, Limits, Outcome, SandboxBroken, SandboxUnusable, returned

REVERSE = "def transform(grid):\n    return [row[::-1] for row in grid]\n"
Behaviour = Callable[[str, Any], Outcome]


def reversing(program: str, value: Any) -> Outcome:
    return returned([row[::-1] for row in value])


class ScriptedSandbox:
    """Does with each program what `behaviour` says; closed only once."""

    name = "scripted"

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour, self.is_open = behaviour, True

    def execute(self, program: str, function: str, inputs: Sequence[Any], limits: Limits) -> Execution:
        assert self.is_open
        return Execution(tuple(self.behaviour(program, value) for value in inputs))

    def close(self) -> None:
        self.is_open = False


class ScriptedChoice(SandboxChoice):
    """Starts the sandboxes of a script, the last of them again and again."""

    def __init__(self, *script: Behaviour | Exception) -> None:
        super().__init__()
        object.__setattr__(self, "script", list(script))
        object.__setattr__(self, "started", [])

    def start(self) -> Any:
        script: list[Behaviour | Exception] = self.script  # type: ignore[attr-defined]
        told = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(told, Exception):
            raise told
        sandbox = ScriptedSandbox(told)
        self.started.append(sandbox)  # type: ignore[attr-defined]
        return sandbox

    def prove(self, sandbox: Any) -> None:
        """These isolate nothing."""


@pytest.fixture
def executor_of() -> Iterator[Callable[..., ProgramExecutor]]:
    made: list[ProgramExecutor] = []

    def make(choice: SandboxChoice, **options: Any) -> ProgramExecutor:
        made.append(ProgramExecutor(choice, **options))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


def health(executor: ProgramExecutor) -> Any:
    return asyncio.run(executor.health())


def broken(program: str, value: Any) -> Outcome:
    raise SandboxBroken("the fork server has ended")


def test_every_call_gets_its_own_answer_whichever_sandbox_ran_it(executor_of: Any) -> None:
    executor = executor_of(ScriptedChoice(lambda program, value: returned([program, value])), sandboxes=3)
    with ThreadPoolExecutor(16) as callers:
        answers = callers.map(lambda n: executor.run(f"program {n}", "transform", [n]), range(300))
        assert [answer.outcomes[0].value for answer in answers] == [[f"program {n}", n] for n in range(300)]


def test_a_program_under_which_a_sandbox_breaks_is_tried_once_more_in_a_new_one(executor_of: Any) -> None:
    executor = executor_of(ScriptedChoice(broken, reversing))
    assert executor.run(REVERSE, "transform", [[[1, 2]]]).outcomes == (returned([[2, 1]]),)
    assert (health(executor).broken, health(executor).started, health(executor).sandbox_failures) == (1, 2, 0)


def test_a_program_that_breaks_two_sandboxes_fails_and_the_next_one_goes_on(executor_of: Any) -> None:
    choice = ScriptedChoice(broken, broken, reversing)
    executor = executor_of(choice)
    failed = executor.run("evil", "transform", [1, 2])
    assert [outcome.status for outcome in failed.outcomes] == ["sandbox_failure"] * 2
    assert "the fork server has ended" in failed.outcomes[0].message
    assert executor.run(REVERSE, "transform", [[[1, 2]]]).outcomes[0].value == [[2, 1]]
    assert health(executor).sandbox_failures == 1
    assert [sandbox.is_open for sandbox in choice.started] == [False, False, True]


@pytest.mark.parametrize("status", ["timeout", "memory", "killed", "output_limit"])
def test_a_sandbox_that_answers_wrongly_after_a_program_was_ended_is_replaced(executor_of: Any, status: Any) -> None:
    def wedged(program: str, value: Any) -> Outcome:
        return returned("not what was asked") if program == PROBE else Outcome(status)

    executor = executor_of(ScriptedChoice(wedged, reversing))
    assert executor.run("endless", "transform", [1]).outcomes[0].status == status
    assert health(executor).ill == 1
    assert executor.run(REVERSE, "transform", [[[1, 2]]]).outcomes[0].value == [[2, 1]]


def test_a_sandbox_that_is_well_after_a_program_was_ended_is_kept(executor_of: Any) -> None:
    def ended(program: str, value: Any) -> Outcome:
        return reversing(program, value) if program == PROBE else Outcome("timeout")

    executor = executor_of(ScriptedChoice(ended))
    for _ in range(5):
        executor.run("endless", "transform", [1])
    assert (health(executor).started, health(executor).ill) == (1, 0)


def test_a_sandbox_is_retired_after_so_many_programs(executor_of: Any) -> None:
    choice = ScriptedChoice(reversing)
    executor = executor_of(choice, recycle_after=10)
    for _ in range(35):
        assert executor.run(REVERSE, "transform", [[[1, 2]]]).outcomes[0].value == [[2, 1]]
    assert (health(executor).started, health(executor).retired) == (4, 3)
    assert [sandbox.is_open for sandbox in choice.started] == [False, False, False, True]


def test_a_sandbox_that_never_starts_is_told_at_once(executor_of: Any) -> None:
    executor = executor_of(ScriptedChoice(SandboxUnusable("there is no bubblewrap here: apt-get install bubblewrap")))
    with pytest.raises(SandboxUnusable, match="apt-get install bubblewrap"):
        executor.run(REVERSE, "transform", [1])


def test_a_sandbox_that_does_not_start_again_is_waited_for(executor_of: Any) -> None:
    executor = executor_of(ScriptedChoice(broken, SandboxUnusable("busy"), SandboxUnusable("busy"), reversing))
    assert executor.run(REVERSE, "transform", [[[1, 2]]]).outcomes[0].value == [[2, 1]]


def test_a_defect_reaches_the_caller_and_the_next_program_goes_on(executor_of: Any) -> None:
    def defective(program: str, value: Any) -> Outcome:
        if program == "defect":
            raise RuntimeError("a defect")
        return reversing(program, value)

    executor = executor_of(ScriptedChoice(defective))
    with pytest.raises(RuntimeError, match="a defect"):
        executor.run("defect", "transform", [1])
    assert executor.run(REVERSE, "transform", [[[1, 2]]]).outcomes[0].value == [[2, 1]]


def test_calls_beyond_the_queue_are_refused_and_those_that_wait_end_with_the_executor(executor_of: Any) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(program: str, value: Any) -> Outcome:
        begun.set()
        assert go.wait(30)
        return returned(value)

    executor = executor_of(ScriptedChoice(slow), room=2)

    async def scene() -> list[Any]:
        first = asyncio.ensure_future(executor.execute("", "transform", [0]))
        await asyncio.to_thread(begun.wait, 30)
        waiting = [asyncio.ensure_future(executor.execute("", "transform", [n])) for n in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(ExecutorBusy):
            await executor.execute("", "transform", [3])
        closing = asyncio.create_task(asyncio.to_thread(executor.close))
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        go.set()
        await closing
        return [await first, *ended]

    first, *ended = asyncio.run(scene())
    assert first.outcomes == (returned(0),)
    assert [type(error) for error in ended] == [ExecutorClosed] * 2
    with pytest.raises(ExecutorClosed):
        executor.run("", "transform", [4])


@pytest.mark.component
@pytest.mark.parametrize("kind", ["bubblewrap", "process"])
def test_closing_does_not_wait_for_a_program(kind: Any, executor_of: Any, request: pytest.FixtureRequest) -> None:
    if kind == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    executor = executor_of(SandboxChoice(kind))
    executor.run(REVERSE, "transform", [[[1]]])
    sleeping = "import time\ndef transform(grid):\n    time.sleep(1000)\n"
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(executor.run, sleeping, "transform", [1, 2], Limits(cpu_seconds=500))
        while health(executor).programs < 2:
            time.sleep(0.01)
        time.sleep(0.3)
        began = time.monotonic()
        executor.close()
        assert time.monotonic() - began < 30  # of the 4000 that it had
        with pytest.raises(ExecutorClosed):
            call.result(30)


def test_calls_that_are_given_up_take_nothing_from_others_nor_from_the_end(executor_of: Any) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(program: str, value: Any) -> Outcome:
        begun.set()
        assert go.wait(30)
        return returned(value)

    executor = executor_of(ScriptedChoice(slow))

    async def scene() -> Execution:
        running = asyncio.ensure_future(executor.execute("", "transform", [0]))
        await asyncio.to_thread(begun.wait, 30)
        waiting = asyncio.ensure_future(executor.execute("", "transform", [1]))
        await asyncio.sleep(0)
        for each in (running, waiting):
            each.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        go.set()
        answer = await asyncio.wait_for(executor.execute("", "transform", [2]), 30)
        begun.clear()
        go.clear()
        last = [asyncio.ensure_future(executor.execute("", "transform", [n])) for n in (3, 4)]
        await asyncio.to_thread(begun.wait, 30)
        last[1].cancel()
        await asyncio.gather(last[1], return_exceptions=True)
        closing = asyncio.create_task(asyncio.to_thread(executor.close))
        go.set()
        await asyncio.wait_for(closing, 30)
        assert (await last[0]).outcomes == (returned(3),)
        return answer

    assert asyncio.run(scene()).outcomes == (returned(2),)
    assert health(executor).programs == 3


def test_one_that_cannot_be_closed_keeps_no_other_from_it(executor_of: Any) -> None:
    both = threading.Barrier(3)
    go = threading.Event()

    def slow(program: str, value: Any) -> Outcome:
        both.wait(30)
        assert go.wait(30)
        return returned(value)

    class CloseFails(ScriptedSandbox):
        def close(self) -> None:
            was_open, self.is_open = self.is_open, False
            go.set()
            if was_open:
                raise RuntimeError("close failed")

    class Choice(ScriptedChoice):
        def start(self) -> Any:
            return started.pop()

    made = [CloseFails(slow), CloseFails(slow)]
    started = list(made)
    executor = executor_of(Choice(slow), sandboxes=2)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(executor.run, "", "transform", [n]) for n in (1, 2)]
        both.wait(30)
        executor.close()
        assert [sandbox.is_open for sandbox in made] == [False, False]
        assert [call.result(30).outcomes for call in calls] == [(returned(1),), (returned(2),)]


def test_a_sandbox_that_cannot_even_be_closed_is_replaced_all_the_same(executor_of: Any) -> None:
    class CloseFails(ScriptedSandbox):
        def close(self) -> None:
            raise RuntimeError("close failed")

    class Choice(ScriptedChoice):
        def start(self) -> Any:
            return starts.pop(0)

    starts = [CloseFails(broken), ScriptedSandbox(reversing)]
    executor = executor_of(Choice(reversing))
    with pytest.raises(RuntimeError, match="close failed"):
        executor.run(REVERSE, "transform", [[[1, 2]]])
    assert executor.run(REVERSE, "transform", [[[1, 2]]]).outcomes[0].value == [[2, 1]]


# Real sandboxes

needs_bubblewrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")


def descendants(pid: int) -> dict[int, str]:
    """The live processes below a process, with their command lines."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    parents, commands = {}, {}
    for line in listed.splitlines():
        child, parent, state, command = line.split(None, 3)
        if not state.startswith("Z"):
            parents[int(child)], commands[int(child)] = int(parent), command
    found, edge = {}, {pid}
    while edge:
        edge = {child for child, parent in parents.items() if parent in edge}
        found |= {child: commands[child] for child in edge}
    return found


@pytest.fixture(scope="module")
def real() -> Iterator[ProgramExecutor]:
    before = set(descendants(os.getpid()))
    executor = ProgramExecutor(SandboxChoice("bubblewrap"))
    executor.run(REVERSE, "transform", [[[1, 2]]])  # a sandbox has started, and proved that it isolates
    yield executor
    executor.close()
    left = {
        pid: command
        for pid, command in descendants(os.getpid()).items()
        if pid not in before and "ps -eo" not in command
    }
    assert not left


@needs_bubblewrap
@pytest.mark.component
def test_a_sandbox_killed_in_mid_call_costs_no_program_its_outcome(real: ProgramExecutor) -> None:
    slow = "import time\ndef transform(grid):\n    time.sleep(0.6)\n    return grid\n"
    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(real.run, slow, "transform", [[[7]]])
        time.sleep(0.3)
        servers = [pid for pid, command in descendants(os.getpid()).items() if "fork_server.py" in command]
        assert servers
        for pid in servers:
            os.kill(pid, signal.SIGKILL)
        assert call.result(60).outcomes[0].value == [[7]]
    assert health(real).broken >= 1


@needs_bubblewrap
@pytest.mark.component
def test_thirty_two_callers_during_recycles_all_get_their_own_answers() -> None:
    executor = ProgramExecutor(SandboxChoice("bubblewrap"), sandboxes=2, recycle_after=20)
    try:
        with ThreadPoolExecutor(32) as callers:
            programs = [f"def transform(grid):\n    return [grid, {n}]\n" for n in range(320)]
            answers = list(callers.map(lambda n: executor.run(programs[n], "transform", [[n]]), range(320)))
        assert [answer.outcomes[0].value for answer in answers] == [[[n], n] for n in range(320)]
        assert health(executor).retired >= 10
    finally:
        executor.close()


@needs_bubblewrap
@pytest.mark.component
def test_the_sandboxes_of_a_killed_process_end_with_it(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "from actors.program_executor import ProgramExecutor\n"
        "from actors.sandboxes.choice import SandboxChoice\n"
        "executor = ProgramExecutor(SandboxChoice('bubblewrap'), sandboxes=2)\n"
        f"executor.run({REVERSE!r}, 'transform', [[[1]]])\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    import sys

    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None and host.stdout.readline() == "ready\n"
        boxes = descendants(host.pid)
        assert boxes
        host.kill()
        host.wait()
        deadline = time.monotonic() + 10
        while left := [pid for pid in boxes if os.path.exists(f"/proc/{pid}")]:
            assert time.monotonic() < deadline, f"left behind: {[boxes[pid] for pid in left]}"
            time.sleep(0.05)
