"""run-tasks: have a model write programs for tasks, run them in sandboxes, and score what they return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from jobs.command import run, run_options, verb
from jobs.executors import sandbox_options
from jobs.solving_options import Order, default_output, ordered, solver_model_options, task_options, with_service

if TYPE_CHECKING:
    from actors.sandboxes.choice import SandboxChoice
    from actors.synthesis.task import Task
    from cluster.storage import Storage
    from jobs.job import RunOptions

EXAMPLES = """
gristmill run-tasks --dataset arc-agi-1 --subset shortest_training_30 --engine search --max-attempts 8 --repeat-runs 3 -o runs/demo
gristmill run-tasks --dataset arc-agi-1 --subset shortest_evaluation_20 --model gpt-5-mini --max-tokens 16384 --max-cost 10 --repeat-runs 3 --cache-location cache
gristmill run-tasks --dataset arc-agi-1 --subset all_training --model Qwen/Qwen3-8B --base-url http://gpu1:8000/v1 --no-think --max-attempts 64 --max-workers 256
gristmill run-tasks --dataset my/tasks --subset all_training --model gpt-5-mini --mode refine --max-attempts 16 --max-tokens 16384 --dry-run
"""
WORKER_CPUS = 0.5  # a worker mostly waits, and must leave room for the sandboxes of a small machine


@verb("run-tasks", EXAMPLES)
@task_options
@solver_model_options
@sandbox_options
@click.option("--dry-run", is_flag=True, help="Ask nobody: show what would be run, and what it would cost.")
@run_options
def command(**arguments: Any) -> Any:
    """Sample programs for tasks, run each on all inputs of its task in a sandbox, judge the outputs, and score the runs.

    Every attempt is a row of run-1.jsonl.zst, run-2.jsonl.zst …, whatever became of it. Every answer is in the request
    journal before its program is run: a run that was killed, or stopped by --max-cost, is continued by the same command
    and asks nothing twice. At the end stand scores.json and report.html. Without a model the search engine answers: it
    puts programs together from a small library of grid operations, at no cost.
    """
    from jobs.executors import sandbox_choice
    from jobs.job import RunOptions

    options = RunOptions.taken_from(arguments)
    sandboxes, limits = sandbox_choice(arguments)
    is_dry = arguments.pop("dry_run")
    order = ordered(arguments, limits, sandboxes.packages, options.endpoint_url)
    output = arguments["output_dir"] or default_output(arguments)
    if is_dry:
        from jobs.solving_estimate import estimate

        return estimate(arguments, order, output, options)
    return _solve(arguments, order, sandboxes, output, options)


def _solve(
    arguments: dict[str, Any], order: Order, sandboxes: SandboxChoice, output: str, options: RunOptions
) -> dict[str, Any]:
    from dataclasses import replace

    import orjson

    from actors.synthesis.solver import SolveTasks
    from jobs.asking import asking
    from jobs.executors import executors
    from jobs.job import Job
    from jobs.run_health import watched_health
    from pipelines.program_synthesis.planned_runs import planned_runs

    choice = with_service(order.choice, arguments)
    with Job("run-tasks", order.config, [], output, options) as job:
        if job.complete:
            return job.finish()
        sources = planned_runs(
            job.step("tasks"), order.tasks, order.runs, order.attempts, in_series=order.solving.in_series
        )
        with (
            asking(job, choice, arguments["cache_location"], arguments["gpus_per_engine"]) as asked,
            executors(job.connected(), sandboxes) as pool,
            watched_health(job, order.planned) as notices,
        ):
            needs = replace(asked.resources, cpus=min(asked.resources.cpus, WORKER_CPUS))
            stage = SolveTasks(order.solving, asked.choice, pool, needs, order.attempts, notices)
            job.write([stage], sources=sources)
        task = (job.output, options.endpoint_url, order.tasks, order.config)
        scores = orjson.loads(job.plan("scores", lambda: job.reduce(score_all_attempts, *task)))
        return job.finish(**asked.spent(), **scores)


def score_all_attempts(
    output: Storage, endpoint_url: str | None, tasks: Sequence[Task], config: Mapping[str, Any]
) -> bytes:
    """Write the scores and the report of a run whose attempts are all made; what its summary says of them, as JSON."""
    import orjson

    from jobs.score_run import scores_summary, write_scores
    from pipelines.program_synthesis.attempts import read_attempts

    runs = range(1, config["repeat_runs"] + 1)
    scores = write_scores(output, read_attempts(output.url, endpoint_url), tasks, config, runs=runs)
    return orjson.dumps(scores_summary(output, scores))


if __name__ == "__main__":
    run(command)
