from __future__ import annotations

import json
from pathlib import Path

import pytest

from actors.classifiers.card import CARD_FILE, Card, ModelError, read_card, write_card


def card(**changes) -> Card:
    settings = {
        "kind": "fasttext",
        "task": "classification",
        "labels": ("bad", "good"),
        "normalization": {"name": "ultrafine", "tokenizer": "some/tokenizer"},
        "max_length": 100,
        "parameters": {"epoch": 3},
        "training": {"rows": 7, "label_counts": {"bad": 3, "good": 4}},
        "library": {"name": "fasttext-numpy2", "version": "1"},
    }
    return Card(**{**settings, **changes})


def test_a_card_comes_back_as_it_was_written(tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(b"model")
    written = write_card(tmp_path, card())
    assert read_card(tmp_path) == written
    assert written.files["model.bin"].bytes == 5


def test_the_readme_says_what_the_card_says(tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(b"model")
    written = write_card(tmp_path, card())
    readme = (tmp_path / "README.md").read_text()
    for text in (
        "ultrafine",
        "first 100 characters",
        "| epoch | 3 |",
        "| good | 4 |",
        written.files["model.bin"].sha256,
    ):
        assert text in readme


def test_the_readme_names_every_step_of_a_normalization(tmp_path: Path):
    steps = [{"name": "plsfix"}, {"name": "ultrafine", "tokenizer": "t", "tokenizer_sha256": "abc"}]
    write_card(tmp_path, card(normalization={"name": "plsfix, ultrafine", "steps": steps}))
    readme = (tmp_path / "README.md").read_text()
    assert "by `plsfix`, then `ultrafine` with the tokenizer `abc`." in readme


def test_a_label_with_a_bar_does_not_break_the_table(tmp_path: Path):
    write_card(tmp_path, card(labels=("a|b",), training={"label_counts": {"a|b": 1}}))
    assert "| a\\|b | 1 |" in (tmp_path / "README.md").read_text()


def test_a_directory_without_a_card_has_none(tmp_path: Path):
    assert read_card(tmp_path) is None


def test_a_cut_model_file_is_told(tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(b"model")
    write_card(tmp_path, card())
    (tmp_path / "model.bin").write_bytes(b"mod")
    with pytest.raises(ModelError, match=r"model\.bin has 3 bytes, its card says 5"):
        read_card(tmp_path)


def test_a_missing_model_file_is_told(tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(b"model")
    write_card(tmp_path, card())
    (tmp_path / "model.bin").unlink()
    with pytest.raises(ModelError, match=r"model\.bin is missing"):
        read_card(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"kind": "pickle", "task": "classification"})])
def test_a_damaged_card_is_told(tmp_path: Path, text: str):
    (tmp_path / CARD_FILE).write_text(text)
    with pytest.raises(ModelError, match="is not a model card"):
        read_card(tmp_path)
