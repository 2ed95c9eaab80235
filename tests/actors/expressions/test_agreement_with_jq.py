"""Native programs against jq itself: random programs of the subset on random rows, spelled with malice."""

from __future__ import annotations

import json
from typing import Any

import jq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from actors.expressions import Expression, exact
from actors.expressions.syntax import NotNative
from cluster.rows import Failure

KEYS = ["a", "b", "text", "a b", "é", "", "a\u0000b"]
STRINGS = ["", "a", "b", "1", "true", "null", "a b", "é", "\U0001f600", "\u2028", "\uffff", 'q"\\/', "\u0000"]
NUMBERS = [
    *(
        "0",
        "-0",
        "0.0",
        "-0.0e3",
        "1",
        "1.0",
        "1e0",
        "10e-1",
        "-1",
        "2",
        "3",
        "0.5",
        "0.50",
        "5E-1",
        "0.1",
        "1e2",
        "100",
    ),
    *("0.1000000000000000055511151231257827", "0.10000000000000000000001", "1.0000000000000000000001"),
    *("9007199254740992", "9007199254740993", "9007199254740993.0", "9007199254740992.5", "-9007199254740993"),
    *("1e400", "-1e400", "1e401", "1e-400", "123456789012345678901234567890", "1e9999999999", "2e9999999999"),
]


def spelled(text: str) -> st.SearchStrategy[str]:
    """A string as JSON, with or without escapes that it does not need."""
    escaped = "".join(f"\\u{int.from_bytes(unit, 'big'):04x}" for unit in _utf16_units(text))
    return st.sampled_from([json.dumps(text), json.dumps(text, ensure_ascii=False), f'"{escaped}"'])


def _utf16_units(text: str) -> list[bytes]:
    encoded = text.encode("utf-16-be")
    return [encoded[at : at + 2] for at in range(0, len(encoded), 2)]


SPACE = st.sampled_from(["", "", "", " ", "\t", " \r"])
SCALAR = st.one_of(
    st.sampled_from(["null", "true", "false"]),
    st.sampled_from(NUMBERS),
    st.sampled_from(STRINGS).flatmap(spelled),
)


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    members = draw(st.lists(st.tuples(st.sampled_from(KEYS).flatmap(spelled), inner), max_size=5))
    space = draw(SPACE)
    return "{" + f"{space},{space}".join(f"{key}{space}:{space}{value}" for key, value in members) + space + "}"


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    return "[" + draw(SPACE) + ", ".join(draw(st.lists(inner, max_size=3))) + "]"


VALUES = st.recursive(SCALAR, lambda inner: st.one_of(objects(inner), arrays(inner)), max_leaves=6)
ROWS = st.builds(lambda before, row, after: before + row + after, SPACE, objects(VALUES), SPACE)

FIELDS = st.sampled_from([".a", ".b", ".text", ".a.b", ".", '."a b"', '.["a"]', '.["b"].a', '.""', ".b.text"]) | (
    st.sampled_from([".a[0]", '."é"', ".a.[1]", ".b[2].a", ".a?", ".a.b?", '.a."text"', '."a\\u0000b"'])
)
LITERALS = st.sampled_from(
    ["null", "true", "false", "0", "1", "-1", "2", "0.5", "1.0", ".1", "1e2", "-0", "-0.50", "1.", "9007199254740992"]
) | (st.sampled_from(STRINGS).map(json.dumps))
COMPARISONS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


OPERATORS = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "and", "or", "//", "|"])
TAILS = st.sampled_from(["| not", "| length", "| tostring", "| .", "| . == 1", '+ "x"', "+ (.b | tostring)"])


@st.composite
def programs(draw: st.DrawFn, depth: int = 3) -> str:
    """A program; jq refuses some of them, for two comparisons in a row."""
    form = draw(st.integers(0, 12)) if depth else draw(st.integers(0, 1))
    inner = programs(depth - 1)
    match form:
        case 0:
            return draw(LITERALS)
        case 1 | 2 | 3:
            return draw(FIELDS)
        case 4:
            return f"{draw(FIELDS)} {draw(OPERATORS)} {draw(LITERALS)}"
        case 5:
            return f"{draw(inner)} {draw(OPERATORS)} {draw(inner)}"
        case 6:
            return f"({draw(inner)})"
        case 7:
            return f"{draw(inner)} {draw(TAILS)}"
        case 8:
            return f"if {draw(inner)} then {draw(inner)} else {draw(inner)} end"
        case 9:
            return f"if {draw(inner)} then {draw(inner)} elif {draw(inner)} then {draw(inner)} end"
        case 10:
            return f"if {draw(FIELDS)} {draw(TAILS)} then {draw(LITERALS)} else {draw(FIELDS)} end"
        case 11:
            return f'"x" + ({draw(inner)}) + {draw(FIELDS)}'
    return draw(constructions(inner))


