"""Sizes as people write them: 1GB is 1024³ as in the tools of this field, 1gB or 1kB the power of 1000."""

from __future__ import annotations

import re

_SIZE = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*(?:([kKmMgGtTpP])([iI]?)[bB]?|[bB])?\s*")
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def parse_size(text: str) -> int:
    """The number of bytes that `text` names.

    `1GB`, `1GiB` and `1G` are 1024³ bytes; a lower-case prefix (`1kB`, `1gB`) is a power of 1000, unless `i` follows.
    Raises ValueError for anything else.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no size: write 500MB, 1.5GiB, 20kB or a number of bytes")
    number, prefix, binary = match.groups()
    if prefix is None:
        return round(float(number.replace("_", "")))
    base = 1000 if prefix.islower() and not binary else 1024
    return round(float(number.replace("_", "")) * float(base ** _POWERS[prefix.lower()]))
