"""Which words move a model's output: each is left out in turn, and the output is asked for again (occlusion).

The effect of a piece is the output for the whole text minus that without the piece: exact for what it measures, and
no account of how pieces work together. Zeiler and Fergus (2014) did so with patches of pictures.
"""

from __future__ import annotations

import re
from itertools import chain

import numpy as np
import numpy.typing as npt

MAX_CHARACTERS = 8_000  # of a text that is explained
MAX_PIECES = 160  # of more words, neighbours are left out together

_WORDS = re.compile(r"\s+|\w+|[^\w\s]+")


def pieces_of(text: str) -> list[str]:
    """The text in pieces that join to it: words, runs of signs, and white space; at most MAX_PIECES with words."""
    found = _WORDS.findall(text)
    words = sum(not piece.isspace() for piece in found)
    together = -(-words // MAX_PIECES)
    if together <= 1:
        return found
    grouped: list[list[str]] = [[]]
    held = 0
    for piece in found:
        if not piece.isspace():
            if held == together:
                grouped.append([])
                held = 0
            held += 1
        grouped[-1].append(piece)
    return ["".join(group) for group in grouped if group]


def without_each(pieces: list[str]) -> tuple[list[int], list[str]]:
    """The places of the pieces that are not white space, and the texts without each of them."""
    places = [place for place, piece in enumerate(pieces) if not piece.isspace()]
    return places, ["".join(chain(pieces[:place], pieces[place + 1 :])) for place in places]


def effects(whole: float, without: npt.NDArray[np.float32], places: list[int], pieces: int) -> list[float | None]:
    """The effect of each piece on the output, None for white space; rounded to six decimals."""
    found: list[float | None] = [None] * pieces
    for place, output in zip(places, without.tolist(), strict=True):
        found[place] = round(whole - output, 6)
    return found
