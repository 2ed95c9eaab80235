"""annotate-dataset: grade every row; the row comes back whole, with the answer under the task prompt's name."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import input_option, output_option, run, run_options, text_option, verb

EXAMPLES = """
gristmill annotate-dataset -d data/raw -o data/graded --engine static-analysis --annotation-task-prompt code_quality
gristmill annotate-dataset -d data/web -o data/graded --engine static-analysis --annotation-task-prompt prose_quality
"""


@verb("annotate-dataset", EXAMPLES)
@input_option("-d", "--dataset-dir")
@output_option
@click.option("--engine", type=click.Choice(["static-analysis"]), default="static-analysis", show_default=True)
@click.option(
    "--annotation-task-prompt",
    type=click.Choice(["code_quality", "prose_quality"]),
    required=True,
    help="The rubric; the answer is set under this name.",
)
@text_option
@click.option("--max-text-length", type=click.IntRange(1), help="Grade only this many characters from the head.")
@run_options
def command(**arguments: Any) -> Any:
    """Grade every row by a rubric of five criteria; the score is the number of criteria met, 0 to 5.

    The static-analysis engine needs no model and no network: it measures the text. code_quality looks at programs (they
    parse, complexity, length, names, docstrings, red flags), prose_quality applies the published heuristics of Gopher,
    C4 and FineWeb. It sees form, not meaning, and every answer says so in _meta.
    """
    from actors.annotator import GradeRows
    from actors.engines.static_analysis import VERSION
    from jobs.job import Job, RunOptions

    options = RunOptions.taken_from(arguments)
    inputs, output = arguments.pop("input_dirs"), arguments.pop("output_dir")
    rubric = arguments["annotation_task_prompt"]
    stage = GradeRows(rubric, rubric, arguments["text_expression"], arguments["max_text_length"])
    versions = {"static-analysis": VERSION}
    with Job("annotate-dataset", arguments, inputs, output, options, versions=versions) as job:
        if not job.complete:
            job.write([stage])
        return job.finish()


if __name__ == "__main__":
    run(command)
