"""The normal form that the Ultra-FineWeb classifiers are trained on: lower case, no diacritics, subwords apart.

The tokenizer cuts at line ends, and at spaces except beside some characters (a TAB, an emoji, Arabic letters).
Where it cuts, a run of spaces gives nothing but spaces, and those collapse; so the text is cut there, and each
word between is looked up. Beside the other characters spaces are marked as part of the word.
"""

from __future__ import annotations

import re

from actors.normalizers.diacritics import strip_diacritics
from actors.normalizers.remembered import Remembered
from actors.normalizers.subwords import LINE, NO_SPACE, RETURN, SPACE, Subwords
from actors.normalizers.tokenizer_file import TokenizerFile
from actors.normalizers.whitespace import collapse_blank_lines

_SPACES = re.compile(" {2,}")
_PRINTABLE_OR_LINE_END = dict.fromkeys((0x0A, 0x0D, *range(0x20, 0x7F)))


class Ultrafine:
    """Lower case, no diacritics, the decoded tokens with a space between, line ends and tabs as escapes."""

    def __init__(self, file: TokenizerFile) -> None:
        self._subwords = Subwords(file, {LINE: r"\n", RETURN: r"\r"}, decoded=True)
        self._words = Remembered(self._subwords.of_words)
        pre_tokenizer = self._subwords.pre_tokenizer
        odd = pre_tokenizer.odd.pattern if pre_tokenizer and pre_tokenizer.odd else "(?!)."
        self._odd = re.compile(odd)
        # From the first space of a run: up to its end if an odd character stands before or behind the run.
        self._beside_odd = re.compile(f" (?<!  )(?:(?<=(?:{odd}) ) *| *+(?={odd}))")

    def __call__(self, text: str) -> str:
        """Raises UnicodeEncodeError on a lone surrogate."""
        text = strip_diacritics(collapse_blank_lines(text).lower())
        if not self._subwords.may_cut(text, "ultra_fineweb") or self._subwords.has_added_token(text):
            return self._subwords.of_text(text).strip()
        return " ".join(self._words.of(self._cut(text))).strip()

    def _cut(self, text: str) -> list[str]:
        odd = self._has_odd(text)
        if odd:
            text = self._beside_odd.sub(lambda run: SPACE * len(run[0]), text)
        text = NO_SPACE + text.replace("\n", " " + LINE).replace("\r", " " + RETURN)
        if odd:  # among which are other kinds of whitespace
            return _SPACES.sub(" ", text).rstrip(" ").split(" ")
        return text.split()

    def _has_odd(self, text: str) -> bool:
        if text.isascii():
            return text.translate(_PRINTABLE_OR_LINE_END) != ""
        return self._odd.search(text) is not None
