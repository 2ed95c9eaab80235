"""Prompt files: what is wrong is said when the file is read, and rows are put in without being interpreted."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.prompt import Prompt, PromptError, RenderFailed, Score, parse_prompt

HEAD = {"name": "mine", "version": "1", "kind": "task", "summary": "A line."}
SCHEMA = """
  type: object
  properties:
    judgements:
      type: object
      properties:
        one: &one
          type: object
          properties: {why: {type: string}, is_pass: {type: boolean}, points: {type: integer}}
          required: [why, is_pass, points]
          additionalProperties: false
        two: *one
      required: [one, two]
      additionalProperties: false
    score: {type: integer}
  required: [judgements, score]
  additionalProperties: false"""


def file(body: str = "Grade {{ text }}", **head: Any) -> str:
    lines = [f"{key}: {value}" for key, value in (HEAD | head).items() if value is not None]
    return "\n".join(["---", *lines, "---", body, ""])


def parse(body: str = "Grade {{ text }}", **head: Any) -> Prompt:
    return parse_prompt(file(body, **head), "mine.md")


def test_a_file_is_read_whole():
    prompt = parse("Is {{ question }}\nin {{ text }}?\n", fields="{question: .q}", schema=SCHEMA)
    assert (prompt.name, prompt.version, prompt.kind, prompt.summary) == ("mine", 1, "task", "A line.")
    assert prompt.fields == {"question": ".q"}
    assert prompt.uses_text
    assert prompt.render({"question": "it", "text": "here"}) == "Is it\nin here?"
    assert list(prompt.schema["properties"]["judgements"]["properties"]) == ["one", "two"]
    assert prompt.source.endswith("in {{ text }}?\n\n")


def test_the_same_prompt_reaches_another_process():
    prompt = parse(schema=SCHEMA, score="{field: score, minimum: 0, maximum: 2, counts: judgements}")
    prompt.render({"text": "warm"})
    copy = pickle.loads(pickle.dumps(prompt))
    assert copy == prompt
    assert hash(copy) == hash(prompt)
    script = "import pickle, sys; print(pickle.load(sys.stdin.buffer).render({'text': 'é'}))"
    done = subprocess.run([sys.executable, "-c", script], input=pickle.dumps(prompt), capture_output=True, check=True)
    assert done.stdout.decode() == "Grade é\n"


def test_the_digest_changes_with_every_byte_and_not_with_the_place():
    text = file()
    assert parse_prompt(text, "a").digest == parse_prompt(text, "b").digest
    others = {parse_prompt(other, "a").digest for other in (text, text + "\n", text.replace("A line", "A  line"))}
    assert len(others) == 3


@given(st.text())
def test_a_rows_text_stands_in_the_prompt_exactly_as_it_is(text):
    assert parse("<a>{{ text }}</a>").render({"text": text}) == f"<a>{text}</a>"


@pytest.mark.parametrize(
    "text", ["{{ 7 * 7 }}", "{% for x in y %}", "{# gone #}", "{{ text }}", "a\r\nb\x85\u2028", "<&>"]
)
def test_templates_in_a_rows_text_are_text(text):
    prompt = parse("{{ text }}|{{ other }}", fields="{other: .o}")
    assert prompt.render({"text": text, "other": text}) == f"{text}|{text}"


def test_values_that_are_no_strings_are_written_as_json():
    prompt = parse("{{ a }}", fields="{a: .a}", text="false")
    assert prompt.render({"a": {"x": [True, 1.5, "é", None]}}) == '{"x":[true,1.5,"é",null]}'
    assert prompt.render({"a": 2**70}) == str(2**70)


@pytest.mark.parametrize(
    ("body", "values", "problem"),
    [
        ("{{ a }}", {"a": None}, "prompt mine: a is null"),
        ("{{ a }}", {}, "prompt mine: 'a' is undefined"),
        ("{{ a.b }}", {"a": {"c": 1}}, "prompt mine: 'dict object' has no attribute 'b'"),
        ("{{ 1 / a }}", {"a": 0}, "prompt mine: division by zero"),
        ("{{ a.__class__ }}", {"a": ""}, "unsafe"),
        ("{% for x in range(10 ** a) %}{{ x }}{% endfor %}", {"a": 9}, "too big"),
    ],
)
def test_what_a_row_lacks_fails_that_row(body, values, problem):
    with pytest.raises(RenderFailed, match=problem):
        parse(body, fields="{a: .a}", text="false").render(values)


def test_an_optional_field_may_be_empty_or_null():
    prompt = parse("{% if a %}\nA: {{ a }}\n{% endif %}\nend", fields="{a: .a}", text="false")
    assert [prompt.render({"a": value}) for value in (None, "", "x")] == ["end", "end", "A: x\nend"]


def test_the_tags_around_what_is_put_in_are_known():
    assert parse("<doc>\n{{ text }}\n</doc>\nsee <b> there").delimiters == {"<doc>", "</doc>"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Grade {{ text }}", "mine.md:1: a prompt begins with a line ---"),
        ("---\nname: a\n", "mine.md:1: the head has no end"),
        ("---\n- a\n---\nx", "mine.md:2: the head is not a mapping"),
        ("---\n---\nx", "mine.md:2: the head is not a mapping"),
        (file(name="a: b: c"), "mine.md:2: the head is not YAML: mapping values are not allowed here"),
        (file(name="[a"), "mine.md:3: the head is not YAML: "),
        (file(version=None), "mine.md:2: the head: Object missing required field `version`"),
        (file(version="0"), "mine.md:3: version: Expected `int` >= 1"),
        (file(version="'1'"), "mine.md:3: version: Expected `int`, got `str`"),
        (file(version="1_0"), "mine.md:3: '1_0' is int for YAML: put it in quotes"),
        (file(version="1:30"), "mine.md:3: '1:30' is int for YAML"),
        (file(version="2024-01-01"), "mine.md:3: '2024-01-01' is timestamp for YAML"),
        (file(kind="judge"), "mine.md:4: kind: Invalid enum value 'judge'"),
        (file(name="my-rubric"), "mine.md:2: name: Expected `str` matching regex"),
        (file(summary=""), "mine.md:5: summary: Expected `str`, got `null`"),
        (file(summary="no"), "mine.md:5: 'no' is bool for YAML: put it in quotes"),
        (file(colour="red"), "mine.md:6: unknown key 'colour'; there are name, version"),
        (file(yes="red"), "mine.md:6: the key 'yes' is no string for YAML: put it in quotes"),
        (file(summary="x\nname: again"), "mine.md:6: the key 'name' stands here for the second time"),
        (file(text="yes"), "mine.md:6: 'yes' is bool for YAML"),
        (file(fields="{q: 1}"), "mine.md:6: fields: Expected `str`, got `int`"),
        (file(fields="{text: .a}"), "mine.md:6: fields.text: not a name for a field"),
        (file(fields="{a-b: .a}"), "mine.md:6: fields.a-b: not a name for a field"),
        (file("{{ q }}{{ text }}", fields="\n  q: .a["), "mine.md:7: fields.q: jq"),
        (file(embedded="nothing", schema="{type: object}"), "mine.md:6: embedded: no rubric 'nothing'; there are code"),
        (file("x", kind="system", text="false"), "mine.md:6: text: a system prompt has only name, version, kind"),
        (file("x {{ text }}", kind="system"), r"mine.md:7: unknown variable 'text' \(known: none\)"),
        (file(""), "mine.md:8: the body is empty"),
        (file("\n\na\n{% if text %}"), "mine.md:10: the body is not Jinja2: Unexpected end of template"),
        (file("a\n{{ text | shout }}"), "mine.md:8: the body is not Jinja2: No filter named 'shout'"),
        (file("{{ text | random }}"), "mine.md:7: the body is not Jinja2: No filter named 'random'"),
        (file("\n\na\n{{ text }} {{ question }}"), r"mine.md:10: unknown variable 'question' \(known: text\)"),
        (file("{{ text }}{{ lipsum() }}"), "mine.md:7: unknown variable 'lipsum'"),
        (file("{{ text }}\n{% include 'a' %}"), "mine.md:8: the body takes in another file"),
        (file("Grade it"), r"mine.md:7: the body never uses {{ text }}: use it or set text: false in the head"),
        (file(fields="{q: .q}"), r"mine.md:8: the body never uses {{ q }}"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(text, message):
    with pytest.raises(PromptError, match=message) as raised:
        parse_prompt(text, "mine.md")
    assert "\n" not in str(raised.value)


def test_few_lines_cannot_stand_for_millions():
    bomb = "\n".join(
        [
            "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]",
            *(f"{b}: &{b} [{f'*{a}, ' * 9}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        ]
    )
    began = time.monotonic()
    with pytest.raises(PromptError, match="has more than 10,000 values"):
        parse_prompt(f"---\n{bomb}\n---\nx", "bomb.md")
    with pytest.raises(PromptError, match="nested too deeply"):
        parse_prompt("---\na: &a [*a]\n---\nx", "loop.md")
    with pytest.raises(PromptError, match="nested too deeply"):
        parse_prompt(f"---\na: {'[' * 5000}\n---\nx", "deep.md")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("{type: strin}", "mine.md:6: schema: an answer is an object"),
        ("{type: object, properties: 3}", "mine.md:6: schema.properties: not a JSON schema: 3 is not of type"),
        (
            "\n  type: object\n  properties:\n    a: {type: strin}",
            "mine.md:9: schema.properties.a.type: not a JSON schema",
        ),
        ("{type: object, $ref: 'http://a.example/b'}", "mine.md:6: schema: not a JSON schema: .*Retrieval is disabled"),
        ("{type: object, $ref: '#/$defs/a'}", "mine.md:6: schema: not a JSON schema: Pointer"),
        ("{type: object, $schema: 'http://a.example/b'}", "mine.md:6: schema: not a JSON schema"),
    ],
)
def test_a_schema_is_checked_and_nothing_is_fetched_for_it(schema, message):
    with pytest.raises(PromptError, match=message):
        parse(schema=schema)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("", Score("score", 0, 2)),
        (", counts: judgements", Score("score", 0, 2, True, "counts", "judgements", ("one", "two"))),
        (", levels: judgements", Score("score", 0, 2, True, "levels", "judgements", ("one", "two"))),
        (", sums: judgements", Score("score", 0, 2, True, "sums", "judgements", ("one", "two"))),
    ],
)
def test_a_score_and_its_rule(rule, expected):
    assert parse(schema=SCHEMA, score=f"{{field: score, minimum: 0, maximum: 2{rule}}}").score == expected


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ("{field: score, minimum: 0}", "score: Object missing required field `maximum`"),
        ("{field: score, minimum: 2, maximum: 2}", "score.minimum: not below score.maximum"),
        ("{field: points, minimum: 0, maximum: 2}", "schema has no required property 'points'"),
        ("{field: judgements, minimum: 0, maximum: 2}", "schema.judgements is not of type integer or number"),
        ("{field: score, minimum: 0, maximum: 2, counts: others}", "schema has no required property 'others'"),
        ("{field: score, minimum: 0, maximum: 2, counts: score}", "schema.score has no properties to take counts of"),
        ("{field: score, minimum: 0, maximum: 5, counts: judgements}", "counts of the 2 members .* run from 0 to 2"),
        ("{field: score, minimum: 0, maximum: 2, counts: judgements, sums: judgements}", "at most one of counts"),
        ("{field: score, minimum: 0, maximum: 2, count: judgements}", "unknown key 'count'; there are field, minimum"),
    ],
)
def test_a_score_that_does_not_fit_the_schema_is_refused(score, message):
    with pytest.raises(PromptError, match=message):
        parse(schema=SCHEMA, score=score)


def test_a_score_needs_a_schema_and_judgements_of_the_right_type():
    with pytest.raises(PromptError, match="score: needs a schema"):
        parse(score="{field: score, minimum: 0, maximum: 2}")
    with pytest.raises(PromptError, match=r"schema.judgements.one.is_pass is not of type boolean"):
        parse(
            schema=SCHEMA.replace("is_pass: {type: boolean}", "is_pass: {type: [boolean, 'null']}"),
            score="{field: score, minimum: 0, maximum: 2, levels: judgements}",
        )


def test_references_inside_a_schema_are_followed():
    schema = SCHEMA.replace("two: *one", "a: {$ref: '#/properties/judgements/properties/one'}").replace("two]", "a]")
    found = parse(schema=schema, score="{field: score, minimum: 0, maximum: 2, counts: judgements}").score
    assert found.judgements == ("one", "a")
    with pytest.raises(PromptError, match="the reference '#/properties/score' in the schema cannot be followed"):
        parse(
            schema=SCHEMA.replace("score: {type: integer}", "score: {$ref: '#/properties/score'}"),
            score="{field: score, minimum: 0, maximum: 2}",
        )


@pytest.mark.parametrize(
    ("change", "is_strict"),
    [
        (("two: *one", "two: *one"), True),
        (("required: [one, two]", "required: [one]"), False),
        (("  required: [judgements, score]\n  additionalProperties: false", "  required: [judgements, score]"), False),
        (("score: {type: integer}", "score: {oneOf: [{type: integer}]}"), False),
        (("score: {type: integer}", "score: {type: array, items: {type: object}}"), False),
        (("score: {type: integer}", "score: {anyOf: [{type: integer}, {type: 'null'}]}"), True),
    ],
)
def test_a_strict_schema_is_closed_and_requires_all(change, is_strict):
    assert parse(schema=SCHEMA.replace(*change)).is_strict is is_strict


def test_windows_line_ends_and_a_byte_order_mark_are_read():
    prompt = parse_prompt("\ufeff" + file("a\nb {{ text }}").replace("\n", "\r\n"), "mine.md")
    assert prompt.render({"text": "c\r\nd"}) == "a\nb c\r\nd"


def test_rendering_costs_little_beside_the_text():
    prompt = replace(parse("word " * 2000 + "{{ text }}"), name="fast")
    values = {"text": "x" * 100}
    best = min(_seconds(lambda: prompt.render(values), 500) for _ in range(5))
    assert best < 100e-6  # measured 6 us; the bound leaves room for a busy machine


def _seconds(function: Any, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - began) / times
