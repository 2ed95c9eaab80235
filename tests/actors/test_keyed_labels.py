"""Rows become keys and labels, whatever the key is."""

from actors.keyed_labels import KeyedRows, KeyRows, keyed_labels
from cluster.rows import Rows


def keyed(lines, label=".score"):
    rows = KeyRows(".id", label).process(Rows("a.jsonl", lines, list(range(1, len(lines) + 1))))
    return rows, keyed_labels(KeyedRows().encode(rows), "a.jsonl")


def test_a_key_is_text_or_the_json_of_anything_else():
    _, found = keyed([b'{"id":"x","score":1}', b'{"id":1180591620717411303424,"score":"a"}', b'{"id":{"b":1,"a":2}}'])
    assert len(found.hashes) == 3 * 16
    assert found.labels == [1, "a", None]
    assert found.shown == ["a.jsonl:1: x", "a.jsonl:2: 1180591620717411303424", 'a.jsonl:3: {"a":2,"b":1}']


def test_rows_that_no_model_graded_are_counted():
    graded = b'{"id":1,"grade":{"score":2,"parts":{"form":1},"_meta":{"engine":"static-analysis","version":"1"}}}'
    spaced, other = graded.replace(b":", b": "), graded.replace(b"static-analysis", b"openai")
    for label in (".grade.score", ".grade.parts.form", '.["grade"].score'):
        found = keyed([graded, spaced, other], label)[1]
        assert (found.measured, found.beside) == (2, 0)


MIXED = (
    b'{"id":1,"score":3,"old":{"score":1,"_meta":{"engine":"static-analysis"}},'
    b'"new":{"score":2,"_meta":{"engine":"openai"}}}'
)


def test_a_grade_of_another_field_does_not_mark_the_label():
    assert keyed([MIXED], ".new.score")[1].measured == keyed([MIXED], ".new.score")[1].beside == 0
    assert keyed([MIXED], ".old.score")[1].measured == 1


def test_where_nothing_beside_the_label_tells_who_gave_it_only_that_is_said():
    for label in (".score", ".new.score // 0", ".new | .score + 1"):
        found = keyed([MIXED], label)[1]
        assert (found.measured, found.beside) == (0, 1)


def test_a_row_without_a_label_is_nobodys():
    found = keyed([MIXED.replace(b'"score":3', b'"score":null')])[1]
    assert (found.labels, found.measured, found.beside) == ([None], 0, 0)


def test_a_row_without_a_key_or_with_a_list_for_a_label_is_quarantined():
    rows, _ = keyed([b'{"score":1}', b'{"id":1,"score":[]}'])
    assert [row.line for row in rows.rejected] == [1, 2]
