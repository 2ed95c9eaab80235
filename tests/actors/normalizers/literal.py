"""The normal forms written down step by step, as slowly and as plainly as they are defined; the tests' yardstick."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from math import gcd
from pathlib import Path
from typing import Any

from plsfix import fix_text


def whitespace(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def fragments(text: str) -> str:
    if len(text) > 2**20:
        line_end = text.find("\n", 2**20)
        text = text[: 2**20] if line_end < 0 else text[:line_end]
    return "".join(fix_text(fragment) for fragment in re.split(r"\b", text))


def blank_lines(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text)


def without_diacritics(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKD", text) if unicodedata.category(char) != "Mn")


def indented_by_tabs(text: str) -> str:
    unit = 0
    lines = text.split("\n")
    for line in lines:
        rest = line.lstrip(" ")
        if rest and rest[0] != "\t":
            unit = gcd(unit, len(line) - len(rest))
    if unit == 0:
        return text
    indented = []
    for line in lines:
        rest = line.lstrip(" ")
        spaces = len(line) - len(rest)
        indented.append("\t" * (spaces // unit) + " " * (spaces % unit) + rest)
    return "\n".join(indented)


def potion(text: str) -> str:
    text = without_diacritics(blank_lines(fragments(text)).lower())
    text = re.sub(r"\r?\n\r?\n", "¶", text)
    text = re.sub(r"\r?\n", "·", text)
    text = re.sub(r"\t", "↦", text)
    return re.sub(r"\s+", " ", text).strip()


def potion_code(text: str) -> str:
    text = indented_by_tabs(without_diacritics(blank_lines(fragments(text))))
    text = re.sub(r"\r?\n", "¶", text)
    return re.sub(r"\t", "↦", text).strip()


def ultrafine(text: str, tokenizer: Any) -> str:
    text = without_diacritics(blank_lines(text).lower())
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    text = " ".join(tokenizer.decode([token]) for token in ids)
    for char, escape in (("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(char, escape)
    return re.sub(" +", " ", text).strip()


def _by_segment(text: str, tokenizer: Any, collapse: bool) -> str:
    written = {"\t": "\\ t", "\r": "\\ r", "\n": "\\ n"}
    parts = [*re.split(r"([\t\r\n]+)", text), ""]
    done = []
    for segment, separator in zip(parts[::2], parts[1::2], strict=True):
        if collapse:
            segment = re.sub(r"\s+", " ", segment).strip()
        tokens = tokenizer.encode(segment, add_special_tokens=False).tokens
        done.append(" ".join(tokens) + " " + " ".join(written[char] for char in separator))
    return " ".join(done).strip()


def hyperfine(text: str, tokenizer: Any) -> str:
    return _by_segment(without_diacritics(blank_lines(fragments(text)).lower()), tokenizer, collapse=True)


def hyperfine_code(text: str, tokenizer: Any) -> str:
    text = indented_by_tabs(without_diacritics(blank_lines(fragments(text))))
    return _by_segment(text, tokenizer, collapse=False)


def tokens(text: str, tokenizer: Any) -> str:
    return " ".join(tokenizer.encode(fragments(text), add_special_tokens=False).tokens)


PLAIN: dict[str, Callable[[str], str]] = {
    "whitespace": whitespace,
    "plsfix": fix_text,
    "plsfix-fragments": fragments,
    "potion": potion,
    "potion_code": potion_code,
}
WITH_TOKENIZER: dict[str, Callable[[str, Any], str]] = {
    "ultrafine": ultrafine,
    "hyperfine": hyperfine,
    "hyperfine_code": hyperfine_code,
    "tokenizer": tokens,
}


def literal(name: str, tokenizer: str | Path | None = None) -> Callable[[str], str]:
    """The literal normalizer of that name, on the tokenizer.json at that path."""
    if name in PLAIN:
        return PLAIN[name]
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(tokenizer))
    function = WITH_TOKENIZER[name]
    return lambda text: function(text, loaded)
