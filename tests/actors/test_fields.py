"""Fields are set in place: against a reference that walks the row token by token, and case by case."""

from __future__ import annotations

import json
from json.decoder import scanstring

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.fields import merge, replace, spelled, splice
from cluster.rows import Failure

KEYS = ["a", "b", "text", "a b", "é", "", 'q"', "back\\slash", "\x00", "\u2028"]
SCALARS = [
    "0",
    "-0",
    '"007"',
    "1.50",
    "1e400",
    "1180591620717411303424",
    "true",
    "null",
    '"a"',
    '"\u2028"',
    '"\\u2028"',
]
TRAPS = ['"\\"a\\":1"', '"{\\"a\\":1}"', '"a\\\\"', '"\\\\\\""', '"]}"', '"\\ud83d\\ude00"', "{}", "[]", "[[{}]]"]


def key_texts(key: str) -> st.SearchStrategy[str]:
    """A key as JSON: plain, in ASCII, or with every unit escaped."""
    units = key.encode("utf-16-be")
    escaped = "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    return st.sampled_from([json.dumps(key), json.dumps(key, ensure_ascii=False), f'"{escaped}"'])


SPACE = st.sampled_from(["", "", " ", "\t", "\r", "  "])


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    members = draw(st.lists(st.tuples(st.sampled_from(KEYS).flatmap(key_texts), values), max_size=6))
    space = draw(SPACE)
    return "{" + space + f"{space},".join(f"{key}{space}:{space}{value}" for key, value in members) + space + "}"


VALUES = st.recursive(
    st.sampled_from(SCALARS + TRAPS), lambda inner: objects(inner) | inner.map("[{} ]".format), max_leaves=12
)
ROWS = st.builds("{}{}{}".format, SPACE, objects(VALUES), SPACE)
PATHS = st.lists(st.sampled_from(KEYS[:4]) | st.sampled_from(KEYS), min_size=1, max_size=3).map(tuple)


def reference(row: str, path: tuple[str, ...], value: str) -> str | None:
    """The row with the field set, found by walking over every token; None where the way is barred."""
    start, end = len(row) - len(row.lstrip()), len(row.rstrip())
    for depth, key in enumerate(path):
        if row[start] != "{":
            return None
        span = last_member(row, start, key)
        if span is None:
            inner = value
            for name in reversed(path[depth + 1 :]):
                inner = "{" + json.dumps(name, ensure_ascii=False) + ":" + inner + "}"
            comma = "" if row[start + 1 : end - 1].strip() == "" else ","
            member = f"{json.dumps(key, ensure_ascii=False)}:{inner}"
            return row[: end - 1] + comma + member + row[end - 1 :]
        start, end = span
    return row[:start] + value + row[end:]


def last_member(row: str, start: int, key: str) -> tuple[int, int] | None:
    found, at = None, skip(row, start + 1)
    while row[at] != "}":
        name, at = scanstring(row, at + 1, True)
        first = skip(row, skip(row, at) + 1)
        _, last = json.JSONDecoder().raw_decode(row, first)
        if name == key:
            found = (first, last)
        at = skip(row, last)
        if row[at] == ",":
            at = skip(row, at + 1)
    return found


def skip(row: str, at: int) -> int:
    while row[at] in " \t\r\n":
        at += 1
    return at


@settings(max_examples=150, deadline=None)
@given(row=ROWS, path=PATHS, value=VALUES)
def test_only_the_bytes_of_the_value_change(row: str, path: tuple[str, ...], value: str) -> None:
    (result,) = replace([row.encode()], path, [value.encode()])
    expected = reference(row, path, value)
    if expected is None:
        assert isinstance(result, Failure) and "is not an object" in result.reason
    else:
        assert result == expected.encode()


