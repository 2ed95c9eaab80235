"""The report on a run of tasks: how many were solved, how sure that is, what became of the attempts, and every task.

Every figure comes from `RunScores`; only rates along the run are counted here. Programs, names and ids are other
people's text and reach the page through the templates, which escape them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from actors.synthesis.attempt import STATUSES, Attempt
from actors.synthesis.task import Task
from pipelines.program_synthesis.scores import FIGURES, HEADLINE, RunScores
from pipelines.report.document import (
    Cell,
    Code,
    Column,
    Fact,
    Figure,
    Forest,
    KeyFigures,
    Legend,
    Plot,
    Plots,
    Prose,
    Section,
    Table,
    Verdict,
    render,
)
from pipelines.report.numbers import count_text, figure_text, in_words, plural, share_text
from pipelines.report.plots import Line, share_plot
from pipelines.report.task_gallery import task_cards

FIGURE_NAMES = {
    "pass_at_2_weighted": "Pass@2, weighted voting",
    "pass_at_2_train_majority": "Pass@2, train majority",
    "oracle": "Oracle: any attempt right",
    "all_train": "All training pairs right",
    "min_1_train": "A training pair right",
    "pixel_accuracy": "Pixels right",
    "pattern_learning": "Pattern learning",
}
STATUS_NAMES = {
    "solved": "Solved",
    "train_correct": "Training right, test wrong",
    "partial": "Some training outputs right",
    "wrong": "No training output right",
    "execution_timeout": "Program timed out",
    "execution_memory": "Program out of memory",
    "execution_error": "Program failed",
    "invalid_output": "Program returned no grid",
    "no_code": "Answer without a program",
    "truncated": "Answer cut off",
    "empty_response": "Empty answer",
    "api_timeout": "Service timed out",
    "api_error": "Service failed",
    "transductive": "Of all, held to spell the answer out",
}
# What is drawn along the run: a name, the statuses that it adds up, and the number of its colour.
_ALONG: tuple[tuple[str, tuple[str, ...], int], ...] = (
    ("training right", ("solved", "train_correct"), 2),
    ("program timed out", ("execution_timeout",), 1),
    ("program failed", ("execution_error", "execution_memory", "invalid_output"), 4),
    ("service failed", ("api_timeout", "api_error"), 3),
)
_BLOCK = 100
_FEWEST_BLOCKS = 5
_REASON = 200  # characters of what a service said


def synthesis_report(
    scores: RunScores, attempts: Iterable[Attempt], tasks: Sequence[Task], config: Mapping[str, Any], title: str = ""
) -> str:
    """The report as HTML; `attempts` are those that were scored, in their order, and `config` is the run's.

    Attempts are held without their responses. The size is bounded: tasks beyond it are listed without pictures.
    """
    from pipelines.program_synthesis.scoring import without_response

    made = [without_response(attempt) for attempt in attempts]
    sections = list(synthesis_sections(scores, made, tasks))
    name = title or f"{config.get('model') or config.get('engine') or 'A model'} on {config.get('subset', 'tasks')}"
    return render(name, sections, facts=tuple(_facts(scores, config)), kind="Program synthesis")


def synthesis_sections(scores: RunScores, attempts: Sequence[Attempt], tasks: Sequence[Task]) -> Iterator[Section]:
    """The sections of the report in their order."""
    yield _key_figures(scores)
    if warnings := tuple(_warnings(scores)):
        yield Verdict("Before you read on", warnings[0], warnings[1:], "warning")
    yield _per_run(scores)
    yield _over_the_runs(scores)
    yield _curves(scores)
    yield _rates(scores)
    yield _along_the_runs(scores, attempts)
    yield task_cards(scores, attempts, tasks)
    yield _method(scores)


def _facts(scores: RunScores, config: Mapping[str, Any]) -> Iterator[Fact]:
    named = (("Tasks from", "dataset"), ("Subset", "subset"), ("Model", "model"), ("Mode", "mode"))
    for label, key in named:
        if config.get(key):
            yield Fact(label, str(config[key]))
    yield Fact("Tasks", count_text(len(scores.tasks)))
    yield Fact("Runs", count_text(len(scores.runs)))
    if config.get("max_attempts"):
        yield Fact("Attempts at a task", f"up to {config['max_attempts']}")
    costs = [result.cost for results in scores.results for result in results if result.cost is not None]
    if costs:
        yield Fact("Cost", f"${math.fsum(costs):,.2f}")


def _key_figures(scores: RunScores) -> KeyFigures:
    names = {HEADLINE: "Solved with two guesses", "pass_at_1": "Solved with one attempt", "oracle": "Solved by any"}
    notes = {
        HEADLINE: "pass@2, weighted voting",
        "pass_at_1": "pass@1, over all attempts",
        "oracle": "the most that voting could reach",
    }
    figures = tuple(
        Figure(label, scores.figures[name].mean, notes[name], percent=True)
        for name, label in names.items()
        if name in scores.figures
    )
    runs = plural(len(scores.runs), "run")
    lead = f"Means of {runs} over {plural(len(scores.tasks), 'task')}, with what other tasks of the kind might give."
    return KeyFigures("In short", figures, lead)


def _warnings(scores: RunScores) -> Iterator[str]:
    if scores.missing:
        yield (
            f"This run is not finished: {_listed(scores.missing)} of {len(scores.runs) + len(scores.missing)} "
            f"{'is' if len(scores.missing) == 1 else 'are'} missing, and nothing here counts "
            f"{'it' if len(scores.missing) == 1 else 'them'}."
        )
    failed = sum(scores.rates[name].mean.value or 0.0 for name in ("api_timeout", "api_error"))
    if failed:
        yield (
            f"{share_text(failed)} of the attempts got no answer from the service, most often: "
            f"{str(scores.no_answer)[:_REASON]}. They count as attempts that failed, so that the figures are lower than "
            "the model’s own."
        )
    transductive = scores.rates["transductive"].mean.value
    if transductive and scores.without_transductive is not None:
        without = scores.without_transductive[HEADLINE].mean
        yield (
            f"{share_text(transductive)} of the attempts are held to spell the answer out. Without them, "
            f"{in_words(without, percent=True)} of the tasks are solved."
        )
    if scores.exclude_transductive:
        yield "Attempts that are held to spell the answer out are left out of every figure."
    if len(scores.tasks) < 50:
        yield (
            f"{plural(len(scores.tasks), 'task')} tell little: only large differences between two such runs mean "
            "anything (gristmill compare-runs --power says how large)."
        )


def _listed(runs: Sequence[int]) -> str:
    return ("run " if len(runs) == 1 else "runs ") + ", ".join(map(str, runs))


def _per_run(scores: RunScores) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for number, (run, results) in enumerate(zip(scores.runs, scores.results, strict=True)):
        shares = (scores.figures[name].per_run[number] for name in FIGURES)
        made = sum(result.attempts for result in results)
        rows.append((f"Run {run}", made, *("" if share is None else share_text(share) for share in shares)))
    columns = (Column("", numeric=False), Column("Attempts"), *(Column(FIGURE_NAMES[name]) for name in FIGURES))
    lead = "Shares of all tasks that were asked for; a task without a usable attempt counts as not solved."
    return Table("Run by run", columns, tuple(rows), lead=lead)


def _over_the_runs(scores: RunScores) -> Table:
    other = scores.without_transductive
    rows: list[tuple[Cell, ...]] = []
    for name, found in scores.figures.items():
        estimates = (found.mean,) if other is None else (found.mean, other[name].mean)
        deviation = None if found.deviation is None else figure_text(found.deviation)
        spread = None if found.spread is None else " to ".join(figure_text(limit) for limit in found.spread)
        rows.append((_figure_name(name), *estimates, Forest(estimates, (0.0, 1.0)), deviation, spread))
    columns = [Column("", numeric=False), Column("Mean and its interval")]
    columns += [] if other is None else [Column("Without transductive attempts")]
    columns += [Column("0 to 1", numeric=False), Column("s"), Column("Spread of runs")]
    notes = (
        "Under a mean stands its 95 % interval from redrawing tasks: what this figure says about other tasks of the "
        "kind. s is the sample standard deviation of the runs, and the spread of runs is mean ± 1.96 s: where one more "
        "run on these same tasks would mostly lie. It is not an interval of the mean."
        + ("" if len(scores.runs) > 1 else " One run has no spread."),
    )
    return Table("Over the runs", tuple(columns), tuple(rows), notes=notes)


def _figure_name(name: str) -> str:
    return FIGURE_NAMES.get(name) or f"Pass@{name.removeprefix('pass_at_')}"


def _curves(scores: RunScores) -> Plots | Prose:
    if scores.no_pass_at_k is not None:
        return Prose("More attempts", (f"There is no pass@k for this run, since {scores.no_pass_at_k}: {_NO_DRAWS}.",))
    ks = [int(name[8:]) for name in scores.figures if name[8:].isdigit() and name.startswith("pass_at_")]
    means = [scores.figures[f"pass_at_{k}"].mean for k in ks]
    line = Line(
        tuple(math.log2(k) for k in ks),
        tuple(mean.value or 0.0 for mean in means),
        0,
        tuple(mean.low or 0.0 for mean in means),
        tuple(mean.high or 0.0 for mean in means),
    )
    ticks = [(math.log2(k), str(k)) for k in ks]
    words = "; ".join(f"pass@{k} {share_text(mean.value or 0.0)}" for k, mean in zip(ks, means, strict=True))
    svg = share_plot([line], "attempts (k)", "tasks solved", f"pass@k: {words}", ticks, points=True)
    caption = (
        "The chance that at least one of k attempts is right (Chen et al. 2021), with its 95 % interval over tasks. "
        "An attempt without an answer from the service counts as one that is not right."
    )
    return Plots("More attempts", (Plot("Pass@k", svg, caption),))


def _rates(scores: RunScores) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name in (*STATUSES, "transductive"):
        rate = scores.rates[name]
        if rate.mean.value:
            each = tuple("" if share is None else share_text(share) for share in rate.per_run)
            rows.append((STATUS_NAMES[name], Code(name), *each, in_words(rate.mean, percent=True)))
    runs = tuple(Column(f"Run {run}") for run in scores.runs)
    columns = (Column("", numeric=False), Column("Status", numeric=False), *runs, Column("Mean"))
    lead = "Every attempt has one status. Failures of the service, of the answer and of the program are never added up."
    return Table("What became of the attempts", columns, tuple(rows), lead=lead)


def _along_the_runs(scores: RunScores, attempts: Sequence[Attempt]) -> Plots:
    rates = {run: _rates_along([each.status for each in attempts if each.run == run]) for run in scores.runs}
    highest = max((share for _, lines in rates.values() for line in lines for share in line.y), default=0.0)
    legend = tuple(Legend(name, series) for name, _, series in _ALONG)
    plots = []
    for run, (block, lines) in rates.items():
        caption = f"Each point is a block of {plural(block, 'attempt')}"
        if rest := sum(each.run == run for each in attempts) % block:
            caption += f"; the last one is of {rest} only"
        words = f"rates along run {run}"
        svg = share_plot(lines, "attempts, in order of tasks", "share of attempts", words, highest=highest)
        plots.append(Plot(f"Run {run}", svg, f"{caption}.", legend))
    lead = (
        "Success changes with the tasks, in whose order the attempts stand. A rate of failures that drifts is mostly a "
        "fault of the machinery: a sandbox that is stuck, say, or a service that is overloaded."
    )
    return Plots("Along the runs", tuple(plots), lead)


def _rates_along(statuses: Sequence[str]) -> tuple[int, list[Line]]:
    """The attempts in a block, and a line through the blocks for each of the rates; the last block may be smaller."""
    block = max(1, min(_BLOCK, len(statuses) // _FEWEST_BLOCKS))
    parts = [statuses[start : start + block] for start in range(0, len(statuses), block)]
    places = tuple(float(min(end * block, len(statuses))) for end in range(1, len(parts) + 1))
    lines = [Line(places, tuple(_share(part, counted) for part in parts), series) for _, counted, series in _ALONG]
    return block, lines


def _share(statuses: Sequence[str], counted: Sequence[str]) -> float:
    return sum(status in counted for status in statuses) / len(statuses)


_NO_DRAWS = "the estimate takes attempts for independent draws whose number was fixed before"


def _pass_at_k_method(scores: RunScores) -> str:
    if scores.no_pass_at_k is not None:
        return f"Pass@k is not told: {_NO_DRAWS}, and here {scores.no_pass_at_k}."
    return (
        "Pass@k is the unbiased estimate over independent attempts, whose number was fixed before. It is that of the "
        "model with its service: what got no answer is a draw that failed, and the model’s own figure is higher. A "
        "task of which fewer than k attempts are kept counts with those, as if no more could be made."
    )


def _method(scores: RunScores) -> Prose:
    resampling = scores.resampling
    return Prose(
        "How the figures were made",
        (
            "Attempts with the same predictions for all test inputs form a group; predictions that are no valid grids "
            "form none. Weighted voting gives each attempt 1 + 1000 · its training accuracy, and the two heaviest "
            "groups are the guesses, ties by first attempt. Train majority counts one vote for each of the attempts "
            "with the most training outputs right. A task is solved when a guess is right for every test input.",
            _pass_at_k_method(scores),
            "Pixels right and pattern learning are those of the program that stands for the first guess: matching "
            "cells of the test outputs, and by how much the compressed training outputs shrink when its predictions "
            "are taken away. Not even a program that is right everywhere gets 100 % of the latter.",
            f"Intervals are percentile intervals of {count_text(resampling.resamples)} bootstrap resamples of the tasks "
            f"(seed {resampling.seed}); a task is redrawn with all its runs. They take these tasks for a sample of the "
            "tasks that one could have asked; they do not cover another model version, prompt or setting.",
        ),
    )
