"""Text without diacritics: normalized to NFKD, characters of category Mn dropped, nothing recomposed.

An ASCII character has no decomposition and combines with nothing before it, so each run of other characters is
normalized alone, and remembered.
"""

from __future__ import annotations

import re
import unicodedata

from actors.normalizers.remembered import Remembered

_NOT_ASCII = re.compile(r"([^\x00-\x7f]+)")


def _decomposed(runs: list[str]) -> list[str]:
    category, normalize = unicodedata.category, unicodedata.normalize
    return ["".join([char for char in normalize("NFKD", run) if category(char) != "Mn"]) for run in runs]


_runs = Remembered(_decomposed)


def strip_diacritics(text: str) -> str:
    """The NFKD form of the text less its characters of category Mn."""
    if text.isascii():
        return text
    parts = _NOT_ASCII.split(text)
    parts[1::2] = _runs.of(parts[1::2])
    return "".join(parts)
