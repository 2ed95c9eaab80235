"""Labels and key lengths of rows, and how often each occurs."""

from __future__ import annotations

import json

import pytest

from actors.label_counter import CountLabels, ExtractLabels, label_counts
from cluster.rows import Rows


def counted(stage: ExtractLabels, values: list[object]) -> tuple[list, list, list[str]]:
    lines = [json.dumps(value).encode() for value in values]
    rows = stage.process(Rows("a.jsonl", lines, list(range(len(lines)))))
    labels, lengths = label_counts(CountLabels().encode(rows))
    return [tuple(p) for p in labels], [tuple(p) for p in lengths], [row.reason for row in rows.rejected]


def test_labels_are_counted_by_name():
    labels, lengths, rejected = counted(
        ExtractLabels(".l"), [{"l": "b"}, {"l": 1}, {"l": 1.0}, {"l": "b"}, {"l": True}]
    )
    assert labels == [("1", 2), ("b", 2), ("true", 1)]
    assert (lengths, rejected) == ([], [])


@pytest.mark.parametrize("kind", ["text", "ordinal", "value"])
def test_a_row_without_a_label_is_quarantined(kind):
    labels, _, rejected = counted(ExtractLabels(".l", kind), [{"l": None}, {"x": 1}, {"l": 2}])
    assert len(labels) == 1
    assert rejected == ["no label: .l gives null"] * 2


def test_ordinal_labels_are_whole_numbers_whatever_they_are_written_as():
    labels, _, rejected = counted(
        ExtractLabels(".l", "ordinal"), [{"l": v} for v in ("3", 3, 3.7, -1.5, "x", [1], "inf")]
    )
    assert labels == [(-1, 1), (3, 3)]
    assert rejected == [f"no ordinal label: .l gives {v}" for v in ('"x"', "[1]", '"inf"')]


def test_values_keep_their_fractions_and_zero_has_one_sign():
    labels, _, rejected = counted(ExtractLabels(".l", "value"), [{"l": v} for v in (0.25, "0.25", -0.0, 0, "nan")])
    assert labels == [(0.0, 2), (0.25, 2)]
    assert str(counted(ExtractLabels(".l", "value"), [{"l": -0.0}])[0][0][0]) == "0.0"
    assert rejected == ['no value label: .l gives "nan"']


def test_key_lengths_are_characters_and_a_row_without_a_key_is_quarantined():
    stage = ExtractLabels(".l", "text", ".k")
    labels, lengths, rejected = counted(stage, [{"l": 1, "k": "é日"}, {"l": 1, "k": "ab"}, {"l": 2, "k": ""}, {"l": 3}])
    assert labels == [("1", 2), ("2", 1)]
    assert lengths == [(0, 1), (2, 2)]
    assert rejected == ["no text: .k gives null"]
