"""train-calibration: learn to map a classifier's probability to a score, from labelled rows."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import input_option, label_option, output_option, run, run_options, verb

EXAMPLES = """
gristmill train-calibration -d data/scored -o models/calibration --prediction-expression .quality.good
gristmill train-calibration -d data/scored -o models/ridge -p .quality --inputs good --inputs poor --model-type ridge
"""


@verb("train-calibration", EXAMPLES)
@input_option("-d", "--dataset-dir")
@output_option
@click.option("--prediction-expression", required=True, help="jq program for the probability, or an object of them.")
@label_option
@click.option("--inputs", multiple=True, help="Which members of the prediction object to take; repeat for several.")
@click.option(
    "-m", "--model-type", type=click.Choice(["isotonic", "sigmoid", "ridge"]), default="isotonic", show_default=True
)
@click.option("--score-range", type=(float, float), help="Scale of the labels. [default: the least and the greatest]")
@run_options
def command(**arguments: Any) -> Any:
    """Fit a calibration that maps probabilities to scores, saved as plain JSON (calibration.json).

    For sigmoid and ridge the jq program that applies it is printed too, for transform-dataset.
    """
    import orjson

    from actors.scored_rows import NumberRows, ScoredRows
    from jobs.job import Job, RunOptions
    from pipelines.curation.calibration_run import train

    options = RunOptions.taken_from(arguments)
    inputs, output = arguments.pop("input_dirs"), arguments.pop("output_dir")
    names = list(arguments["inputs"]) or ["probability"]
    with Job("train-calibration", arguments, inputs, output, options) as job:
        found: dict[str, Any] = {}
        if not job.complete:
            expressions = arguments["prediction_expression"], arguments["label_expression"]
            chunks = job.scan("rows", [ScoredRows(*expressions, names)], NumberRows(), counts=True)
            task = (job.step("rows"), chunks, arguments["model_type"], names, arguments["score_range"], expressions[0])
            found = orjson.loads(job.plan("rows", lambda: job.reduce(train, *task)))
            found = {"fitted_rows": found["rows"], "jq": found["jq"]} if found["jq"] else {"fitted_rows": found["rows"]}
        return job.finish(**found)


if __name__ == "__main__":
    run(command)
