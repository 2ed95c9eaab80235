"""Files of training data, and tasks that lie in two splits."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.ledger import Chunks, Pass, StagedChunk, Tally
from cluster.shards import ChunkSize
from cluster.storage import LocalStorage
from pipelines.program_synthesis.data_files import NotFinished, _split_of, find_data, find_tasks_on_both_sides


def leaks(place: Path, **shards: dict[str, list[str]]) -> dict:
    step, splits = Pass(LocalStorage(str(place)), "validate", "r"), {}
    for shard, tasks in shards.items():
        noted = {task: {"line": n, "contents": contents} for n, (task, contents) in enumerate(tasks.items(), 1)}
        step.stage(shard, 0, StagedChunk(Tally(), b"", orjson.dumps(noted)))
        splits[shard] = shard.split("_")[0]
    return orjson.loads(find_tasks_on_both_sides(step, [Chunks(shard, 1) for shard in shards], splits))


def test_a_task_in_two_splits_is_found_by_its_id(tmp_path):
    found = leaks(tmp_path, train_a={"x": ["1"], "y": ["2"]}, train_b={"x": ["1"]}, valid_a={"z": ["3"], "y": ["4"]})
    assert found == {
        "tasks": 3,
        "on_both_sides": [{"task": "y", "train": "y: train_a, row 2", "valid": "y: valid_a, row 2"}],
    }


def test_a_task_under_two_ids_is_found_by_its_inputs(tmp_path):
    found = leaks(tmp_path, train_a={"x": ["1"]}, valid_a={"y": ["1"]})
    assert found["on_both_sides"] == [{"task": "x", "train": "x: train_a, row 1", "valid": "y: valid_a, row 1"}]


def test_rows_without_inputs_are_not_taken_for_one_task(tmp_path):
    assert leaks(tmp_path, train_a={"x": []}, valid_a={"y": []})["on_both_sides"] == []


def test_one_split_is_no_leak(tmp_path):
    assert leaks(tmp_path, train_a={"x": ["1"]}, train_b={"x": ["1"]}) == {"tasks": 1, "on_both_sides": []}


def test_a_table_is_read_by_rows_and_a_shard_by_lines(tmp_path):
    (tmp_path / "j" / "valid").mkdir(parents=True)
    (tmp_path / "j" / "valid" / "a.jsonl").write_bytes(b'{"code":"x"}\n\n{"code":"y"}\n')
    (tmp_path / "p").mkdir()
    pq.write_table(pa.table({"code": ["x", "y", "z"]}), tmp_path / "p" / "rows-train.parquet")
    lines, tables = find_data(str(tmp_path / "j")), find_data(str(tmp_path / "p"))
    assert (lines.splits, tables.splits) == ({"valid/a.jsonl": "valid"}, {"rows-train.parquet": "train"})
    assert [chunk.lines for source in tables.sources for chunk in source.chunks(ChunkSize())] == [
        [b'{"code":"x"}', b'{"code":"y"}', b'{"code":"z"}']
    ]


@pytest.mark.parametrize("part", ["", "train", "train/demo", "train/demo/a.jsonl", "train/demo/*.jsonl"])
def test_what_a_build_has_not_finished_is_refused(tmp_path, part):
    (tmp_path / "rows" / "train" / "demo").mkdir(parents=True)
    (tmp_path / "rows" / "train" / "demo" / "a.jsonl").write_bytes(b'{"code":"x"}\n')
    (tmp_path / "rows" / "_run").mkdir()
    (tmp_path / "rows" / "_run" / "manifest.json").write_text('{"verb": "build-training-data"}')
    with pytest.raises(NotFinished, match="rows is not finished: run build-training-data with the same options again"):
        find_data(str(tmp_path / "rows" / part))
    (tmp_path / "rows" / "_run" / "summary.json").write_text("{}")
    assert len(find_data(str(tmp_path / "rows" / part)).sources) == 1


def test_a_build_that_has_no_rows_yet_is_told_as_one(tmp_path):
    (tmp_path / "_run").mkdir()
    (tmp_path / "_run" / "manifest.json").write_text('{"verb": "build-training-data"}')
    with pytest.raises(NotFinished):
        find_data(str(tmp_path))


RUN_FOLDERS = ("arc-agi-1_shortest_training_12_search", "arc-agi-1_shortest_evaluation_12_search", "mine")


def test_words_in_the_names_of_runs_are_no_splits(tmp_path):
    for side in ("train", "valid"):
        for run in RUN_FOLDERS:
            (tmp_path / side / run).mkdir(parents=True)
            (tmp_path / side / run / "run-1.jsonl").write_bytes(b'{"code":"x"}\n')
    assert set(find_data(str(tmp_path / "valid")).splits.values()) == {"valid"}
    both = find_data(str(tmp_path)).splits
    assert both == {f"{side}/{run}/run-1.jsonl": side for side in ("train", "valid") for run in RUN_FOLDERS}
    (tmp_path / "valid").rename(tmp_path / "rows")
    assert set(find_data(str(tmp_path / "rows")).splits.values()) == {"train"}


@pytest.mark.parametrize(
    ("place", "name", "split"),
    [
        ("rows", "data/train-00000-of-00004.parquet", "train"),
        ("rows", "data/arc-validation-00000-of-00004.parquet", "valid"),
        ("valid", "data/train-00000-of-00004.parquet", "train"),
        ("rows", "Test.jsonl.zst", "test"),
        ("rows", "rows-valid.jsonl", "valid"),
        ("training", "rows-valid.jsonl", "valid"),  # a folder may be called after what is done with it
        ("training", "rows.jsonl", "train"),
        ("rows", "a_training_b/rows-test.jsonl", "test"),
        ("rows", "a_training_b/run-1.jsonl", None),
    ],
)
def test_a_split_is_told_by_a_whole_folder_or_by_the_files_own_name(place, name, split):
    assert _split_of(f"/data/{place}")(name) == split
