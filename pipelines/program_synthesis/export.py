"""Exporting training data: JSON lines to Parquet, or to what `datasets` saves to disk, with grids as nested lists.

Files and bytes depend on the rows and the library's version alone. Rows go through in batches; nothing is held whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import xxhash

from actors.synthesis.training_row import COLUMNS, NEEDED
from cluster.errors import GristmillError
from cluster.shards import ChunkSize, Shard
from cluster.storage import LocalStorage, Storage
from pipelines.program_synthesis.data_files import DataFiles

NAMES = {"train": "train", "valid": "validation", "test": "test"}  # the splits, as the hub calls them
FILE_ROWS = 100_000
BATCH = ChunkSize(4 << 20)
MESSAGES = "messages"  # the column of --format chat


class ExportRefused(GristmillError):
    """These data cannot be exported as asked."""


def schema(with_messages: bool) -> Any:
    """The Arrow types of the columns. A grid is a list of lists of int8; one that is missing is null."""
    import pyarrow as pa

    grids = pa.list_(pa.list_(pa.list_(pa.int8())))
    flags = pa.list_(pa.bool_())
    kinds = {"correct_train_input": flags, "correct_test_input": flags, "generation": pa.int32()}
    texts = dict.fromkeys(("code", "task_id", "model", "reasoning"), pa.string())
    fields = [(name, (kinds | texts).get(name, grids)) for name in COLUMNS]
    if with_messages:
        fields.append((MESSAGES, pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))))
    return pa.schema(fields)


def export_parquet(data: DataFiles, output: Storage) -> dict[str, int]:
    """Write data/<split>-00000-of-<n>.parquet for every split; returns the rows of each."""
    with TemporaryDirectory(prefix="gristmill-") as folder:
        written = _write_parquet(data, Path(folder))
        for path in sorted(path for paths, _ in written.values() for path in paths):
            output.publish_file(f"data/{path.name}", path)
    return {split: rows for split, (_, rows) in written.items()}


def export_saved(data: DataFiles, output: Storage) -> dict[str, int]:
    """Write what `datasets.load_from_disk` reads, a DatasetDict; returns the rows of each split.

    Raises ExportRefused where the `datasets` library is missing, or the output is no directory on a file system.
    """
    try:
        from datasets import Dataset, DatasetDict, disable_progress_bars
    except ImportError:
        raise ExportRefused("--format hf needs the datasets library: pip install 'gristmill[huggingface]'") from None
    if not isinstance(output, LocalStorage):
        raise ExportRefused(
            f"{output.url}: --format hf writes to a directory; for object storage take --format parquet"
        )
    disable_progress_bars()
    with TemporaryDirectory(prefix="gristmill-") as folder:
        written = _write_parquet(data, Path(folder))
        splits = {
            split: Dataset.from_parquet([str(path) for path in paths], cache_dir=f"{folder}/cache")
            for split, (paths, _) in written.items()
        }
        saved = Path(folder) / "saved"
        DatasetDict(splits).save_to_disk(str(saved))
        _steady(saved, splits)
        for path in sorted(path for path in saved.rglob("*") if path.is_file()):
            output.publish_file(path.relative_to(saved).as_posix(), path)
        shutil.rmtree(saved)
    return {split: rows for split, (_, rows) in written.items()}


def _steady(saved: Path, splits: Iterable[str]) -> None:
    """Take out of the library's notes what differs from run to run: where temporary files lay, and a random name."""
    for split in splits:
        info_path, state_path = saved / split / "dataset_info.json", saved / split / "state.json"
        info, state = json.loads(info_path.read_text()), json.loads(state_path.read_text())
        for name in ("download_checksums", "download_size", "size_in_bytes"):
            info.pop(name, None)
        # `datasets` names what it caches of the data by this: other rows have to have another one.
        state["_fingerprint"] = _fingerprint(saved / split / file["filename"] for file in state["_data_files"])
        info_path.write_text(json.dumps(info, indent=2))
        state_path.write_text(json.dumps(state, indent=2, sort_keys=True))


def _fingerprint(paths: Iterable[Path]) -> str:
    digest = xxhash.xxh3_64()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _write_parquet(data: DataFiles, folder: Path) -> dict[str, tuple[list[Path], int]]:
    """The files of every split that has rows, and its rows."""
    found: dict[str, tuple[list[Path], int]] = {}
    shards = [source for source in data.sources if isinstance(source, Shard)]
    if len(shards) < len(data.sources):
        raise ExportRefused("these data are tables already; give the directory that build-training-data wrote")
    for split in dict.fromkeys(data.splits.values()):
        mine = [shard for shard in shards if data.splits[shard.name] == split]
        parts, rows = _parts(mine, folder / split)
        if rows:
            name = NAMES.get(split, split)
            targets = [folder / f"{name}-{n:05d}-of-{len(parts):05d}.parquet" for n in range(len(parts))]
            for part, target in zip(parts, targets, strict=True):
                part.rename(target)
            found[name] = (targets, rows)
    if not found:
        raise ExportRefused("there are no rows to export")
    return found


def _parts(shards: Sequence[Shard], stem: Path) -> tuple[list[Path], int]:
    """Parquet files of FILE_ROWS rows or a batch more, and all their rows."""
    import pyarrow.parquet as pq

    parts: list[Path] = []
    rows = in_file = 0
    writer = None
    for table in _tables(shards):
        if writer is not None and in_file >= FILE_ROWS:
            writer.close()
            writer = None
        if writer is None:
            parts.append(stem.with_name(f"{stem.name}.{len(parts)}.part"))
            writer, in_file = pq.ParquetWriter(parts[-1], table.schema, compression="zstd"), 0
        writer.write_table(table)
        rows, in_file = rows + len(table), in_file + len(table)
    if writer is not None:
        writer.close()
    return parts, rows


def _tables(shards: Sequence[Shard]) -> Iterator[Any]:
    """The rows in batches. Raises ExportRefused for a row that does not fit the columns, naming its place."""
    import orjson
    import pyarrow as pa

    form = None
    for shard in shards:
        for chunk in shard.chunks(BATCH):
            rows = []
            for number, line in enumerate(chunk.lines, chunk.first_line):
                if line.strip():
                    row = _row(line, f"{shard.url}, line {number}", orjson)
                    form = form or schema(MESSAGES in row)
                    rows.append(_checked(row, form.names, f"{shard.url}, line {number}"))
            if not rows:
                continue
            try:
                yield pa.Table.from_pylist(rows, schema=form)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                place = f"{shard.url}, in lines {chunk.first_line} to {chunk.next_line - 1}"
                raise ExportRefused(f"{place}: {error}; validate-training-data finds the row") from None


def _row(line: bytes, place: str, orjson: Any) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ExportRefused(f"{place}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ExportRefused(f"{place}: not a JSON object")
    return row


def _checked(row: dict[str, Any], columns: Sequence[str], place: str) -> dict[str, Any]:
    """The row, if it has what it needs and nothing besides: a table would hold nulls for the one and drop the other."""
    missing = [name for name in NEEDED if row.get(name) is None]
    if missing:
        raise ExportRefused(
            f"{place}: no column {', '.join(missing)}: this is no row of training data; build-training-data makes such "
            "of attempts, and validate-training-data says what is wrong with others"
        )
    unknown = [name for name in row if name not in columns]
    if unknown:
        raise ExportRefused(
            f"{place}: the column {', '.join(unknown)} would be lost: the export has the columns {', '.join(columns)}; "
            "take it out, or convert these rows with another tool"
        )
    return row
