"""Last steps whose arguments are learnt: what has to be done to some grids so that they become the wanted ones.

Each learner looks at grids and what they are to become, and proposes steps; whether a step does it is seen by running
it. A learner proposes nothing where no argument agrees with all pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import numpy as np

from actors.engines.search.library.objects import enclosed, objects_of_one_colour
from actors.engines.search.library.panels import panels
from actors.engines.search.steps import Grid, Step

Call = tuple[str, dict[str, Any]]
MOST_PANELS = 4  # whose orders are tried
MOST_STAMPED = 40  # filled cells of a grid that something may be drawn around
_PAINTERS_OF_SAME_SHAPE = (
    "paint_filled", "paint_background", "fill_enclosed", "fill_square_holes", "fill_not_enclosed", "fill_boxes",
    "connect_in_rows", "connect_in_columns", "connect_in_both", "outline", "outline_sides", "draw_border",
    "alternate_columns", "recolour_inside", "rows_of_one_colour",
)  # fmt: skip
_PAINTERS_OF_PANELS = ("where_all", "where_any", "where_none", "where_one", "where_first_only")


def proposals(grids: list[Grid], wanted: list[Grid]) -> Iterator[Call]:
    """Functions and arguments that may turn each grid into the wanted one."""
    if all(grid.shape == target.shape for grid, target in zip(grids, wanted, strict=True)):
        for learn in (_recolour, _painted, _by_object, _by_hole, _stamps, _hidden):
            yield from learn(grids, wanted)
    elif all(grid.size < target.size for grid, target in zip(grids, wanted, strict=True)):
        yield from _larger(grids, wanted)
    else:
        yield from _of_panels(grids, wanted)
        yield from _smaller(grids, wanted)


def as_step(call: Call) -> Step:
    return Step.of(call[0], **call[1])


def _consistent(pairs: Iterator[tuple[Any, Any]]) -> dict[Any, Any] | None:
    """The mapping that all pairs agree on."""
    mapping: dict[Any, Any] = {}
    for key, value in pairs:
        if mapping.setdefault(key, value) != value:
            return None
    return mapping


def _colours_of(wanted: list[Grid]) -> list[int]:
    """Colours but the background's that all wanted grids have."""
    found = set(range(1, 10))
    for target in wanted:
        found &= set(np.unique(target).tolist())
    return sorted(found)


def _recolour(grids: list[Grid], wanted: list[Grid]) -> Iterator[Call]:
    pairs = np.unique(
        np.concatenate([np.stack((g.ravel(), w.ravel()), 1) for g, w in zip(grids, wanted, strict=True)]), axis=0
    )
    mapping = _consistent((int(old), int(new)) for old, new in pairs)
    changed = {old: new for old, new in (mapping or {}).items() if old != new}
    if changed:
        yield "recolour", {"mapping": changed}


def _painted(grids: list[Grid], wanted: list[Grid]) -> Iterator[Call]:
    for colour in _colours_of(wanted):
        for name in _PAINTERS_OF_SAME_SHAPE:
            yield name, {"colour": colour}


def _by_object(grids: list[Grid], wanted: list[Grid]) -> Iterator[Call]:
    """Objects that keep their place and take one colour each."""
    if any(((grid != 0) != (target != 0)).any() for grid, target in zip(grids, wanted, strict=True)):
        return
    found: list[list[tuple[Any, int]]] = []
    for grid, target in zip(grids, wanted, strict=True):
        masks = sorted(objects_of_one_colour(grid), key=np.sum, reverse=True)
        if any(np.ptp(target[mask]) for mask in masks):
            return
        found.append([(mask, int(target[mask][0])) for mask in masks])
    measures: tuple[tuple[str, Callable[[Any], int]], ...] = (
        ("recolour_by_size", lambda mask: int(mask.sum())),
        ("recolour_by_holes", lambda mask: len(enclosed(mask.astype(np.int64)))),
    )
    for name, measure in measures:
        colours = _consistent((measure(mask), colour) for each in found for mask, colour in each)
        if colours:
            yield name, {"colours": colours}
    for last in range(1, 5):
        ranks = _consistent((min(rank, last), colour) for each in found for rank, (_, colour) in enumerate(each))
        if ranks and len(ranks) == last + 1:
            yield "recolour_by_rank", {"colours": [ranks[rank] for rank in range(last + 1)]}


