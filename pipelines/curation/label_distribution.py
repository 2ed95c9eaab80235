"""How many rows each label has, per split and in total; for numeric values their quantiles and ten equal buckets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from actors.label_counter import label_counts
from cluster.errors import GristmillError
from cluster.ledger import Chunks, Pass
from cluster.shards import SPLITS, split_of
from pipelines.curation.occurrences import Occurrences
from pipelines.curation.quantile_bins import quantile_edges

MOST_LABELS = 100_000
MOST_SHOWN = 1000
VALUE_BUCKETS = 10


class TooManyLabels(GristmillError):
    """What was taken for a label has more values than any label."""


@dataclass(slots=True)
class Group:
    """The labels and key lengths of one split."""

    labels: Counter[Any] = field(default_factory=Counter)
    values: Occurrences[np.float64] = field(default_factory=lambda: Occurrences(np.float64))
    lengths: Occurrences[np.int64] = field(default_factory=lambda: Occurrences(np.int64))


def distribute(
    step: Pass,
    chunks: list[Chunks],
    label_expression: str,
    label_type: str,
    length_buckets: int,
    output_name: str | None,
) -> bytes:
    """The distribution as JSON: the splits by name and their total. With `output_name` it is published there too.

    Raises TooManyLabels beyond MOST_LABELS distinct labels, unless they are values. Memory: 100 bytes or so for each
    distinct label, 16 for each distinct value.
    """
    groups: dict[str, Group] = {}
    for shard, record in step.payloads(chunks):
        labels, lengths = label_counts(record)
        for group in (groups.setdefault(split_of(shard) or "", Group()), groups.setdefault("total", Group())):
            _add(group, labels, lengths, label_type)
            if len(group.labels) > MOST_LABELS:
                raise TooManyLabels(
                    f"--label-expression {label_expression} gives more than {MOST_LABELS:,} different labels: "
                    "is it the right field? For numbers use --label-type value"
                )
    named = {name: _described(groups[name], label_type, length_buckets) for name in SPLITS if name in groups}
    total = _described(groups.get("total", Group()), label_type, length_buckets)
    distribution = {"label_expression": label_expression, "label_type": label_type, "splits": named, "total": total}
    data = orjson.dumps(distribution, option=orjson.OPT_INDENT_2)
    if output_name is not None:
        step.output.publish(output_name, data)
    return data


def _add(group: Group, labels: list[tuple[Any, int]], lengths: list[tuple[int, int]], label_type: str) -> None:
    if label_type == "value":
        values = np.array([value for value, _ in labels], np.float64)
        group.values.add(values, np.array([count for _, count in labels], np.int64))
    else:
        for label, count in labels:
            group.labels[label] += count
    pairs = np.array(lengths, np.int64).reshape(-1, 2)
    group.lengths.add(pairs[:, 0], pairs[:, 1])


def _described(group: Group, label_type: str, length_buckets: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if label_type == "value":
        found = {"rows": group.values.summary()["rows"], "values": group.values.summary()}
        found["buckets"] = _value_buckets(group.values)
    else:
        rows = sum(group.labels.values())
        ordered = sorted(group.labels.items(), key=_order(group.labels))
        found = {"rows": rows, "labels": [{"label": n, "rows": c, "share": c / rows} for n, c in ordered]}
    if len(group.lengths.sorted()[0]):
        found["key_lengths"] = group.lengths.summary()
        found["key_length_buckets"] = _length_buckets(group.lengths, length_buckets)
    return found


def _order(labels: Counter[Any]) -> Any:
    """Labels that are all numbers go by their value, others by their number of rows."""
    try:
        numbers = {label: float(label) for label in labels}
    except ValueError:
        return lambda item: (-item[1], item[0])
    return lambda item: (numbers[item[0]], item[0])


def _value_buckets(values: Occurrences[np.float64]) -> list[dict[str, Any]]:
    found, counts = values.sorted()
    if not len(found):
        return []
    rows, edges = np.histogram(found, VALUE_BUCKETS, weights=counts.astype(np.float64))
    share = rows / counts.sum()
    columns = zip(edges[:-1].tolist(), edges[1:].tolist(), rows.tolist(), share.tolist(), strict=True)
    return [{"from": low, "to": high, "rows": int(n), "share": part} for low, high, n, part in columns]


def _length_buckets(lengths: Occurrences[np.int64], buckets: int) -> list[dict[str, Any]]:
    values, counts = lengths.sorted()
    edges = np.array([*quantile_edges(values, counts, buckets)], np.int64)
    members = np.searchsorted(edges, values, side="right")
    found = []
    for bucket in range(len(edges) + 1):
        inside = members == bucket
        rows = int(counts[inside].sum())
        low, high = int(values[inside][0]), int(values[inside][-1])
        found.append({"from": low, "to": high, "rows": rows, "share": rows / int(counts.sum())})
    return found


def distribution_tables(distribution: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The distribution as tables for a person; a dataset without splits has its total alone."""
    groups = {**distribution["splits"], "total": distribution["total"]}
    tables: dict[str, list[dict[str, Any]]] = {}
    for kind in ("labels", "buckets", "key_length_buckets"):
        for split, group in groups.items():
            rows = group.get(kind, [])
            shown = [{"split": split, **row} for row in rows[:MOST_SHOWN]]
            if len(rows) > MOST_SHOWN:
                rest = sum(row["rows"] for row in rows[MOST_SHOWN:])
                label = f"… {len(rows) - MOST_SHOWN:,} more labels"
                shown.append({"split": split, "label": label, "rows": rest, "share": rest / group["rows"]})
            if shown:
                tables.setdefault(kind.replace("_", " "), []).extend(shown)
    for kind in ("values", "key_lengths"):
        summaries = [
            {"split": split, **group[kind]} for split, group in groups.items() if group.get(kind, {}).get("rows")
        ]
        if summaries:
            tables[kind.replace("_", " ")] = summaries
    return tables
