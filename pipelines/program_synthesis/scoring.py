"""Scoring a run: its attempts and the tasks with their expected outputs in, its scores out.

What is right was decided when the attempts were made; it is compared with the expected outputs once more here, so that
a run is never scored against other tasks than it was made on.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from actors.synthesis.attempt import STATUSES, UNANSWERED, Attempt, PairResult
from actors.synthesis.grids import Grid, pixel_accuracy
from actors.synthesis.task import Pair, Task
from cluster.errors import GristmillError
from pipelines.curation.bootstrap import Resampling
from pipelines.program_synthesis.pass_at_k import pass_at_k, powers_up_to
from pipelines.program_synthesis.pattern_learning import pattern_learning
from pipelines.program_synthesis.scores import (
    RESAMPLING,
    RunScores,
    TaskResult,
    aggregate_figures,
    aggregate_rates,
)
from pipelines.program_synthesis.votes import (
    GUESSES,
    Ballot,
    Group,
    joint_prediction,
    train_majority,
    weighted,
    without_transductive,
)

ByTask = dict[tuple[int, str], list[Attempt]]


class Unscorable(GristmillError):
    """Attempts that do not belong to these tasks, or that contradict them."""


def score_run(
    attempts: Iterable[Attempt],
    tasks: Sequence[Task],
    *,
    runs: Sequence[int] | None = None,
    missing: Sequence[int] = (),
    exclude_transductive: bool = False,
    no_pass_at_k: str | None = None,
    resampling: Resampling = RESAMPLING,
) -> RunScores:
    """Score the attempts of finished repeats over all `tasks` that were asked for.

    `runs` are the finished repeats, each of which has attempts at every task (by default those that have attempts at
    all), `missing` those that were asked for and are not finished. `no_pass_at_k` says why the attempts are no
    independent draws (see `not_independent`); then there are no figures `pass_at_<k>`. Raises Unscorable for an attempt
    at another task, one that is there twice, one that contradicts the expected outputs, a finished repeat that lacks a
    task, and where there is nothing to score.
    """
    found = _by_task(attempts, {task.id: task for task in tasks})
    present = sorted(runs if runs is not None else {run for run, _ in found})
    if not tasks or not present:
        raise Unscorable("there is nothing to score: " + ("no attempts" if tasks else "no tasks"))
    if runs is not None:
        _check_all_there(found, runs, tasks)
    most = max((len(made) for made in found.values()), default=0)
    ks = powers_up_to(most) if no_pass_at_k is None else []

    def results(excluding: bool) -> tuple[tuple[TaskResult, ...], ...]:
        return tuple(
            tuple(_task_result(task, run, found.get((run, task.id), []), ks, excluding) for task in tasks)
            for run in present
        )

    of_all = results(exclude_transductive)
    has_transductive = any(attempt.transductive for made in found.values() for attempt in made)
    other = results(True) if has_transductive and not exclude_transductive else None
    return RunScores(
        tasks=tuple(task.id for task in tasks),
        runs=tuple(present),
        missing=tuple(missing),
        exclude_transductive=exclude_transductive,
        no_pass_at_k=no_pass_at_k,
        no_answer=_no_answer(found),
        results=of_all,
        figures=aggregate_figures(of_all, resampling),
        rates=aggregate_rates(of_all, resampling),
        without_transductive=None if other is None else aggregate_figures(other, resampling),
        resampling=resampling,
    )


def not_independent(config: Mapping[str, Any]) -> str | None:
    """Why the attempts of a run with this configuration are no independent draws; None if they are.

    pass@k takes them for such. Attempts that build on earlier ones are none, and where the first right one ends them,
    their number depends on what came out: every right attempt is then one of few, and the estimate is far too high.
    """
    mode = config.get("mode", "independent")
    if mode != "independent":
        return f"in the mode {mode} attempts build on earlier ones"
    if config.get("stop_when_solved"):
        return "a task's attempts end with the first that is right on training (--stop-when-solved)"
    return None


def without_response(attempt: Attempt) -> Attempt:
    """The same attempt without the model's raw answer, which takes most of a row and no score needs."""
    return msgspec.structs.replace(attempt, response=None)


def _by_task(attempts: Iterable[Attempt], tasks: dict[str, Task]) -> ByTask:
    """The attempts at each task of each repeat, in the order of their numbers."""
    found: ByTask = defaultdict(list)
    for attempt in attempts:
        task = tasks.get(attempt.task_id)
        if task is None:
            raise Unscorable(f"{_place(attempt)}: this task is not among the {len(tasks)} that were asked for")
        _check_marks(attempt, task)
        found[attempt.run, attempt.task_id].append(without_response(attempt))
    for made in found.values():
        made.sort(key=lambda attempt: attempt.attempt)
        for one, other in pairwise(made):
            if one.attempt == other.attempt:
                raise Unscorable(f"{_place(one)}: this attempt is there twice")
    return dict(found)


