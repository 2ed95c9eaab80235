"""Small real models to train from, made on the spot: no download, no mocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

WORDS = [f"{stem}{number}" for stem in ("apple", "pear", "wheel", "brake", "of", "the") for number in range(12)]


def sentences(rows: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts about fruit and about cars, each with its label."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for row in range(rows):
        label, first = ("fruit", 0) if row % 2 else ("car", 24)
        topic = rng.integers(first, first + 24, 6)
        filler = rng.integers(48, 72, 6)
        texts.append(" ".join(WORDS[i] for i in rng.permutation(np.concatenate((topic, filler)))))
        labels.append(label)
    return texts, labels


@pytest.fixture
def train_file(tmp_path: Path) -> Path:
    """200 training lines of two labels."""
    path = tmp_path / "train.txt"
    path.write_text("".join(f"__label__{label} {text}\n" for text, label in zip(*sentences(200), strict=True)))
    return path


@pytest.fixture(scope="session")
def static_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static model of random vectors, with a word-level tokenizer."""
    from model2vec import StaticModel

    vectors = np.random.default_rng(1).standard_normal((len(WORDS) + 2, 16)).astype(np.float32)
    path = tmp_path_factory.mktemp("models") / "base"
    StaticModel(vectors, _tokenizer(), normalize=True, max_length=40).save_pretrained(path)
    return path


def _tokenizer():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


@pytest.fixture(scope="session")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-layer BERT with random weights, in safetensors."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS, "##s"])}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    path = tmp_path_factory.mktemp("models") / "bert"
    BertModel(config).save_pretrained(path)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(path)
    return path


@pytest.fixture
def rows() -> Callable[..., tuple[list[str], list[str]]]:
    """The maker of labelled sentences."""
    return sentences
