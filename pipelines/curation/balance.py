"""Balancing: in every split as many rows of each label as the rarest label of that split has, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from actors.selector import ranked
from cluster.ledger import Chunks, Pass
from pipelines.curation.selection import Counts, Records, count, row_thresholds


def records_of(step: Pass, chunks: list[Chunks]) -> Records:
    """What the ranking pass kept, readable as often as needed."""
    return lambda: (ranked(payload) for _, payload in step.payloads(chunks))


def wanted_rows(groups: Mapping[str, Counts]) -> dict[str, int]:
    """How many rows of each group (`split\\tlabel`) a balanced dataset takes."""
    rarest: dict[str, int] = {}
    for group, counts in groups.items():
        split = group.partition("\t")[0]
        rows = int(counts.rows.sum())
        rarest[split] = min(rows, rarest.get(split, rows))
    return {group: rarest[group.partition("\t")[0]] for group in groups}


def decide_balance(step: Pass, chunks: list[Chunks]) -> bytes:
    """The plan of a balance: every group's threshold, and the table of what there was and what is kept.

    Raises TiedPriorities (see pipelines.curation.selection).
    """
    records = records_of(step, chunks)
    groups = count(records)
    wanted = wanted_rows(groups)
    thresholds = row_thresholds(records, groups, wanted)
    table: list[dict[str, Any]] = [
        {
            "split": group.partition("\t")[0] or None,
            "label": group.partition("\t")[2],
            "rows": int(groups[group].rows.sum()),
            "kept": wanted[group],
        }
        for group in sorted(groups)
    ]
    return orjson.dumps({"thresholds": thresholds, "table": table})
