"""What the host makes of a reply, honest or forged."""

from __future__ import annotations

import math
import signal
import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.sandboxes import fork_server as wire
from actors.sandboxes.contract import DEFAULT_LIMITS, Limits, Outcome, SandboxBroken, returned
from actors.sandboxes.warm import SHARED_BYTES, WarmSandbox

LIMITS = Limits(cpu_seconds=0.5, output_bytes=100, result_bytes=200)


class Scripted:
    """A channel that answers each request with the next of its replies, and keeps the requests."""

    def __init__(self, *replies: bytes) -> None:
        self.replies, self.requests, self.stream = list(replies), [], b""  # type: ignore[var-annotated]

    def send(self, data: bytes, seconds: float) -> None:
        self.requests.append(data)
        self.stream = self.replies.pop(0) if self.replies else b""

    def receive(self, size: int, seconds: float) -> bytes:
        if size > len(self.stream):
            raise SandboxBroken("the fork server has ended")
        data, self.stream = self.stream[:size], self.stream[size:]
        return data


def frame(index: int, payload: bytes, status: int = wire.OK, size: int | None = None) -> bytes:
    return wire.FRAME.pack(index, status, len(payload) if size is None else size, 0.001, 0.002) + payload


def reply(
    *frames: bytes,
    printed: bytes = b"",
    how: int = wire.ENDED,
    status: int = 0,
    cpu: float = 0.01,
    wall: float = 0.25,
    phase: int = 99,
) -> bytes:
    data = b"".join(frames)
    return wire.REPLY.pack(len(data), len(printed), how, status, cpu, wall, phase) + data + printed


def outcomes(*replies: bytes, inputs: int = 1, limits: Limits = LIMITS) -> list[Outcome]:
    sandbox = WarmSandbox("scripted", Scripted(*replies), lambda: None)
    return list(sandbox.execute("", "transform", list(range(inputs)), limits).outcomes)


def statuses(*replies: bytes, inputs: int = 1) -> list[str]:
    return [outcome.status for outcome in outcomes(*replies, inputs=inputs)]


def test_a_value_comes_back_with_its_times() -> None:
    assert outcomes(reply(frame(0, b"[[1,2]]"))) == [returned([[1, 2]], cpu_ms=1.0, wall_ms=2.0)]


def test_a_request_holds_the_limits_the_program_and_the_inputs() -> None:
    channel = Scripted(reply(frame(0, b"1"), frame(1, b"2")))
    WarmSandbox("scripted", channel, lambda: None).execute("x = 1", "solve", [[1], {"a": None}], LIMITS)
    (request,) = channel.requests
    header = wire.HEADER.unpack_from(request)
    assert header == (len(request) - wire.HEADER.size, 2, 0.5, 2.0, 512 << 20, 16, 100, 200, 32, 0)
    assert orjson.loads(request[wire.HEADER.size :]) == {
        "program": "x = 1",
        "function": "solve",
        "inputs": [[1], {"a": None}],
    }


def test_an_input_whose_process_is_ended_does_not_take_the_next_ones_with_it() -> None:
    ended = reply(frame(0, b"1"), how=wire.TIMEOUT, phase=3)
    rest = reply(frame(0, b"3"))
    found = outcomes(ended, rest, inputs=3)
    assert [(outcome.status, outcome.value) for outcome in found] == [("ok", 1), ("timeout", None), ("ok", 3)]


def test_a_definition_that_fails_is_the_outcome_of_every_input() -> None:
    assert statuses(reply(frame(-1, b"SyntaxError", wire.EXCEPTION)), inputs=3) == ["exception"] * 3


def test_a_process_that_is_ended_at_the_definition_is_not_tried_for_each_input() -> None:
    assert statuses(reply(how=wire.TIMEOUT, phase=1), inputs=3) == ["timeout"] * 3


@pytest.mark.parametrize(
    ("told", "status", "message"),
    [
        (reply(how=wire.TIMEOUT), "timeout", "over 0.5 s of CPU or 2 s in all"),
        (reply(how=wire.OUTPUT), "output_limit", "printed more than 100 bytes"),
        (reply(status=signal.SIGKILL, cpu=1.99), "timeout", "over 0.5 s of CPU"),
        (reply(status=signal.SIGKILL, cpu=0.9), "memory", "killed for want of memory"),
        (reply(status=signal.SIGKILL), "memory", "killed for want of memory"),
        (reply(status=signal.SIGSEGV), "killed", "SIGSEGV"),
        (reply(status=40), "killed", "signal 40"),
        (reply(status=7 << 8), "killed", "exit status 7"),
    ],
)
def test_how_a_process_ended_says_what_became_of_its_input(told: bytes, status: str, message: str) -> None:
    (outcome,) = outcomes(told)
    assert outcome.status == status and message in outcome.message


