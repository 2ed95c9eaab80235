"""Steps as a program that stands by itself: the library's functions that it needs, and `transform`.

The functions are the library's own source without annotations, each after those that it calls.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from actors.engines.search.steps import FUNCTIONS, MODULES, Step

PREAMBLE = "import numpy as np"


def write_program(steps: Sequence[Step]) -> str:
    """The source of a program that takes a list of lists, does the steps in order, and returns a list of lists."""
    needed: dict[str, str] = {}
    for step in steps:
        _collect(step.function, needed)
    calls = "".join(f"    grid = {step.call}\n" for step in steps)
    main = f"def transform(grid):\n    grid = np.array(grid)\n{calls}    return grid.tolist()"
    return "\n\n\n".join([PREAMBLE, *needed.values(), main])


def _collect(name: str, needed: dict[str, str]) -> None:
    source = _sources()[name]
    for called in source.calls:
        if called not in needed:
            _collect(called, needed)
    needed[name] = source.text


@dataclass(frozen=True)
class _Source:
    text: str
    calls: tuple[str, ...]


@lru_cache(maxsize=1)
def _sources() -> dict[str, _Source]:
    """Every function of the library, and the others of the library that it calls."""
    found: dict[str, _Source] = {}
    for module in MODULES:
        for node in _Plain().visit(ast.parse(inspect.getsource(module))).body:
            if isinstance(node, ast.FunctionDef):
                names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} & FUNCTIONS.keys()
                found[node.name] = _Source(ast.unparse(node), tuple(sorted(names - {node.name})))
    return found


class _Plain(ast.NodeTransformer):
    """Takes annotations out."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.returns = None
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return node
        return ast.copy_location(ast.Assign([node.target], node.value), node)
