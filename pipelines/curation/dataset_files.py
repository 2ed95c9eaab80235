"""The files of a dataset as people keep them: a directory, a pattern or a single file, and the splits they make up.

A directory holds Parquet, Arrow or JSONL files (one of these kinds), or is what `datasets` wrote by `save_to_disk`.
Splits are told by a word in a folder's or file's name, as on the Hugging Face hub: train, test or eval, validation,
valid, val or dev. Nothing is read but names and the small JSON files beside Arrow data.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cluster.errors import GristmillError
from cluster.shards import Shard, suffix_of
from cluster.storage import Entry, LocalStorage, Storage, open_storage
from pipelines.curation.tables import TableFile

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "validation": "valid",
    "valid": "valid",
    "val": "valid",
    "dev": "valid",
}
_WORD = re.compile(rf"(?<![a-z0-9])({'|'.join(SPLIT_WORDS)})(?![a-z0-9])")
_PATTERN = re.compile(r"[*?\[]")


class FilesNotFound(GristmillError):
    """There is no dataset where one was named, or not the part of it that was asked for."""


@dataclass(frozen=True, slots=True)
class InputFile(Shard):
    """A file that is an input on its own: `source` is the file itself, so that an output may lie beside it."""

    @property
    def url(self) -> str:
        return self.source.url


@dataclass(slots=True)
class DatasetFiles:
    """The files of a dataset by the names of their splits: tables, or shards of JSONL.

    `root` is the directory that the dataset is, None for single files.
    """

    root: Storage | None
    tables: dict[str, list[TableFile]] = field(default_factory=dict)
    shards: dict[str, list[Shard]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def splits(self) -> list[str]:
        return [*self.tables, *self.shards]

    def inputs(self) -> list[Shard]:
        """All files, as the inputs of a run."""
        return [
            *(shard for shards in self.shards.values() for shard in shards),
            *(self._input(split, file) for split, files in self.tables.items() for file in files),
        ]

    def _input(self, split: str, file: TableFile) -> Shard:
        entry, name = file.entry, f"{split}/{file.entry.name}"
        if self.root is None:
            return InputFile(open_storage(file.url), entry.name, name, entry.size, entry.version)
        return Shard(file.source, entry.name, name, entry.size, entry.version)


SplitOf = Callable[[str], str | None]


def split_word(name: str) -> str | None:
    """The split that a file's path tells, from its first part that tells one."""
    found = (_WORD.search(part.lower()) for part in PurePosixPath(name).parts)
    return next((SPLIT_WORDS[match[1]] for match in found if match), None)


def find_dataset(
    location: str, subset: str | None, endpoint_url: str | None, split_of: SplitOf = split_word
) -> DatasetFiles:
    """The files at a path, pattern or s3:// prefix, under the split names they have. Raises FilesNotFound.

    `split_of` says which split a file's path tells, if any.
    """
    if _PATTERN.search(location) and not os.path.exists(location):
        if "://" in location:
            raise FilesNotFound(f"{location}: patterns are for local paths; name the prefix, or one file")
        root, entries = _matching(os.path.abspath(os.path.expanduser(location)))
        return _of_entries(root, entries, location, False, split_of)
    storage = open_storage(location, endpoint_url)
    if isinstance(storage, LocalStorage) and not storage.local_path().exists():
        raise FilesNotFound(f"{location}: no such file or directory")
    if _kind(location) and not _is_directory(storage):
        parent, name = _parent(location, endpoint_url)
        entry = next((entry for entry in parent.list() if entry.name == name), None)
        if entry is None:
            raise FilesNotFound(f"{location}: no such object")
        return _of_entries(parent, [entry], location, False, split_of)
    entries = [e for e in storage.list() if not any(part[0] in "_." for part in PurePosixPath(e.name).parts)]
    saved = _saved_to_disk(storage, entries)
    if saved is not None:
        return saved
    return _of_entries(storage, _of_subset(entries, subset, location), location, True, split_of)


def _is_directory(storage: Storage) -> bool:
    return storage.local_path().is_dir() if isinstance(storage, LocalStorage) else any(True for _ in storage.list())


def _parent(location: str, endpoint_url: str | None) -> tuple[Storage, str]:
    if "://" in location and not location.startswith("file:"):
        parent, _, name = location.rpartition("/")
        return open_storage(parent, endpoint_url), name
    path = Path(open_storage(location).url)
    return LocalStorage(str(path.parent)), path.name


def _matching(pattern: str) -> tuple[LocalStorage, list[Entry]]:
    """The files that match a local pattern, relative to the folder before its first wildcard."""
    root = os.path.dirname(pattern[: _PATTERN.search(pattern).start()])  # type: ignore[union-attr]
    entries = []
    for name in glob.glob(pattern, recursive=True):
        if os.path.isfile(name):
            status = os.stat(name)
            entries.append(Entry(os.path.relpath(name, root), status.st_size, str(status.st_mtime_ns)))
    return LocalStorage(root), sorted(entries, key=_by_name)


