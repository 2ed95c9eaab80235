"""annotation-agreement: how far graders of the same rows agree, with intervals."""

from __future__ import annotations

from typing import Any

import click

from jobs.agreement import agreement_options, keyed
from jobs.command import run, verb

EXAMPLES = """
gristmill annotation-agreement -d graded/a -d graded/b -l .code_quality.score -k .text --ordinal -o reports/agreement
gristmill annotation-agreement --dataset1 graded/a --dataset2 graded/b -l .label -k .id
"""


@verb("annotation-agreement", EXAMPLES)
@click.option("-d", "--dataset-dir", "datasets", multiple=True, help="A graded dataset; give at least two.")
@click.option("--dataset1", help="The first of two datasets.")
@click.option("--dataset2", help="The second of two datasets.")
@agreement_options
def command(**arguments: Any) -> Any:
    """Measure the agreement of two or more graded datasets over the rows they share.

    Agreement rate, Cohen's kappa (unweighted, linear, quadratic), Krippendorff's alpha, Gwet's AC1, and Fleiss' kappa for
    more than two, each with a bootstrap 95 % interval; coverage, confusion matrix, and the rows that disagree most.
    """
    import orjson

    from jobs.job import Job, RunOptions
    from jobs.looking import finish_looking, ledger_place
    from pipelines.annotation.agreement_run import agreement

    options = RunOptions.taken_from(arguments)
    pair = [found for found in (arguments.pop("dataset1"), arguments.pop("dataset2")) if found]
    datasets = [*pair, *arguments.pop("datasets")]
    if len(datasets) < 2:
        raise click.UsageError("agreement takes at least two datasets: --dataset-dir A --dataset-dir B")
    output = arguments.pop("output_dir")
    with (
        ledger_place(output, options) as place,
        Job("annotation-agreement", arguments, datasets, place, options) as job,
    ):
        found: dict[str, Any] = {}
        if not job.complete:
            graders = keyed(job, arguments, datasets)
            task = (job.step("key"), graders, arguments["ordinal"])
            found = orjson.loads(job.plan("key", lambda: job.reduce(agreement, *task)))
        return finish_looking(job, output, **found)


if __name__ == "__main__":
    run(command)
