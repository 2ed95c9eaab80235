"""Rows become fastText lines, and what cannot become one is quarantined with the reason."""

import pytest

from actors.fasttext_rows import FastTextRows
from cluster.rows import Rows


def converted(lines, **options):
    stage = FastTextRows(None, ".text", ".score", options.pop("max_length", None), **options)
    stage.setup()
    return stage.process(Rows("train/a.jsonl", lines, list(range(1, len(lines) + 1))))


def test_a_text_with_line_ends_is_one_physical_line():
    rows = converted([b'{"text":"a\\nb\\u2028c\\r\\nd","score":"very good"}'])
    assert rows.lines == [b"__label__very_good a b c  d"]
    assert rows.counters == {"label very_good": 1}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text":null,"score":1}', "no text: .text gives null"),
        (b'{"text":1180591620717411303424,"score":1}', "no text: .text gives 1180591620717411303424"),
        (b'{"text":"a"}', "no label: .score gives null"),
        (b'{"text":"a","score":""}', "the label is empty"),
        (b"nonsense", "not JSON"),
    ],
)
def test_a_row_without_text_or_label_is_quarantined_with_the_reason(line, reason):
    rows = converted([line, b'{"text":"a","score":1}'])
    assert rows.lines == [b"__label__1 a"]
    assert reason in rows.rejected[0].reason


def test_edges_turn_numbers_into_bins():
    lines = [b'{"text":"x","score":%s}' % score for score in (b"0", b"1", b"1.5", b"2", b"9", b'"9"')]
    rows = converted(lines, edges=[1.0, 2.0])
    assert [line.split()[0] for line in rows.lines] == [
        b"__label__bin_0",
        b"__label__bin_1",
        b"__label__bin_1",
        b"__label__bin_2",
        b"__label__bin_2",
    ]
    assert "is no number, --auto needs one" in rows.rejected[0].reason


def test_several_labels_stand_in_front_of_the_text():
    lines = [b'{"text":"x","score":{"a":1,"b":0,"c":1}}', b'{"text":"x","score":{"a":2}}']
    rows = converted(lines, multi_label=True)
    assert rows.lines == [b"__label__a __label__c x"]
    assert "--multi-label needs an object of 0 and 1" in rows.rejected[0].reason


def test_a_text_is_cut_before_it_is_written():
    assert converted([b'{"text":"abcdef","score":1}'], max_length=3).lines == [b"__label__1 abc"]
