"""A step of a program: one function of the library with its arguments; and the library's functions by what they need.

Functions are known by name, so that a step is plain data, equal to its like, and shown as the call that it is.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from actors.engines.search.library import colours, geometry, objects, panels, patterns

Grid = npt.NDArray[np.int64]
MODULES: Final = (geometry, colours, objects, patterns, panels)
LARGEST: Final = 30

# What the functions of a grid, or of a grid and other things, raise for one that they are not made for.
_MISFITS = (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError, StopIteration)
# Parts of functions rather than steps.
_PARTS = {
    "connected",
    "objects",
    "objects_of_one_colour",
    "cut_out",
    "enclosed",
    "overlay",
    "neighbours",
    "runs",
    "panels",
}


def _functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    return {
        name: found
        for name, found in vars(module).items()
        if callable(found) and getattr(found, "__module__", "") == module.__name__
    }


FUNCTIONS: Final = {name: found for module in MODULES for name, found in _functions(module).items()}
_PARAMETERS: Final = {
    name: found.__code__.co_varnames[1 : found.__code__.co_argcount] for name, found in FUNCTIONS.items()
}
PLAIN: Final = tuple(name for name, parameters in _PARAMETERS.items() if not parameters and name not in _PARTS)
"""Functions that need nothing but the grid."""
SLOW: Final = frozenset(_functions(objects)) | {
    *("complete_tiling", "restore_hidden", "extend_diagonals", "stamp"),
    *("connect_in_rows", "connect_in_columns", "connect_in_both", "connect_own"),
}
"""Functions that loop over cells, lines or sizes in Python."""


@dataclass(frozen=True)
class Step:
    """A call of `FUNCTIONS[function]` with a grid and `arguments`, which are plain values as `repr` writes them."""

    function: str
    arguments: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, function: str, **arguments: Any) -> Step:
        return cls(function, tuple((name, repr(value)) for name, value in arguments.items()))

    def run(self, grids: list[Grid]) -> list[Grid] | None:
        """As `run`, with the step's arguments."""
        return run(self.function, grids, **{name: ast.literal_eval(value) for name, value in self.arguments})

    @property
    def call(self) -> str:
        """As it is written in a program, with the grid as `grid`."""
        return f"{self.function}({', '.join(['grid', *(value for _, value in self.arguments)])})"

    @property
    def sentence(self) -> str:
        """What it does, in words."""
        said = (FUNCTIONS[self.function].__doc__ or "").strip()
        values = ", ".join(f"{name} {value}" for name, value in self.arguments)
        return f"{said[:-1]} ({values})." if values else said


def run(function: str, grids: list[Grid], **arguments: Any) -> list[Grid] | None:
    """The function on all grids; None where it is not made for one of them, or makes of it what is no grid."""
    call, made = FUNCTIONS[function], []
    for grid in grids:
        try:
            result = call(grid, **arguments)
        except _MISFITS:
            return None
        if result.ndim != 2 or not (0 < result.shape[0] <= LARGEST and 0 < result.shape[1] <= LARGEST):
            return None
        made.append(result)
    return made
