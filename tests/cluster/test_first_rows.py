"""The first rows of a dataset: exactly so many, whatever the chunks."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.first_rows import first_rows
from cluster.shards import ChunkSize, DamagedShard, encode, shards_of


def make(root: Path, damage: bool = False) -> list[object]:
    for number in range(3):
        content = b"".join(
            b'{"n": %d}\n%s' % (row, b"\n" * (row % 3 == 0)) for row in range(10 * number, 10 * number + 10)
        )
        data = encode(content, "a.jsonl.zst")
        (root / f"{number}.jsonl.zst").write_bytes(data[:-5] if damage and number == 0 else data)
    return list(shards_of([str(root)]))


@pytest.mark.parametrize("limit", [1, 3, 9, 10, 11, 25, 30, 99])
@pytest.mark.parametrize("rows_per_chunk", [None, 1, 4])
def test_exactly_the_first_rows(tmp_path: Path, limit: int, rows_per_chunk: int | None) -> None:
    sources = first_rows(make(tmp_path), limit)  # type: ignore[arg-type]
    lines = [
        line
        for source in sources
        for chunk in source.chunks(ChunkSize(rows=rows_per_chunk))
        for line in chunk.lines
        if line.strip()
    ]
    assert lines == [b'{"n": %d}' % number for number in range(min(limit, 30))]


def test_chunks_are_those_of_the_whole_shard_but_for_the_last(tmp_path: Path) -> None:
    shards = make(tmp_path)
    size = ChunkSize(rows=4)
    whole = [chunk.payload for chunk in shards[0].chunks(size)]  # type: ignore[attr-defined]
    cut = [chunk.payload for chunk in first_rows(shards, 7)[0].chunks(size)]  # type: ignore[arg-type]
    assert cut[:-1] == whole[: len(cut) - 1] and whole[len(cut) - 1].startswith(cut[-1])


def test_a_damaged_shard_does_not_pass_for_a_short_one(tmp_path: Path) -> None:
    sources = first_rows(make(tmp_path, damage=True), 20)  # type: ignore[arg-type]
    with pytest.raises(DamagedShard):
        list(sources[0].chunks(ChunkSize()))
