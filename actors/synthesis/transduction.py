"""Transduction: whether a program spells its answers out instead of finding them, and why it is held to.

Two independent looks. `static_reason` reads the source: do the program's own outputs stand in it, does it hold a mass
of data, does it not read its input? `independence_reason` looks at what it answers to changed inputs: a program that
found a rule answers something new to most of them; a constant or a table of known inputs never does. What is right
is not evidence and is never asked for. A program that may be honest is let through: small maps of colours, kernels,
offsets and palettes are too short to be evidence, and answers that come from a few classes are not called a table.
"""

from __future__ import annotations

import ast
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from actors.synthesis.grids import LARGEST, Grid, cells
from actors.synthesis.literals import Program, read

Answers = Sequence[Grid | None]

# A kernel or a stamp is 3 by 3 and can happen to be an output; a grid of 16 cells can not, nor can two of 9.
LARGE_GRID, SMALL_GRID = 16, 9
FEWEST_CHANGES = 3  # of colour along a grid's cells; what has fewer is made by chance, or by [0] * 9
# Eight kernels of 3 by 3 are 72 numbers, four stamps of 5 by 5 are 100; a task's outputs together are some hundreds.
MOST_NUMBERS = 150
LONGEST_WORD = 80  # characters without a blank; prose has blanks, and data coded as text has none
LARGEST_NUMBER_BITS = 128
MOST_SINGLE_CELLS = 16
FEWEST_CHANGED = 4  # changed inputs that have to be there before anything is concluded from them


def static_reason(program: str, predicted: Answers) -> str | None:
    """Why the source is held to spell out what the program returned; None where it is not, or does not parse.

    `predicted` are the program's own outputs, None where there is no grid.
    """
    source = read(program)
    if source is None:
        return None
    return _unread_input(source) or _spelled(source, predicted) or _mass_of_data(source) or _single_cells(source)


def _unread_input(source: Program) -> str | None:
    for node in source.tree.body:
        match node:
            case ast.FunctionDef(name="transform", args=arguments, body=body):
                inside: list[ast.AST] = list(body)
            case ast.Assign(targets=[ast.Name(id="transform")], value=ast.Lambda(args=arguments, body=result)):
                inside = [result]
            case _:
                continue
        given = {argument.arg for argument in (*arguments.posonlyargs, *arguments.args)}
        given |= {argument.arg for argument in (arguments.vararg, arguments.kwarg) if argument is not None}
        names = {each.id for part in inside for each in ast.walk(part) if isinstance(each, ast.Name)}
        if not given & names and "locals" not in names:
            return "input not read: transform never looks at its argument"
    return None


def _spelled(source: Program, predicted: Answers) -> str | None:
    different = {tuple(map(tuple, grid)) for grid in predicted if grid is not None}
    digits = source.digits
    found = [grid for grid in different if _is_telling(grid) and any(form in digits for form in _orientations(grid))]
    large = any(len(grid) * len(grid[0]) >= LARGE_GRID for grid in found)
    if not large and len(found) < 2:
        return None
    return f"outputs spelled out: {len(found)} of {len(different)} different outputs stand in its literals"


def _is_telling(grid: tuple[tuple[int, ...], ...]) -> bool:
    flat = [cell for row in grid for cell in row]
    changes = sum(a != b for a, b in pairwise(flat))
    return len(flat) >= SMALL_GRID and changes >= FEWEST_CHANGES


def _orientations(grid: tuple[tuple[int, ...], ...]) -> Iterator[bytes]:
    """The cells in the order of all eight turned and mirrored forms."""
    for rows in (grid, tuple(zip(*grid, strict=True))):
        for form in (rows, rows[::-1], tuple(row[::-1] for row in rows), tuple(row[::-1] for row in rows[::-1])):
            yield bytes(cell for row in form for cell in row)


def _mass_of_data(source: Program) -> str | None:
    for literal in source.literals:
        if literal.typed >= MOST_NUMBERS:
            return f"long literal: {literal.typed} numbers in one expression (line {literal.line})"
        if literal.longest_word >= LONGEST_WORD:
            return f"long literal: {literal.longest_word} characters without a blank (line {literal.line})"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            bits = node.value.bit_length()
            if bits > LARGEST_NUMBER_BITS:
                return f"long literal: a number of {bits} bits (line {node.lineno})"
    return None


def _single_cells(source: Program) -> str | None:
    found = sum(
        isinstance(node.value, ast.Constant) and any(map(_is_fixed_place, node.targets))
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Assign)
    )
    return f"cells set one by one: {found} constants at constant places" if found >= MOST_SINGLE_CELLS else None


def _is_fixed_place(target: ast.expr) -> bool:
    match target:
        case ast.Subscript(value=ast.Subscript(slice=ast.Constant()), slice=ast.Constant()):
            return True
        case ast.Subscript(slice=ast.Tuple(elts=[ast.Constant(), ast.Constant()])):
            return True
    return False