@pytest.mark.parametrize(
    "payload",
    [
        b"NaN", b"1e999", b"Infinity", b"", b"[", b"'x'", b"\xff", b'"\\ud800"', b"18446744073709551616", b"9" * 150,
        b"[" * 100 + b"]" * 99, b"1 2", b"\xef\xbb\xbf1",
    ],
)  # fmt: skip
def test_what_is_no_json_is_no_value(payload: bytes) -> None:
    (outcome,) = outcomes(reply(frame(0, payload)))
    assert (outcome.status, outcome.value) == ("wrong_type", None)


@pytest.mark.parametrize(
    "frames",
    [
        [frame(1, b"1")],  # not the input's turn
        [frame(0, b"1", status=77)],
        [frame(0, b"1", size=2**32 - 1)],
        [frame(-1, b"1")],  # a definition has no value
        [frame(-7, b"1", wire.EXCEPTION)],
    ],
)
def test_a_frame_that_makes_no_sense_is_no_result(frames: list[bytes]) -> None:
    assert statuses(reply(*frames)) == ["wrong_type"]


def test_a_frame_for_the_definition_that_comes_late_takes_no_result_away() -> None:
    told = reply(frame(0, b"1"), frame(-1, b"x", wire.EXCEPTION))
    assert statuses(told, reply(frame(0, b"3")), inputs=3) == ["ok", "wrong_type", "ok"]


def test_a_result_that_a_program_forged_to_be_larger_than_it_may_is_not_read() -> None:
    assert statuses(reply(frame(0, b'"' + b"x" * 300 + b'"'))) == ["output_limit"]


def test_a_message_is_one_line_that_does_nothing_to_a_terminal() -> None:
    (outcome,) = outcomes(reply(frame(0, "a\n\x1b[2J\0b\u202e\xff".encode() + b"\xff", wire.EXCEPTION)))
    assert outcome.message == "a \ufffd[2J\ufffdb\ufffdÿ\ufffd"
    assert outcome.message.isprintable()


@pytest.mark.parametrize("time", [math.nan, math.inf, -1.0, 1e300])
def test_a_forged_time_is_none(time: float) -> None:
    forged = wire.FRAME.pack(0, wire.OK, 1, time, time) + b"1"
    assert outcomes(reply(forged)) == [returned(1)]


def test_what_was_printed_is_cut_at_its_limit_over_all_inputs() -> None:
    too_much = reply(frame(0, b"2"), printed=b"y" * 20, how=wire.OUTPUT)
    channel = Scripted(reply(printed=b"x" * 80, how=wire.TIMEOUT), too_much, too_much, reply(frame(0, b"3")))
    execution = WarmSandbox("scripted", channel, lambda: None).execute("", "transform", [1, 2, 3], LIMITS)
    assert execution.output == "x" * 80 + "y" * 20
    rooms = [wire.HEADER.unpack_from(request)[6] for request in channel.requests]
    assert rooms == [100, 20, 20, 0]


def test_which_input_printed_too_much_does_not_hang_on_who_is_quicker() -> None:
    """All in one process the last frames may be there or not, so that each input is run in one of its own."""
    together = [
        reply(*frames, printed=b"x" * 100, how=wire.OUTPUT) for frames in ([], [frame(0, b"1"), frame(1, b"2")])
    ]
    alone = [reply(frame(0, b"1")), reply(frame(0, b"2"), printed=b"x" * 100, how=wire.OUTPUT), reply(frame(0, b"3"))]
    for first in together:
        assert statuses(first, *alone, inputs=3) == ["ok", "output_limit", "ok"]


def test_a_program_that_lies_about_the_time_has_not_the_time_of_all_inputs_for_each() -> None:
    """The process of the first input took the CPU time, or the time on the clock, of twenty."""
    for cpu, wall in ((10.0, 11.0), (0.1, 40.0)):
        liar = reply(how=wire.TIMEOUT, cpu=cpu, wall=wall, phase=2)
        channel = Scripted(liar, liar)
        execution = WarmSandbox("scripted", channel, lambda: None).execute("", "transform", list(range(20)), LIMITS)
        assert [outcome.status for outcome in execution.outcomes] == ["timeout"] * 20
        assert len(channel.requests) == 1


