"""Lengths of texts per split and in total."""

from __future__ import annotations

import json

import numpy as np

from actors.text_counter import CountTexts
from actors.texts import ExtractTexts
from pipelines.curation.token_counts import count_lengths, length_table


def test_lengths_are_summed_up_by_split_and_in_total_and_published(scan):
    texts = {"train": ["a", "bb", "é", "dddd", "", "ff"], "test": ["x" * 10]}
    shards = {
        f"{split}/{part}.jsonl.zst": [json.dumps({"text": text}).encode() for text in texts[split][part::2]]
        for split in texts
        for part in (0, 1)
    }
    step, chunks = scan(shards, [ExtractTexts(".text")], CountTexts(None), rows=2)
    counts = json.loads(count_lengths(step, chunks, "counts.json", {"tokenizer": None}))
    assert json.loads(step.output.read("counts.json")) == counts
    assert counts["tokenizer"] is None
    assert list(counts["splits"]) == ["train", "test"]
    for split, group in {**counts["splits"], "all": counts["total"]}.items():
        chosen = texts.get(split, texts["train"] + texts["test"])
        assert list(group) == ["characters", "bytes"]
        assert group["characters"]["total"] == sum(map(len, chosen))
        assert group["bytes"]["total"] == sum(len(text.encode()) for text in chosen)
        assert group["characters"]["p75"] == np.quantile([len(text) for text in chosen], 0.75)
    table = length_table(counts)
    assert [(row["split"], row["measure"]) for row in table][::2] == [
        ("train", "characters"),
        ("test", "characters"),
        ("total", "characters"),
    ]


def test_a_dataset_without_splits_has_its_total_alone(scan):
    step, chunks = scan({"a.jsonl": [b'{"text": "abc"}']}, [ExtractTexts(".text")], CountTexts(None))
    counts = json.loads(count_lengths(step, chunks, None, {}))
    assert counts["splits"] == {}
    assert {row["split"] for row in length_table(counts)} == {"total"}
    assert not step.output.exists("counts.json")


def test_an_empty_dataset_has_an_empty_table(scan):
    step, chunks = scan({"a.jsonl": []}, [ExtractTexts(".text")], CountTexts(None))
    assert length_table(json.loads(count_lengths(step, chunks, None, {}))) == []