# Changed inputs


def changed_inputs(inputs: Sequence[Grid]) -> list[Grid]:
    """At most one input for each kind of change, none of which the task has; the same for the same inputs.

    Some changes are slight (two cells swapped), so that a program that asks much of its input has something to
    answer; others leave little as it was, so that one that looks at few traits has to answer differently.
    """
    found: list[Grid] = []
    for number, change in enumerate(_CHANGES):
        for turn in range(len(inputs)):
            changed = change(inputs[(number + turn) % len(inputs)])
            if changed is not None and changed not in inputs and changed not in found:
                found.append(changed)
                break
    return found


def _recoloured(grid: Grid) -> Grid:
    return [[cell and cell % 9 + 1 for cell in row] for row in grid]


def _shifted_colours(grid: Grid) -> Grid:
    return [[(cell + 1) % 10 for cell in row] for row in grid]


def _transposed(grid: Grid) -> Grid:
    return [list(column) for column in zip(*grid, strict=True)]


def _mirrored(grid: Grid) -> Grid:
    return [row[::-1] for row in grid]


def _rolled(grid: Grid) -> Grid:
    rolled = grid[-1:] + grid[:-1]
    return [row[-1:] + row[:-1] for row in rolled]


def _swapped(grid: Grid) -> Grid | None:
    """Two neighbouring cells of different colours exchanged, as near to the middle as there are any."""
    height, width = len(grid), len(grid[0])
    places = ((r, c) for r in range(height) for c in range(width - 1) if grid[r][c] != grid[r][c + 1])
    place = min(places, key=lambda at: (abs(2 * at[0] - height) + abs(2 * at[1] - width), at), default=None)
    if place is None:
        return None
    row, column = place
    changed = [list(cells) for cells in grid]
    changed[row][column], changed[row][column + 1] = changed[row][column + 1], changed[row][column]
    return changed


def _shuffled(grid: Grid) -> Grid:
    flat = [cell for row in grid for cell in row]
    random.Random(len(flat)).shuffle(flat)
    width = len(grid[0])
    return [flat[start : start + width] for start in range(0, len(flat), width)]


def _enlarged(grid: Grid) -> Grid | None:
    """With its last row and column twice."""
    if len(grid) == LARGEST or len(grid[0]) == LARGEST:
        return None
    return [row + row[-1:] for row in (*grid, grid[-1])]


_CHANGES: tuple[Callable[[Grid], Grid | None], ...] = (
    _recoloured, _swapped, _transposed, _mirrored, _rolled, _shuffled, _enlarged, _shifted_colours,
)  # fmt: skip


def independence_reason(inputs: Sequence[Grid], outputs: Answers, changed: Answers) -> str | None:
    """Why the program's answers are held not to come from its input; None where they may.

    `outputs` are its answers to the task's inputs, `changed` those to `changed_inputs(inputs)`, in the same order;
    None where it failed. Raises ValueError where there is not one for each.
    """
    asked = changed_inputs(inputs)
    if len(outputs) != len(inputs) or len(changed) != len(asked):
        raise ValueError(
            f"{len(outputs)} and {len(changed)} answers to {len(inputs)} inputs and {len(asked)} changed ones"
        )
    known = [answer for answer in outputs if answer is not None]
    if len(asked) < FEWEST_CHANGED or not known:
        return None
    given = [answer for answer in changed if answer is not None]
    if not given:
        return f"only the task's own inputs: it fails on all {len(asked)} changed ones"
    several = sum(grid not in inputs[:number] for number, grid in enumerate(inputs)) > 1
    if several and len(given) >= FEWEST_CHANGED and all(answer == known[0] for answer in (*known, *given)):
        return f"constant: the same answer to all inputs and to {len(given)} changed ones"
    return _table(inputs, outputs, asked, changed)


def _table(inputs: Sequence[Grid], outputs: Answers, asked: Sequence[Grid], changed: Answers) -> str | None:
    """Whether answers are looked up: nothing new comes to changed inputs, or one thing for all of them."""
    known = [answer for answer in outputs if answer is not None]
    if max(cells([answer]) for answer in known) < SMALL_GRID:
        return None  # an answer out of a few classes seldom changes
    copies = any(grid == answer for grid, answer in zip(inputs, outputs, strict=True))
    new = Counter(
        str(answer)
        for grid, answer in zip(asked, changed, strict=True)
        if answer is not None and answer not in known and (copies or answer != grid)
    )
    if not new:
        return f"a table of known inputs: no new answer to {len(asked)} changed ones"
    if len(new) == 1 and 2 * new.total() >= len(asked) and new.total() >= FEWEST_CHANGED:
        return f"a table of known inputs: one and the same answer to {new.total()} changed ones"
    return None
