"""Runs of whitespace to one space, and runs of blank lines to one; whitespace is what `str.isspace` says."""

from __future__ import annotations

import re

_BLANK_LINES = re.compile(r"\n{3,}")


def collapse_whitespace(text: str) -> str:
    r"""Every run of whitespace as one space, none at the ends: `\s+` → one space, then strip."""
    return " ".join(text.split())


def collapse_blank_lines(text: str) -> str:
    """Three or more LF in a row as two."""
    return _BLANK_LINES.sub("\n\n", text) if "\n\n\n" in text else text
