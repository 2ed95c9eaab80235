"""label-distribution: how many rows each label has, per split and in total."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import input_option, label_option, run, run_options, verb
from jobs.looking import finish_looking, ledger_place, looking_output_option

EXAMPLES = """
gristmill label-distribution -d data/graded -l .code_quality.score
gristmill label-distribution -d data/a -d data/b -l .label --json
gristmill label-distribution -d data/graded -l .score --label-type value -k .text -o data/graded-labels
"""

FILE = "distribution.json"


@verb("label-distribution", EXAMPLES)
@input_option("-d", "--dataset-dir", "--input-dir")
@looking_output_option(FILE)
@label_option
@click.option(
    "-t",
    "--label-type",
    type=click.Choice(["text", "ordinal", "value"]),
    default="text",
    show_default=True,
    help="text: each label by its name. ordinal: as a whole number. value: quantiles and ten equal ranges.",
)
@click.option("-k", "--key-expression", help="jq program for a text whose lengths are shown as well.")
@click.option(
    "-b",
    "--key-length-buckets",
    type=click.IntRange(2),
    default=10,
    show_default=True,
    help="Buckets of near-equal counts for those lengths.",
)
@run_options
def command(**arguments: Any) -> Any:
    """Show how many rows each label has, per split and in total.

    Labels that are all numbers are shown in their order, others by their number of rows. Rows without a label are
    quarantined.
    """
    import orjson

    from actors.label_counter import CountLabels, ExtractLabels
    from jobs.job import Job, RunOptions
    from pipelines.curation.label_distribution import distribute, distribution_tables

    options = RunOptions.taken_from(arguments)
    config = {n: arguments[n] for n in ("label_expression", "label_type", "key_expression", "key_length_buckets")}
    stage = ExtractLabels(config["label_expression"], config["label_type"], config["key_expression"])
    output_dir, inputs = arguments["output_dir"], arguments["input_dirs"]
    with ledger_place(output_dir, options) as place, Job("label-distribution", config, inputs, place, options) as job:
        found: dict[str, Any] = {}
        if not job.complete:
            chunks = job.scan("labels", [stage], CountLabels(), counts=True)
            asked = (config["label_expression"], config["label_type"], config["key_length_buckets"])
            task = (job.step("labels"), chunks, *asked, FILE if output_dir else None)
            distribution = orjson.loads(job.plan("labels", lambda: job.reduce(distribute, *task)))
            found = {"tables": distribution_tables(distribution)}
        return finish_looking(job, output_dir, **found)


if __name__ == "__main__":
    run(command)
