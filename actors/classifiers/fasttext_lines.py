"""fastText's line format: `__label__good __label__short some words`, one record per physical line.

Training files and texts at inference go through the same function, so a model reads in production exactly what
it was trained on. fastText splits words at the bytes space, LF, CR, TAB, VT, FF and NUL, takes words that begin
with `__label__` for labels, and ends a record at the word `</s>`; none of that can come out of a text here. Line
boundaries that only Python sees (U+0085, U+2028 and the like) become spaces too, for readers that split lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

LABEL_PREFIX = "__label__"

_LINE_BOUNDARIES = ("\n", "\r", "\v", "\f", "\0", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
_LABEL_BLANKS = re.compile(r"[\s\0]+")
_LABEL_WORDS = re.compile(r"(?<![^ \t])(?:__label__)+")
_END_WORDS = re.compile(r"(?<![^ \t])</s>(?![^ \t])")


def fasttext_line(labels: str | Sequence[str], text: str) -> str:
    """One record, without its LF, from clean labels (see `clean_label`) and a text that may hold anything."""
    names = (labels,) if isinstance(labels, str) else labels
    return f"{' '.join([LABEL_PREFIX + name for name in names])} {fasttext_text(text)}"


def fasttext_text(text: str) -> str:
    """The text as one physical line, without anything that fastText would take for a label or for its end.

    A word loses the `__label__` it begins with, the word `</s>` is left out, and a lone surrogate, which has no
    UTF-8, becomes U+FFFD. The words are otherwise those that fastText would find in the text itself.
    """
    for boundary in _LINE_BOUNDARIES:
        text = text.replace(boundary, " ")
    # One character is found far faster than several, and most prose has neither of these two.
    if "_" in text and LABEL_PREFIX in text:
        text = _LABEL_WORDS.sub("", text)
    if "<" in text and "</s>" in text:
        text = _END_WORDS.sub("", text)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def clean_label(label: str) -> str:
    """A label as fastText needs it: without `__label__` in front, and with `_` for every run of blanks.

    Raises `ValueError` for a label with nothing in it and for a lone surrogate, which has no UTF-8. Case is kept.
    Different labels may become the same name; `LabelNames` notices.
    """
    name = _LABEL_BLANKS.sub("_", label.strip().removeprefix(LABEL_PREFIX))
    if not name:
        raise ValueError("the label is empty")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the label {name!r} holds a lone surrogate, which has no UTF-8") from None
    return name


class LabelNames:
    """Clean names with the labels they came from, so that every name leads back to one label.

    `sources` maps each clean name to its label. Add every label of a dataset, or the `sources` of its parts.
    """

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}

    def add(self, label: str) -> str:
        """The clean name of `label`. Raises `ValueError` where another label already has that name."""
        name = clean_label(label)
        self.merge({name: label})
        return name

    def merge(self, sources: Mapping[str, str]) -> None:
        """Take over the names that were found elsewhere, with the same check."""
        for name, label in sources.items():
            if (known := self.sources.setdefault(name, label)) != label:
                first, second = sorted((known, label))
                raise ValueError(f"labels {first!r} and {second!r} are both {name!r} for fastText; rename one of them")
