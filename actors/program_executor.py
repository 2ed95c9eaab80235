"""The program executor: some warm sandboxes, each with a thread of its own, that take programs one after the other.

Every call ends with an execution. A sandbox is replaced after many programs, when it breaks, and when it does not give
the right answer to a known program, which it is asked after everything that was ended by force. A program under which
a sandbox breaks is tried once more, in a new one; then its outcomes are "sandbox_failure", and the next program goes on.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from actors.sandboxes.choice import SandboxChoice
from actors.sandboxes.contract import (
    DEFAULT_LIMITS,
    Execution,
    Limits,
    Outcome,
    SandboxBroken,
    SandboxUnusable,
)
from actors.sandboxes.warm import WarmSandbox
from cluster.actor_pool import ActorPool, MemberLost

RECYCLE_AFTER = 10_000  # programs
STARTS = (0.0, 0.1, 0.5, 2.0, 5.0)  # seconds before each try to start a sandbox
# Of one program whose executor dies: hardly ever its fault, since it is in a sandbox that the executor replaces.
TRIES = 5
WHILE_RESTARTING = 30  # looks for an executor that is back, a second apart
SUSPICIOUS = {"timeout", "memory", "killed", "output_limit"}

CLOSED = "the executor is closed"
PROBE = "def transform(grid):\n    return [row[::-1] for row in grid]\n"
PROBE_INPUT, PROBE_OUTPUT = [[1, 2], [3, 4]], [[2, 1], [4, 3]]
PROBE_LIMITS = Limits(cpu_seconds=5.0)


class ExecutorClosed(Exception):
    """The executor was closed before the program had ended."""


class ExecutorBusy(Exception):
    """More calls wait than the executor has room for."""


class Health(msgspec.Struct):
    """What an executor has seen since it started; sums over its sandboxes."""

    programs: int = 0
    inputs: int = 0
    started: int = 0  # sandboxes
    retired: int = 0  # replaced after enough programs
    broken: int = 0  # replaced because they did not answer
    ill: int = 0  # replaced because a known program had no right answer
    sandbox_failures: int = 0  # programs


@dataclass(slots=True)
class _Call:
    program: str
    function: str
    inputs: Sequence[Any]
    limits: Limits
    answer: Future[Execution] = field(default_factory=Future)


class ProgramExecutor:
    """`sandboxes` of one kind, and a queue of `room` calls before them. Thread-safe."""

    def __init__(
        self, choice: SandboxChoice, sandboxes: int = 1, room: int = 10_000, recycle_after: int = RECYCLE_AFTER
    ) -> None:
        self.choice, self.recycle_after = choice, recycle_after
        self._calls: queue.Queue[_Call | None] = queue.Queue(room)
        self._health = Health()
        self._lock = threading.Lock()
        self._closed = False
        self._proved = False
        self._keepers = [_Keeper(self) for _ in range(sandboxes)]
        self._threads = [threading.Thread(target=self._work, args=(each,), daemon=True) for each in self._keepers]
        for thread in self._threads:
            thread.start()

    def run(self, program: str, function: str, inputs: Sequence[Any], limits: Limits = DEFAULT_LIMITS) -> Execution:
        """Execute a program and wait for it. Raises SandboxUnusable where no sandbox can be started."""
        return self._put(program, function, inputs, limits).result()

    async def execute(
        self, program: str, function: str, inputs: Sequence[Any], limits: Limits = DEFAULT_LIMITS
    ) -> Execution:
        """Like `run`, on an event loop."""
        return await asyncio.wrap_future(self._put(program, function, inputs, limits))

    async def execute_all(
        self, programs: Sequence[str], function: str, inputs: Sequence[Sequence[Any]], limits: Limits = DEFAULT_LIMITS
    ) -> list[Execution]:
        """Each program on its inputs."""
        return list(await asyncio.gather(*(self.execute(*each, limits) for each in _calls(programs, function, inputs))))

    async def prove(self) -> None:
        """Start a sandbox and run a known program. Raises SandboxUnusable with what is missing."""
        outcome = (await self.execute(PROBE, "transform", [PROBE_INPUT], PROBE_LIMITS)).outcomes[0]
        if outcome.value != PROBE_OUTPUT:
            raise SandboxUnusable(f"a sandbox does not run a simple program: {outcome.status} {outcome.message}")

    async def health(self) -> Health:
        return msgspec.structs.replace(self._health)

    def close(self) -> None:
        """End all sandboxes, whatever runs in them; its calls, and those that wait, end with ExecutorClosed."""
        with self._lock:
            self._closed = True
        while True:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                break
            if call is not None and call.answer.set_running_or_notify_cancel():
                call.answer.set_exception(ExecutorClosed(CLOSED))
        for _ in self._threads:
            self._calls.put(None)
        for keeper in self._keepers:
            with suppress(Exception):  # its thread drops it in any case, and the next one has to be ended too
                keeper.interrupt()
        for thread in self._threads:
            thread.join(60)

    def _put(self, program: str, function: str, inputs: Sequence[Any], limits: Limits) -> Future[Execution]:
        call = _Call(program, function, inputs, limits)
        with self._lock:
            if self._closed:
                raise ExecutorClosed(CLOSED)
            try:
                self._calls.put_nowait(call)
            except queue.Full:
                raise ExecutorBusy(f"{self._calls.maxsize:,} programs wait already") from None
        return call.answer

    # A sandbox's thread

    def _work(self, keeper: _Keeper) -> None:
        try:
            while (call := self._calls.get()) is not None:
                if not call.answer.set_running_or_notify_cancel():
                    continue  # nobody waits for it any more; from here on it cannot be taken back
                try:
                    call.answer.set_result(keeper.execute(call))
                except BaseException as error:  # a defect too has to reach the caller, or it would wait for ever
                    call.answer.set_exception(error)
        finally:
            keeper.drop()

    def start_sandbox(self) -> WarmSandbox:
        """A new sandbox, tried some times. The first one has to prove that it isolates. Raises SandboxUnusable."""
        for last, wait in enumerate(STARTS, 1 - len(STARTS)):
            time.sleep(wait)
            self.check_open()
            try:
                sandbox = self.choice.start()
            except SandboxUnusable:
                if last == 0 or not self._health.started:  # what never worked here will not by waiting
                    raise
                continue
            self.count("started")
            self._prove_once(sandbox)
            return sandbox
        raise AssertionError("unreachable")

    def _prove_once(self, sandbox: WarmSandbox) -> None:
        with self._lock:
            if self._proved:
                return
        try:
            self.choice.prove(sandbox)
        except BaseException:
            sandbox.close()
            raise
        with self._lock:
            self._proved = True

    def check_open(self) -> None:
        """Raises ExecutorClosed."""
        if self._closed:
            raise ExecutorClosed(CLOSED)

    def count(self, name: str, amount: int = 1) -> None:
        with self._lock:
            setattr(self._health, name, getattr(self._health, name) + amount)


class _Keeper:
    """One sandbox and its replacement, in the hands of one thread."""

    def __init__(self, executor: ProgramExecutor) -> None:
        self.executor = executor
        self.sandbox: WarmSandbox | None = None
        self.programs = 0  # that the sandbox has run

    def execute(self, call: _Call) -> Execution:
        """The program's execution, whatever it does to the sandbox."""
        self.executor.count("programs")
        self.executor.count("inputs", len(call.inputs))
        for _ in range(2):
            sandbox = self._ready()
            self.executor.check_open()  # after which `close` finds the sandbox here
            try:
                found = sandbox.execute(call.program, call.function, call.inputs, call.limits)
            except SandboxBroken as error:
                reason = str(error)
                self.executor.check_open()
                self.executor.count("broken")
                self.drop()
                continue
            self.programs += 1
            if any(outcome.status in SUSPICIOUS for outcome in found.outcomes):
                self._examine()
            return found
        self.executor.count("sandbox_failures")
        failed = Outcome("sandbox_failure", message=f"two sandboxes broke under this program: {reason}")
        return Execution((failed,) * len(call.inputs))

    def _ready(self) -> WarmSandbox:
        if self.sandbox is not None and self.programs >= self.executor.recycle_after:
            self.executor.count("retired")
            self.drop()
        if self.sandbox is None:
            self.sandbox, self.programs = self.executor.start_sandbox(), 0
        return self.sandbox

    def _examine(self) -> None:
        """Let go of the sandbox unless it gives the right answer to a known program."""
        assert self.sandbox is not None
        try:
            outcome = self.sandbox.execute(PROBE, "transform", [PROBE_INPUT], PROBE_LIMITS).outcomes[0]
            is_well = outcome.value == PROBE_OUTPUT
        except SandboxBroken:
            is_well = False
        if not is_well:
            self.executor.count("ill")
            self.drop()

    def interrupt(self) -> None:
        """End the sandbox from another thread; whoever waits for it finds it broken."""
        if (sandbox := self.sandbox) is not None:
            sandbox.close()

    def drop(self) -> None:
        sandbox, self.sandbox = self.sandbox, None
        if sandbox is not None:
            sandbox.close()


