"""Indentation by spaces rewritten as indentation by tabs, in a unit that is found in the text itself."""

from __future__ import annotations

import re
from math import gcd

_MEASURED = re.compile(r"\n( +)(?=[^ \t\n])")
_INDENTED = re.compile(r"(\n +)")


def indentation_unit(text: str) -> int:
    """The greatest common divisor of the non-zero counts of leading spaces, 0 if no line is indented by spaces.

    Lines of spaces alone do not count, nor do lines whose first character after the spaces is a tab.
    """
    return gcd(*map(len, set(_MEASURED.findall("\n" + text))))


def leading_spaces_to_tabs(text: str) -> str:
    """Each line that starts with n spaces starts with n // unit tabs and n % unit spaces instead."""
    if not text.startswith(" ") and "\n " not in text:
        return text
    unit = indentation_unit(text)
    if not unit:
        return text

    parts = _INDENTED.split("\n" + text)
    tabbed = {}
    for indent in set(parts[1::2]):
        tabs, spaces = divmod(len(indent) - 1, unit)
        tabbed[indent] = "\n" + "\t" * tabs + " " * spaces
    parts[1::2] = map(tabbed.__getitem__, parts[1::2])
    return "".join(parts)[1:]
