"""Files of training data as they lie somewhere: each one a source of rows under its own name, with its split.

Anything that `pipelines.curation.dataset_files` finds can be read: JSONL, Parquet, and what `datasets` saved to disk.
A row's number is its line, or its place in the table, counted from 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import orjson

from actors.synthesis.known_tasks import Families
from cluster.ledger import Chunks, Pass
from cluster.shards import Source
from pipelines.curation.dataset_files import DatasetFiles, find_dataset
from pipelines.curation.importing import ImportedShard, table_parts


@dataclass(frozen=True)
class DataFiles:
    """Sources by file, and the split that each belongs to."""

    files: DatasetFiles
    sources: tuple[Source, ...]
    splits: dict[str, str]


def find_data(place: str, endpoint_url: str | None = None) -> DataFiles:
    """The files at a path, pattern or s3:// prefix. Raises FilesNotFound, and TableUnreadable for a broken table."""
    files = find_dataset(place, None, endpoint_url)
    sources: list[Source] = []
    splits: dict[str, str] = {}
    for split, shards in files.shards.items():
        for shard in shards:
            sources.append(replace(shard, name=shard.path))
            splits[shard.path] = split
    for split, tables in files.tables.items():
        for table in tables:
            sources.append(ImportedShard(table.entry.name, tuple(table_parts(split, [table]))))
            splits[table.entry.name] = split
    return DataFiles(files, tuple(sorted(sources, key=lambda source: PurePosixPath(source.name).parts)), splits)


def find_tasks_on_both_sides(step: Pass, chunks: list[Chunks], splits: dict[str, str]) -> bytes:
    """The families of tasks that lie in several splits, as JSON: where the first row of each split stands.

    Tasks are one family when they have the same id, or the same inputs.
    """
    families = Families()
    places: dict[tuple[str, str], str] = {}  # (id, split) → where it stands first
    for shard, payload in step.payloads(chunks):
        for task_id, noted in orjson.loads(payload).items():
            for content in noted["contents"] or [f"nothing but the id {task_id}"]:
                families.link(task_id, content.encode())
            places.setdefault((task_id, splits[shard]), f"{shard}, row {noted['line']}")
    found: dict[str, dict[str, str]] = {}
    for (task_id, split), place in places.items():
        found.setdefault(families.name_of(task_id), {}).setdefault(split, f"{task_id}: {place}")
    leaks = [{"task": family, **sides} for family, sides in sorted(found.items()) if len(sides) > 1]
    return orjson.dumps({"tasks": len(found), "on_both_sides": leaks})
