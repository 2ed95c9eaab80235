"""The normal forms made of dolma2 tokens: `Hyperfine` for prose, `HyperfineCode`, and the bare `Tokens`.

The tokenizer never cuts inside a word that follows a single space, so a text is cut at its spaces and each word,
with the space before it, is looked up. Of a longer run of spaces the tokenizer makes one piece of all but the
last, or of all where no word follows. Only where odd whitespace or an added token is near, spaces are kept in.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from actors.normalizers.diacritics import strip_diacritics
from actors.normalizers.indentation import leading_spaces_to_tabs
from actors.normalizers.mojibake import fix_fragments
from actors.normalizers.remembered import Remembered
from actors.normalizers.subwords import LINE, NO_SPACE, RETURN, SPACE, TAB, Subwords
from actors.normalizers.tokenizer_file import TokenizerFile
from actors.normalizers.whitespace import collapse_blank_lines, collapse_whitespace

_WRITTEN = {LINE: r"\ n", TAB: r"\ t", RETURN: r"\ r"}
_MARK = {"\n": LINE, "\t": TAB, "\r": RETURN}

_SEPARATORS = re.compile(r"([\t\r\n]+)")
_MARKED_SEPARATORS = re.compile(f"([{LINE}{TAB}{RETURN}]+)")
_SPACES = re.compile(r"(  +[\t\r\n]?)")
# Whitespace to the tokenizer, other than the space and the separators; two kinds of it are ASCII.
_ODD_WHITESPACE = "\x0b\x0c\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_ODD = re.compile(f"[{_ODD_WHITESPACE}]")
_GAP = re.compile(f"([ \t\r\n{_ODD_WHITESPACE}]{{2,}}|[\t\r\n{_ODD_WHITESPACE}])")
_ASCII_GAP = re.compile("([ \t\r\n\x0b\x0c]{2,}|[\t\r\n\x0b\x0c])")


class Hyperfine:
    r"""Prose: lower case, whitespace collapsed, tokens and separators (`\ n` for LF) with a space between."""

    def __init__(self, file: TokenizerFile) -> None:
        self._subwords = Subwords(file, _WRITTEN, decoded=False)
        self._words = Remembered(self._subwords.of_words)

    def __call__(self, text: str) -> str:
        """Raises UnicodeEncodeError on a lone surrogate."""
        text = strip_diacritics(collapse_blank_lines(fix_fragments(text)).lower())
        if not self._subwords.may_cut(text, "dolma2"):
            return _by_segment(text, lambda segment: self._subwords.of_text(collapse_whitespace(segment)))
        return " ".join(self._words.of(_cut_prose(text))).strip()


class HyperfineCode:
    """Source code: as prose, but with case and inner whitespace kept, and one unit of indentation as one tab."""

    def __init__(self, file: TokenizerFile) -> None:
        self._subwords = Subwords(file, _WRITTEN, decoded=False)
        self._words = Remembered(self._subwords.of_words)

    def __call__(self, text: str) -> str:
        """Raises UnicodeEncodeError on a lone surrogate."""
        text = leading_spaces_to_tabs(strip_diacritics(collapse_blank_lines(fix_fragments(text))))
        if not self._subwords.may_cut(text, "dolma2"):
            return _by_segment(text, self._subwords.of_text)
        if _has_odd_whitespace(text) or self._subwords.has_added_token(text):
            text = "".join(map(self._protected, _SEPARATORS.split(text)))
        return " ".join(self._words.of(_cut_code(text))).strip()

    def _protected(self, segment: str) -> str:
        if _ODD.search(segment) or self._subwords.has_added_token(segment):
            return segment.replace(" ", SPACE)
        return segment


class Tokens:
    """The repaired text's tokens with a space between, and nothing else."""

    def __init__(self, file: TokenizerFile) -> None:
        self._subwords = Subwords(file, _WRITTEN, decoded=False)
        self._words = Remembered(self._subwords.of_words)
        self._gaps = Remembered(_cut_gaps)

    def __call__(self, text: str) -> str:
        """Raises UnicodeEncodeError on a lone surrogate."""
        text = fix_fragments(text)
        if not self._subwords.may_cut(text, "dolma2") or self._subwords.has_added_token(text):
            return self._subwords.of_text(text)
        parts = (_ASCII_GAP if text.isascii() else _GAP).split(text)
        if not parts[-1]:  # a gap at the end of the text is one with the word before it
            parts[-2:] = ["".join(parts[-2:]).replace(" ", SPACE)]
        parts[1:-1:2] = self._gaps.of(parts[1:-1:2])
        return " ".join(filter(None, self._words.of((NO_SPACE + "".join(parts)).split(" "))))


def _by_segment(text: str, tokens: Callable[[str], str]) -> str:
    parts = _SEPARATORS.split(text)
    parts[::2] = map(tokens, parts[::2])
    parts[1::2] = [" ".join(_WRITTEN[_MARK[char]] for char in separator) for separator in parts[1::2]]
    return " ".join(parts).strip()


def _has_odd_whitespace(text: str) -> bool:
    return "\x0c" in text or "\x0b" in text if text.isascii() else _ODD.search(text) is not None


def _cut_prose(text: str) -> list[str]:
    """The words of prose. A segment of whitespace alone is an empty word, which leaves two spaces in a row."""
    if "\t" not in text and "\r" not in text:
        lines = text.split("\n")
        stripped = list(map(str.strip, lines))
        if stripped.count("") == lines.count(""):
            return (NO_SPACE + f" {LINE}".join(stripped)).split()
    for char, mark in _MARK.items():
        text = text.replace(char, mark)
    parts = _MARKED_SEPARATORS.split(text)
    parts[::2] = [NO_SPACE + " ".join(segment.split()) for segment in parts[::2]]
    return " ".join(parts).split(" ")


def _cut_code(text: str) -> list[str]:
    """The words of source code, a run of spaces less the one before a word being a word of its own."""
    if "  " in text:
        body = text.rstrip(" ")
        if len(text) - len(body) > 1:
            text = f"{body} {NO_SPACE}{SPACE * (len(text) - len(body))}"
        parts = _SPACES.split(text)
        parts[1::2] = map(_cut_spaces, parts[1::2])
        text = "".join(parts)
    for char, mark in _MARK.items():
        text = text.replace(char, " " + mark)
    return (NO_SPACE + text).split(" ")


def _cut_spaces(spaces: str) -> str:
    if spaces[-1] == " ":
        return f" {NO_SPACE}{SPACE * (len(spaces) - 1)} "
    return f" {NO_SPACE}{SPACE * (len(spaces) - 1)}{spaces[-1]}"


def _cut_gaps(gaps: list[str]) -> list[str]:
    return list(map(_cut_gap, gaps))


def _cut_gap(gap: str) -> str:
    """A gap between two words: up to its last LF or CR part of the word before, the rest of the word behind."""
    last = max(gap.rfind("\n"), gap.rfind("\r")) + 1
    before, behind = gap[:last].replace(" ", SPACE), gap[last:]
    if behind == " ":
        return before + " "
    if behind and not behind.strip(" "):
        return f"{before} {NO_SPACE}{SPACE * (len(behind) - 1)} "
    return f"{before} {NO_SPACE}{behind.replace(' ', SPACE)}"