@settings(max_examples=100, deadline=None)
@given(row=ROWS, members=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
def test_several_members_are_set_as_one_after_the_other(row: str, members: dict[str, str]) -> None:
    (result,) = merge([row.encode()], [{key: value.encode() for key, value in members.items()}])
    expected = row
    for key, value in members.items():
        changed = reference(expected, (key,), value)
        assert changed is not None
        expected = changed
    assert result == expected.encode()


def test_the_value_is_found_where_its_bytes_stand_elsewhere_too() -> None:
    row = b'{"b":"x","s":"\\"a\\":\\"x\\"","n":{"a":"x"},"a":"x","z":["x",{"a":"x"}]}'
    assert replace([row], ("a",), [b"1"]) == [row.replace(b'},"a":"x"', b'},"a":1')]


def test_the_last_of_duplicate_keys_counts_whatever_its_spelling() -> None:
    row = b'{"text":1,"te\\u0078t" : [2],"other":3}'
    assert replace([row], ("text",), [b"4"]) == [b'{"text":1,"te\\u0078t" : 4,"other":3}']
    nested = b'{"a":{"b":1},"a":{"c":2}}'
    assert replace([nested], ("a", "b"), [b"4"]) == [b'{"a":{"b":1},"a":{"c":2,"b":4}}']
    assert replace([b'{"a":1,"a":{"b":2}}'], ("a", "b"), [b"4"]) == [b'{"a":1,"a":{"b":4}}']


def test_an_absent_field_is_appended_before_the_closing_brace() -> None:
    rows = [b"{}", b" { } \r", b'{"a":1 }\r', b'{"a":{}}', b'{"a":{"c":{}} }']
    appended = [b'{"x":1}', b' { "x":1} \r', b'{"a":1 ,"x":1}\r', b'{"a":{},"x":1}', b'{"a":{"c":{}} ,"x":1}']
    assert replace(rows, ("x",), [b"1"] * 5) == appended
    assert replace([b'{"a":{}}', b"{}"], ("a", "b", "c"), [b"1"] * 2) == [b'{"a":{"b":{"c":1}}}'] * 2


def test_failures_and_filtered_rows_pass_through() -> None:
    failure = Failure("no")
    assert replace([b"{}", b"nonsense"], ("a",), [failure, None]) == [failure, None]
    assert merge([b"nonsense"], [failure]) == [failure]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b'{"b":007}', "not JSON"),
        (b'{"b":NaN}', "not JSON"),
        (b'{"b":"\\ud800"}', "not JSON: no low surrogate"),
        (b'{"b":"\n"}', "not JSON"),
        (b"{} {}", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON: UTF-8 byte order mark"),
        (b'{"b":' + b"[" * 5000 + b"]" * 5000 + b"}", "not JSON: nested too deeply"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
    ],
)
def test_what_is_no_row_is_a_failure_with_a_reason(line: bytes, reason: str) -> None:
    for result in (*replace([line], ("a",), [b"1"]), *merge([line], [{"a": b"1"}])):
        assert isinstance(result, Failure) and result.reason.startswith(reason)


def test_something_else_than_an_object_on_the_way_is_a_failure() -> None:
    results = replace([b'{"a":null}', b'{"a":[{"b":1}]}', b'{"a":"{}"}'], ("a", "b"), [b"1"] * 3)
    assert results == [Failure(".a is not an object, so .a.b cannot be set")] * 3


def test_a_row_of_fifty_megabytes_keeps_its_other_bytes() -> None:
    text = b'"' + b'long \\" text \\u2028 ' * 2_500_000 + b'"'
    row = b'{"before":1e400,"text":' + text + b',"score":7}'
    assert replace([row], ("score",), [b"8"]) == [b'{"before":1e400,"text":' + text + b',"score":8}']
    assert replace([row], ("text",), [b'""']) == [b'{"before":1e400,"text":"","score":7}']


def test_a_value_that_is_its_own_old_value_stays() -> None:
    assert splice(b'{"a":1}', []) == b'{"a":1}'
    assert merge([b'{"a": 1.0}'], [{"a": b"1.0", "b": b"2"}]) == [b'{"a": 1.0,"b":2}']


def test_members_are_set_where_they_stand_whatever_the_order_of_the_changes() -> None:
    changes = {"c": b"3", "b": b"[4]", "new": b"5", "a": b'"6"'}
    assert merge([b'{"a":1, "b":2, "c":[] }'], [changes]) == [b'{"a":"6", "b":[4], "c":3 ,"new":5}']


def test_the_row_itself_cannot_be_set() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        replace([b"{}"], (), [b"1"])


def test_a_path_is_spelled_as_jq_reads_it() -> None:
    assert [spelled(path) for path in [(), ("a", "b"), ("a b",), ('q"',), ("é",)]] == [
        ".",
        ".a.b",
        '."a b"',
        '."q\\""',
        '."é"',
    ]
