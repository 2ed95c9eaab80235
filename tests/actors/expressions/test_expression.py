"""Expressions over rows: what is copied keeps its bytes, what is wrong with a row is said, nothing is raised."""

from __future__ import annotations

import json
import pickle

import pytest

from actors.expressions import Expression, ExpressionError
from cluster.rows import Failure


def test_values_are_python_values_and_null_is_none() -> None:
    rows = [b'{"a":"x"}', b'{"a":null}', b"{}", b'{"a":{"b":[1,2.5,true]}}\r']
    assert Expression(".a").values(rows) == ["x", None, None, {"b": [1, 2.5, True]}]
    assert Expression(".a.b[1]").values(rows[1:]) == [None, None, 2.5]
    assert Expression(".").values(rows[:1]) == [{"a": "x"}]


def test_the_path_is_known_for_plain_paths_only() -> None:
    paths = {".": (), ".a": ("a",), '.a["b c"]': ("a", "b c"), ".a | .b": ("a", "b"), '."q\\""': ('q"',)}
    for program, path in paths.items():
        assert Expression(program).path == path
    for program in (".a[0]", ".a // .b", "{a}", ".a | length", ".a, .b", "1"):
        assert Expression(program).path is None


def test_what_people_write_is_native() -> None:
    for program in (
        ".text",
        ".metadata.score",
        "{text: .text}",
        "{text, score: (.score >= 2.5), source: .metadata.source}",
        'if .score < 1 then "low" elif .score < 4 then "mid" else "high" end',
        '{score: (if .lang == "en" and (.score // 0) > 3 then "pos" else "neg" end)}',
        r'{text: (.title + "\n\n" + .text)}',
        ".int_score | tostring",
        "(.text | length) > 100",
        ".labels[0]",
    ):
        assert Expression(program).native, program
    assert not Expression(".text | ascii_downcase").native


def test_copied_values_keep_their_bytes() -> None:
    row = b'{"a": {"n" : 1e400, "s":"\\u0041\\/"}, "i": 1180591620717411303424, "f":1.50,"u":"\xe2\x80\xa8"}'
    text = Expression("{f, a, k: .a.n, i, u}").json([row])[0]
    assert text == (
        b'{"f":1.50,"a":{"n" : 1e400, "s":"\\u0041\\/"},"k":1e400,"i":1180591620717411303424,"u":"\xe2\x80\xa8"}'
    )
    assert Expression("(.x // .f) | {y: .}").json([row]) == [b'{"y":1.50}']
    assert Expression(".").json([b' {"a": 1.0 } \r']) == [b'{"a": 1.0 }']


def test_copied_values_keep_their_bytes_where_compiled_code_is_not_sure() -> None:
    row = b'{"id":9007199254740993,"score":0.5,"list":[1.0]}'
    assert Expression("{id, sure: (.score >= 0.5)}").json([row]) == [b'{"id":9007199254740993,"sure":true}']
    assert Expression("{id, same: (.list == .list)}").json([row]) == [b'{"id":9007199254740993,"same":true}']
    assert Expression("{id, s: (.score | tostring)}").json([row]) == [b'{"id":9007199254740993,"s":"0.5"}']
    duplicate = b'{"id":9007199254740993,"m":1,"m":{"x":2}}'
    assert Expression("{id, x: .m.x}").json([duplicate]) == [b'{"id":9007199254740993,"x":2}']


def test_integers_beyond_double_are_exact_values() -> None:
    assert Expression(".a").values([b'{"a":1180591620717411303425}']) == [2**70 + 1]


def test_zero_and_the_empty_string_are_true() -> None:
    for program in (
        "if .a then 1 else 2 end",
        "if (.a | length) then 1 else 2 end",
        "if (.a | tostring) then 1 else 2 end",
    ):
        assert Expression(program).values([b'{"a":""}', b'{"a":null}'])[0] == 1
    assert Expression("if .a then 1 else 2 end").values([b'{"a":0}', b'{"a":false}', b"{}"]) == [1, 2, 2]


def test_true_is_not_one() -> None:
    rows = [b'{"a":true}', b'{"a":1}', b'{"a":1.0}', b'{"a":"1"}']
    assert Expression(".a == 1").values(rows) == [False, True, True, False]
    assert Expression(".a == true").values(rows) == [True, False, False, False]


