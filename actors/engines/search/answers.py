"""An answer as a weak model would give it: a few words and a program, often wrong, now and then broken altogether.

Which program is drawn at random, the likelier the better it fits the training pairs; the broken ones let everything
behind an engine meet what models really do. The caller's random numbers decide everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from actors.engines.search.program_writer import write_program
from actors.engines.search.search import Candidate

NO_IDEA: Final = "def transform(grid):\n    return [list(row) for row in grid]"
# By how many doublings a program is likelier that gets all training pairs right, and all cells, than one that gets none.
FOR_RIGHT, FOR_CLOSE = 5.0, 3.0
# What goes wrong in so many of a thousand answers.
FAULTS: Final = {"no program": 12, "raises": 12, "endless": 8, "no grid": 8}


def write_answer(candidates: Sequence[Candidate], pairs: int, temperature: float, random: Random) -> str:
    """The text of one answer. With temperature 0 it is the best candidate, without a fault."""
    if not candidates:
        return _text("I see no rule here, so I give the input back.", NO_IDEA)
    if temperature <= 0:
        return _answer(candidates[0])
    fault = random.choices([*FAULTS, ""], [*FAULTS.values(), 1000 - sum(FAULTS.values())])[0]
    fits = [FOR_RIGHT * each.right / pairs + FOR_CLOSE * each.closeness for each in candidates]
    weights = [2.0 ** ((fit - max(fits)) / temperature) for fit in fits]
    return _answer(random.choices(candidates, weights)[0], fault)


def _answer(candidate: Candidate, fault: str = "") -> str:
    sentences = [step.sentence for step in candidate.steps]
    said = "The rule, as I see it:\n" + "\n".join(f"{number}. {each}" for number, each in enumerate(sentences, 1))
    program = write_program(candidate.steps)
    if fault == "no program":
        return said
    if fault == "raises":
        program = program.replace("    return grid.tolist()", "    return grids.tolist()")
    elif fault == "endless":
        program = program.replace(
            "    return grid.tolist()", "    while len(grid):\n        grid = grid[::-1]\n    return grid.tolist()"
        )
    elif fault == "no grid":
        program = program.replace("    return grid.tolist()", "    return str(grid)")
    return _text(said, program)


def _text(said: str, program: str) -> str:
    return f"{said}\n\n```python\n{program}\n```"
