"""The search for programs: compositions of up to three steps of the library, by how well they fit the training pairs.

It looks at training pairs alone, goes through the same compositions in the same order every time, and stops when its
budget of work is spent: the work is counted in cells, not in seconds, so that the result does not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.engines.search.learning import as_step, proposals
from actors.engines.search.steps import PLAIN, SLOW, Grid, Step, run

Array = npt.NDArray[Any]
KEPT = 120  # candidates of a task
# A grid that is filled where it should be, in whatever colours, promises nearly as much as one that agrees in its cells.
FILLED = 0.9
ALIKE = 3  # candidates that do the same to all training inputs: they may differ in what they do to others
GROWN = (1, 45, 12)  # compositions of 0, 1 and 2 steps that are made longer
LEARNT_FROM = (1, 50, 40)  # compositions of 0, 1 and 2 steps after which a learnt step is tried
BUDGET = 6_000_000  # cells that steps are applied to, each counting COST times for a slow function
COST = 40
# Functions of a colour that make sense of one that is there, as a step before others.
_OF_PRESENT = (
    "keep_colour", "remove_colour", "crop_to_colour", "crop_inside_colour", "copy_where_colour",
)  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """Steps, how many training outputs they get right, and how much of the others' cells (0 to 1)."""

    steps: tuple[Step, ...]
    right: int
    closeness: float

    def runs_on(self, grids: list[Grid]) -> bool:
        """Whether it makes a grid of each."""
        made: list[Grid] | None = grids
        for step in self.steps:
            made = None if made is None else step.run(made)
        return made is not None

    @property
    def rank(self) -> tuple[int, float, int]:
        """The better, the higher; of two that fit equally well, the one that is written shorter."""
        return self.right, self.closeness, -sum(len(step.call) for step in self.steps)


@dataclass
class _Node:
    """A composition and what it makes of the inputs. `promise` says how much more may come of it, 0 to 1."""

    candidate: Candidate
    grids: list[Grid]
    promise: float


@dataclass
class Search:
    """One search, to be run once: `inputs` and `outputs` are the training pairs' grids."""

    inputs: list[Grid]
    outputs: list[Grid]
    depth: int = 3
    budget: int = BUDGET
    _seen: set[bytes] = field(default_factory=set)
    _found: dict[bytes, list[Candidate]] = field(default_factory=dict)

    def run(self) -> list[Candidate]:
        """The best candidates, best first; of those that do the same to all training inputs, the first ALIKE found."""
        layer = [self._node((), self.inputs)]
        self._seen.add(_key(self.inputs))
        for length in range(self.depth):
            for node in _best(layer, LEARNT_FROM[length]):
                self._learn(node)
            layer = [child for node in _best(layer, GROWN[length]) for child in self._children(node)]
        found = [candidate for alike in self._found.values() for candidate in alike]
        return nlargest(KEPT, found, key=lambda candidate: candidate.rank)

    def _children(self, node: _Node) -> Iterator[_Node]:
        steps: list[tuple[str, dict[str, int]]] = [(name, {}) for name in PLAIN]
        steps += [(name, {"colour": colour}) for colour in _present(node.grids) for name in _OF_PRESENT]
        for name, arguments in steps:
            grids = self._applied(name, node.grids, arguments)
            if grids is None:
                continue
            child = self._node((*node.candidate.steps, Step.of(name, **arguments)), grids)
            if (key := _key(grids)) not in self._seen:
                self._seen.add(key)
                yield child

    def _learn(self, node: _Node) -> None:
        # Learning looks at objects and holes, too.
        self.budget -= sum(grid.size for grid in node.grids) * COST
        if self.budget <= 0:
            return
        for call in proposals(node.grids, self.outputs):
            grids = self._applied(call[0], node.grids, call[1])
            if grids is not None:
                self._node((*node.candidate.steps, as_step(call)), grids)

    def _applied(self, name: str, grids: list[Grid], arguments: dict[str, int]) -> list[Grid] | None:
        if self.budget <= 0:
            return None
        self.budget -= sum(grid.size for grid in grids) * (COST if name in SLOW else 1) + 300
        return run(name, grids, **arguments)

    def _node(self, steps: tuple[Step, ...], grids: list[Grid]) -> _Node:
        pairs = list(zip(grids, self.outputs, strict=True))
        agreed = [_agreement(grid, output) for grid, output in pairs]
        candidate = Candidate(steps, sum(part == 1 for part in agreed), round(sum(agreed) / len(agreed), 6))
        alike = self._found.setdefault(_key(grids), [])
        if steps and len(alike) < ALIKE:
            alike.append(candidate)
        filled = [_agreement(grid != 0, output != 0) for grid, output in pairs]
        of_its_shape = sum(grid.shape == output.shape for grid, output in pairs)
        promise = (max(sum(agreed), FILLED * sum(filled)) + of_its_shape) / (2 * len(pairs))
        return _Node(candidate, grids, promise)


def _best(layer: Sequence[_Node], count: int) -> list[_Node]:
    return nlargest(count, layer, key=lambda node: (node.promise, node.candidate.rank))


def _agreement(grid: Array, output: Array) -> float:
    return float((grid == output).mean()) if grid.shape == output.shape else 0.0


def _present(grids: list[Grid]) -> list[int]:
    """Colours but the background's that all grids have."""
    found = set(range(1, 10))
    for grid in grids:
        found &= set(np.unique(grid).tolist())
    return sorted(found)


def _key(grids: list[Grid]) -> bytes:
    return b"|".join(b"%d:%s" % (grid.shape[1], grid.astype(np.int8).tobytes()) for grid in grids)
