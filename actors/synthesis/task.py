"""A task: pairs of grids that show a rule, and inputs whose outputs are asked for."""

from __future__ import annotations

import msgspec

from actors.synthesis.grids import Grid, cells


class Pair(msgspec.Struct, frozen=True):
    input: Grid
    output: Grid


class Task(msgspec.Struct, frozen=True):
    """`train` shows the rule. All outputs of `test` have to be right; they are never told to a model or a program."""

    id: str
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]

    @property
    def inputs(self) -> list[Grid]:
        """All inputs, those of training first: what a program is run on."""
        return [pair.input for pair in (*self.train, *self.test)]

    @property
    def size(self) -> int:
        """All cells of all inputs and outputs: what subsets are ordered by."""
        return cells([grid for pair in (*self.train, *self.test) for grid in (pair.input, pair.output)])
