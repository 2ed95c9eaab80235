"""Sampling: a uniform choice of rows whose uncompressed bytes come as near to a target as whole rows can."""

from __future__ import annotations

import orjson

from cluster.ledger import Chunks, Pass
from pipelines.curation.balance import records_of
from pipelines.curation.selection import byte_threshold, count


def rate_threshold(rate: float) -> int:
    """The priority up to which a share `rate` (0 to 1) of all rows is expected."""
    return min(int(rate * 2.0**64), 2**64 - 1) - (1 if rate == 0 else 0)


def decide_sample(step: Pass, chunks: list[Chunks], target_bytes: int) -> bytes:
    """The plan of a sample of `target_bytes`: the threshold, and how many bytes there are to choose from."""
    records = records_of(step, chunks)
    groups = count(records)
    if "" not in groups:
        return orjson.dumps({"threshold": None, "available_bytes": 0})
    threshold = byte_threshold(records, groups[""], target_bytes)
    return orjson.dumps({"threshold": threshold, "available_bytes": int(groups[""].bytes.sum())})
