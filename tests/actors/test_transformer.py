"""New rows from two programs, against jq's own `text + label`, and what goes to quarantine."""

from __future__ import annotations

import json
import pickle

import jq
import pytest

from actors.expressions import ExpressionError
from actors.transformer import TransformRows
from cluster.rows import Rows


def transformed(stage: TransformRows, lines: list[bytes]) -> Rows:
    travelled: TransformRows = pickle.loads(pickle.dumps(stage))
    travelled.setup()
    return travelled.process(Rows("train/a.jsonl", list(lines), list(range(1, len(lines) + 1))))


ROWS = [
    b'{"text":"a \\u0041\\n","score":1.50,"id":9007199254740993,"meta":{"lang":"en","tags":[1, 2]}}',
    b' { "score" : 3 , "text" : "\xc3\xa9\xe2\x80\xa8", "meta" : null } \r',
    b'{"text":"first","score":0.5,"te\\u0078t":"last","meta":{}}',
    b'{"score":-0.0,"text":""}',
]


def test_the_default_copies_text_and_score_byte_for_byte() -> None:
    assert transformed(TransformRows(), ROWS).lines == [
        b'{"text":"a \\u0041\\n","score":1.50}',
        b'{"text":"\xc3\xa9\xe2\x80\xa8","score":3}',
        b'{"text":"last","score":0.5}',
        b'{"text":"","score":-0.0}',
    ]


def test_keeping_fields_leaves_every_other_byte() -> None:
    assert transformed(TransformRows(keep_fields=True), ROWS).lines == ROWS
    label = '{score: (if .score >= 0.5 then "pos" else "neg" end), lang: (.meta.lang // "?")}'
    assert transformed(TransformRows("{text}", label, keep_fields=True), ROWS).lines == [
        b'{"text":"a \\u0041\\n","score":"pos","id":9007199254740993,"meta":{"lang":"en","tags":[1, 2]},"lang":"en"}',
        b' { "score" : "pos" , "text" : "\xc3\xa9\xe2\x80\xa8", "meta" : null ,"lang":"?"} \r',
        b'{"text":"first","score":"pos","te\\u0078t":"last","meta":{},"lang":"?"}',
        b'{"score":"neg","text":"","lang":"?"}',
    ]


@pytest.mark.parametrize("keep_fields", [False, True])
@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("{text: .text}", "{score: .score}"),
        ("{text, lang: .meta.lang}", "{score: (.score >= 0.5)}"),
        ("{text: .score, score: .text}", '{"new key": .score}'),
        ("{text: .text, score: 1}", "{score: .score, text: (.meta | tostring)}"),
        ("{text: .meta}", "{lang: (.meta.lang // .score)}"),
        ('{text: (.text | ltrimstr("f"))}', "{score}"),
        ('{text: (.text | ltrimstr("f"))}', "{score: (.score | floor)} # rounded"),
        ("{text}, {text: 1}", "{score: (.score, 2)}"),
        (".", "{score: .score}"),
        ("{(.text): 1}", '{score: ([.meta.tags[]?] | length), "a\\"b": 1}'),
        ("def f: .text; {text: f}", 'if .score > 1 then {score: "high"} else {score: "low", low: true} end'),
        ("{}", "{score}"),
    ],
)
def test_rows_are_what_jq_makes_of_them(text: str, label: str, keep_fields: bool) -> None:
    results = transformed(TransformRows(text, label, keep_fields), ROWS)
    program = jq.compile(f"{'.' if keep_fields else '{}'} + first({text}\n) + first({label}\n)")
    for line, row in zip(results.lines, ROWS, strict=True):
        assert as_doubles(line.decode()) == program.input_text(row.decode()).first()
        if keep_fields and b'"id"' in row and text != ".":
            assert b'"id":9007199254740993' in line


def as_doubles(text: str) -> object:
    return json.loads(text, parse_int=lambda digits: int(float(digits)))


@pytest.mark.parametrize("keep_fields", [False, True])
@pytest.mark.parametrize(
    ("text", "label", "blamed"),
    [
        ("{text: .text.x}", "{score: .score}", "'{text: .text.x}' fails: Cannot index string"),
        ("{text: .text}", "{score: .text.x}", "'{score: .text.x}' fails: Cannot index string"),
        ("{text: .text}", "{score: .none}", "'{score: .none}' gives null for the label .score"),
        ("{text: .text}", "{text: .none}", "'{text: .none}' gives null for the label .text"),
        ("{text: .text}", '{"a b": (.score | null)}', 'gives null for the label ."a b"'),
        ("{text: .text}", "if .score then {score: null} else . end", "gives null for the label .score"),
        (".text", "{score: .score}", "'.text' gives a string instead of an object"),
        ("{text: .text}", "[.score]", "'[.score]' gives an array instead of an object"),
        ("{text: (.text | floor)}", "{score: (.score | floor)}", "'{text: (.text | floor)}' fails: string"),
        ("{text: (.score | floor)}", "{score: (.text | floor)}", "'{score: (.text | floor)}' fails: string"),
        ("{text: (.score | floor)}", "{score: .[]?.x}", "'{score: .[]?.x}' fails: Cannot index string"),
        ("{text: (.score | floor)}", "{score: empty}", "'{score: empty}' yields nothing"),
        ("{text: (.score | floor)}", "{score: (null | tojson | fromjson)}", "gives null for the label .score"),
        ("{text: .text}", "empty", "'empty' yields nothing"),
    ],
)
def test_a_row_that_a_program_fails_on_is_quarantined_and_the_program_named(
    text: str, label: str, blamed: str, keep_fields: bool
) -> None:
    good = b'{"text":{"x":5},"score":1}'
    rows = transformed(TransformRows(text, label, keep_fields), [b'{"text":"x","score":2}', good, b"nonsense"])
    reasons = {rejected.line: rejected.reason for rejected in rows.rejected}
    assert blamed in reasons[1] and reasons[1].startswith("jq program ")
    assert reasons[3].startswith("not JSON: ")
    assert len(rows) + len(rows.rejected) == 3


@pytest.mark.parametrize("programs", [(), (".", "{score: 1}"), ("{text: (.text | tojson)}", "{score: (1 | floor)}")])
@pytest.mark.parametrize("keep_fields", [False, True])
def test_what_is_no_row_is_quarantined_with_its_neighbours_kept(programs: tuple[str, ...], keep_fields: bool) -> None:
    good = b'{"text":"x","score":1}'
    bad = [
        b"[]",
        b"",
        b'{"text":"x","score":1,"u":"\xff"}',
        b'{"text":"x","score":1,"u":"\\udfff"}',
        b'{"text":"x","score":1',
    ]
    lines = [line for row in bad for line in (row, good)]
    rows = transformed(TransformRows(*programs, keep_fields=keep_fields), lines)
    assert [rejected.line for rejected in rows.rejected] == [1, 3, 5, 7, 9]
    assert [rejected.raw for rejected in rows.rejected] == bad
    assert len(rows) == 5


def test_only_the_label_must_not_be_null() -> None:
    assert transformed(TransformRows(), [b'{"score":false}']).lines == [b'{"text":null,"score":false}']
    kept = transformed(TransformRows(keep_fields=True), [b'{"score":0}'])
    assert kept.lines == [b'{"score":0,"text":null}']


def test_a_program_that_does_not_compile_is_refused_before_any_row() -> None:
    with pytest.raises(ExpressionError, match="does not compile"):
        TransformRows(label_transform="{score: .score")
