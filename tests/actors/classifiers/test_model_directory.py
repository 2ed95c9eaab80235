from __future__ import annotations

from pathlib import Path

import pytest

from actors.classifiers.card import CARD_FILE, ModelError
from actors.classifiers.model_directory import check_space, new_model_directory


def make(output: Path, text: str = "new", **options) -> None:
    with new_model_directory(output, **options) as directory:
        (directory / "model.bin").write_text(text)
        (directory / CARD_FILE).write_text(text)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_finished_model_appears_and_nothing_else_is_left(tmp_path: Path):
    make(tmp_path / "deep" / "model")
    assert names(tmp_path / "deep") == ["model"]
    assert names(tmp_path / "deep" / "model") == [CARD_FILE, "model.bin"]


def test_a_failed_training_leaves_nothing(tmp_path: Path):
    with pytest.raises(RuntimeError), new_model_directory(tmp_path / "model") as directory:
        (directory / "model.bin").write_text("half")
        raise RuntimeError
    assert names(tmp_path) == []


def test_other_files_in_the_output_directory_stay(tmp_path: Path):
    output = tmp_path / "model"
    output.mkdir()
    (output / "notes").write_text("mine")
    make(output)
    assert names(output) == [CARD_FILE, "model.bin", "notes"]
    assert names(tmp_path) == ["model"]


def test_a_model_is_not_overwritten_unasked(tmp_path: Path):
    make(tmp_path / "model", "old")
    with pytest.raises(ModelError, match="already holds a model"):
        make(tmp_path / "model")
    assert (tmp_path / "model" / "model.bin").read_text() == "old"
    make(tmp_path / "model", overwrite=True)
    assert (tmp_path / "model" / "model.bin").read_text() == "new"


def test_what_a_killed_training_left_is_cleared(tmp_path: Path):
    left = tmp_path / ".model.training"
    (left / "folder").mkdir(parents=True)
    (left / "huge.bin").write_text("half")
    make(tmp_path / "model")
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == [CARD_FILE, "model.bin"]


def test_two_trainings_of_one_model_are_refused(tmp_path: Path):
    with new_model_directory(tmp_path / "model") as directory:
        (directory / CARD_FILE).write_text("first")
        with pytest.raises(ModelError, match="another training is writing"):
            make(tmp_path / "model")
    assert (tmp_path / "model" / CARD_FILE).read_text() == "first"


def test_an_output_directory_that_is_a_file_is_told_before_anything(tmp_path: Path):
    (tmp_path / "model").write_text("file")
    with pytest.raises(ModelError, match="not a directory that can be written"):
        make(tmp_path / "model")


def test_a_place_that_cannot_be_written_is_told_before_anything():
    with pytest.raises(ModelError, match="cannot be written"):
        make(Path("/proc/model"))


def test_model_files_can_be_read_by_others(tmp_path: Path):
    with new_model_directory(tmp_path / "model") as directory:
        (directory / CARD_FILE).touch(0o600)
    assert (tmp_path / "model" / CARD_FILE).stat().st_mode & 0o777 == 0o644


def test_too_little_space_is_told_with_what_would_help(tmp_path: Path):
    check_space(tmp_path, 1, "the bucket")
    with pytest.raises(ModelError, match=r"needs about .* GB free; make room, or lower the bucket"):
        check_space(tmp_path, 10**18, "the bucket")
