"""Compiled jq programs: first outputs, errors in one line, and the way to another process."""

from __future__ import annotations

import pickle

import pytest

from actors.expressions.jq_program import ExpressionError, JqProgram, json_text
from cluster.rows import Failure


def test_the_first_output_counts_and_later_ones_are_not_made() -> None:
    assert JqProgram('.a, error("never")').first('{"a": 1}') == 1
    assert JqProgram(".a").first("{}") is None


def test_an_error_names_the_program_and_the_reason_in_one_line() -> None:
    assert JqProgram('error("two\nlines")').first("{}") == Failure(
        "jq program 'error(\"two\\nlines\")' fails: two lines"
    )
    assert JqProgram("empty").first("{}") == Failure("jq program 'empty' yields nothing")
    failure = JqProgram("error(.a)").first('{"a": "' + "long " * 1_000_000 + '"}')
    assert isinstance(failure, Failure) and len(failure.reason) < 600


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (".a |", "syntax error, unexpected end of file at line 1, column 4"),
        ("foo", "foo/0 is not defined at line 1, column 1"),
        ("", "Top-level program not given"),
        (".a\0b", "holds a NUL character"),
        ('"\ud800"', "surrogates not allowed"),
    ],
)
def test_a_program_that_does_not_compile_is_an_error_in_one_line(program: str, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        JqProgram(program).compile()
    message = str(caught.value)
    assert reason in message and repr(program) in message and "\n" not in message


def test_a_program_compiles_again_in_another_process() -> None:
    program = JqProgram(".a")
    program.compile()
    assert pickle.loads(pickle.dumps(program)).first('{"a": 1}') == 1


def test_outputs_are_written_as_json_whatever_the_size_of_an_integer() -> None:
    assert json_text({"a": [1, "é", None, 0.5]}) == '{"a":[1,"é",null,0.5]}'.encode()
    assert json_text({"a": 2**70, "b": "é"}) == '{"a":1180591620717411303424,"b":"é"}'.encode()
