"""Finding the files and splits of a dataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.curation.dataset_files import FilesNotFound, choose_splits, find_dataset, split_word


def make(root: Path, *names: str) -> str:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return str(root)


def found(location: str, subset: str | None = None) -> dict[str, list[str]]:
    files = find_dataset(location, subset, None)
    return {
        split: [getattr(f, "path", None) or f.entry.name for f in group]
        for split, group in {**files.tables, **files.shards}.items()
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("data/validation-0.parquet", "valid"),
        ("dev/part.parquet", "valid"),
        ("TEST.parquet", "test"),
        ("my_eval_set.parquet", "test"),
        ("test/train.parquet", "test"),
        ("contest.parquet", None),
        ("training2.parquet", None),
        ("part-0.parquet", None),
    ],
)
def test_a_word_in_the_path_tells_the_split(name, expected):
    assert split_word(name) == expected


def test_files_of_a_directory_are_sorted_into_their_splits(tmp_path: Path):
    names = ["data/train-1.parquet", "data/train-0.parquet", "test/a.parquet", "README.md", ".git/train.parquet"]
    assert found(make(tmp_path, *names)) == {
        "train": ["data/train-0.parquet", "data/train-1.parquet"],
        "test": ["test/a.parquet"],
    }


def test_files_that_tell_no_split_are_train(tmp_path: Path):
    assert found(make(tmp_path, "b.parquet", "a.parquet")) == {"train": ["a.parquet", "b.parquet"]}


def test_a_file_that_tells_no_split_beside_others_that_do_is_refused(tmp_path: Path):
    with pytest.raises(FilesNotFound, match=r"extra\.parquet names no split while other files name train"):
        found(make(tmp_path, "extra.parquet", "train.parquet"))


def test_a_single_file_is_train_whatever_its_name(tmp_path: Path):
    make(tmp_path, "test.parquet", "other.parquet")
    files = find_dataset(str(tmp_path / "test.parquet"), None, None)
    assert list(files.tables) == ["train"]
    assert files.root is None
    assert files.inputs()[0].source.url == files.inputs()[0].url == str(tmp_path / "test.parquet")


def test_a_pattern_picks_files_and_their_place_below_it_tells_the_split(tmp_path: Path):
    make(tmp_path, "train/x/a.parquet", "train/x/b.txt", "train/y/test-c.parquet")
    assert found(f"{tmp_path}/train/*/*a.parquet") == {"train": ["x/a.parquet"]}
    assert found(f"{tmp_path}/**/*.parquet") == {"train": ["train/x/a.parquet", "train/y/test-c.parquet"]}


def test_a_subset_is_a_folder(tmp_path: Path):
    make(tmp_path, "en/train.parquet", "de/train.parquet")
    assert found(str(tmp_path), "de") == {"train": ["de/train.parquet"]}
    with pytest.raises(FilesNotFound, match="no folder 'fr' here; there is de, en"):
        found(str(tmp_path), "fr")


def test_jsonl_files_are_shards_under_names_of_their_own(tmp_path: Path):
    make(tmp_path, "train/a.jsonl.zst", "train/b.jsonl", "test/a.jsonl.gz")
    files = find_dataset(str(tmp_path), None, None)
    assert [shard.name for shard in files.inputs()] == [
        "test/test/a.jsonl.gz",
        "train/train/a.jsonl.zst",
        "train/train/b.jsonl",
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.csv"], "no Parquet, Arrow or JSONL files here"),
        (["a.parquet", "b.jsonl"], "JSONL and Parquet files together; name one kind"),
    ],
)
def test_a_directory_without_one_kind_of_data_is_refused(tmp_path: Path, names, message):
    with pytest.raises(FilesNotFound, match=message):
        found(make(tmp_path, *names))


@pytest.mark.parametrize("name", ["nothing", "nothing.parquet", "no/*.parquet"])
def test_what_is_not_there_is_named(tmp_path: Path, name):
    with pytest.raises(FilesNotFound, match=r"nothing|no/"):
        found(str(tmp_path / name))


def saved(root: Path, split: str | None, *files: str, **state: object) -> None:
    make(root, *files)
    content = {"_split": split, "_data_files": [{"filename": name} for name in files], **state}
    (root / "state.json").write_text(json.dumps(content))


def test_what_save_to_disk_wrote_is_read_in_its_own_order(tmp_path: Path):
    saved(tmp_path / "one", None, "b.arrow", "a.arrow")
    assert found(str(tmp_path / "one")) == {"train": ["b.arrow", "a.arrow"]}
    for split in ("train", "validation", "odd"):
        saved(tmp_path / "many" / split, split, "data.arrow")
    (tmp_path / "many" / "dataset_dict.json").write_text('{"splits": ["train", "validation", "odd"]}')
    assert found(str(tmp_path / "many")) == {split: [f"{split}/data.arrow"] for split in ("train", "validation", "odd")}


def test_rows_picked_by_an_index_are_refused(tmp_path: Path):
    saved(tmp_path, None, "a.arrow", _indices_files=[{"filename": "i.arrow"}])
    with pytest.raises(FilesNotFound, match="picked by an index; save it again"):
        found(str(tmp_path))


def chosen(tmp_path: Path, splits: list[str], wanted: str | None) -> tuple[dict[str, list[str]], list[str]]:
    for split in splits:
        saved(tmp_path / split, split, "data.arrow")
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
    files = choose_splits(find_dataset(str(tmp_path), None, None), wanted, "name")
    return {split: [file.entry.name for file in group] for split, group in files.tables.items()}, files.left_out


def test_known_splits_get_our_names_and_others_are_left_out_and_told(tmp_path: Path):
    files, left_out = chosen(tmp_path, ["train", "validation", "unsupervised"], None)
    assert files == {"train": ["train/data.arrow"], "valid": ["validation/data.arrow"]}
    assert left_out == ["unsupervised"]


def test_one_split_can_be_chosen_by_its_name_or_ours(tmp_path: Path):
    splits = ["train", "validation", "unsupervised"]
    assert chosen(tmp_path, splits, "unsupervised")[0] == {"train": ["unsupervised/data.arrow"]}
    assert chosen(tmp_path, splits, "validation")[0] == {"valid": ["validation/data.arrow"]}
    assert chosen(tmp_path, splits, "valid")[0] == {"valid": ["validation/data.arrow"]}
    with pytest.raises(FilesNotFound, match="no split 'x'; there is train, validation, unsupervised"):
        chosen(tmp_path, splits, "x")


def test_splits_of_other_names_have_to_be_chosen_unless_there_is_but_one(tmp_path: Path):
    assert chosen(tmp_path / "a", ["sft"], None)[0] == {"train": ["sft/data.arrow"]}
    with pytest.raises(FilesNotFound, match="the splits are sft, dpo; choose one with --split"):
        chosen(tmp_path / "b", ["sft", "dpo"], None)
