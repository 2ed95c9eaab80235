"""The host's side of a warm sandbox: speaks with its fork server and makes outcomes of what comes back.

What comes back is not trusted: lengths are bounded, a value has to be JSON that every reader here can take, and what
makes no sense counts as no result. A reply that is cut short breaks the sandbox: the next one could not be told from it.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from actors.sandboxes import fork_server as wire
from actors.sandboxes.contract import Execution, Limits, Outcome, SandboxBroken, Status, returned

SHARED_BYTES = 64 << 20  # room for the results of one request, taken as it is used
GRACE = 10.0  # seconds beyond a program's own limits after which the sandbox counts as stuck
LATE, LATE_TURNS = 1.0, 2  # seconds, and turns of a program, by which a busy machine may be late to end it
MESSAGE = 400
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

_STATUS: dict[int, Status] = {
    wire.OK: "ok",
    wire.WRONG_TYPE: "wrong_type",
    wire.EXCEPTION: "exception",
    wire.MEMORY: "memory",
    wire.RESULT_LIMIT: "output_limit",
}


class Channel(Protocol):
    """A stream of bytes to a fork server and back. All raise SandboxBroken when it has gone or takes too long."""

    def send(self, data: bytes, seconds: float) -> None: ...

    def receive(self, size: int, seconds: float) -> bytes:
        """Exactly so many bytes."""
        ...


@dataclass(frozen=True, slots=True)
class _Reply:
    """What the fork server says of one process: its frames, how it ended, and in which phase."""

    frames: bytes
    printed: bytes
    how: int
    status: int
    cpu: float
    wall: float
    phase: int


class WarmSandbox:
    """A sandbox around a fork server that is reached by a channel; `end` ends all its processes."""

    def __init__(self, name: str, channel: Channel, end: Callable[[], None]) -> None:
        self.name = name
        self._channel, self._end = channel, end
        self._is_whole = True  # every request has had all of its reply

    def execute(
        self, program: str, function: str, inputs: Sequence[Any], limits: Limits, unfiltered: bool = False
    ) -> Execution:
        """See `contract.Sandbox`. `unfiltered` leaves the system call filter away, for the test at start alone."""
        outcomes: list[Outcome] = []
        printed = b""
        used = _Used()
        at_once = max(1, SHARED_BYTES // (limits.result_bytes + wire.FRAME.size))
        while len(outcomes) < len(inputs):
            rest = inputs[len(outcomes) : len(outcomes) + at_once]
            room = limits.output_bytes - len(printed)
            reply = self._ask(program, function, rest, limits, room, unfiltered)
            if reply.how == wire.OUTPUT and len(rest) > 1:
                at_once = 1  # at which input it was cannot be told: each in a process of its own
                used.add(reply, len(rest))
                continue
            found = _outcomes(reply, len(rest), limits)
            used.add(reply, len(found))
            outcomes += found
            printed += reply.printed
            if reply.how == wire.TIMEOUT and used.more_than(limits):
                outcomes += found[-1:] * (len(inputs) - len(outcomes))
        return Execution(tuple(outcomes), printed.decode("utf-8", "replace"))

    def close(self) -> None:
        self._end()

    def _ask(
        self, program: str, function: str, inputs: Sequence[Any], limits: Limits, room: int, unfiltered: bool
    ) -> _Reply:
        if not self._is_whole:
            raise SandboxBroken("an earlier program's answer was not waited for")
        body = json.dumps({"program": program, "function": function, "inputs": list(inputs)}).encode()
        flags = wire.NO_FILTER if unfiltered else 0
        wall = limits.cpu_seconds * limits.wall_factor
        header = wire.HEADER.pack(
            len(body), len(inputs), limits.cpu_seconds, wall, limits.memory, limits.threads, room, limits.result_bytes,
            limits.open_files, flags,
        )  # fmt: skip
        self._is_whole = False
        self._channel.send(header + body, GRACE)
        head = self._channel.receive(wire.REPLY.size, wall * (len(inputs) + 1) + GRACE)
        frames, printed, how, status, cpu, took, phase = wire.REPLY.unpack(head)
        if frames > SHARED_BYTES or printed > room or how not in wire.HOW:
            raise SandboxBroken("the fork server sent what makes no sense")
        data = self._channel.receive(frames + printed, GRACE)
        self._is_whole = True
        return _Reply(data[:frames], data[frames:], how, status, cpu, took, phase)


class _Used:
    """What the processes of one program have used, and how many turns they had for it: definitions and inputs.

    Within a process a program can lie about when a turn began, and have the time of all for the first. It is not given
    the next process for the next input then, and so on: all of it would grow with the square of the inputs.
    """

    def __init__(self) -> None:
        self.turns, self.cpu, self.wall = 0, 0.0, 0.0

    def add(self, reply: _Reply, inputs: int) -> None:
        self.turns += 1 + inputs
        self.cpu += reply.cpu
        self.wall += reply.wall

    def more_than(self, limits: Limits) -> bool:
        """Whether it is more than a program can use that does not lie, on a machine that is late to stop it."""
        turns = self.turns + LATE_TURNS
        wall = limits.cpu_seconds * limits.wall_factor
        return self.cpu > turns * limits.cpu_seconds + LATE or self.wall > turns * wall + LATE


def _outcomes(reply: _Reply, inputs: int, limits: Limits) -> list[Outcome]:
    """The outcomes that a reply tells of, from the first input on; at least one, at most one for each input."""
    found: list[Outcome] = []
    if reply.how == wire.OUTPUT and inputs == 1:  # whether it still returned is a matter of who was quicker
        return [_ended(reply, inputs, limits)]
    frames = memoryview(reply.frames)
    while len(frames) >= wire.FRAME.size and len(found) < inputs:
        index, status, size, cpu, wall = wire.FRAME.unpack_from(frames)
        payload = bytes(frames[wire.FRAME.size : wire.FRAME.size + size])
        frames = frames[wire.FRAME.size + size :]
        is_definition = index == -1 and not found and status != wire.OK
        if status not in _STATUS or len(payload) != size or not (is_definition or index == len(found)):
            return [*found, Outcome("wrong_type", message="what came back is no result", wall_ms=_ms(reply.wall))]
        outcome = _returned(_STATUS[status], payload, _ms(cpu), _ms(wall), limits)
        if is_definition:  # no input has another outcome
            return [outcome] * inputs
        found.append(outcome)
    if len(found) == inputs:
        return found
    ended = _ended(reply, inputs, limits)
    return [ended] * inputs if reply.phase <= 1 and not found else [*found, ended]


def _ms(seconds: float) -> float:
    """Milliseconds for a person; what a program forged to be no time at all is 0."""
    return round(seconds * 1000, 3) if 0 <= seconds < 1e6 else 0.0


def _returned(status: Status, payload: bytes, cpu: float, wall: float, limits: Limits) -> Outcome:
    if status != "ok":
        return Outcome(status, message=_line(payload), cpu_ms=cpu, wall_ms=wall)
    if len(payload) > limits.result_bytes:
        return Outcome("output_limit", message="the result is too large", cpu_ms=cpu, wall_ms=wall)
    try:
        # Written anew, since whoever gets it puts it into a line of JSON: it may hold no longer integer, no deeper list
        # and no broken text than a writer takes, and no newline.
        return returned(msgspec.json.decode(payload), cpu, wall)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Outcome("wrong_type", message=f"what came back is no JSON ({_line(str(error).encode())})", wall_ms=wall)


def _line(text: bytes) -> str:
    """A program's own words in one line that a terminal can show."""
    return printable(" ".join(text.decode("utf-8", "replace")[:MESSAGE].split()))


