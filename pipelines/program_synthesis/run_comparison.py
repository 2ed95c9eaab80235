"""Whether one run is better than another: every figure's difference on the same tasks, with interval, p and verdict.

The tasks are redrawn for both runs at once, so that what is hard for both cancels. A difference counts as found only
where its bootstrap interval leaves out 0 and the sign-flip test agrees: with a handful of tasks the bootstrap alone is
too sure of itself. Deterministic for a given seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from actors.synthesis.task import Task
from cluster.errors import GristmillError
from pipelines.curation.bootstrap import (
    Estimate,
    FloatArray,
    Resampling,
    percentile_estimate,
    replicate_rows,
)
from pipelines.program_synthesis.scores import HEADLINE, RESAMPLING, RunScores

Outcome = Literal["better", "worse", "undecided"]
LEVEL = 0.05
# Means of the same shares in another order differ in their last digits, which is no difference.
_ROUNDING = 1e-9
_NUMBERS_AT_ONCE = 1 << 20


class NotComparable(GristmillError):
    """Two runs that do not have the same tasks."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of both runs, as shares; `difference` is second minus first, `p` that of a two-sided sign-flip test."""

    figure: str
    first: float
    second: float
    difference: Estimate
    p: float

    @property
    def outcome(self) -> Outcome:
        """What the second run is against the first."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None or (low <= _ROUNDING and high >= -_ROUNDING) or self.p >= LEVEL:
            return "undecided"
        return "better" if low > 0 else "worse"


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Two runs side by side on `tasks`; `only_first` and `only_second` are tasks that were left out."""

    tasks: tuple[str, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    differences: tuple[Difference, ...]
    resampling: Resampling

    @property
    def headline(self) -> Difference:
        return next(each for each in self.differences if each.figure == HEADLINE)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "tasks": len(self.tasks),
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
            "differences": [
                asdict(each) | {"difference": each.difference.to_dict(), "outcome": each.outcome}
                for each in self.differences
            ],
            "resampling": asdict(self.resampling),
        }


def compare_runs(
    first: RunScores, second: RunScores, only_first: Sequence[str] = (), only_second: Sequence[str] = ()
) -> RunComparison:
    """Compare the figures that both runs have, on the tasks that both were scored on.

    Both must have been scored on the same tasks, in any order (see `common_tasks`). Raises NotComparable otherwise, and
    where only one of them leaves transductive attempts out.
    """
    if set(first.tasks) != set(second.tasks):
        raise NotComparable("the two runs were scored on different tasks")
    if first.exclude_transductive != second.exclude_transductive:
        raise NotComparable("only one of the two runs was scored without transductive attempts")
    names = [name for name in first.figures if name in second.figures]
    places = {task: place for place, task in enumerate(second.tasks)}
    order = [places[task] for task in first.tasks]
    one = np.stack([first.of_tasks(name).mean(axis=0) for name in names], axis=1)
    other = np.stack([second.of_tasks(name).mean(axis=0)[order] for name in names], axis=1)
    moved = other - one
    drawn = replicate_rows(len(moved), RESAMPLING, "tasks", lambda counts: counts @ moved / len(moved))
    chances = sign_flip(moved, RESAMPLING)
    differences = tuple(
        Difference(
            name,
            float(one[:, column].mean()),
            float(other[:, column].mean()),
            percentile_estimate(float(moved[:, column].mean()), drawn[:, column], RESAMPLING),
            float(chances[column]),
        )
        for column, name in enumerate(names)
    )
    return RunComparison(tuple(first.tasks), tuple(only_first), tuple(only_second), differences, RESAMPLING)


def other_differences(configs: Sequence[Mapping[str, Any]], scores: Sequence[RunScores]) -> list[str]:
    """What else sets two runs apart and moves the figures: how attempts were made, and how many were not answered."""
    names = {"max_attempts": "attempts at a task", "mode": "mode", "stop_when_solved": "stop when solved"}
    told = [(words, [_plain(config.get(name)) for config in configs]) for name, words in names.items()]
    unanswered = [f"{100 * each.unanswered / max(each.attempts, 1):.1f} %" for each in scores]
    told.append(("attempts without an answer", unanswered))
    return [f"{words}: {first} and {second}" for words, (first, second) in told if first != second]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not known" if value is None else str(value)


def sign_flip(moved: FloatArray, resampling: Resampling) -> FloatArray:
    """Two-sided p of "on every task either run might as well be the other", for each column of (tasks, figures).

    The sign-flip (paired randomization) test of Fisher (1935), by random flips: the share of flips, the observed one
    among them, whose mean is at least as far from 0.
    """
    generator = resampling.generator("flips")
    observed = np.abs(moved.sum(axis=0))
    reached = np.ones(moved.shape[1])
    batch = max(1, _NUMBERS_AT_ONCE // max(1, len(moved)))
    for start in range(0, resampling.resamples, batch):
        number = min(batch, resampling.resamples - start)
        signs = generator.integers(0, 2, size=(number, len(moved)), dtype=np.int8) * 2.0 - 1
        reached += (np.abs(signs @ moved) >= observed - _ROUNDING).sum(axis=0)
    chances: FloatArray = reached / (resampling.resamples + 1)
    return chances


@dataclass(frozen=True, slots=True)
class CommonTasks:
    """The tasks of two runs: those of both, and the ids of those that only one of them has."""

    both: tuple[Task, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def common_tasks(first: Sequence[Task], second: Sequence[Task]) -> CommonTasks:
    """The tasks that both runs asked for. Raises NotComparable for tasks of one id and different content, or none."""
    one, other = ({task.id: task for task in tasks} for tasks in (first, second))
    both = tuple(task for task in first if task.id in other)
    differing = [task.id for task in both if other[task.id] != task]
    if differing:
        raise NotComparable(
            f"{len(differing)} tasks have the same id in both runs and are not the same (such as {differing[0]!r}): "
            "the runs are on different task sets"
        )
    if not both:
        raise NotComparable("the two runs have no task in common")
    return CommonTasks(
        both,
        tuple(task.id for task in first if task.id not in other),
        tuple(task.id for task in second if task.id not in one),
    )


def verdict(comparison: RunComparison, first: str, second: str) -> str:
    """The headline figure's difference in words, in points: per cent of the tasks."""
    found = comparison.headline
    value, low, high = found.difference.value, found.difference.low, found.difference.high
    if value is None or low is None or high is None:
        return f"nothing can be said about {first} and {second}: {found.difference.reason}"
    points = f"{abs(100 * value):.1f} points"
    if found.outcome == "undecided":
        interval = f"[{100 * low:.1f}, {100 * high:.1f}]"
        return (
            f"these runs cannot tell the two apart: {second} − {first} = {100 * value:+.1f} points {interval}, "
            f"p = {_p(found.p)}"
        )
    better, sign = (second, 1) if found.outcome == "better" else (first, -1)
    limits = sorted((sign * 100 * low, sign * 100 * high))
    return f"{better} is better by {points} [{limits[0]:.1f}, {limits[1]:.1f}], p = {_p(found.p)}"


def _p(p: float) -> str:
    return f"{p:.4f}" if p >= 0.001 else f"{p:.1g}"