@dataclass(frozen=True, slots=True)
class Executors:
    """The way to all executors of a run, from any worker; picklable, and used from an event loop."""

    pool: ActorPool

    async def execute(
        self, program: str, function: str, inputs: Sequence[Any], limits: Limits = DEFAULT_LIMITS
    ) -> Execution:
        """Execute a program in whichever sandbox is free (see `actors.sandboxes.contract`).

        A program whose executor dies under it is tried again, five times in all; then its outcomes are
        "sandbox_failure". Raises SandboxUnusable where no sandbox can be started, PoolLost where no executor comes back.
        """
        reason = ""
        for _ in range(TRIES):
            try:
                found: Execution = await self.pool.call("execute", program, function, list(inputs), limits)
                return found
            except MemberLost as error:
                reason = str(error)
                await self._back()
        failed = Outcome("sandbox_failure", message=f"{reason}; so did {TRIES - 1} others with the same program")
        return Execution((failed,) * len(inputs))

    async def execute_all(
        self, programs: Sequence[str], function: str, inputs: Sequence[Sequence[Any]], limits: Limits = DEFAULT_LIMITS
    ) -> list[Execution]:
        """Each program on its inputs, in one call: for small programs the way to an executor costs as much as they do.

        If the executor dies under it, the programs are executed one by one, so that none suffers for another.
        """
        try:
            found: list[Execution] = await self.pool.call("execute_all", programs, function, inputs, limits)
            return found
        except MemberLost:
            await self._back()
        return [await self.execute(*each, limits) for each in _calls(programs, function, inputs)]

    async def _back(self) -> None:
        """Wait until an executor answers: one that is being restarted refuses calls that would only wait."""
        for _ in range(WHILE_RESTARTING):
            try:
                await self.pool.call("health")
                return
            except MemberLost:
                await asyncio.sleep(1)

    async def health(self) -> list[Health]:
        """Each executor's account since its last start."""
        return await self.pool.call_all("health")


def _calls(
    programs: Sequence[str], function: str, inputs: Sequence[Sequence[Any]]
) -> Iterator[tuple[str, str, Sequence[Any]]]:
    for program, given in zip(programs, inputs, strict=True):
        yield program, function, given