def _by_name(entry: Entry) -> bytes:
    return entry.name.encode("utf-8", "surrogateescape")


def _kind(name: str) -> str | None:
    if name.endswith(".parquet"):
        return "Parquet"
    if name.endswith((".arrow", ".feather")):
        return "Arrow"
    return "JSONL" if suffix_of(name) else None


def _of_subset(entries: list[Entry], subset: str | None, location: str) -> list[Entry]:
    if subset is None:
        return entries
    found = [entry for entry in entries if subset in PurePosixPath(entry.name).parts[:-1]]
    if not found:
        folders = sorted({entry.name.split("/")[0] for entry in entries if "/" in entry.name})
        raise FilesNotFound(f"{location}: no folder {subset!r} here; there is {', '.join(folders) or 'none'}")
    return found


def _of_entries(
    root: Storage, entries: list[Entry], location: str, is_directory: bool, split_of: SplitOf
) -> DatasetFiles:
    kinds = {kind for entry in entries if (kind := _kind(entry.name))}
    if not kinds:
        raise FilesNotFound(f"{location}: no Parquet, Arrow or JSONL files here")
    if len(kinds) > 1:
        raise FilesNotFound(
            f"{location}: {' and '.join(sorted(kinds))} files together; name one kind, as in '*.parquet'"
        )
    kind = kinds.pop()
    used = [entry for entry in entries if _kind(entry.name)]
    found = DatasetFiles(root if is_directory else None)
    alone = len(used) == 1 and not is_directory
    for entry in used:
        split = "train" if alone else split_of(entry.name) or ""
        if kind == "JSONL":
            shard = Shard(root, entry.name, f"{split or 'train'}/{entry.name}", entry.size, entry.version)
            found.shards.setdefault(split, []).append(shard)
        else:
            table = TableFile(root, entry, "parquet" if kind == "Parquet" else "arrow")
            found.tables.setdefault(split, []).append(table)
    return _with_names(found, location)


def _with_names(found: DatasetFiles, location: str) -> DatasetFiles:
    """Files whose names tell no split are the train split, unless others' do."""
    for files in (found.tables, found.shards):
        if "" not in files:
            continue
        if len(files) > 1:
            unnamed: TableFile | Shard = files[""][0]
            other = next(split for split in files if split)
            raise FilesNotFound(
                f"{location}: {unnamed.url.rsplit('/', 1)[-1]} names no split while other files name {other}; "
                "give a pattern that leaves out what does not belong"
            )
        files["train"] = files.pop("")  # type: ignore[assignment]
    return found


def _saved_to_disk(storage: Storage, entries: list[Entry]) -> DatasetFiles | None:
    """What `save_to_disk` wrote: a folder of Arrow files with a state.json, or several under a dataset_dict.json."""
    names = {entry.name: entry for entry in entries}
    if "dataset_dict.json" in names:
        folders = {split: f"{split}/" for split in json.loads(storage.read("dataset_dict.json"))["splits"]}
    elif "state.json" in names:
        folders = {json.loads(storage.read("state.json")).get("_split") or "train": ""}
    else:
        return None
    found = DatasetFiles(storage)
    for split, folder in folders.items():
        state = json.loads(storage.read(f"{folder}state.json"))
        if state.get("_indices_files") or state.get("_indices_data_files"):
            raise FilesNotFound(f"{storage.url}: rows are picked by an index; save it again with a current datasets")
        files = [f"{folder}{file['filename']}" for file in state["_data_files"]]
        found.tables[split] = [TableFile(storage, names[name], "arrow") for name in files]
    return found


def choose_splits(found: DatasetFiles, wanted: str | None, name: str) -> DatasetFiles:
    """The files under the names train, valid and test. Raises FilesNotFound.

    `wanted` is the one split to take, by its own name or ours; a split of another name then becomes train. Without
    it splits of other names are left out, which `left_out` tells, unless there is but one.
    """
    ours = {split: split_word(split) for split in found.splits}
    if wanted is not None:
        chosen = [split for split in ours if split == wanted] or [
            s for s in ours if ours[s] and ours[s] == split_word(wanted)
        ]
        if not chosen:
            raise FilesNotFound(f"{name}: no split {wanted!r}; there is {', '.join(ours)}")
    else:
        chosen = [split for split in ours if ours[split]] or (list(ours) if len(ours) == 1 else [])
        if not chosen:
            raise FilesNotFound(f"{name}: the splits are {', '.join(ours)}; choose one with --split")
    result = DatasetFiles(found.root, left_out=[split for split in ours if split not in chosen])
    for split in chosen:
        target = ours[split] or "train"
        if split in found.tables:
            result.tables.setdefault(target, []).extend(found.tables[split])
        else:
            result.shards.setdefault(target, []).extend(found.shards[split])
    return result
