"""compare-runs: whether one run of tasks is better than another, and how large a run has to be for that to show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobs.command import Number, run, verb

if TYPE_CHECKING:
    from pipelines.program_synthesis.power import Design, Variances
    from pipelines.program_synthesis.run_comparison import RunComparison
    from pipelines.program_synthesis.scores import RunScores

REPEATS_SHOWN = (1, 3, 5, 10)
SHARE = Number(0, 1)
EXAMPLES = """
gristmill compare-runs runs/old runs/new
gristmill compare-runs runs/old runs/new --common --power
gristmill compare-runs runs/old --power --difference 5 --tasks 400 --repeats 3
gristmill compare-runs --power --base-rate 0.2 --difference 5 --tasks 20 --repeats 3
"""


@verb("compare-runs", EXAMPLES)
@click.argument("runs", nargs=-1, metavar="[A [B]]")
@click.option("--common", is_flag=True, help="Leave out tasks that only one run has, and name them.")
@click.option("--exclude-transductive", is_flag=True, help="Leave out programs that are held to spell the answer out.")
@click.option("--power", is_flag=True, help="Tell how many tasks and repeats it takes to find a difference.")
@click.option("--difference", type=Number(0, 100, min_open=True), help="In points. [default: that of A and B, else 5]")
@click.option("--tasks", type=click.IntRange(2), help="Tasks that are planned. [default: those of the runs]")
@click.option("--repeats", type=click.IntRange(1), help="Repeats that are planned. [default: those of the runs]")
@click.option("--base-rate", type=SHARE, help="Without runs: the share of tasks that is solved, 0 to 1.")
@click.option("--correlation", type=SHARE, help="Without B: of two methods' rates over tasks. [default: 0.8]")
@click.option("--task-share", type=SHARE, help="Without repeats: the tasks' own part of the variance. [default: 0.7]")
@click.option("--dataset", help="The task set, where it lies elsewhere by now. [default: as in run-tasks]")
@click.option("--endpoint-url", help="Endpoint for s3:// paths (MinIO, Swift, R2 …).")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON on standard output.")
def command(runs: tuple[str, ...], **arguments: Any) -> dict[str, Any]:
    """Compare the runs in A and B, task by task, or plan such a comparison with --power.

    Each figure's difference B − A has a 95 % interval (a paired bootstrap over tasks) and a two-sided p (a sign-flip
    test). The verdict is on pass@2 by weighted voting, in points of 100, and says so when the runs cannot tell the two
    apart. --power works with two runs, with one before the other exists, and with none from a --base-rate.
    """
    import orjson

    _check(runs, arguments)
    scores, configs, left_out = _scored(runs, arguments)
    found: dict[str, Any] = {"verb": "compare-runs", "runs": list(runs)}
    lines: list[str] = []
    if len(scores) == 2:
        from pipelines.program_synthesis.run_comparison import compare_runs, other_differences
        from pipelines.program_synthesis.run_folder import missing_in_words

        comparison = compare_runs(scores[0], scores[1], *left_out)
        lines += _comparison_lines(comparison, runs)
        missing = {name: list(each.missing) for name, each in zip(_names(runs), scores, strict=True) if each.missing}
        lines[1:1] = [f"  {name} is not finished: {missing_in_words(numbers)}" for name, numbers in missing.items()]
        others = other_differences(configs, scores)
        lines += ["", f"  the runs also differ in {'; '.join(others)}"] if others else []
        found |= {"verdict": lines[0], "missing_runs": missing, "other_differences": others, **comparison.to_dict()}
        arguments["difference"] = arguments["difference"] or 100 * abs(comparison.headline.difference.value or 0)
    if arguments["power"]:
        plan, more = _power(scores, arguments)
        found["power"] = plan
        lines += ["", *more] if lines else more
    click.echo(orjson.dumps(found) if arguments["as_json"] else "\n".join(lines))
    return found


def _check(runs: tuple[str, ...], arguments: dict[str, Any]) -> None:
    """Raises click.UsageError for what does not go together."""
    planning = [name for name in ("difference", "tasks", "repeats", "base_rate") if arguments[name] is not None]
    if len(runs) > 2:
        raise click.UsageError(f"compare-runs takes two runs, A and B, not {len(runs)}")
    if not arguments["power"]:
        if len(runs) < 2:
            raise click.UsageError("compare-runs takes two runs, A and B; to plan with fewer add --power")
        if planning:
            raise click.UsageError(f"--{planning[0].replace('_', '-')} is for planning: add --power")
    if arguments["base_rate"] is not None and (runs or not 0 < arguments["base_rate"] < 1):
        raise click.UsageError("--base-rate is a share between 0 and 1 of a method that has no run yet: give no run")
    if arguments["power"] and not runs:
        absent = [name for name in ("base_rate", "tasks", "repeats") if arguments[name] is None]
        if absent:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in absent)
            raise click.UsageError(f"--power without a run needs {options} as well")


def _scored(
    runs: tuple[str, ...], arguments: dict[str, Any]
) -> tuple[list[RunScores], list[dict[str, Any]], tuple[Any, ...]]:
    """The runs' scores on the tasks that they share, their configurations, and the tasks that only one of them has."""
    from pipelines.program_synthesis.run_comparison import NotComparable, common_tasks
    from pipelines.program_synthesis.run_folder import RunFolder
    from pipelines.program_synthesis.scoring import not_independent, score_run

    endpoint = arguments["endpoint_url"]
    folders = [RunFolder.open(place, endpoint) for place in runs]
    asked = [folder.tasks(arguments["dataset"], endpoint) for folder in folders]
    left_out: tuple[Any, ...] = ()
    if len(folders) == 2:
        common = common_tasks(*asked)
        left_out = (common.only_first, common.only_second)
        if any(left_out) and not arguments["common"]:
            raise NotComparable(
                f"{len(left_out[0])} tasks are only in {runs[0]} and {len(left_out[1])} only in {runs[1]} "
                f"(such as {(*left_out[0], *left_out[1])[0]!r}); compare the {len(common.both)} they share with --common"
            )
        asked = [list(common.both), list(common.both)]
    scores = []
    for folder, tasks in zip(folders, asked, strict=True):
        wanted = {task.id for task in tasks}
        attempts = (attempt for attempt in folder.attempts() if attempt.task_id in wanted)
        scores.append(
            score_run(
                attempts,
                tasks,
                runs=folder.runs,
                missing=folder.missing,
                exclude_transductive=arguments["exclude_transductive"],
                no_pass_at_k=not_independent(folder.config),
            )
        )
    return scores, [folder.config for folder in folders], left_out


