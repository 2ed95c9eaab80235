from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from actors.classifiers.card import ModelError
from actors.classifiers.fasttext_training_lines import check_validation, inspect, join


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_lines_and_bytes_are_counted_over_all_files(tmp_path: Path):
    text = "__label__a x\n__label__b x\n" * 3 + "__label__a x"
    one, two = write(tmp_path / "1", text), write(tmp_path / "2", text)
    found = inspect([one, two], 2)
    assert (found.bytes, found.sha256) == (2 * len(text), hashlib.sha256(2 * text.encode()).hexdigest())
    assert found.rows == 14


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no line has a __label__"),
        ("good words\n", "no line has a __label__"),
        ("__label__a x\n" * 9, "every row has the label 'a'"),
        ("__label__a x\n__label__b y\n" * 4, "no word occurs 5 times .the most frequent one 4 times."),
        ("__label__a </s>\n__label__b\n" * 9, "no word occurs 5 times .the most frequent one 0 times."),
    ],
)
def test_lines_that_teach_nothing_are_told(tmp_path: Path, text: str, message: str):
    with pytest.raises(ModelError, match=message):
        inspect([write(tmp_path / "train.txt", text)], 5)


def test_a_second_label_at_the_end_of_a_sorted_file_is_found(tmp_path: Path):
    assert inspect([write(tmp_path / "t", "__label__a x\n" * 50 + "__label__b x\n")], 5).rows == 51


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(ModelError, match=r"nothing\.txt cannot be read"):
        inspect([tmp_path / "nothing.txt"], 5)


def test_no_file_is_told():
    with pytest.raises(ModelError, match="no training file"):
        inspect([], 5)


def test_files_are_joined_line_by_line(tmp_path: Path):
    files = [write(tmp_path / "1", "a\nb"), write(tmp_path / "2", ""), write(tmp_path / "3", "c\n")]
    assert join(files, tmp_path / "all").read_text() == "a\nb\nc\n"


def test_validation_lines_without_labels_are_told(tmp_path: Path):
    check_validation(write(tmp_path / "good", "x\n__label__a x\n"))
    with pytest.raises(ModelError, match="needs labelled rows"):
        check_validation(write(tmp_path / "bad", "x\n"))
