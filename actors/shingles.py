"""Texts as sets of word n-grams, each n-gram a 64-bit hash: what near duplicates are compared by.

A word is a run of letters, digits and underscores in lower case; in scripts that are written without spaces every
character is one. Case, punctuation, whitespace and markup signs make no difference. A text with fewer than n words
is the one n-gram of all its words; a text without words has none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
import xxhash

Hashes = npt.NDArray[np.uint64]

# Han with its extensions, Hiragana, Katakana, Thai, Lao, Myanmar, Khmer: no spaces between words.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
# The same for ASCII, where `translate` and `split` find the words four times as fast.
_ASCII = bytes(c + 32 if 65 <= c <= 90 else c if 48 <= c <= 57 or c == 95 or 97 <= c <= 122 else 32 for c in range(256))

_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)  # odd, so that no bit of an earlier word is lost


def words(text: bytes) -> list[bytes]:
    """The words of a UTF-8 text."""
    if text.isascii():
        return text.translate(_ASCII).split()
    return "\n".join(_WORD.findall(text.decode("utf-8", "replace").lower())).encode().split()


def shingles(texts: Sequence[bytes], ngram: int) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """The n-grams of all texts, one after the other, and where each text's begin (one number more than texts)."""
    found = [words(text) for text in texts]
    counts = np.fromiter(map(len, found), np.int64, len(found))
    total = int(counts.sum())
    hashes = np.zeros(total + ngram, np.uint64)  # with room to look beyond the last word
    hashes[:total] = np.fromiter(map(xxhash.xxh3_64_intdigest, chain.from_iterable(found)), np.uint64, total)
    first = np.concatenate([[0], np.cumsum(counts)])
    grams = np.where(counts > 0, np.maximum(counts - ngram + 1, 1), 0)
    starts = np.concatenate([[0], np.cumsum(grams)])
    # Where every n-gram's first word is: its place in its text, counted from the text's first word.
    places = np.arange(starts[-1]) + np.repeat(first[:-1] - starts[:-1], grams)
    combined = np.zeros(total, np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(ngram):
            combined = combined * _MULTIPLIER + hashes[offset : offset + total]
    whole = combined[places]
    short = np.flatnonzero((counts > 0) & (counts < ngram))
    if len(short):
        whole[starts[:-1][short]] = _of_few_words(hashes, first[:-1][short], counts[short])
    return mixed(whole), starts


def _of_few_words(hashes: Hashes, first: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> Hashes:
    combined = np.zeros(len(first), np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(int(counts.max())):
            more = combined * _MULTIPLIER + hashes[first + offset]
            combined = np.where(counts > offset, more, combined)
    return combined


def mixed(values: Hashes) -> Hashes:
    """A bijection of 64-bit numbers after which every bit depends on every other (the finalizer of splitmix64)."""
    with np.errstate(over="ignore"):
        z = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)
