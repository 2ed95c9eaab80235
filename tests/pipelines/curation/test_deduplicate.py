"""From fingerprints to the rows that go and the report of why."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from actors.duplicate_dropper import removed_name
from actors.fingerprints import FingerprintTexts, Signatures
from actors.texts import ExtractTexts
from pipelines.curation.deduplicate import Near, decide_duplicates


def decided(scan, shards, near: Near | None = None):
    sink = FingerprintTexts(near.signatures if near else None)
    step, chunks = scan(shards, [ExtractTexts(".text")], sink)
    counts = json.loads(decide_duplicates(step, chunks, near))
    removed = {}
    for part in chunks:
        if step.output.exists(removed_name(step, part.shard)):
            found = step.output.read(removed_name(step, part.shard))
            removed[part.shard] = np.frombuffer(found, np.int64).tolist()
    return counts, removed, step


def line(text: object) -> bytes:
    return json.dumps({"text": text}).encode()


def report(step, shard: str) -> list[dict]:
    return [json.loads(row) for row in step.output.read(f"_duplicates/{shard}").splitlines()]


def test_the_first_of_equal_texts_stays_over_shards_and_splits(scan):
    shards = {
        "test/a.jsonl": [line("one"), line("two"), line("one"), line(None), line("three")],
        "train/a.jsonl": [line("two"), b"", line("new"), line("three"), line("Three"), line("new")],
        "train/b.jsonl": [line("other"), line("other")],
        "train/c.jsonl": [line("last")],
    }
    counts, removed, step = decided(scan, shards)
    assert counts == {"exact_duplicates": 5, "near_duplicates": 0}
    assert removed == {"test/a.jsonl": [3], "train/a.jsonl": [1, 4, 6], "train/b.jsonl": [2]}
    assert report(step, "train/a.jsonl") == [
        {
            "shard": "train/a.jsonl",
            "line": gone,
            "kind": "exact",
            "duplicate_of": {"shard": shard, "line": kept},
            "similarity": 1.0,
        }
        for gone, shard, kept in [(1, "test/a.jsonl", 2), (4, "test/a.jsonl", 5), (6, "train/a.jsonl", 3)]
    ]
    assert report(step, "train/b.jsonl")[0]["duplicate_of"] == {"shard": "train/b.jsonl", "line": 1}
    assert not step.output.exists("_duplicates/train/c.jsonl")


def test_near_duplicates_go_and_are_reported_with_their_similarity(scan):
    pytest.importorskip("rensa")
    rng = random.Random(5)
    texts = [" ".join(f"w{rng.randrange(9999)}" for _ in range(200)) for _ in range(30)]
    near = texts[4].replace(" ", ", ").upper() + " and more"
    lines = [line(text) for text in [*texts, near, texts[7], "!!!", "???"]]
    settings = Near(0.8, Signatures(128, 5))
    counts, removed, step = decided(scan, {"a.jsonl": lines}, settings)
    assert counts == {"exact_duplicates": 1, "near_duplicates": 1}
    assert removed == {"a.jsonl": [31, 32]}
    near_row, exact_row = report(step, "a.jsonl")
    assert (near_row["kind"], near_row["duplicate_of"]["line"]) == ("near", 5)
    assert 0.9 < near_row["similarity"] < 1
    assert (exact_row["kind"], exact_row["duplicate_of"]["line"]) == ("exact", 8)


def test_an_equal_copy_of_a_near_duplicate_is_near_to_what_stays(scan):
    pytest.importorskip("rensa")
    text = " ".join(f"w{number}" for number in range(200))
    lines = [line(text), line(text + " x"), line(text + " x")]
    counts, removed, step = decided(scan, {"a.jsonl": lines}, Near(0.8, Signatures(128, 5)))
    assert counts == {"exact_duplicates": 0, "near_duplicates": 2}
    assert [row["duplicate_of"]["line"] for row in report(step, "a.jsonl")] == [1, 1]
    assert removed == {"a.jsonl": [2, 3]}


def test_deciding_again_publishes_the_same_bytes(scan):
    lines = [line("a"), line("a"), line("b")]
    sink = FingerprintTexts()
    step, chunks = scan({"a.jsonl.zst": lines}, [ExtractTexts(".text")], sink)
    published = []
    for _ in range(2):
        decide_duplicates(step, chunks, None)
        published.append(
            [step.output.read("_duplicates/a.jsonl.zst"), step.output.read(removed_name(step, "a.jsonl.zst"))]
        )
    assert published[0] == published[1]


@pytest.mark.parametrize("near", [None, Near(0.8, Signatures(16, 3))])
def test_a_dataset_without_rows_has_no_duplicates(scan, near):
    assert decided(scan, {"a.jsonl": [], "b.jsonl": [b"no json"]}, near)[:2] == (
        {"exact_duplicates": 0, "near_duplicates": 0},
        {},
    )
