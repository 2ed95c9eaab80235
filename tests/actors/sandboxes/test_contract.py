"""Outcomes as they travel, and which inputs can."""

from __future__ import annotations

import json
from typing import Any

import cloudpickle
import msgspec
import orjson
import pytest

from actors.sandboxes import fork_server as wire
from actors.sandboxes.contract import DEEPEST_INPUT, Execution, Outcome, is_too_deep, returned


def test_an_execution_is_told_as_one_line_of_json() -> None:
    execution = Execution((returned({"a": ["ä\n", 2**64 - 1]}, 1.5, 2.5), Outcome("timeout", message="late")), "a\nb")
    assert (
        execution.told(times=False)
        == (
            '{"outcomes":[{"status":"ok","value":{"a":["ä\\n",18446744073709551615]},"message":""},'
            '{"status":"timeout","value":null,"message":"late"}],"output":"a\\nb"}'
        ).encode()
    )
    first = orjson.loads(execution.told())["outcomes"][0]
    assert (first["cpu_ms"], first["wall_ms"]) == (1.5, 2.5)


def test_a_value_comes_out_as_it_went_in_and_an_outcome_without_one_has_none() -> None:
    assert returned([1, {"b": None}]).value == [1, {"b": None}]
    assert Outcome("timeout").value is None
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(returned([1])), type=Outcome) == returned([1])


@pytest.mark.parametrize("value", [2**64, "\ud800", {1: 2}, object()])
def test_what_no_writer_of_json_takes_was_not_returned(value: Any) -> None:
    with pytest.raises(ValueError):
        returned(value)


def nested(levels: int) -> Any:
    value: Any = {"x": 2**70}  # which the quick way does not take
    for _ in range(levels - 1):
        value = [value]
    return value


def test_inputs_have_a_depth_that_every_reader_takes() -> None:
    deepest = nested(DEEPEST_INPUT)
    assert cloudpickle.loads(cloudpickle.dumps(("program", [deepest]))) == ("program", [deepest])
    assert wire.DECODE(json.dumps({"inputs": [deepest]}), 0)[0] == {"inputs": [deepest]}
    assert not is_too_deep(nested(DEEPEST_INPUT))
    assert is_too_deep(nested(DEEPEST_INPUT + 1))
    assert not is_too_deep([nested(3)] * 100)
