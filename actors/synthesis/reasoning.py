"""The reasoning in a model's answer: what it wrote before the program that was taken from it."""

from __future__ import annotations

import re

_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[ \t]*(?:python3?|py)\b[^\n]*$", re.MULTILINE | re.IGNORECASE)


def reasoning_of(response: str) -> str | None:
    """All that stands before the last opening fence of a Python block, without the blanks around it; None for nothing.

    Thoughts between `<think>` tags are part of it, tags and all, as the engine delivered them.
    """
    fences = list(_FENCE.finditer(response))
    text = response[: fences[-1].start()].strip() if fences else ""
    return text or None
