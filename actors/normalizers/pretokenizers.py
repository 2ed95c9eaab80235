"""The pre-tokenizers that can be taken apart: which tokenizer files have one, and the same split of plain text.

A byte-level BPE tokenizer first splits a text into pieces and then encodes each piece alone. For the two layouts
known here it is proved (by the tests, against the library) at which spaces a text may be cut without changing a
piece, and how text of printable ASCII, TAB, CR and LF splits. Whatever looks different is left to the library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_DOLMA2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The two patterns below find the pieces of many plain texts that are joined by NUL; NUL and the controls 3 to 5,
# which the texts themselves do not hold, are pieces of their own and end what is around them.
_DOLMA2_PLAIN = re.compile(
    r"[A-Za-z]+|[^\0\3-\5\n\r0-9A-Za-z'][A-Za-z]+|[\0\3-\5]|[0-9]{1,3}"
    r"|'(?:[sdmtSDMT]|[rR][eE]|[vV][eE]|[lL][lL]|[A-Za-z]+)| ?[^\0\3-\5\s0-9A-Za-z]+[\n\r]*"
    r"|[ \t\n\r]*[\n\r]+|[ \t]+(?=[ \t][^\0\3-\5 \t\n\r])|[ \t]+"
)
_ULTRA_FINEWEB_PLAIN = re.compile(
    r"[ \t]?[A-Za-z]+|[ \t]?[!-/:-@\[-`{-~]+|[\0\3-\5\n\r]|[0-9]{1,3}|[ \t]+(?=[ \t][!-/:-~])|[ \t]+"
)
# Whitespace that survives NFKD inside ranges of characters that are otherwise plain.
_WHITESPACE_WITHIN = "\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """How texts split: `plain` finds the pieces of plain texts joined by NUL, each NUL a piece of its own.

    With `single_digits` a piece that it finds may be a run of digits, each of which is a piece. `odd` (if set)
    finds a character beside which a space may not be a place to cut.
    """

    kind: str
    plain: re.Pattern[str]
    single_digits: bool = False
    odd: re.Pattern[str] | None = None


def recognized(tokenizer: dict[str, Any]) -> PreTokenizer | None:
    """The pre-tokenizer of a parsed tokenizer.json, or None if it has to be left to the library."""
    if tokenizer["model"].get("type") != "BPE" or tokenizer["model"].get("dropout"):
        return None
    if not {"Ċ", "č", "ĉ", "Ġ"} <= tokenizer["model"].get("vocab", {}).keys():
        return None
    if tokenizer.get("normalizer") not in (None, {"type": "Sequence", "normalizers": []}):
        return None
    for token in tokenizer.get("added_tokens", ()):
        if token["single_word"] or token["lstrip"] or token["rstrip"] or not _is_solid(token["content"]):
            return None
    steps = (tokenizer.get("pre_tokenizer") or {}).get("pretokenizers") or [{}]
    if not _is_byte_level(steps[-1]):
        return None
    return _dolma2(steps[:-1]) or _ultra_fineweb(steps[:-1])


def _is_solid(content: str) -> bool:
    return content != "" and not any(char.isspace() for char in content)


def _is_byte_level(step: dict[str, Any]) -> bool:
    return step.get("type") == "ByteLevel" and not step["add_prefix_space"] and not step["use_regex"]


def _dolma2(steps: list[dict[str, Any]]) -> PreTokenizer | None:
    if len(steps) != 1 or steps[0].get("type") != "Split" or steps[0]["pattern"] != {"Regex": _DOLMA2_SPLIT}:
        return None
    if (steps[0]["behavior"], steps[0]["invert"]) not in (("Removed", True), ("Isolated", False)):
        return None
    return PreTokenizer("dolma2", _DOLMA2_PLAIN)


def _ultra_fineweb(steps: list[dict[str, Any]]) -> PreTokenizer | None:
    if len(steps) != 6 or steps[5] != {"type": "Digits", "individual_digits": True}:
        return None
    if any(
        (step.get("type"), step.get("behavior"), step.get("invert")) != ("Split", "Isolated", False)
        for step in steps[:5]
    ):
        return None
    line_ends, letters, signs, tail, ideographs = (step["pattern"].get("Regex", "") for step in steps[:5])
    if (
        line_ends != "[\r\n]"
        or tail != r"\s+$"
        or not _is_class(letters, r"\s?[A-Za-z")
        or not _is_class(signs, r"\s?[!-/:-~")
    ):
        return None
    if not _is_class(ideographs, "["):
        return None
    plain = "".join(pattern[pattern.index("[") + 1 : -2] for pattern in (letters, signs, ideographs))
    odd = re.compile(f"[^ \n\r0-9{plain}]|[{_WHITESPACE_WITHIN}]")
    return PreTokenizer("ultra_fineweb", _ULTRA_FINEWEB_PLAIN, single_digits=True, odd=odd)


def _is_class(pattern: str, start: str) -> bool:
    r"""Whether the pattern is one or more of a class of bare characters and ranges, which `re` reads as Oniguruma does."""
    body = pattern.removeprefix(start).removesuffix("]+")
    return pattern.startswith(start) and pattern.endswith("]+") and not set(body) & set(r"\[]^&")
