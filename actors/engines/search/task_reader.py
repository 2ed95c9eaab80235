"""The task read back from the prompt's text, as `actors.synthesis.prompt` draws it: training pairs and test inputs.

A grid stands under a line that says what it is and its shape: "Input, 2 x 3:". The task ends where another part of
the prompt begins, such as an earlier program, so that nothing in there is taken for the task's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from actors.engines.contract import Message
from actors.synthesis.grid_text import is_row, parse_grid
from actors.synthesis.grids import Grid, is_grid

_SHOWN = re.compile(r"(Input|Output), [0-9]+ x [0-9]+:")
_PARTS = ("# Training pairs", "# Test inputs")


@dataclass(frozen=True)
class ShownTask:
    """What a prompt shows of a task."""

    train: tuple[tuple[Grid, Grid], ...]
    tests: tuple[Grid, ...]


def read_task(messages: Sequence[Message]) -> ShownTask | None:
    """The task of a conversation, None where no turn shows training pairs."""
    for message in messages:
        train: list[tuple[Grid, Grid]] = []
        inputs: list[Grid] = []
        for kind, grid in _grids(message.content.split("\n")):
            if kind == "Input":
                inputs.append(grid)
            elif inputs:
                train.append((inputs.pop(), grid))
        if train:
            return ShownTask(tuple(train), tuple(inputs))
    return None


def _grids(lines: Sequence[str]) -> Iterator[tuple[Literal["Input", "Output"], Grid]]:
    for at, line in enumerate(lines):
        if line.startswith("# ") and line not in _PARTS:
            return
        if found := _SHOWN.fullmatch(line):
            end = at + 1
            while end < len(lines) and is_row(lines[end]):
                end += 1
            grid = parse_grid("\n".join(lines[at + 1 : end]))
            if is_grid(grid):
                yield "Input" if found[1] == "Input" else "Output", grid
