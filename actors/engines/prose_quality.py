"""The rubric `prose_quality`: the published filters of web corpora as five pass/fail criteria for English prose.

Gopher (Rae et al. 2021, tables A1 and A2), C4 (Raffel et al. 2020, as released in tensorflow_datasets) and FineWeb
(Penedo et al. 2024). A word is what stands between white space, where the originals differ in their tokenizers.
The list of offensive words of C4 is not included. None of these filters judges what the prose says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from actors.engines.checks import Check, at_most, criterion, percent, share_at_most
from actors.engines.grade import Criterion, Grade

CRITERIA = ("gopher_quality", "gopher_repetition", "c4_sentences", "c4_boilerplate", "fineweb_quality")

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
TOP_NGRAM_LIMITS = {2: 0.20, 3: 0.18, 4: 0.16}
REPEATED_NGRAM_LIMITS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
# A longer text fails Gopher's word count anyway; repetition is measured in its opening, so that time stays bounded.
MOST_WORDS = 100_000

_BULLETS = ("•", "-", "*", "‣", "◦", "–", "·")
_ELLIPSES = ("...", "…")
_C4_ENDS = (".", "?", "!", '"')
_POLICIES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
_LINE_ENDS = (".", "!", "?", '"', "'", "”", "’", "…", ":", ";", ")", "。", "！", "？")
_LETTER = re.compile(r"[^\W\d_]")
_SENTENCE_END = re.compile(r"[.?!]+[\"')\]]?(?=\s|$)")
_PARAGRAPH = re.compile(r"\n{2,}")


def grade_prose(text: str) -> Grade:
    """Grade one text."""
    words = text.split()
    if not words:
        return Grade("nothing", {name: Criterion(False, "the text is empty") for name in CRITERIA})
    lines = [stripped for line in text.split("\n") if (stripped := line.strip())]
    checks = (
        _gopher_quality(text, words, lines),
        _gopher_repetition(text, words[:MOST_WORDS], lines),
        _c4_sentences(lines),
        _c4_boilerplate(text),
        _fineweb_quality(text, words, lines),
    )
    return Grade("prose", dict(zip(CRITERIA, map(criterion, checks), strict=True)))


def _gopher_quality(text: str, words: list[str], lines: list[str]) -> list[Check]:
    count = len(words)
    mean = sum(map(len, words)) / count
    hashes, ellipses = text.count("#") / count, sum(map(text.count, _ELLIPSES)) / count
    bullets = sum(line.startswith(_BULLETS) for line in lines) / len(lines)
    trailing = sum(line.endswith(_ELLIPSES) for line in lines) / len(lines)
    lettered = sum(1 for word in words if _LETTER.search(word)) / count
    stops = len(STOP_WORDS & {word.lower() for word in words if len(word) <= 4})
    return [
        Check(50 <= count <= MOST_WORDS, f"{count:,} words (50 to {MOST_WORDS:,})"),
        Check(3 <= mean <= 10, f"mean word length {mean:.1f} (3 to 10)"),
        at_most(round(hashes, 3), 0.1, f"{hashes:.2f} hashes a word"),
        at_most(round(ellipses, 3), 0.1, f"{ellipses:.2f} ellipses a word"),
        share_at_most(bullets, 0.9, "of the lines open with a bullet"),
        share_at_most(trailing, 0.3, "of the lines end in an ellipsis"),
        Check(lettered >= 0.8, f"{percent(lettered)} of the words have a letter (at least 80 %)"),
        Check(stops >= 2, f"{stops} different stop words (at least 2)"),
    ]


def _gopher_repetition(text: str, words: list[str], lines: list[str]) -> list[Check]:
    paragraphs = [stripped for part in _PARAGRAPH.split(text) if (stripped := part.strip())]
    checks = []
    for parts, kind in ((lines, "lines"), (paragraphs, "paragraphs")):
        repeated, characters = _repeated(parts)
        checks.append(share_at_most(repeated, 0.30, f"of the {kind} repeated"))
        checks.append(share_at_most(characters, 0.20, f"of the characters in repeated {kind}"))
    lengths = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
    ngrams = _NGrams(words, lengths)
    tops = [
        share_at_most(ngrams.top(n), limit, f"of the characters in the commonest {n}-gram")
        for n, limit in TOP_NGRAM_LIMITS.items()
    ]
    repeats = [
        share_at_most(ngrams.repeated(n), limit, f"of the characters in repeated {n}-grams")
        for n, limit in REPEATED_NGRAM_LIMITS.items()
    ]
    return [*checks, *tops, *repeats]


def _repeated(parts: Sequence[str]) -> tuple[float, float]:
    """Shares of the parts, and of their characters, that are a second or later occurrence."""
    distinct = set(parts)
    characters = sum(map(len, parts))
    return 1 - len(distinct) / len(parts), 1 - sum(map(len, distinct)) / characters


class _NGrams:
    """Shares of the characters of words that lie in frequent or repeated runs of n words."""

    # An odd multiplier of high entropy; 64-bit products wrap, so that a run is one number and equal runs are equal.
    _MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

    def __init__(self, words: list[str], lengths: NDArray[np.int64]) -> None:
        numbers: dict[str, int] = {}
        codes = [numbers.setdefault(word, len(numbers) + 1) for word in words]
        self._codes = np.array(codes, dtype=np.uint64)
        self._lengths = lengths
        self._total = int(lengths.sum())

    def _hashes(self, n: int) -> NDArray[np.uint64]:
        starts = len(self._codes) - n + 1
        hashes = np.zeros(starts, dtype=np.uint64)
        for offset in range(n):
            mixed = (hashes ^ self._codes[offset : offset + starts]) * self._MULTIPLIER
            hashes = mixed ^ (mixed >> np.uint64(29))
        return hashes

    def top(self, n: int) -> float:
        """Of the commonest n-gram, if it occurs twice; the longest on a tie."""
        if len(self._codes) <= n:
            return 0.0
        _, first, counts = np.unique(self._hashes(n), return_index=True, return_counts=True)
        most = int(counts.max())
        if most < 2:
            return 0.0
        sums = np.concatenate(([0], np.cumsum(self._lengths)))
        longest = max(int(sums[place + n] - sums[place]) for place in first[counts == most])
        return min(1.0, most * longest / self._total)

    def repeated(self, n: int) -> float:
        """Of n-grams that occurred before, a character that lies in several of them counted once."""
        if len(self._codes) <= n:
            return 0.0
        hashes = self._hashes(n)
        _, first = np.unique(hashes, return_index=True)
        again = np.ones(len(hashes), dtype=bool)
        again[first] = False
        edges = np.zeros(len(self._codes) + 1, dtype=np.int64)
        edges[: len(again)] += again
        edges[n : n + len(again)] -= again
        covered = np.cumsum(edges)[:-1] > 0
        return float(self._lengths[covered].sum()) / self._total


def _c4_sentences(lines: list[str]) -> list[Check]:
    kept = [line for line in lines if _is_kept(line)]
    sentences = sum(max(1, len(_SENTENCE_END.findall(line))) for line in kept)
    share = len(kept) / len(lines)
    return [
        Check(
            sentences >= 3,
            f"{sentences} sentences in the {percent(share)} of lines that C4 keeps (at least 3)",
        )
    ]


def _is_kept(line: str) -> bool:
    """Whether C4 keeps a line: it ends as a sentence does, has five words, and is no notice of a web site."""
    if not line.endswith(_C4_ENDS) or line.endswith("...") or len(line.split(None, 5)) < 5:
        return False
    lowered = line.lower()
    return "javascript" not in lowered and not any(policy in lowered for policy in _POLICIES)


def _c4_boilerplate(text: str) -> list[Check]:
    placeholder, braces = "lorem ipsum" in text.lower(), text.count("{")
    return [
        Check(not placeholder, "lorem ipsum" if placeholder else "no lorem ipsum"),
        Check(braces == 0, f"{braces} curly brackets (none)"),
    ]


def _fineweb_quality(text: str, words: list[str], lines: list[str]) -> list[Check]:
    ended = sum(line.endswith(_LINE_ENDS) for line in lines) / len(lines)
    short = sum(len(line) <= 30 for line in lines) / len(lines)
    breaks = text.count("\n") / len(words)
    return [
        Check(ended >= 0.12, f"{percent(ended)} of the lines end in punctuation (at least 12 %)"),
        share_at_most(short, 0.67, "of the lines 30 characters or shorter"),
        share_at_most(_repeated(lines)[1], 0.1, "of the characters in repeated lines"),
        at_most(round(breaks, 3), 0.3, f"{breaks:.2f} line breaks a word"),
    ]
