"""Words and n-grams of texts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.shingles import _WORD, mixed, shingles, words

MULTIPLIER = 0xD6E8FEB86659FD93


def gram_hashes(text: bytes, ngram: int) -> list[int]:
    """The definition, one n-gram at a time."""
    hashes = [xxhash.xxh3_64_intdigest(word) for word in words(text)]
    size = min(ngram, len(hashes))
    found = []
    for first in range(len(hashes) - size + 1 if hashes else 0):
        combined = 0
        for value in hashes[first : first + size]:
            combined = (combined * MULTIPLIER + value) % 2**64
        found.append(int(mixed(np.array([combined], np.uint64))[0]))
    return found


def test_case_punctuation_and_whitespace_make_no_difference():
    assert words(b"The  quick,\nbrown_fox-2 (JUMPS)!") == [b"the", b"quick", b"brown_fox", b"2", b"jumps"]
    assert words("Ünï ÉTÉ, x".encode()) == ["ünï".encode(), "été".encode(), b"x"]


def test_every_character_is_a_word_where_no_spaces_are_written():
    assert words("日本語のtext、ไทย".encode()) == [c.encode() for c in ("日", "本", "語", "の", "text", "ไ", "ท", "ย")]


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_texts_have_the_words_that_they_would_have_among_other_characters(text):
    expected = [word.encode() for word in _WORD.findall(text.lower())]
    assert words(text.encode()) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdé"), max_size=9).map(" ".join), max_size=6), st.integers(1, 6))
def test_ngrams_are_those_of_each_text_alone(texts, ngram):
    encoded = [text.encode() for text in texts]
    hashes, starts = shingles(encoded, ngram)
    found = [hashes[a:b].tolist() for a, b in pairwise(starts)]
    assert found == [gram_hashes(text, ngram) for text in encoded]


def test_the_order_of_words_matters():
    one, other = (shingles([text], 5)[0][0] for text in (b"a b c d e", b"b a c d e"))
    assert one != other
