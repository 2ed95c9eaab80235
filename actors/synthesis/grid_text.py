"""The one drawing of grids as text, in every prompt and in training data: rows of numbers with spaces between them.

A row without cells is `[EMPTY_ROW]`, and a grid without rows is the empty text, so that whatever is drawn can be read
back: parse_grid(format_grid(g)) == g. It does not judge whether a grid is a valid one (see `grids.is_grid`).
"""

from __future__ import annotations

import re

from actors.synthesis.grids import Grid

EMPTY_ROW = "[EMPTY_ROW]"
# Bounded, since Python refuses to read integers of thousands of digits, with an error of its own.
_ROW = re.compile(r"-?[0-9]{1,18}(?: -?[0-9]{1,18})*")


def format_grid(grid: Grid) -> str:
    """The rows from top to bottom, one a line, without a line end after the last."""
    return "\n".join(" ".join(map(str, row)) or EMPTY_ROW for row in grid)


def parse_grid(text: str) -> Grid:
    """The grid of such a text. Raises ValueError that names the row (counted from 1) which is none."""
    return [_row(line, number) for number, line in enumerate(text.split("\n"), 1)] if text else []


def is_row(line: str) -> bool:
    """Whether a line of text is the drawing of a row."""
    return line == EMPTY_ROW or _ROW.fullmatch(line) is not None


def _row(line: str, number: int) -> list[int]:
    if not is_row(line):
        raise ValueError(f"row {number} is no row of a grid: {line[:60]!r}; numbers with one space between them are")
    return [] if line == EMPTY_ROW else list(map(int, line.split(" ")))
