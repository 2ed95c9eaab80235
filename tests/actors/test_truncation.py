"""Cutting texts: what is kept, what is said about it, and that a cut falls between tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.truncation import truncate

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "tokenizers"
WHERES = ("head", "tail", "middle")


@pytest.fixture(scope="module")
def words() -> Any:
    """A tokenizer of words and spaces."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|\s+"), "isolated")
    return tokenizer


def dolma() -> Any:
    from tokenizers import Tokenizer

    path = SHARED / "dolma2_tokenizer.json"
    if not path.exists():
        pytest.skip("the dolma2 tokenizer is not beside the repository")
    return Tokenizer.from_file(str(path))


@pytest.mark.parametrize(
    ("where", "text", "parts"),
    [
        ("head", "0123\n[… 6 characters cut …]", ("0123",)),
        ("tail", "[… 6 characters cut …]\n6789", ("6789",)),
        ("middle", "01\n[… 6 characters cut …]\n89", ("01", "89")),
    ],
)
def test_a_mark_says_what_is_gone(where, text, parts):
    found = truncate("0123456789", 4, where)
    assert (found.text, found.parts, found.kept, found.of, found.is_cut) == (text, parts, 4, 10, True)
    assert found.meta() == {"kept_characters": 4, "of_characters": 10, "kept_part": where}


def test_an_odd_character_is_the_heads_and_large_numbers_are_grouped():
    found = truncate("a" * 12_345 + "z", 1, "middle")
    assert found.text == "a\n[… 12,345 characters cut …]"
    assert truncate("abcdefg", 3, "middle").parts == ("ab", "g")


@pytest.mark.parametrize("where", WHERES)
def test_what_fits_stays_as_it_is(where, words):
    for found in (truncate("abc", 3, where), truncate("a b", 3, where, "tokens", words), truncate("", 1, where)):
        assert found.text in ("abc", "a b", "")
        assert found.meta() is None
        assert not found.is_cut


@given(st.text(max_size=60), st.integers(1, 70), st.sampled_from(WHERES))
def test_the_kept_characters_are_the_texts_own(text, limit, where):
    found = truncate(text, limit, where)
    assert sum(map(len, found.parts)) == found.kept == min(limit, len(text))
    assert found.of == len(text)
    head, tail = (found.parts[0], found.parts[-1]) if where == "middle" else (found.parts[0],) * 2
    assert where == "tail" or text.startswith(head)
    assert where == "head" or text.endswith(tail)
    assert found.is_cut == (found.text != text)


@pytest.mark.parametrize(
    ("where", "parts"), [("head", ("one two",)), ("tail", ("four five",)), ("middle", ("one ", " five"))]
)
def test_tokens_are_cut_in_the_original_text(where, parts, words):
    limit = 4 if where == "middle" else 3
    found = truncate("one two  three four five", limit, where, "tokens", words)
    assert found.parts == parts
    assert found.meta() == {"kept_tokens": limit, "of_tokens": 9, "kept_part": where}
    assert f"[… {9 - limit} tokens cut …]" in found.text


TEXTS = st.text(max_size=80) | st.lists(
    st.sampled_from(["don't", "  ", "\n\n", "日本", "👩‍👩‍👧", "é", "x=1;", "<|endoftext|>"])
).map("".join)


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, limit=st.integers(1, 12), where=st.sampled_from(WHERES))
def test_what_is_kept_has_at_most_that_many_tokens_and_is_the_texts_own(text, limit, where):
    tokenizer = _dolma()
    found = truncate(text, limit, where, "tokens", tokenizer)
    tokens = [len(tokenizer.encode(part, add_special_tokens=False)) for part in found.parts]
    assert sum(tokens) <= limit
    assert found.of == len(tokenizer.encode(text, add_special_tokens=False))
    assert found.is_cut == (found.of > limit)
    assert all(part in text for part in found.parts)


_cached: list[Any] = []


def _dolma() -> Any:
    if not _cached:
        _cached.append(dolma())
    return _cached[0]


def test_an_ordinary_text_keeps_nearly_all_of_its_limit():
    text = "The quick brown fox doesn't jump over 12345 lazy dogs. " * 50
    for where in WHERES:
        found = truncate(text, 100, where, "tokens", dolma())
        assert 98 <= found.kept <= 100


def test_a_character_split_between_tokens_is_left_out_whole():
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = {sign: number for number, sign in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    tokenizer = Tokenizer(models.BPE(alphabet, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found = truncate("ab日c", 4, "head", "tokens", tokenizer)
    assert (found.parts, found.kept, found.of) == (("ab",), 2, 6)
    assert truncate("ab日c", 3, "tail", "tokens", tokenizer).parts == ("c",)


def test_a_tokenizer_that_adds_to_the_start_keeps_to_the_limit():
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE({"a": 0, "▁": 1, "b": 2}, [], unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    found = truncate("abababab", 4, "middle", "tokens", tokenizer)
    assert sum(len(tokenizer.encode(part)) for part in found.parts) <= 4
    assert found.of == 9


def test_limits_and_tokenizers_are_asked_for():
    with pytest.raises(ValueError, match="limit=0: give a number of characters of at least 1"):
        truncate("a", 0)
    with pytest.raises(ValueError, match="give the tokenizer"):
        truncate("a", 1, unit="tokens")
