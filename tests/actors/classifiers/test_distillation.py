from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from actors.classifiers.card import ModelError
from actors.classifiers.distillation import distill
from actors.classifiers.model2vec import Model2VecClassifier, Model2VecParams, train

pytest.importorskip("model2vec.distill", reason="needs model2vec[distill]")


def digests(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def test_distilling_again_gives_the_same_bytes(transformer: Path, tmp_path: Path):
    for name in ("one", "two"):
        card = distill(str(transformer), tmp_path / name, pca_dims=8, threads=1)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert card.training["dimension"] == 8
    assert "model.safetensors" in digests(tmp_path / "one")


def test_no_folder_of_this_machine_is_written(transformer: Path, tmp_path: Path):
    distill(str(transformer), tmp_path / "model", pca_dims=8, threads=1)
    for path in (tmp_path / "model").iterdir():
        assert str(transformer.parent).encode() not in path.read_bytes()


def test_a_classifier_can_be_trained_on_the_result(transformer: Path, tmp_path: Path, rows):
    distill(str(transformer), tmp_path / "base", pca_dims=8, threads=1)
    params = Model2VecParams(base_model=str(tmp_path / "base"), max_epochs=12, learning_rate=0.02)
    train(*rows(200), tmp_path / "model", params)
    texts, labels = rows(40, seed=8)
    model = Model2VecClassifier.load(tmp_path / "model")
    right = [
        model.labels[best] == label for best, label in zip(model.probabilities(texts).argmax(1), labels, strict=True)
    ]
    assert sum(right) > 30


@pytest.mark.parametrize("options", [{"sif_coefficient": 2.0}, {"pca_dims": 0}])
def test_nonsense_is_refused(tmp_path: Path, options):
    with pytest.raises(ModelError):
        distill("any", tmp_path / "model", **options)
