"""transform-dataset: new rows from jq programs, one for the text and one for the label."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import input_option, output_option, run, run_options, verb

EXAMPLES = """
gristmill transform-dataset -i data/raw -o data/labelled --label-transform '{score: (if .score < 3 then "neg" else "pos" end)}'
gristmill transform-dataset -i data/raw -o data/slim --text-transform '{text: .content, id}' --label-transform '{score: .grade}'
gristmill transform-dataset -i data/graded -o data/scored --keep-fields --label-transform '{score: .code_quality.score}'
"""


@verb("transform-dataset", EXAMPLES)
@input_option("-i", "--input-dir")
@output_option
@click.option(
    "-t", "--text-transform", default="{text: .text}", show_default=True, help="jq program that gives an object."
)
@click.option(
    "-l", "--label-transform", default="{score: .score}", show_default=True, help="jq program that gives an object."
)
@click.option("--keep-fields", is_flag=True, help="Set these fields in the row and keep all others as they are.")
@run_options
def command(**arguments: Any) -> Any:
    """Make new rows with two jq programs, whose objects are merged.

    A row on which a program fails, or whose label is null, is quarantined. Values that are only copied keep their
    exact bytes.
    """
    from actors.transformer import TransformRows
    from jobs.job import Job, RunOptions

    options = RunOptions.taken_from(arguments)
    config = {name: arguments[name] for name in ("text_transform", "label_transform", "keep_fields")}
    stage = TransformRows(**config)
    with Job("transform-dataset", config, arguments["input_dirs"], arguments["output_dir"], options) as job:
        if not job.complete:
            job.write([stage])
        return job.finish()


if __name__ == "__main__":
    run(command)