def printable(text: str) -> str:
    """A program's own words without what commands a terminal; lines and tabs stay."""
    return _UNPRINTABLE.sub("\ufffd", text)


def _ended(reply: _Reply, inputs: int, limits: Limits) -> Outcome:
    """What became of an input whose process, which had so many, ended before it returned."""
    cpu, wall = _ms(reply.cpu), _ms(reply.wall)
    if reply.how == wire.TIMEOUT:
        seconds, factor = limits.cpu_seconds, limits.wall_factor
        return _failed("timeout", f"over {seconds:g} s of CPU or {seconds * factor:g} s in all", cpu, wall)
    if reply.how == wire.OUTPUT:
        return _failed("output_limit", f"printed more than {limits.output_bytes:,} bytes", cpu, wall)
    if os.WIFSIGNALED(reply.status):
        number = os.WTERMSIG(reply.status)
        if number == signal.SIGKILL:
            # Nobody in the box may send it: the kernel did, for CPU time or for want of memory.
            if reply.cpu > wire.most_cpu(limits.cpu_seconds, inputs) - 0.5:
                return _failed("timeout", f"over {limits.cpu_seconds:g} s of CPU", cpu, wall)
            return _failed("memory", "killed for want of memory", cpu, wall)
        names = {each.value: each.name for each in signal.Signals}
        how = names.get(number, f"signal {number}")
    else:
        how = f"exit status {os.WEXITSTATUS(reply.status)}"
    return _failed("killed", f"its process ended before it returned ({how})", cpu, wall)


def _failed(status: Status, message: str, cpu: float, wall: float) -> Outcome:
    return Outcome(status, message=message, cpu_ms=cpu, wall_ms=wall)