def _by_hole(grids: list[Grid], wanted: list[Grid]) -> Iterator[Call]:
    holes = [(hole, target) for grid, target in zip(grids, wanted, strict=True) for hole in enclosed(grid)]
    if holes and not any(np.ptp(target[hole]) for hole, target in holes):
        colours = _consistent((int(hole.sum()), int(target[hole][0])) for hole, target in holes)
        if colours:
            yield "fill_enclosed_by_size", {"colours": colours}


def _stamps(grids: list[Grid], wanted: list[Grid]) -> Iterator[Call]:
    """What is drawn around single cells, by their colour."""
    if max(map(np.count_nonzero, grids)) > MOST_STAMPED:
        return
    for reach in (1, 2):
        stamps: dict[int, Grid] = {}
        for grid, target in zip(grids, wanted, strict=True):
            around = np.pad(target, reach, constant_values=-1)
            for row, column in zip(*np.nonzero(grid), strict=True):
                seen = around[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
                kept = stamps.setdefault(int(grid[row, column]), seen.copy())
                kept[(kept != seen) & (kept >= 0) & (seen >= 0)] = 0
                kept[kept < 0] = seen[kept < 0]
        drawn = {colour: np.maximum(kept, 0) for colour, kept in sorted(stamps.items())}
        drawn = {colour: kept for colour, kept in drawn.items() if np.count_nonzero(kept) > 1}
        if drawn:
            yield "stamp", {"stamps": {colour: kept.tolist() for colour, kept in drawn.items()}}


def _hidden(grids: list[Grid], wanted: list[Grid]) -> Iterator[Call]:
    """A colour that is in all grids and that nothing is to be left of."""
    gone = set(_colours_of(grids)) | ({0} if all((grid == 0).any() for grid in grids) else set())
    for colour in sorted(gone - {int(colour) for target in wanted for colour in np.unique(target)}):
        for name in ("complete_tiling", "restore_hidden"):
            yield name, {"hidden": colour}


def _larger(grids: list[Grid], wanted: list[Grid]) -> Iterator[Call]:
    ratios = {
        (target.shape[0] / grid.shape[0], target.shape[1] / grid.shape[1])
        for grid, target in zip(grids, wanted, strict=True)
    }
    (rows, columns), *others = ratios
    if not others and rows.is_integer() and columns.is_integer():
        for name in ("scale", "tile", "tile_mirrored", "tile_with_mirrored_lines"):
            yield name, {"rows": int(rows), "columns": int(columns)}
    for colour in _colours_of(wanted):
        yield "add_border", {"colour": colour}


def _smaller(grids: list[Grid], wanted: list[Grid]) -> Iterator[Call]:
    ratios = {
        (grid.shape[0] / target.shape[0], grid.shape[1] / target.shape[1])
        for grid, target in zip(grids, wanted, strict=True)
    }
    (rows, columns), *others = ratios
    if not others and rows.is_integer() and columns.is_integer():
        yield "shrink", {"rows": int(rows), "columns": int(columns)}


def _of_panels(grids: list[Grid], wanted: list[Grid]) -> Iterator[Call]:
    try:
        counts = {len(found) for found in map(panels, grids)}
    except ValueError:
        return
    for colour in _colours_of(wanted):
        for name in _PAINTERS_OF_PANELS:
            yield name, {"colour": colour}
    if len(counts) == 1 and (count := counts.pop()) <= MOST_PANELS:
        for order in permutations(range(count)):
            yield "overlay_panels", {"order": list(order)}
