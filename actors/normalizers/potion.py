"""The normal forms for static embeddings: repaired text in one line, its line ends and tabs as visible signs.

`potion` is for prose (lower case, whitespace collapsed), `potion_code` for source code (case and inner spaces
kept, indentation as tabs). Neither needs a tokenizer.
"""

from __future__ import annotations

import re

from actors.normalizers.diacritics import strip_diacritics
from actors.normalizers.indentation import leading_spaces_to_tabs
from actors.normalizers.mojibake import fix_fragments
from actors.normalizers.whitespace import collapse_blank_lines, collapse_whitespace

_PARAGRAPH_END = re.compile(r"\r?\n\r?\n")
_LINE_END = re.compile(r"\r?\n")


def potion(text: str) -> str:
    """Prose: a blank line is `¶`, a line end `·`, a tab `↦`, any other whitespace one space."""
    text = strip_diacritics(collapse_blank_lines(fix_fragments(text)).lower())
    if "\r" in text:
        text = _PARAGRAPH_END.sub("¶", text)
        text = _LINE_END.sub("·", text)
    else:
        text = text.replace("\n\n", "¶").replace("\n", "·")
    return collapse_whitespace(text.replace("\t", "↦"))


def potion_code(text: str) -> str:
    """Source code: a line end is `¶`, a tab `↦`, one unit of indentation one tab."""
    text = leading_spaces_to_tabs(strip_diacritics(collapse_blank_lines(fix_fragments(text))))
    text = _LINE_END.sub("¶", text) if "\r" in text else text.replace("\n", "¶")
    return text.replace("\t", "↦").strip()