def test_members_are_the_texts_of_an_object() -> None:
    rows = [b'{"a":1.0,"b":{ }}', b'{"a":null}']
    assert Expression("{a, c: .b}").members(rows) == [{"a": b"1.0", "c": b"{ }"}, {"a": b"null", "c": b"null"}]
    assert Expression(".").members(rows) == [{"a": b"1.0", "b": b"{ }"}, {"a": b"null"}]
    assert Expression("{a: (.a | floor)}").members(rows[:1]) == [{"a": b"1"}]
    kinds = [b'{"a":"x"}', b'{"a":[]}', b'{"a":true}', b'{"a":false}', b"{}", b'{"a":-1}']
    names = ["a string", "an array", "a boolean", "a boolean", "null", "a number"]
    assert Expression(".a").members(kinds) == [
        Failure(f"jq program '.a' gives {name} instead of an object") for name in names
    ]


@pytest.mark.parametrize("program", [".text", "{text}", ".", "1", ".other", '.text | ltrimstr("x")', "{a: .[]}"])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "not JSON: "),
        (b"nonsense", "not JSON: "),
        (b'{"text":"x"', "not JSON: "),
        (b'{"text":"x"}{"text":"y"}', "not JSON: "),
        (b'{"text":NaN}', "not JSON: "),
        (b'{"text":007}', "not JSON: "),
        (b'{"text":"x","more":[1,]}', "not JSON: "),
        (b'{"text":"x","more":"\\ud800"}', "not JSON: no low surrogate"),
        (b'{"text":"x","more":"\xff"}', "not JSON: byte 0xff at offset 20 is not UTF-8"),
        (b'{"text":"\xed\xa0\x80"}', "not JSON: byte 0xed at offset 9 is not UTF-8"),
        (b'{"text":"x","\xc0\xaf":1}', "not JSON: byte 0xc0 at offset 13 is not UTF-8"),
        (b'\xef\xbb\xbf{"text":"x"}', "not JSON: UTF-8 byte order mark"),
        (b'{"text":' + b"[" * 5000 + b"]" * 5000 + b"}", "not JSON: nested too deeply"),
        (b'["text"]', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"text"', "not a JSON object"),
    ],
)
def test_what_is_no_row_is_a_failure_for_every_program(program: str, line: bytes, reason: str) -> None:
    expression = Expression(program)
    neighbour = b'{"text":"\xc3\xa9"}'
    for results in (expression.values, expression.json, expression.members):
        failure, after = results([line, neighbour])
        assert isinstance(failure, Failure) and failure.reason.startswith(reason)
        assert after == results([neighbour])[0]


def test_an_error_of_the_program_is_a_failure_with_jqs_reason() -> None:
    failure = Failure("jq program '.a.b' fails: Cannot index number with string (\"b\")")
    assert Expression(".a.b").values([b'{"a":1}', b'{"a":{"b":2}}']) == [failure, 2]
    assert Expression("[.a.b]").values([b'{"a":1}'])[0] == Failure(failure.reason.replace("'.a.b'", "'[.a.b]'"))
    assert Expression(".a[]?").values([b"{}"]) == [Failure("jq program '.a[]?' yields nothing")]


def test_a_program_that_does_not_compile_is_refused_at_once() -> None:
    with pytest.raises(ExpressionError, match=r"^jq program '\.a \|' does not compile: syntax error"):
        Expression(".a |")


def test_an_expression_works_after_a_journey_to_another_process() -> None:
    for program in (".a", "{a}", ".a | floor"):
        expression = Expression(program)
        expression.json([b'{"a":1}'])
        copy = pickle.loads(pickle.dumps(expression))
        rows = [b'{"a":1}', b"[]"]
        assert (copy.program, copy.path, copy.native) == (program, expression.path, expression.native)
        assert copy.values(rows) == expression.values(rows)


def test_programs_nested_beyond_pythons_compiler_still_run() -> None:
    for program in (".a" + " // .b" * 300, "(" * 2_000 + ".a" + ")" * 2_000):
        assert Expression(program).values([b'{"a":7}']) == [7]


def test_constants_of_a_program_never_become_source() -> None:
    hostile = "'\\\"; raise SystemExit #\n{}"
    row = '{"a":1}'
    program = '{"k": QUOTED, "t": (.a == QUOTED), QUOTED: 1}'.replace("QUOTED", json.dumps(hostile))
    assert Expression(program).values([row.encode()]) == [{"k": hostile, "t": False, hostile: 1}]
