"""Rows go into buckets by priority and come back in the order of the priorities, whatever the chunks were."""

import pytest

from actors.bucketer import BucketRows, bucket_rows
from actors.priorities import priorities
from cluster.ledger import Chunks, Pass, StagedChunk, Tally
from cluster.rows import Rows
from cluster.storage import open_storage

SEED = 9


@pytest.fixture
def staged(tmp_path):
    def stage(chunk_rows, buckets):
        step = Pass(open_storage(str(tmp_path / f"{chunk_rows}-{buckets}")), "bucket", "run")
        lines = [b'{"row":%d}' % number for number in range(1, 301)]
        chunks = []
        for shard in ("a.jsonl", "b.jsonl"):
            parts = range(0, 300, chunk_rows)
            for index, start in enumerate(parts):
                rows = Rows(shard, lines[start : start + chunk_rows], list(range(start + 1, start + 1 + chunk_rows)))
                rows.numbers = rows.numbers[: len(rows.lines)]
                payload = BucketRows([""], buckets, SEED).encode(rows)
                step.stage(shard, index, StagedChunk(Tally(), b"quarantined", payload))
            chunks.append(Chunks(shard, len(parts)))
        return step, chunks

    return stage


def in_order(step, chunks, buckets):
    found = []
    for bucket in range(buckets):
        rows = bucket_rows(step, chunks, 0, bucket)
        found += rows.lines(0, len(rows.sizes))
    return found


def test_buckets_read_in_turn_give_all_rows_in_the_order_of_their_priorities(staged):
    step, chunks = staged(50, 7)
    keys = [
        (int(k), n)
        for s in ("a.jsonl", "b.jsonl")
        for k, n in zip(priorities(SEED, s, range(1, 301)), range(1, 301), strict=True)
    ]
    assert in_order(step, chunks, 7) == [b'{"row":%d}' % number for _, number in sorted(keys)]


@pytest.mark.parametrize(("chunk_rows", "buckets"), [(300, 1), (1, 3), (64, 50)])
def test_the_order_depends_neither_on_chunks_nor_on_buckets(staged, chunk_rows, buckets):
    assert in_order(*staged(chunk_rows, buckets), buckets) == in_order(*staged(50, 7), 7)


def test_an_empty_bucket_has_no_rows(staged):
    step, chunks = staged(50, 5000)
    assert sum(len(bucket_rows(step, chunks, 0, bucket).sizes) for bucket in range(0, 5000, 500)) < 20
