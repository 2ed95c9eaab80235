"""score-run: the scores and the report of a run of tasks, finished or not, from what it has written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from jobs.command import run, verb

if TYPE_CHECKING:
    from actors.synthesis.attempt import Attempt
    from actors.synthesis.task import Task
    from cluster.storage import Storage
    from pipelines.program_synthesis.scores import RunScores

SCORES, REPORT = "scores.json", "report.html"
# A run's own files tell of all attempts; scores that leave some out lie beside them.
SCORES_WITHOUT, REPORT_WITHOUT = "scores-without-transductive.json", "report-without-transductive.html"
REASON_SHOWN = 200  # characters of what a service said
EXAMPLES = """
gristmill score-run runs/demo
gristmill score-run runs/demo --exclude-transductive
gristmill score-run s3://bucket/runs/demo --json | jq .figures.pass_at_2_weighted
"""


@verb("score-run", EXAMPLES)
@click.argument("run_dir")
@click.option("--dataset", help="The task set, where it lies elsewhere by now. [default: as in run-tasks]")
@click.option("--exclude-transductive", is_flag=True, help="Leave out programs that are held to spell the answer out.")
@click.option("--endpoint-url", help="Endpoint for s3:// paths (MinIO, Swift, R2 …).")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
def command(
    run_dir: str, dataset: str | None, exclude_transductive: bool, endpoint_url: str | None, as_json: bool, quiet: bool
) -> RunScores:
    """Score the run of run-tasks in RUN_DIR: pass@2 by two votes, oracle, pass@k, rates of failures, with intervals.

    Writes scores.json and report.html into RUN_DIR; with --exclude-transductive, scores-without-transductive.json and
    report-without-transductive.html. Of a run that is under way or was killed, the repeats that are
    finished are scored, and the missing ones named. A task without a usable attempt counts as not solved.
    """
    from jobs.job import summary_text
    from pipelines.program_synthesis.run_folder import RunFolder

    began = time.monotonic()
    folder = RunFolder.open(run_dir, endpoint_url)
    tasks = folder.tasks(dataset, endpoint_url)
    scores = write_scores(
        folder.storage,
        folder.attempts(),
        tasks,
        folder.config,
        runs=folder.runs,
        missing=folder.missing,
        exclude_transductive=exclude_transductive,
    )
    if as_json:
        click.echo(scores.to_json(), nl=False)
    elif not quiet:
        summary = {"verb": "score-run", "output": folder.storage.url, **scores_summary(folder.storage, scores)}
        click.echo(summary_text(summary, time.monotonic() - began, resumed=False))
    return scores


def write_scores(
    output: Storage,
    attempts: Iterable[Attempt],
    tasks: Sequence[Task],
    config: Mapping[str, Any],
    *,
    runs: Sequence[int] | None = None,
    missing: Sequence[int] = (),
    exclude_transductive: bool = False,
) -> RunScores:
    """Score attempts at `tasks`, all that were asked for, and write the scores and the report (see `written`).

    `config` is the run's; `runs` are the finished repeats, by default those that have attempts. Equal attempts give
    equal files.
    """
    from pipelines.program_synthesis.scoring import not_independent, score_run, without_response
    from pipelines.report.synthesis_report import synthesis_report

    made = [without_response(attempt) for attempt in attempts]
    scores = score_run(
        made,
        tasks,
        runs=runs,
        missing=missing,
        exclude_transductive=exclude_transductive,
        no_pass_at_k=not_independent(config),
    )
    scores_name, report_name = written(scores)
    output.publish(report_name, synthesis_report(scores, made, tasks, config).encode())
    output.publish(scores_name, scores.to_json())
    return scores


def written(scores: RunScores) -> tuple[str, str]:
    """The names of the files that hold the scores and their report."""
    return (SCORES_WITHOUT, REPORT_WITHOUT) if scores.exclude_transductive else (SCORES, REPORT)


def scores_summary(output: Storage, scores: RunScores) -> dict[str, Any]:
    """What a summary tells of scores: counts, what is missing, where the files are, and the tables."""
    from pipelines.program_synthesis.run_folder import missing_in_words

    missing = {"not_finished": missing_in_words(scores.missing)} if scores.missing else {}
    left_out = {"transductive_attempts": "left out"} if scores.exclude_transductive else {}
    without = {"no_pass@k": scores.no_pass_at_k} if scores.no_pass_at_k else {}
    without |= {"without_an_answer": _unanswered(scores)} if scores.no_answer else {}
    return {
        "tasks": len(scores.tasks),
        "runs": len(scores.runs),
        **missing,
        "attempts": scores.attempts,
        **left_out,
        **without,
        "report": f"{output.url}/{written(scores)[1]}",
        "tables": scores.tables(),
    }


def _unanswered(scores: RunScores) -> str:
    from cluster.storage.interface import printable

    reason = printable(" ".join(str(scores.no_answer).split()))[:REASON_SHOWN]
    return (
        f"{scores.unanswered:,} of {scores.attempts:,} attempts, most often: {reason}; run-tasks with the same options "
        "and --fresh asks for these again, and for all where it had no --cache-location"
    )


if __name__ == "__main__":
    run(command)