def _check_all_there(found: ByTask, runs: Sequence[int], tasks: Sequence[Task]) -> None:
    """A finished repeat has a row for every task, whatever became of it: one that has none was damaged since."""
    for run in runs:
        absent = [task.id for task in tasks if (run, task.id) not in found]
        if absent:
            raise Unscorable(
                f"run {run} is finished and has no attempt at {len(absent)} of its {len(tasks)} tasks, such as "
                f"{absent[0]!r}: run-{run}.jsonl.zst is damaged; restore it, or make the run again with --fresh"
            )


def _no_answer(found: ByTask) -> str | None:
    """The most frequent reason for which the service gave no answer; None where it always did."""
    every = (attempt for made in found.values() for attempt in made)
    reasons = Counter(attempt.error or attempt.status for attempt in every if attempt.status in UNANSWERED)
    return min(reasons, key=lambda reason: (-reasons[reason], reason), default=None)


def _check_marks(attempt: Attempt, task: Task) -> None:
    parts: tuple[tuple[str, Sequence[PairResult], Sequence[Grid | None], Sequence[Pair]], ...] = (
        ("training", attempt.train, attempt.predicted_train, task.train),
        ("test", attempt.test, attempt.predicted_test, task.test),
    )
    for name, marks, predicted, pairs in parts:
        if marks and len(marks) != len(pairs):
            raise Unscorable(
                f"{_place(attempt)} has results for {len(marks)} {name} pairs, the task has {len(pairs)}: "
                "these are not the tasks that the run was made on"
            )
        if len(marks) != len(predicted):
            raise Unscorable(
                f"{_place(attempt)} has {len(marks)} marks and {len(predicted)} predictions for {name} pairs"
            )
        for number, (mark, guess, pair) in enumerate(zip(marks, predicted, pairs, strict=False), 1):
            if mark.correct != (guess == pair.output):
                raise Unscorable(
                    f"{_place(attempt)} is marked {'right' if mark.correct else 'wrong'} on {name} pair {number}, which "
                    "the expected output contradicts: these are not the tasks that the run was made on"
                )


def _place(attempt: Attempt) -> str:
    return f"run {attempt.run}, task {attempt.task_id!r}, attempt {attempt.attempt}"


def _task_result(task: Task, run: int, made: list[Attempt], ks: Sequence[int], excluding: bool) -> TaskResult:
    ballots = [Ballot.of(attempt) for attempt in made]
    counted = without_transductive(ballots) if excluding else ballots
    numbers = {ballot.attempt for ballot in counted}
    kept = [attempt for attempt in made if attempt.attempt in numbers]
    expected = joint_prediction([pair.output for pair in task.test])
    guesses = weighted(counted)[:GUESSES]
    majority = train_majority(counted)[:GUESSES]
    winner = _winner(guesses, kept)
    right = sum(attempt.is_right for attempt in kept)
    costs = [attempt.cost for attempt in made if attempt.cost is not None]
    figures = {
        "pass_at_2_weighted": float(any(group.prediction == expected for group in guesses)),
        "pass_at_2_train_majority": float(any(group.prediction == expected for group in majority)),
        "oracle": float(right > 0),
        "all_train": float(any(ballot.train_accuracy == 1 for ballot in counted)),
        "min_1_train": float(any(ballot.train_right > 0 for ballot in counted)),
        **_of_winner(task, winner),
    }
    # An attempt that is left out is still a draw that was made: it counts as one that is not right.
    figures |= {f"pass_at_{k}": float(pass_at_k(len(made), right, k)) for k in ks}
    return TaskResult(
        task_id=task.id,
        run=run,
        attempts=len(made),
        right=right,
        transductive=sum(ballot.is_transductive for ballot in ballots),
        statuses=tuple(sum(attempt.status == status for attempt in made) for status in STATUSES),
        guesses=tuple(guesses),
        guesses_right=tuple(group.prediction == expected for group in guesses),
        winner=None if winner is None else winner.attempt,
        figures=figures,
        cost=math.fsum(costs) if costs else None,
    )


def _winner(guesses: Sequence[Group], made: Sequence[Attempt]) -> Attempt | None:
    """The attempt whose program stands for the first guess."""
    if not guesses:
        return None
    voters = [attempt for attempt in made if attempt.attempt in guesses[0].attempts]
    return max(voters, key=lambda attempt: attempt.train_accuracy)  # the first of the best


def _of_winner(task: Task, winner: Attempt | None) -> dict[str, float]:
    if winner is None:
        return {"pixel_accuracy": 0.0, "pattern_learning": 0.0}
    pixels = [pixel_accuracy(guess, pair.output) for guess, pair in zip(winner.predicted_test, task.test, strict=False)]
    predicted = (*winner.predicted_train, *[None] * len(task.train))[: len(task.train)]
    learnt = pattern_learning([pair.output for pair in task.train], predicted)
    return {"pixel_accuracy": math.fsum(pixels) / len(task.test), "pattern_learning": learnt.score / 100}
