"""Cutting tables and shards into output shards, and splitting off test rows exactly."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.json_rows import ColumnRefused
from actors.row_checker import CheckRows
from actors.selector import Grouping, RankRows
from cluster.shards import ChunkSize, DamagedShard, encode, shards_of
from pipelines.curation import importing as module
from pipelines.curation.dataset_files import find_dataset
from pipelines.curation.importing import (
    ImportedShard,
    ShardPart,
    SplitTooLarge,
    decide_shard_split,
    named,
    rows_to_split_off,
    shard_groups,
    split_shards,
    split_tables,
    table_parts,
)

SIZE = ChunkSize(bytes=400)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(module, "SHARD_BYTES", 2000)
    monkeypatch.setattr(module, "BLOCK_ROWS", 16)


def parquet(root: Path, rows: list[int], row_group: int = 40) -> list:
    """Parquet files of so many rows each; ids count on from file to file."""
    first = 0
    for number, count in enumerate(rows):
        ids = list(range(first, first + count))
        table = pa.table({"id": ids, "text": [f"{row:020d}" for row in ids]})
        root.mkdir(exist_ok=True)
        pq.write_table(
            table, root / f"{number}.parquet", row_group_size=row_group, compression="none", use_dictionary=False
        )
        first += count
    return find_dataset(str(root), None, None).tables["train"]


def ids(source: ImportedShard, size: ChunkSize = SIZE) -> list[int]:
    return [json.loads(line)["id"] for chunk in source.chunks(size) for line in chunk.payload.splitlines()]


def test_every_row_is_in_one_shard_in_the_order_of_the_input(tmp_path: Path):
    sources = named("train", shard_groups(table_parts("train", parquet(tmp_path / "in", [90, 7, 120, 0, 300], 300))))
    assert [row for source in sources for row in ids(source)] == list(range(517))
    assert [source.name for source in sources] == [
        f"train/shard-{n:05d}-of-{len(sources):05d}.jsonl.zst" for n in range(len(sources))
    ]
    assert len(sources) > 5
    sizes = [source.size for source in sources]
    assert max(sizes) < 2 * 2000
    assert all(not source.divisible for source in sources)


def test_small_row_groups_and_files_are_put_together(tmp_path: Path):
    parts = table_parts("train", parquet(tmp_path / "in", [30, 30, 30], row_group=3))
    assert len(parts) == 30
    groups = shard_groups(parts)
    assert len(groups) == 4
    # Row groups of one file that follow each other are read as one range.
    assert [len(group) for group in groups] == [1, 2, 2, 1]


def test_chunks_are_whole_lines_numbered_from_one_and_cut_the_same_again(tmp_path: Path):
    source = named("train", shard_groups(table_parts("train", parquet(tmp_path / "in", [60]))))[0]
    chunks = list(source.chunks(SIZE))
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    line = 1
    for chunk in chunks:
        assert chunk.first_line == line
        assert chunk.payload.endswith(b"\n")
        line += chunk.payload.count(b"\n")
    assert [chunk.read for chunk in chunks] == sorted(chunk.read for chunk in chunks)
    assert chunks[-1].read <= source.size
    assert list(source.chunks(SIZE)) == chunks
    assert {chunk.payload.count(b"\n") for chunk in list(source.chunks(ChunkSize(rows=7)))[:-1]} == {7}


@pytest.mark.parametrize("amount", [1, 50, 0.1, 0.5, 299])
def test_the_test_split_has_exactly_the_rows_asked_for_and_train_the_others(tmp_path: Path, amount):
    parts = table_parts("train", parquet(tmp_path / "in", [120, 180]))
    wanted = round(amount * 300) if isinstance(amount, float) else amount
    sources = split_tables(parts, amount, seed=3)
    found = {split: [r for s in sources if s.name.startswith(split) for r in ids(s)] for split in ("train", "test")}
    assert len(found["test"]) == wanted
    assert sorted(found["test"] + found["train"]) == list(range(300))
    assert all(rows == sorted(rows) for rows in found.values())
    assert all(ids(source) for source in sources)


def test_the_test_rows_depend_on_the_seed_and_not_on_how_the_input_is_cut(tmp_path: Path, monkeypatch):
    files = parquet(tmp_path / "in", [120, 180], 50)

    def test_ids(seed: int) -> set[int]:
        sources = split_tables(table_parts("train", files), 40, seed)
        return {row for source in sources if source.name.startswith("test") for row in ids(source)}

    first = test_ids(1)
    assert test_ids(2) != first
    monkeypatch.setattr(module, "SHARD_BYTES", 100_000)
    assert test_ids(1) == first


def test_test_rows_are_spread_evenly_over_the_input(tmp_path: Path):
    sources = split_tables(table_parts("train", parquet(tmp_path / "in", [2000], 500)), 500, 1)
    test = [row for source in sources if source.name.startswith("test") for row in ids(source)]
    assert 200 < sum(row < 1000 for row in test) < 300


def test_more_test_rows_than_rows_is_an_error():
    assert rows_to_split_off(0.25, 10) == 2
    with pytest.raises(SplitTooLarge, match="--test-split 10 asks for 10 rows, and the train split has 10"):
        rows_to_split_off(10, 10)


def test_a_share_of_no_rows_makes_no_test_split(tmp_path: Path):
    sources = split_tables(table_parts("train", parquet(tmp_path / "in", [20])), 0.001, 1)
    assert {source.name.split("/")[0] for source in sources} == {"train"}


def test_a_column_that_json_cannot_hold_is_refused_before_any_row(tmp_path: Path):
    pq.write_table(pa.table({"x": pa.array([1], pa.int8())}), tmp_path / "a.parquet")
    table = pa.table({"x": pa.array([1], pa.int8()), "y": pa.array([1], pa.int8())}).rename_columns(["x", "x"])
    pq.write_table(table, tmp_path / "b.parquet")
    with pytest.raises(ColumnRefused, match=r"b\.parquet: two columns"):
        table_parts("train", find_dataset(str(tmp_path), None, None).tables["train"])


def test_a_file_that_breaks_on_the_way_damages_its_shard_after_the_rows_before(tmp_path: Path):
    files = parquet(tmp_path / "in", [40, 40])
    source = named("train", [table_parts("train", files)])[0]
    (tmp_path / "in" / "1.parquet").write_bytes(b"broken")
    chunks = []
    with pytest.raises(DamagedShard, match=r"1\.parquet cannot be read as Parquet") as caught:
        chunks += source.chunks(SIZE)
    read = []
    try:
        for chunk in source.chunks(SIZE):
            read.append(chunk)
    except DamagedShard:
        pass
    assert sum(chunk.payload.count(b"\n") for chunk in read) == 40
    assert caught.value.line == 40
    assert caught.value.shard == source.name


def jsonl(rows: dict[str, int]) -> dict[str, list[bytes]]:
    made, first = {}, 0
    for name, count in rows.items():
        made[name] = [b'{"id": %d}' % row for row in range(first, first + count)]
        first += count
    return made


def test_jsonl_lines_stay_as_they_are_and_shards_stay_apart(tmp_path: Path):
    content = b'{"id":1,  "x":1e0}\n\n{"id":2}\r\nno json\n{"id":3}'
    (tmp_path / "a.jsonl.zst").write_bytes(encode(content, "a.jsonl.zst"))
    source = named("train", [[ShardPart(shard)] for shard in shards_of([str(tmp_path)])])[0]
    assert b"".join(chunk.payload for chunk in source.chunks(SIZE)) == content + b"\n"
    assert source.divisible


@pytest.mark.parametrize("amount", [7, 0.2])
def test_jsonl_shards_are_split_exactly_by_the_rows_that_are_rows(scan, amount):
    shards = jsonl({"a.jsonl": 60, "b.jsonl.gz": 20, "c.jsonl": 20}) | {"d.jsonl": [b"no json", b""]}
    step, chunks = scan(shards, [CheckRows()], RankRows(Grouping(), 5), rows=13)
    plan = json.loads(decide_shard_split(step, chunks, amount))
    inputs = shards_of([str(Path(step.output.url).parent / "in")])
    sources = split_shards(inputs, plan, 5)
    found = {split: [r for s in sources if s.name.startswith(split) for r in ids(s)] for split in ("train", "test")}
    assert len(found["test"]) == (7 if amount == 7 else 20)
    assert sorted(found["test"] + found["train"]) == list(range(100))
    assert len([source for source in sources if source.name.startswith("test")]) == 1
    assert len([source for source in sources if source.name.startswith("train")]) == 3
