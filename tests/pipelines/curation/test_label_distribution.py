"""Labels per split and in total, as counts, values and tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.label_counter import CountLabels, ExtractLabels
from pipelines.curation import label_distribution as module
from pipelines.curation.label_distribution import TooManyLabels, distribute, distribution_tables


def lines(labels: list[Any]) -> list[bytes]:
    return [json.dumps({"l": label, "k": "x" * position}).encode() for position, label in enumerate(labels)]


def distributed(scan, shards, kind: str = "text", key: str | None = None, file: str | None = None) -> Any:
    step, chunks = scan(shards, [ExtractLabels(".l", kind, key)], CountLabels())
    return json.loads(distribute(step, chunks, ".l", kind, 3, file)), step


def test_labels_have_counts_and_shares_per_split_and_in_total(scan):
    shards = {"train/a.jsonl": lines(["a", "b", "b", "c", "b"]), "test/a.jsonl": lines(["a", "a"])}
    found, step = distributed(scan, shards, file="distribution.json")
    assert json.loads(step.output.read("distribution.json")) == found
    assert list(found["splits"]) == ["train", "test"]
    assert [(row["label"], row["rows"], row["share"]) for row in found["splits"]["train"]["labels"]] == [
        ("b", 3, 0.6),
        ("a", 1, 0.2),
        ("c", 1, 0.2),
    ]
    assert [(row["label"], row["rows"]) for row in found["total"]["labels"]] == [("a", 3), ("b", 3), ("c", 1)]


@pytest.mark.parametrize("kind", ["text", "ordinal"])
def test_labels_that_are_numbers_come_in_their_order(scan, kind):
    found, _ = distributed(scan, {"a.jsonl": lines([10, 9, 10, -1])}, kind)
    assert [str(row["label"]) for row in found["total"]["labels"]] == ["-1", "9", "10"]


def test_values_have_quantiles_and_ten_equal_ranges(scan):
    found, _ = distributed(scan, {"a.jsonl": lines([position / 10 for position in range(101)])}, "value")
    values, buckets = found["total"]["values"], found["total"]["buckets"]
    assert (values["min"], values["p50"], values["max"]) == (0.0, 5.0, 10.0)
    assert [bucket["rows"] for bucket in buckets] == [10] * 9 + [11]
    assert (buckets[0]["from"], buckets[-1]["to"]) == (0.0, 10.0)
    assert sum(bucket["share"] for bucket in buckets) == pytest.approx(1)


def test_key_lengths_are_cut_into_buckets_of_near_equal_counts(scan):
    found, _ = distributed(scan, {"a.jsonl": lines(["x"] * 9)}, key=".k")
    assert found["total"]["key_lengths"]["max"] == 8
    assert [(b["from"], b["to"], b["rows"]) for b in found["total"]["key_length_buckets"]] == [
        (0, 2, 3),
        (3, 5, 3),
        (6, 8, 3),
    ]


def test_the_tables_show_a_dataset_without_splits_once_and_long_ones_in_part(scan, monkeypatch):
    found, _ = distributed(scan, {"a.jsonl": lines(["a", "a", "a", "b", "b", "c"])}, key=".k")
    tables = distribution_tables(found)
    assert list(tables) == ["labels", "key length buckets", "key lengths"]
    assert [row["split"] for row in tables["labels"]] == ["total"] * 3
    monkeypatch.setattr(module, "MOST_SHOWN", 1)
    shown = distribution_tables(found)["labels"]
    assert [(row["label"], row["rows"], row["share"]) for row in shown] == [("a", 3, 0.5), ("… 2 more labels", 3, 0.5)]


def test_a_field_that_is_no_label_is_refused_with_a_way_out(scan, monkeypatch):
    monkeypatch.setattr(module, "MOST_LABELS", 3)
    with pytest.raises(TooManyLabels, match=r"--label-expression \.l gives more than 3 .* --label-type value"):
        distributed(scan, {"a.jsonl": lines(list("abcd"))})


@pytest.mark.parametrize("kind", ["text", "value"])
def test_a_dataset_without_rows_has_no_tables(scan, kind):
    found, _ = distributed(scan, {"a.jsonl": []}, kind)
    assert distribution_tables(found) == {}
