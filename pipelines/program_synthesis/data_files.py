"""Files of training data as they lie somewhere: each one a source of rows under its own name, with its split.

Anything that `pipelines.curation.dataset_files` finds can be read: JSONL, Parquet, and what `datasets` saved to disk.
A row's number is its line, or its place in the table, counted from 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import orjson

from actors.synthesis.known_tasks import Families
from cluster.errors import GristmillError
from cluster.ledger import Chunks, Pass, unfinished_verb
from cluster.shards import Source
from cluster.storage import open_storage
from pipelines.curation.dataset_files import SPLIT_WORDS, DatasetFiles, SplitOf, find_dataset, split_word
from pipelines.curation.importing import ImportedShard, table_parts

# What Hugging Face calls the files of a split: `train-00000-of-00004`, also with the data set's name in front.
_FILE_OF_SPLIT = re.compile(rf"(?:.+-)?({'|'.join(SPLIT_WORDS)})-[0-9]+-of-[0-9]+")


class NotFinished(GristmillError):
    """Data that a run is still writing, or that it left when it was killed."""


@dataclass(frozen=True)
class DataFiles:
    """Sources by file, and the split that each belongs to."""

    files: DatasetFiles
    sources: tuple[Source, ...]
    splits: dict[str, str]


def find_data(place: str, endpoint_url: str | None = None) -> DataFiles:
    """The files at a path, pattern or s3:// prefix.

    Raises FilesNotFound, TableUnreadable for a broken table, and NotFinished for what is only part of a run's output.
    """
    for folder in _folders(place):
        verb = unfinished_verb(open_storage(folder, endpoint_url))
        if verb is not None:
            raise NotFinished(
                f"{folder} is not finished: run {verb} with the same options again, which goes on with it"
            )
    files = find_dataset(place, None, endpoint_url, _split_of(place))
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


def _split_of(place: str) -> SplitOf:
    """Which split a file in that place belongs to: by a folder in it that is called so and nothing else, by its own name,
    or else by the name of the place.

    Rows lie in folders that are called as the runs they come from, and these as what they were made on, such as
    `arc-agi-1_shortest_training_30_search`: a word in there is no split.
    """
    own = SPLIT_WORDS.get(PurePosixPath(place).name.lower())

    def told(name: str) -> str | None:
        *folders, file = PurePosixPath(name.lower()).parts
        stem = file.partition(".")[0]
        numbered = _FILE_OF_SPLIT.fullmatch(stem)
        exact = (*folders, stem, numbered[1] if numbered else "")
        return next((SPLIT_WORDS[part] for part in exact if part in SPLIT_WORDS), None) or split_word(file) or own

    return told


def _folders(place: str) -> Iterator[str]:
    """The place and what it lies in: a run's output is DIR, and its rows are in DIR/train/RUN/…."""
    folder = open_storage(place).url.rstrip("/")
    for _ in range(4):
        yield folder
        folder = folder.rpartition("/")[0]
        if not folder or folder.endswith("/"):
            return


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