def _comparison_lines(comparison: RunComparison, runs: tuple[str, ...]) -> list[str]:
    from jobs.job import table_lines
    from pipelines.program_synthesis.run_comparison import verdict

    first, second = _names(runs)
    lines = [verdict(comparison, first, second), f"  pass@2, weighted voting, over {len(comparison.tasks):,} tasks"]
    for name, only in ((first, comparison.only_first), (second, comparison.only_second)):
        if only:
            lines.append(f"  left out, only in {name}: {', '.join(only)}")
    table = [
        {
            "figure": each.figure,
            first: each.first,
            second: each.second,
            "difference": each.difference.value,
            "95% from": each.difference.low,
            "to": each.difference.high,
            "p": each.p,
            "B is": each.outcome,
        }
        for each in comparison.differences
    ]
    return [*lines, "", *table_lines(table)]


def _names(runs: tuple[str, ...]) -> tuple[str, str]:
    """The runs' own names, or A and B where these are the same."""
    first, second = (place.rstrip("/").rsplit("/", 1)[-1] for place in runs)
    return (first, second) if first != second else ("A", "B")


def _power(scores: list[RunScores], arguments: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """How large a design has to be: as plain data, and as lines."""
    from jobs.job import table_lines
    from pipelines.program_synthesis.power import Design, detectable, found_with, repeats_needed, tasks_needed

    variances = _variances(scores, arguments)
    tasks = arguments["tasks"] or len(scores[0].tasks)
    design = Design(tasks, arguments["repeats"] or min(len(each.runs) for each in scores))
    difference = (5.0 if arguments["difference"] is None else arguments["difference"]) / 100
    least = detectable(variances, design)
    plan: dict[str, Any] = {
        "design": {"tasks": design.tasks, "repeats": design.repeats},
        "variances": {"of_tasks": variances.of_tasks, "of_runs": variances.of_runs, "source": variances.source},
        "detectable_points": 100 * least,
    }
    lines = [_detectable_line(design, least), f"  variances {variances.source}"]
    if difference <= 0:
        return plan, [*lines, "  the two are equal here: name a difference to look for with --difference"]
    repeats = repeats_needed(variances, difference, design.tasks)
    table = [
        {"repeats": each, "tasks needed": tasks_needed(variances, difference, each)}
        for each in sorted({*REPEATS_SHOWN, design.repeats})
    ]
    power = found_with(variances, difference, design)
    plan |= {"difference_points": 100 * difference, "power": power, "repeats_needed": repeats, "tasks_needed": table}
    lines += [
        f"  a difference of {100 * difference:.1f} points is found by {design} with a probability of {power:.0%}",
        f"  with {design.tasks:,} tasks it takes {repeats:,} repeats for 80 %"
        if repeats
        else f"  with {design.tasks:,} tasks no number of repeats is enough for 80 %: the tasks themselves differ too much",
        "",
        f"  to find {100 * difference:.1f} points in 80 of 100 cases (two-sided test at 5 %, Miller 2024)",
        *table_lines(table),
    ]
    return plan, lines


def _detectable_line(design: Design, least: float) -> str:
    if least >= 1:
        return f"{design} can detect no difference at all with 80 % power: it would take {100 * least:.0f} points"
    return f"{design} can detect no less than {100 * least:.1f} points (80 % power at 5 %)"


def _variances(scores: list[RunScores], arguments: dict[str, Any]) -> Variances:
    from pipelines.program_synthesis.power import (
        CORRELATION,
        TASK_SHARE,
        variances_assumed,
        variances_of_one,
        variances_of_pair,
    )
    from pipelines.program_synthesis.scores import HEADLINE

    correlation = CORRELATION if arguments["correlation"] is None else arguments["correlation"]
    share = TASK_SHARE if arguments["task_share"] is None else arguments["task_share"]
    if not scores:
        return variances_assumed(arguments["base_rate"], correlation, share)
    shares = [each.of_tasks(HEADLINE) for each in scores]
    if len(shares) == 2:
        return variances_of_pair(shares[0], shares[1], share)
    return variances_of_one(shares[0], correlation, share)


if __name__ == "__main__":
    run(command)
