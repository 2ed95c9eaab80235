"""Lengths of texts in characters, bytes and tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actors.text_counter import CountTexts, length_counts
from cluster.rows import Rows


def counts(texts: list[str], tokenizer: str | None) -> dict[str, dict[int, int]]:
    sink = CountTexts(tokenizer)
    sink.setup()
    record = sink.encode(Rows("a.jsonl", [text.encode() for text in texts], list(range(len(texts)))))
    return {m: dict(zip(v.tolist(), c.tolist(), strict=True)) for m, v, c in length_counts(record)}


@pytest.fixture
def words_tokenizer(tmp_path: Path) -> str:
    """A tokenizer of words that adds special tokens, truncates and pads unless told not to."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "a": 2}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A", special_tokens=[("[CLS]", 1)])
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=3)
    return str(tokenizer.to_str())


def test_characters_are_code_points_and_bytes_are_utf8():
    assert counts(["aé", "日本", "", "xy"], None) == {"characters": {0: 1, 2: 3}, "bytes": {0: 1, 2: 1, 3: 1, 6: 1}}


def test_tokens_are_those_of_the_text_alone_untruncated_and_unpadded(words_tokenizer):
    assert counts(["a b c d e", "a", ""], words_tokenizer)["tokens"] == {0: 1, 1: 1, 5: 1}


def test_tokens_agree_with_encoding_each_text_by_itself():
    from tokenizers import Tokenizer

    path = Path(__file__).resolve().parents[2].parent / "shared" / "tokenizers" / "dolma2_tokenizer.json"
    if not path.exists():
        pytest.skip("the dolma2 tokenizer is not beside the repository")
    texts = ["Hello  world\n\n", "naïve 日本語 <|endoftext|> x", json.dumps({"a": [1, 2.5]}), " "]
    alone = Tokenizer.from_file(str(path))
    lengths = [len(alone.encode(text, add_special_tokens=False).ids) for text in texts]
    found = counts(texts, path.read_text())["tokens"]
    assert found == {length: lengths.count(length) for length in lengths}


def test_a_chunk_without_rows_counts_nothing(words_tokenizer):
    assert counts([], words_tokenizer) == {"characters": {}, "bytes": {}, "tokens": {}}
