"""The scores of a run: what each task came to in each repeat, and figures over them with two intervals.

Every figure is a share from 0 to 1 of all tasks that were asked for; a task without a usable attempt counts as 0. Rates
are shares of all attempts, one for each status. Typed results, plain tables and JSON; `scoring` makes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson

from actors.synthesis.attempt import STATUSES, UNANSWERED
from pipelines.curation.bootstrap import (
    Estimate,
    FloatArray,
    Resampling,
    percentile_estimate,
    replicate_rows,
)
from pipelines.program_synthesis.votes import Group

RESAMPLING = Resampling(resamples=10_000)
HEADLINE = "pass_at_2_weighted"
FIGURES = (
    HEADLINE,
    "pass_at_2_train_majority",
    "oracle",
    "all_train",
    "min_1_train",
    "pixel_accuracy",
    "pattern_learning",
)
"""The figures of every run. Of independent attempts `pass_at_<k>` follow, k = 1, 2, 4 … up to the most that a task has."""
_SPREAD = 1.96


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task in one repeat.

    `right` of `attempts` attempts have every test output right; `guesses` are the two best groups of the weighted
    vote, and `guesses_right` says of each whether it is. `winner` is the number of the attempt whose program stands
    for the first guess: the one with the most training outputs right, ties by first. `statuses` counts attempts in the
    order of STATUSES, `figures` holds this task's share of each figure. `cost` is in US dollars, None where unknown.
    """

    task_id: str
    run: int
    attempts: int
    right: int
    transductive: int
    statuses: tuple[int, ...]
    guesses: tuple[Group, ...]
    guesses_right: tuple[bool, ...]
    winner: int | None
    figures: Mapping[str, float]
    cost: float | None

    @property
    def is_solved(self) -> bool:
        """Whether one of the two guesses is right."""
        return any(self.guesses_right)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A figure over the repeats.

    `per_run` are the repeats' own values, None where there is nothing to divide by. `mean` is their mean with the
    interval that redrawing tasks gives: how far the figure would move with other tasks of the kind. `deviation` is
    their sample standard deviation s and `spread` is mean ± 1.96 s: where a further repeat on the same tasks would
    mostly lie, which is no interval of the mean. Both are None for a single repeat.
    """

    per_run: tuple[float | None, ...]
    mean: Estimate
    deviation: float | None
    spread: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "per_run": list(self.per_run),
            "mean": self.mean.to_dict(),
            "deviation": self.deviation,
            "spread": None if self.spread is None else list(self.spread),
        }


@dataclass(frozen=True, slots=True)
class RunScores:
    """What `score_run` found. `results` holds, for each of `runs`, a result for each of `tasks`, in their orders.

    `missing` are repeats that were asked for and are not finished. `figures` leave out transductive attempts where
    `exclude_transductive` says so; `without_transductive` are the same figures with them left out, None where there
    are none to leave out (or they are left out already). `no_pass_at_k` says why there are no figures `pass_at_<k>`,
    None where there are. `no_answer` is the most frequent reason for which the service gave none, None where it did.
    """

    tasks: tuple[str, ...]
    runs: tuple[int, ...]
    missing: tuple[int, ...]
    exclude_transductive: bool
    no_pass_at_k: str | None
    no_answer: str | None
    results: tuple[tuple[TaskResult, ...], ...]
    figures: Mapping[str, Aggregate]
    rates: Mapping[str, Aggregate]
    without_transductive: Mapping[str, Aggregate] | None
    resampling: Resampling

    @property
    def attempts(self) -> int:
        return sum(result.attempts for results in self.results for result in results)

    @property
    def unanswered(self) -> int:
        """How many attempts got no answer from the service."""
        places = [STATUSES.index(status) for status in UNANSWERED]
        return sum(result.statuses[place] for results in self.results for result in results for place in places)

    def of_tasks(self, figure: str) -> FloatArray:
        """A figure's shares, of shape (repeats, tasks)."""
        return shares_of(self.results, [figure])[:, :, 0]

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Tables for a terminal: each repeat, the mean over them, and what became of the attempts."""
        per_run = [
            {"run": str(run), "attempts": sum(result.attempts for result in results)}
            | {figure: self.figures[figure].per_run[number] for figure in FIGURES}
            for number, (run, results) in enumerate(zip(self.runs, self.results, strict=True))
        ]
        tables = {
            f"per run, shares of {len(self.tasks):,} tasks": per_run,
            "over the runs": [_line(figure, aggregate) for figure, aggregate in self.figures.items()],
        }
        if self.without_transductive is not None:
            title = "over the runs, transductive attempts left out"
            tables[title] = [_line(figure, aggregate) for figure, aggregate in self.without_transductive.items()]
        seen = {name: rate for name, rate in self.rates.items() if rate.mean.value}
        tables[f"shares of {self.attempts:,} attempts"] = [
            {"what became of it": name} | _per_run(self.runs, rate) | _mean(rate) for name, rate in seen.items()
        ]
        return tables

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: `per_run` and `per_task` tables, and figures and rates with their intervals."""
        left_out = self.without_transductive
        return {
            "tasks": len(self.tasks),
            "runs": list(self.runs),
            "missing_runs": list(self.missing),
            "attempts": self.attempts,
            "exclude_transductive": self.exclude_transductive,
            "no_pass_at_k": self.no_pass_at_k,
            "no_answer": self.no_answer,
            "resampling": asdict(self.resampling),
            "figures": {name: aggregate.to_dict() for name, aggregate in self.figures.items()},
            "rates": {name: aggregate.to_dict() for name, aggregate in self.rates.items()},
            "without_transductive": left_out and {name: found.to_dict() for name, found in left_out.items()},
            "per_run": [self._of_run(number) for number in range(len(self.runs))],
            "per_task": [
                {"task_id": task, "runs": [_of_task(results[number]) for results in self.results]}
                for number, task in enumerate(self.tasks)
            ],
        }

    def to_json(self) -> bytes:
        """The content of scores.json; the same scores give the same bytes."""
        return orjson.dumps(self.to_dict(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    def _of_run(self, number: int) -> dict[str, Any]:
        results = self.results[number]
        costs = [result.cost for result in results if result.cost is not None]
        counts = np.sum([result.statuses for result in results], axis=0, dtype=int)
        return {
            "run": self.runs[number],
            "attempts": sum(result.attempts for result in results),
            "transductive": sum(result.transductive for result in results),
            "cost": math.fsum(costs) if costs else None,
            "statuses": dict(zip(STATUSES, counts.tolist(), strict=True)),
            "figures": {name: aggregate.per_run[number] for name, aggregate in self.figures.items()},
        }


def _of_task(result: TaskResult) -> dict[str, Any]:
    guesses = [
        {"weight": group.weight, "attempts": list(group.attempts), "right": right}
        for group, right in zip(result.guesses, result.guesses_right, strict=True)
    ]
    return {
        "run": result.run,
        "solved": result.is_solved,
        "attempts": result.attempts,
        "right": result.right,
        "winner": result.winner,
        "guesses": guesses,
        "figures": dict(result.figures),
    }


def _line(figure: str, aggregate: Aggregate) -> dict[str, Any]:
    low, high = aggregate.spread or (None, None)
    spread = {"s": aggregate.deviation, "mean − 1.96 s": low, "mean + 1.96 s": high}
    return {"figure": figure} | _mean(aggregate) | spread


def _mean(aggregate: Aggregate) -> dict[str, Any]:
    return {"mean": aggregate.mean.value, "95% from": aggregate.mean.low, "to": aggregate.mean.high}


def _per_run(runs: Sequence[int], aggregate: Aggregate) -> dict[str, Any]:
    return {f"run {run}": value for run, value in zip(runs, aggregate.per_run, strict=True)}


def shares_of(results: Sequence[Sequence[TaskResult]], figures: Sequence[str]) -> FloatArray:
    """Shares of shape (repeats, tasks, figures)."""
    found = [[[result.figures[name] for name in figures] for result in of_run] for of_run in results]
    return np.array(found, dtype=np.float64).reshape(len(results), -1, len(figures))


def aggregate_figures(results: Sequence[Sequence[TaskResult]], resampling: Resampling) -> dict[str, Aggregate]:
    """Every figure over the repeats; the interval redraws tasks, each with all its repeats."""
    names = list(results[0][0].figures)
    shares = shares_of(results, names)
    of_tasks = shares.mean(axis=0)
    drawn = replicate_rows(len(of_tasks), resampling, "tasks", lambda counts: counts @ of_tasks / len(of_tasks))
    per_run = shares.mean(axis=1)
    return {name: _aggregate(per_run[:, column], drawn[:, column], resampling) for column, name in enumerate(names)}


def aggregate_rates(results: Sequence[Sequence[TaskResult]], resampling: Resampling) -> dict[str, Aggregate]:
    """The share of each status among all attempts, and of transductive ones; the interval redraws tasks."""
    counted = np.array(
        [[(*result.statuses, result.transductive, result.attempts) for result in of_run] for of_run in results],
        dtype=np.float64,
    )

    def rates(counts: FloatArray) -> FloatArray:
        """Of counts (draws, tasks) the mean over the repeats, of shape (draws, rates)."""
        mean: FloatArray = np.mean([_shares(counts @ of_run) for of_run in counted], axis=0)
        return mean

    names = (*STATUSES, "transductive")
    drawn = replicate_rows(counted.shape[1], resampling, "tasks", rates)
    per_run = _shares(counted.sum(axis=1))
    return {name: _aggregate(per_run[:, column], drawn[:, column], resampling) for column, name in enumerate(names)}


def _shares(sums: FloatArray) -> FloatArray:
    """Sums by their last column; NaN where that is 0."""
    made = np.where(sums[:, -1:] > 0, sums[:, -1:], np.nan)
    shares: FloatArray = sums[:, :-1] / made
    return shares


def _aggregate(per_run: FloatArray, drawn: FloatArray, resampling: Resampling) -> Aggregate:
    mean = float(per_run.mean())
    deviation = float(per_run.std(ddof=1)) if len(per_run) > 1 and not math.isnan(mean) else None
    return Aggregate(
        tuple(None if math.isnan(value) else float(value) for value in per_run),
        percentile_estimate(mean, drawn, resampling, undefined="no attempt was made"),
        deviation,
        None if deviation is None else (mean - _SPREAD * deviation, mean + _SPREAD * deviation),
    )
