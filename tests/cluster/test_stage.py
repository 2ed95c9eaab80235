"""How stages make pools, and what the sink at the end keeps."""

from __future__ import annotations

import gzip

import zstandard

from cluster.resources import Resources
from cluster.rows import Rows
from cluster.stage import Flow, ShardSink, Stage


class Cheap(Stage):
    pass


class Dear(Stage):
    resources = Resources(cpus=1, gpus=0.5)


def test_adjacent_stages_with_equal_resources_share_a_pool() -> None:
    stages: list[Stage] = [Cheap(), Cheap(), Dear(), Dear(), Cheap()]
    pools = Flow(stages, ShardSink()).pools()
    assert [(resources.gpus, len(members)) for resources, members in pools] == [(0, 2), (0.5, 2), (0, 1)]
    assert [stage for _, members in pools for stage in members] == stages


def test_a_flow_without_stages_still_has_a_pool_to_read_and_write_in() -> None:
    assert Flow([], ShardSink()).pools() == [(Resources(cpus=1), [])]


def rows_of(shard: str, *lines: bytes) -> Rows:
    return Rows(shard, list(lines), list(range(1, 1 + len(lines))))


def test_the_sink_writes_lines_in_the_codec_of_the_shards_name() -> None:
    sink = ShardSink()
    assert sink.encode(rows_of("a.jsonl", b"x", b"y\r")) == b"x\ny\r\n"
    assert gzip.decompress(sink.encode(rows_of("a.jsonl.gz", b"x"))) == b"x\n"
    assert zstandard.decompress(sink.encode(rows_of("a.jsonl.zst", b"x"))) == b"x\n"


def test_no_rows_make_no_bytes() -> None:
    assert [ShardSink().encode(rows_of(name)) for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst")] == [b""] * 3