@st.composite
def constructions(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    keys = draw(st.lists(st.sampled_from(["a", "text", '"a b"', "k", "if"]), max_size=3, unique=True))
    members = [key if draw(st.booleans()) and key != "if" else f"{key}: {draw(inner)}" for key in keys]
    return "{" + ", ".join(members) + "}"


def first_of_jq(program: Any, row: str) -> object | Failure:
    try:
        return next(iter(program.input_text(row)))
    except StopIteration:
        return Failure("yields nothing")
    except ValueError as error:
        return Failure(" ".join(str(error).split()))


def as_doubles(value: Any) -> Any:
    """The value with every number as jq's bindings give it: a double, at most the largest one."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0.0 + min(max(float(value), -1.7976931348623157e308), 1.7976931348623157e308)
    if isinstance(value, list):
        return [as_doubles(item) for item in value]
    if isinstance(value, dict):
        return {key: as_doubles(item) for key, item in value.items()}
    return value


def same(left: object, right: object) -> bool:
    """Equality of JSON values, where true is not 1."""
    return json.dumps(as_doubles(left), sort_keys=True) == json.dumps(as_doubles(right), sort_keys=True)


def check(program: str, rows: list[str]) -> None:
    expression, reference = Expression(program), jq.compile(program)
    lines = [row.encode() for row in rows]
    results = zip(lines, expression.values(lines), expression.json(lines), expression.members(lines), strict=True)
    for line, value, text, members in results:
        expected = first_of_jq(reference, line.decode())
        if isinstance(expected, Failure):
            assert isinstance(value, Failure) and value.reason.endswith(expected.reason), (line, value, expected)
            assert text == members == value
            assert exactly(expression, line) is None
            continue
        assert not isinstance(value, Failure) and isinstance(text, bytes), (line, value, text, expected)
        assert same(value, expected), (line, value, expected)
        assert same(json.loads(text), expected), (line, text, expected)
        exact_text = exactly(expression, line)
        assert exact_text is None or same(json.loads(exact_text), expected), (line, exact_text, expected)
        if isinstance(expected, dict):
            assert {key: json.loads(member) for key, member in dict(members).items()} == json.loads(text)  # type: ignore[arg-type]
        else:
            assert isinstance(members, Failure) and members.reason.endswith("instead of an object")


def exactly(expression: Expression, line: bytes) -> bytes | None:
    """The output by exact evaluation alone, None where it leaves the row to jq."""
    try:
        return None if expression.tree is None else exact.evaluate(expression.tree, line)
    except NotNative:
        return None


def is_refused(program: str) -> bool:
    try:
        jq.compile(program)
    except ValueError:
        return True
    return False


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(program=programs(), rows=st.lists(ROWS, min_size=1, max_size=8))
def test_a_program_gives_what_jq_gives(program: str, rows: list[str]) -> None:
    assume(not is_refused(program))
    check(program, rows)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(operator=COMPARISONS, pairs=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=8))
def test_two_values_compare_as_in_jq(operator: str, pairs: list[tuple[str, str]]) -> None:
    check(f".a {operator} .b", [f'{{"a": {left}, "b": {right}}}' for left, right in pairs])


HARD_ROWS = [
    *("{}", '{"a":null}', '{"a":true}', '{"a":false,"b":1}', '{"a":0,"b":"x"}', '{"a":"","b":null}', '{"a":-0}'),
    *('{"a":"x","b":"x"}', '{"a":[],"b":[]}', '{"a":[1],"b":[1.0]}', '{"a":[null,[2]]}', '{"a":{"b":false}}'),
    *('{"a":{"b":{"c":1.50}},"b":{"c":1.5}}', '{"a":{"b":"x"},"b":{}}', '{"a":1,"a":{"b":2}}', '{"a":{"b":3},"a":{}}'),
    *('{"a":0.5,"b":0.50}', '{"a":0.5,"b":0.50000000000000000001}', '{"a":1e400,"b":2e400}', '{"a":9007199254740993}'),
    *(
        '{"a":1e2,"b":100}',
        '{"a":12345678901234567890,"b":12345678901234567891}',
        '{"\\u0061":{"\\u0062":"\\ud83d\\ude00"}}',
    ),
]
HARD_PROGRAMS = [
    *(
        ".a.b | null",
        "if .b then .a.b | 1 else .a[1] | 2 end",
        ".a.b | (.c // 3)",
        ".a[1][0] | if true then 1 else . end",
    ),
    *("{k: (.a.b | 1)}", "(.a.b | true) and .b", "if (.a.b | .c) then 1 else 2 end", ".a.b | {c: .c, d: .}"),
    *("if .a then .a else .b end", "{k: (.a // .b)}", "{k: (.a // .b // 0)}", "(.a // .b) | {x: .}", ".a // false"),
    *(
        "if (.a | length) then 1 else 2 end",
        "if .a | tostring then 1 else 2 end",
        "(.b | length) // 5",
        "{a, l: (.a | length)}",
    ),
    *(".a | not", "[.a][0] // 1", ".a and .b", ".a or .b", "{t: (.a and .b), o: (.a or .b)}", "if . then 1 else 2 end"),
    *(
        ".a == .b",
        ".a <= .b",
        ".a < 1",
        ".a == 0.5",
        ".a >= 1e2",
        ".a != null",
        ".a == true",
        '.a == "x"',
        "{a} == {a: .b}",
    ),
    *('.a + "x"', '"x" + .a', '{k: ("x" + .b)}', ".a | tostring", "{k: (.a | tostring), a}", "(.a == .b) | tostring"),
    *(".a.b?", ".a.b? // 1", "{a: .a.b?}", ".a[0]", ".a[0]?", '.["a"]["b"]', ".a.b.c", "{a: .a.b.c, b: .a, c: .a.b}"),
    *(
        "1.50 | tostring",
        "-1e2 | tostring",
        "-0 | tostring",
        "{k: 1.0, l: -2, m: .5}",
        '{a: {b: {c: .a, "d": .b}}, "e": {}}',
    ),
    *(
        "(if .b then .a else .b end) | length",
        "(if .b then .a end) | if . == .b then 1 else . end",
        ".",
        "{x: ., y: .a}",
    ),
]


@pytest.mark.parametrize("program", HARD_PROGRAMS)
def test_hard_programs_give_what_jq_gives_on_hard_rows(program: str) -> None:
    check(program, HARD_ROWS)
