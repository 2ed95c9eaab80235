"""How large a difference between two runs has to be, or how many tasks and repeats it takes, to be found.

The paired formula of Miller (2024), "Adding Error Bars to Evals" (arXiv 2411.00640, sample sizes for paired questions):
with n tasks and K repeats, the difference of two means has the standard error sqrt((ω² + (σ²_A + σ²_B) / K) / n), where
ω² is the variance over tasks of the true difference and σ² the mean variance of a repeat about its task's own rate. A
difference is found with power 1 − β in a two-sided test at α if it is (z_{1−α/2} + z_{1−β}) standard errors large. It is
a normal approximation, and too hopeful below some 20 tasks. All figures are shares, not points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pipelines.curation.bootstrap import FloatArray

ALPHA, POWER = 0.05, 0.8
# What is assumed where no runs tell: how much of a result's variance is the task's own, and how far the rates of two
# methods over tasks go together. Tasks of this kind are mostly solved by both or by neither.
TASK_SHARE, CORRELATION = 0.7, 0.8
MOST = 10_000_000


@dataclass(frozen=True, slots=True)
class Variances:
    """`of_tasks` is ω², `of_runs` is σ²_A + σ²_B. `source` says in words where they come from."""

    of_tasks: float
    of_runs: float
    source: str


@dataclass(frozen=True, slots=True)
class Design:
    """So many tasks, each asked of both methods in so many repeats."""

    tasks: int
    repeats: int

    def __str__(self) -> str:
        return f"{self.tasks:,} {'task' if self.tasks == 1 else 'tasks'} × {self.repeats} {'repeat' if self.repeats == 1 else 'repeats'}"


def detectable(variances: Variances, design: Design, alpha: float = ALPHA, power: float = POWER) -> float:
    """The smallest difference that the design finds with this power."""
    error = math.sqrt((variances.of_tasks + variances.of_runs / design.repeats) / design.tasks)
    return _reach(alpha, power) * error


def tasks_needed(
    variances: Variances, difference: float, repeats: int, alpha: float = ALPHA, power: float = POWER
) -> int:
    """How many tasks it takes with so many repeats; 2 at least, since one task has no variance."""
    _check(difference)
    variance = variances.of_tasks + variances.of_runs / repeats
    return max(2, math.ceil((_reach(alpha, power) / difference) ** 2 * variance - 1e-9))


def repeats_needed(
    variances: Variances, difference: float, tasks: int, alpha: float = ALPHA, power: float = POWER
) -> int | None:
    """How many repeats it takes with so many tasks; None where no number is enough, since tasks differ too much."""
    _check(difference)
    room = tasks * (difference / _reach(alpha, power)) ** 2 - variances.of_tasks
    if room <= 0 or variances.of_runs / room > MOST:
        return None
    return max(1, math.ceil(variances.of_runs / room - 1e-9))


def found_with(variances: Variances, difference: float, design: Design, alpha: float = ALPHA) -> float:
    """The probability of finding a difference with a design."""
    _check(difference)
    error = math.sqrt((variances.of_tasks + variances.of_runs / design.repeats) / design.tasks)
    normal = NormalDist()
    if error == 0:
        return 1.0
    critical = normal.inv_cdf(1 - alpha / 2)
    return normal.cdf(difference / error - critical) + normal.cdf(-difference / error - critical)


def variances_of_pair(first: FloatArray, second: FloatArray, task_share: float = TASK_SHARE) -> Variances:
    """Estimated from two runs on the same tasks in the same order, shares of shape (repeats, tasks) each.

    The variance over tasks is that of the tasks' differences, less what repeats add to it. A run of a single repeat
    says nothing about repeats: there `task_share` of its variance is taken for the tasks' own.
    """
    noise = [_noise(first, task_share), _noise(second, task_share)]
    seen = float(np.var(second.mean(axis=0) - first.mean(axis=0), ddof=1)) if first.shape[1] > 1 else 0.0
    of_tasks = max(0.0, seen - noise[0] / len(first) - noise[1] / len(second))
    assumed = " (one has a single repeat, so how repeats vary is assumed)" if 1 in (len(first), len(second)) else ""
    return Variances(of_tasks, sum(noise), f"estimated from both runs{assumed}")


def variances_of_one(shares: FloatArray, correlation: float = CORRELATION, task_share: float = TASK_SHARE) -> Variances:
    """From one run, shares of shape (repeats, tasks), for another of which only the correlation is assumed.

    The other is taken to vary as this one does, so that the true differences have the variance 2 (1 − ρ) τ².
    """
    noise = _noise(shares, task_share)
    seen = float(np.var(shares.mean(axis=0), ddof=1)) if shares.shape[1] > 1 else 0.0
    between = max(0.0, seen - noise / len(shares))
    known = "" if len(shares) > 1 else f", and that {task_share:.0%} of its variance is the tasks’ own"
    source = f"estimated from one run, assuming that the tasks’ rates correlate with {correlation:g}{known}"
    return Variances(2 * (1 - correlation) * between, 2 * noise, source)


def variances_assumed(base_rate: float, correlation: float = CORRELATION, task_share: float = TASK_SHARE) -> Variances:
    """Without any run: a solved share of about `base_rate`, whose variance p (1 − p) is split by `task_share`."""
    if not 0 < base_rate < 1:
        raise ValueError(f"base rate {base_rate}: a share between 0 and 1 is needed")
    total = base_rate * (1 - base_rate)
    source = (
        f"assumed: {base_rate:.0%} solved, {task_share:.0%} of the variance is the tasks’ own, and the tasks’ rates "
        f"correlate with {correlation:g}"
    )
    return Variances(2 * (1 - correlation) * task_share * total, 2 * (1 - task_share) * total, source)


def _noise(shares: FloatArray, task_share: float) -> float:
    """The mean variance of a repeat about its task's rate."""
    if len(shares) > 1:
        return float(shares.var(axis=0, ddof=1).mean())
    mean = float(shares.mean())
    return (1 - task_share) * max(0.0, mean * (1 - mean))


def _reach(alpha: float, power: float) -> float:
    normal = NormalDist()
    return normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)


def _check(difference: float) -> None:
    if difference <= 0:
        raise ValueError("a difference of 0 takes endlessly many tasks; give one above 0")
