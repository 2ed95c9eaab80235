"""Cutting a long text down to a limit of characters or tokens, with a mark in the text that says how much is gone.

Characters are code points; tokens are those of the tokenizer that is given, and a cut falls between two of them in
the original text, never in a decoded copy of it. The mark comes on top of the limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Where = Literal["head", "tail", "middle"]
Unit = Literal["characters", "tokens"]


@dataclass(frozen=True, slots=True)
class Truncated:
    """A text and how much of it is kept; `where` says which part: the head, the tail, or both ends with a gap between.

    `text` has the mark, `parts` are the kept pieces without it. Where nothing was cut, `kept` is `of`.
    """

    text: str
    kept: int
    of: int
    unit: Unit
    where: Where
    parts: tuple[str, ...]

    @property
    def is_cut(self) -> bool:
        return self.kept < self.of

    def meta(self) -> dict[str, Any] | None:
        """What was cut, for `_meta`; None where nothing was."""
        if not self.is_cut:
            return None
        return {f"kept_{self.unit}": self.kept, f"of_{self.unit}": self.of, "kept_part": self.where}


def truncate(
    text: str,
    limit: int,
    where: Where = "head",
    unit: Unit = "characters",
    tokenizer: Tokenizer | None = None,
) -> Truncated:
    """Keep at most `limit` characters or tokens of a text: its head, its tail, or both ends without the middle.

    The tokenizer must neither truncate nor pad. Raises ValueError for a limit below 1 and for tokens without one.
    """
    if limit < 1:
        raise ValueError(f"limit={limit}: give a number of {unit} of at least 1")
    if unit == "characters":
        return _by_characters(text, limit, where)
    if tokenizer is None:
        raise ValueError("unit='tokens': give the tokenizer that counts them")
    return _by_tokens(text, limit, where, tokenizer)


def _shares(limit: int, where: Where) -> tuple[int, int]:
    """How much is kept of the head and of the tail."""
    return {"head": (limit, 0), "tail": (0, limit), "middle": (limit - limit // 2, limit // 2)}[where]


def _by_characters(text: str, limit: int, where: Where) -> Truncated:
    if len(text) <= limit:
        return Truncated(text, len(text), len(text), "characters", where, (text,))
    head, tail = _shares(limit, where)
    return _marked(text[:head], text[len(text) - tail :], limit, len(text), "characters", where)


def _by_tokens(text: str, limit: int, where: Where, tokenizer: Tokenizer) -> Truncated:
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    if len(offsets) <= limit:
        return Truncated(text, len(offsets), len(offsets), "tokens", where, (text,))
    budget = limit
    while budget > 0:
        head, tail = _shares(budget, where)
        first, last = text[: _end(offsets, head)], text[_start(offsets, tail, len(text)) :]
        # A piece by itself may take more tokens than it did in the text: what stands around it has a say.
        kept = _count(first, tokenizer) + _count(last, tokenizer)
        if kept <= limit:
            return _marked(first, last, min(kept, budget), len(offsets), "tokens", where)
        budget -= kept - limit
    return _marked("", "", 0, len(offsets), "tokens", where)


def _end(offsets: list[tuple[int, int]], count: int) -> int:
    """Where the first `count` tokens end, in characters; a character that is split between tokens is left out."""
    return 0 if count == 0 else min(offsets[count - 1][1], offsets[count][0])


def _start(offsets: list[tuple[int, int]], count: int, length: int) -> int:
    """Where the last `count` tokens start."""
    return length if count == 0 else max(offsets[-count][0], offsets[-count - 1][1])


def _count(text: str, tokenizer: Tokenizer) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False).ids) if text else 0


def _marked(head: str, tail: str, kept: int, of: int, unit: Unit, where: Where) -> Truncated:
    mark = f"[… {of - kept:,} {unit} cut …]"
    parts = (head, tail) if where == "middle" else (head or tail,)
    before, after = ("\n" if head else ""), ("\n" if tail else "")
    return Truncated(f"{head}{before}{mark}{after}{tail}", kept, of, unit, where, parts)
