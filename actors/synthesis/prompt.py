"""What a model is told: a task as the first turn, and what became of a program as the next one or as a new first one.

The words are Jinja2 templates in `prompts/`; the grids in them are drawn by `grid_text`, so that they look the same
everywhere. Test outputs are in no message: nothing of them is given to a template, and what became of a program on the
test inputs is not either. Choosing the program to go on with, and sending anything, are not done here.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined, meta

from actors.engines.contract import Message
from actors.special_tokens import neutralize
from actors.synthesis.attempt import Attempt, PairResult, Status
from actors.synthesis.grid_picture import png
from actors.synthesis.grid_text import format_grid
from actors.synthesis.grids import Grid, pixel_accuracy, shape
from actors.synthesis.task import Pair, Task

Mode = Literal["independent", "feedback", "refine"]
MODES: tuple[Mode, ...] = Mode.__args__  # type: ignore[attr-defined]

# Raise it when what stands in the templates' places is made otherwise; that a template itself changes is in the hash.
EDITION = 1
MESSAGE_SHOWN = 300  # characters of an error's own text

_FOLDER = Path(__file__).with_name("prompts")
_FIRST = "independent.md.j2"
_LATER: dict[Mode, tuple[str, ...]] = {"independent": (), "feedback": ("feedback.md.j2",), "refine": ("refine.md.j2",)}
_FENCE = re.compile(r"`{3,}")
_WITHOUT_PROGRAM: dict[Status, str] = {
    "no_code": "Your answer has no ```python block that defines `transform`, so there is nothing to run.",
    "truncated": "Your answer was cut off at its limit of tokens before its program was complete. Be brief.",
    "empty_response": "Your answer was empty.",
}
_NO_OUTPUT = {
    "timeout": "no output, it ran out of time",
    "memory": "no output, it ran out of memory",
    "exception": "no output, it raised an error",
    "output_limit": "no output, it printed or returned too much",
    "killed": "no output, its process came to an end",
    "sandbox_failure": "no output, it could not be run",
    "wrong_type": "it returned what is no grid",
    "invalid": "it returned what is no grid",
}


@dataclass(frozen=True)
class TaskPrompt:
    """The templates of one mode. `version` changes with every character of them: "independent@1-3f2a9c01"."""

    mode: Mode
    version: str

    @classmethod
    def load(cls, mode: Mode) -> TaskPrompt:
        """Raises ValueError for a mode that there is none of."""
        if mode not in MODES:
            raise ValueError(f"no mode {mode!r}: there are {', '.join(MODES)}")
        digest = hashlib.sha256()
        for name in sorted({each for template in (_FIRST, *_LATER[mode]) for each in _with_included(template)}):
            digest.update(b"\0".join((name.encode(), (_FOLDER / name).read_bytes(), b"")))
        return cls(mode, f"{mode}@{EDITION}-{digest.hexdigest()[:8]}")

    def messages(self, task: Task, images: bool = False) -> tuple[Message, ...]:
        """The first turn, the same in every mode. With `images` every grid that it shows is attached as a picture."""
        return (_turn(_FIRST, task, images),)

    def feedback(self, task: Task, attempt: Attempt) -> Message:
        """The turn after an answer: what is wrong with its program on the training pairs, or that there is none.

        Raises ValueError for an attempt without an answer of the model's, since nothing can be said to it of that.
        """
        return Message("user", _rendered("feedback.md.j2", **_results(task, attempt)))

    def refine(self, task: Task, attempt: Attempt, images: bool = False) -> tuple[Message, ...]:
        """A first turn with an earlier program and what became of it. Raises ValueError for an attempt without one."""
        if attempt.program is None:
            raise ValueError(f"{attempt.task_id}, attempt {attempt.attempt}: no program to refine ({attempt.status})")
        program = neutralize(attempt.program)[0].strip("\n")
        fence = "`" * max((len(run) + 1 for run in _FENCE.findall(program)), default=3)
        return (_turn("refine.md.j2", task, images, program=program, fence=fence, **_results(task, attempt)),)


def _turn(template: str, task: Task, images: bool, **more: Any) -> Message:
    tests = [pair.input for pair in task.test]
    train = [{"input": _drawn(pair.input), "output": _drawn(pair.output)} for pair in task.train]
    text = _rendered(template, images=images, train=train, tests=[_drawn(grid) for grid in tests], **more)
    shown = [grid for pair in task.train for grid in (pair.input, pair.output)] + tests if images else []
    return Message("user", text, tuple(map(_data_url, shown)))


def _results(task: Task, attempt: Attempt) -> dict[str, Any]:
    """What the templates say of an attempt: of its training results alone, whatever its status says beyond them."""
    if not attempt.train:
        if attempt.status not in _WITHOUT_PROGRAM:
            raise ValueError(f"{attempt.task_id}, attempt {attempt.attempt}: no training results ({attempt.status})")
        return {"problem": _WITHOUT_PROGRAM[attempt.status], "is_all_right": False, "results": [], "right": 0}
    results = [
        {"verdict": _verdict(pair, result, predicted), "output": None if result.correct else _drawn(predicted)}
        for pair, result, predicted in zip(task.train, attempt.train, attempt.predicted_train, strict=True)
    ]
    right = sum(result.correct for result in attempt.train)
    return {"problem": "", "is_all_right": right == len(results), "results": results, "right": right}


def _verdict(pair: Pair, result: PairResult, predicted: Grid | None) -> str:
    if result.correct:
        return "Right."
    if result.status == "ok" and predicted is not None:
        if (wanted := shape(pair.output)) != (made := shape(predicted)):
            return f"Wrong shape: its output is {made}, the right output is {wanted}."
        total = len(pair.output) * len(pair.output[0])
        differing = round(total * (1 - pixel_accuracy(predicted, pair.output)))
        return f"Wrong cells: {differing} of {total} differ from the right output."
    # One line, and of a length that cannot drown the task: what an error says is the program's to choose.
    said = neutralize(" ".join(result.message.split())[:MESSAGE_SHOWN])[0]
    return f"Wrong: {_NO_OUTPUT.get(result.status, _NO_OUTPUT['invalid'])}{': ' + said if said else '.'}"


def _drawn(grid: Grid | None) -> dict[str, str] | None:
    return None if grid is None else {"shape": shape(grid), "text": format_grid(grid)}


def _data_url(grid: Grid) -> str:
    return f"data:image/png;base64,{base64.b64encode(png(grid)).decode()}"


# The templates


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _rendered(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(values).strip("\n")


def _with_included(template: str) -> Iterator[str]:
    """The file and those that it takes in, however deep."""
    yield template
    for name in meta.find_referenced_templates(_environment().parse((_FOLDER / template).read_text())):
        if name is not None:
            yield from _with_included(name)
