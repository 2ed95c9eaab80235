"""import-hf-dataset from its command line to shards."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cluster.ledger import RunRefused
from cluster.shards import ChunkSize, encode, shards_of
from jobs.import_hf_dataset import command

ROWS = 900


def parquet(root: Path) -> Path:
    root.mkdir(parents=True)
    for number in range(3):
        ids = list(range(number * ROWS // 3, (number + 1) * ROWS // 3))
        day = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
        table = pa.table(
            {"id": ids, "text": [f"text é {n}" for n in ids], "at": [day] * len(ids), "f": [float("nan")] * len(ids)}
        )
        pq.write_table(table, root / f"part-{number}.parquet", row_group_size=70)
    return root


def rows_of(root: Path) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for shard in shards_of([str(root)]):
        for chunk in shard.chunks(ChunkSize()):
            found.setdefault(shard.name.split("/")[0], []).extend(map(json.loads, chunk.payload.splitlines()))
    return found


def tree(root: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if name != "_run/summary.json"}


@pytest.mark.ray
def test_parquet_becomes_shards_with_an_exact_test_split_whatever_the_workers(ray_session, tmp_path):
    asked = ["--name", str(parquet(tmp_path / "in")), "--test-split", "100", "--chunk-size", "4000", "--quiet"]
    summary = command.main([*asked, "-o", str(tmp_path / "one"), "-p", "1"], standalone_mode=False)
    assert (summary["rows_in"], summary["rows_out"], summary["train_rows"], summary["test_rows"]) == (
        900,
        900,
        800,
        100,
    )
    found = rows_of(tmp_path / "one")
    assert {split: len(rows) for split, rows in found.items()} == {"test": 100, "train": 800}
    assert sorted(row["id"] for rows in found.values() for row in rows) == list(range(ROWS))
    assert found["train"][0] == {"id": 0, "text": "text é 0", "at": "2024-02-29T12:00:00Z", "f": None}
    assert [row["id"] for row in found["train"]] == sorted(row["id"] for row in found["train"])
    manifest = json.loads((tmp_path / "one" / "_run" / "manifest.json").read_text())
    assert list(manifest["inputs"]) == [f"train/part-{n}.parquet" for n in range(3)]

    command.main([*asked, "-o", str(tmp_path / "two"), "-p", "3"], standalone_mode=False)
    assert tree(tmp_path / "two") == tree(tmp_path / "one")

    pq.write_table(pa.table({"id": [1]}), tmp_path / "in" / "part-1.parquet")
    with pytest.raises(RunRefused, match=r"inputs\.train/part-1\.parquet"):
        command.main([*asked, "-o", str(tmp_path / "one")], standalone_mode=False)


@pytest.mark.ray
def test_jsonl_lines_are_kept_and_split_and_broken_ones_are_quarantined(ray_session, tmp_path):
    (tmp_path / "in").mkdir()
    lines = [b'{"id": %d,  "x": 1e0}' % number for number in range(200)] + [b"broken"]
    for name, part in (("a.jsonl.gz", lines[:120]), ("b.jsonl", lines[120:])):
        (tmp_path / "in" / name).write_bytes(encode(b"\n".join(part), name))
    asked = ["-n", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-t", "0.25", "--quiet"]
    summary = command.main(asked, standalone_mode=False)
    assert (summary["train_rows"], summary["test_rows"], summary["quarantined"]) == (150, 50, 1)
    kept = b"\n".join(c.payload for s in shards_of([str(tmp_path / "out")]) for c in s.chunks(ChunkSize())).split(b"\n")
    assert sorted(filter(None, kept)) == sorted(lines[:200])


@pytest.mark.ray
def test_what_save_to_disk_wrote_keeps_its_splits(ray_session, tmp_path):
    datasets = pytest.importorskip("datasets")
    made = datasets.DatasetDict(
        {
            split: datasets.Dataset.from_dict({"text": [f"{split} {n}" for n in range(n)]})
            for split, n in (("train", 30), ("validation", 5), ("test", 4), ("unsupervised", 3))
        }
    )
    made.save_to_disk(str(tmp_path / "in"))
    summary = command.main(
        ["-n", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-t", "3", "-q"], standalone_mode=False
    )
    found = rows_of(tmp_path / "out")
    assert {split: len(rows) for split, rows in found.items()} == {"train": 30, "valid": 5, "test": 4}
    assert found["valid"][4] == {"text": "validation 4"}
    assert summary["splits_left_out"] == "unsupervised"
    assert "--test-split was not applied" in summary["note"]


@pytest.mark.parametrize("name", ["./nothing", "nothing.parquet", "/nothing/at/all"])
def test_a_path_that_is_not_there_is_one_line(tmp_path, name):
    result = CliRunner().invoke(command, ["-n", name, "-o", str(tmp_path / "out")])
    assert str(result.exception) == f"{name}: no such file or directory"


def test_a_test_split_of_everything_is_refused(tmp_path):
    result = CliRunner().invoke(
        command, ["-n", str(parquet(tmp_path / "in")), "-o", str(tmp_path / "out"), "-t", "900"]
    )
    assert "asks for 900 rows, and the train split has 900" in str(result.exception)


def test_an_output_inside_the_input_is_refused_but_beside_a_single_file_it_is_fine(tmp_path):
    folder = parquet(tmp_path / "in")
    result = CliRunner().invoke(command, ["-n", str(folder), "-o", str(folder / "out")])
    assert isinstance(result.exception, RunRefused)
    asked = ["-n", str(folder / "part-0.parquet"), "-o", str(folder / "out"), "-t", "9000"]
    assert "the train split has 300" in str(CliRunner().invoke(command, asked).exception)