def test_a_program_that_takes_its_time_for_every_input_is_run_on_all() -> None:
    late = reply(how=wire.TIMEOUT, cpu=0.7, wall=2.9, phase=2)
    channel = Scripted(*[late] * 20)
    execution = WarmSandbox("scripted", channel, lambda: None).execute("", "transform", list(range(20)), LIMITS)
    assert [outcome.status for outcome in execution.outcomes] == ["timeout"] * 20
    assert len(channel.requests) == 20


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"x" * 10,
        wire.REPLY.pack(SHARED_BYTES + 1, 0, 0, 0, 0, 0, 0),
        wire.REPLY.pack(0, 101, 0, 0, 0, 0, 0),
        wire.REPLY.pack(0, 0, 9, 0, 0, 0, 0),
        wire.REPLY.pack(50, 0, 0, 0, 0, 0, 0) + b"cut",
    ],
)
def test_a_reply_that_is_cut_short_or_makes_no_sense_breaks_the_sandbox_for_good(told: bytes) -> None:
    sandbox = WarmSandbox("scripted", Scripted(told, reply(frame(0, b"1"))), lambda: None)
    with pytest.raises(SandboxBroken):
        sandbox.execute("", "transform", [1], LIMITS)
    with pytest.raises(SandboxBroken, match="not waited for"):
        sandbox.execute("", "transform", [1], LIMITS)


def test_an_answer_that_nobody_waited_for_is_never_the_next_programs() -> None:
    """As when a person interrupts: what comes in later belongs to the program before."""

    class Interrupted(Scripted):
        def receive(self, size: int, seconds: float) -> bytes:
            raise KeyboardInterrupt

    channel = Interrupted(reply(frame(0, b'"of the first"')))
    sandbox = WarmSandbox("scripted", channel, lambda: None)
    with pytest.raises(KeyboardInterrupt):
        sandbox.execute("first", "transform", [1], LIMITS)
    with pytest.raises(SandboxBroken):
        sandbox.execute("second", "transform", [1], LIMITS)
    assert len(channel.requests) == 1


def test_more_inputs_than_there_is_room_for_results_are_asked_for_in_parts() -> None:
    limits = Limits(result_bytes=SHARED_BYTES // 2)
    channel = Scripted(*(reply(frame(0, b"1")) for _ in range(3)))
    execution = WarmSandbox("scripted", channel, lambda: None).execute("", "transform", [1, 2, 3], limits)
    assert [outcome.status for outcome in execution.outcomes] == ["ok"] * 3
    assert len(channel.requests) == 3


numbers = st.integers(-2, 4)
payloads = st.binary(max_size=60) | st.sampled_from([b"1", b"[[1,2]]", b"NaN", b"[" * 50, b'"\\ud800"', b"1e999"])
frames = st.one_of(
    st.binary(max_size=80),
    st.builds(frame, numbers, payloads, st.integers(0, 7), st.none() | st.integers(0, 2**32 - 1)),
)
ends = st.sampled_from([0, 9, 11, 31, 40, 64, 0x7F, 0xFF, 0x137F, 7 << 8, 2**31 - 1, -1])
replies = st.one_of(
    st.binary(max_size=200),
    st.builds(
        reply,
        frames, frames, frames,
        printed=st.binary(max_size=110),
        how=st.integers(0, 4),
        status=ends,
        cpu=st.floats(),
        phase=st.integers(-(2**31), 2**31 - 1),
    ),
)  # fmt: skip


@given(st.lists(replies, max_size=4), st.integers(0, 3))
def test_no_reply_does_more_than_break_the_sandbox_or_give_plain_values(script: list[bytes], inputs: int) -> None:
    sandbox = WarmSandbox("scripted", Scripted(*script), lambda: None)
    try:
        execution = sandbox.execute("", "transform", list(range(inputs)), LIMITS)
    except SandboxBroken:
        return
    assert len(execution.outcomes) == inputs
    assert len(execution.output) <= LIMITS.output_bytes
    for outcome in execution.outcomes:
        assert outcome.message.isprintable()
        assert is_plain(outcome.value) and (outcome.status == "ok" or outcome.value is None)
        assert orjson.loads(orjson.dumps(outcome.value)) == outcome.value
        assert outcome.cpu_ms >= 0 and outcome.wall_ms >= 0


def is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(type(key) is str and is_plain(each) for key, each in value.items())
    return value is None or type(value) in (int, str, bool) or (type(value) is float and math.isfinite(value))


def test_the_wire_fits_what_may_be_sent() -> None:
    with pytest.raises(struct.error):
        wire.HEADER.pack(2**32, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert DEFAULT_LIMITS.result_bytes + wire.FRAME.size <= SHARED_BYTES
