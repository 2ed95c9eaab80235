"""Rows, characters, bytes and tokens of a dataset, per split and in total, with exact quantiles over the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from actors.text_counter import length_counts
from cluster.ledger import Chunks, Pass
from cluster.shards import SPLITS, split_of
from pipelines.curation.occurrences import Occurrences

Lengths = dict[str, Occurrences[np.int64]]


def count_lengths(step: Pass, chunks: list[Chunks], output_name: str | None, facts: dict[str, Any]) -> bytes:
    """The counts of a counting pass as JSON: `facts`, then `splits` by name and `total`, each measure by measure.

    With `output_name` they are also published under that name. Memory: 16 bytes for each distinct length.
    """
    splits: dict[str, Lengths] = {}
    for shard, record in step.payloads(chunks):
        lengths = splits.setdefault(split_of(shard) or "", {})
        for measure, values, often in length_counts(record):
            lengths.setdefault(measure, Occurrences(np.int64)).add(values, often)
    total: Lengths = {}
    for lengths in splits.values():
        for measure, occurrences in lengths.items():
            total.setdefault(measure, Occurrences(np.int64)).add_all(occurrences)
    named = {name: _summaries(splits[name]) for name in SPLITS if name in splits}
    counts = orjson.dumps({**facts, "splits": named, "total": _summaries(total)}, option=orjson.OPT_INDENT_2)
    if output_name is not None:
        step.output.publish(output_name, counts)
    return counts


def _summaries(lengths: Lengths) -> dict[str, Any]:
    return {measure: occurrences.summary() for measure, occurrences in lengths.items()}


def length_table(counts: dict[str, Any]) -> list[dict[str, Any]]:
    """The counts as the rows of one table, a dataset without splits with its total alone."""
    groups = {**counts["splits"], "total": counts["total"]}
    return [
        {"split": split, "measure": measure, **{name: value for name, value in summary.items() if name != "rows"}}
        for split, measures in groups.items()
        for measure, summary in measures.items()
        if summary["rows"]
    ]
