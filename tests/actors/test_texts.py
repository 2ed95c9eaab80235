"""A row becomes its text, or says why it has none."""

from __future__ import annotations

import pytest

from actors.texts import CheckTexts, ExtractTexts
from cluster.rows import Rows

LINES = [b'{"text": " a\\nb \xc3\xa9"}', b'{"text": null}', b'{"text": ["x"]}', b"no json", b'{"text": ""}', b"{}"]


def rows() -> Rows:
    return Rows("train/a.jsonl", list(LINES), list(range(1, len(LINES) + 1)))


def test_a_row_becomes_its_text_in_utf8_whatever_the_text_holds():
    result = ExtractTexts(".text").process(rows())
    assert result.lines == [" a\nb é".encode(), b""]
    assert result.numbers == [1, 5]


@pytest.mark.parametrize("stage", [ExtractTexts(".text"), CheckTexts(".text")])
def test_rows_without_a_text_are_quarantined_with_what_is_there_instead(stage):
    result = stage.process(rows())
    reasons = {row.line: row.reason for row in result.rejected}
    assert reasons[2] == reasons[6] == "no text: .text gives null"
    assert reasons[3] == 'no text: .text gives ["x"]'
    assert reasons[4].startswith("not JSON")
    assert [row.raw for row in result.rejected] == [LINES[1], LINES[2], LINES[3], LINES[5]]


def test_checking_keeps_the_rows_that_extracting_keeps_as_they_are():
    result = CheckTexts(".text").process(rows())
    assert result.lines == [LINES[0], LINES[4]]
