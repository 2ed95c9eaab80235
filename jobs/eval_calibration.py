"""eval-calibration: how well probabilities, or the scores made of them, match the labels."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import input_option, label_option, output_option, run, run_options, verb

EXAMPLES = """
gristmill eval-calibration -d data/scored -o reports/raw --prediction-expression .quality.good
gristmill eval-calibration -d data/scored -o reports/cal --prediction-expression .quality.good --model-dir models/calibration
"""


@verb("eval-calibration", EXAMPLES)
@input_option("-d", "--dataset-dir")
@output_option
@click.option("--prediction-expression", required=True, help="jq program for the probability, or an object of them.")
@label_option
@click.option("-m", "--model-dir", help="A calibration (see train-calibration) to judge beside the plain probability.")
@click.option("--score-range", type=(float, float), help="Scale of the labels. [default: the least and the greatest]")
@run_options
def command(**arguments: Any) -> Any:
    """Measure ECE, Brier, MAE and Spearman's correlation, before and after a calibration, with 95 % intervals.

    Writes evaluation.json and report.html.
    """
    import orjson

    from actors.scored_rows import NumberRows, ScoredRows
    from cluster.errors import GristmillError
    from cluster.storage import open_storage
    from jobs.job import Job, RunOptions
    from pipelines.curation.calibration_run import CALIBRATION, evaluate

    options = RunOptions.taken_from(arguments)
    inputs, output = arguments.pop("input_dirs"), arguments.pop("output_dir")
    saved: dict[str, Any] | None = None
    if arguments["model_dir"]:
        try:
            saved = orjson.loads(open_storage(arguments["model_dir"], options.endpoint_url).read(CALIBRATION))
        except FileNotFoundError:
            raise GristmillError(f"{arguments['model_dir']}: no {CALIBRATION} here; see train-calibration") from None
    names = list(saved["inputs"]) if saved else ["probability"]
    with Job("eval-calibration", arguments | {"calibration": saved}, inputs, output, options) as job:
        extra: dict[str, Any] = {}
        if not job.complete:
            expressions = arguments["prediction_expression"], arguments["label_expression"]
            chunks = job.scan("rows", [ScoredRows(*expressions, names)], NumberRows(), counts=True)
            task = (job.step("rows"), chunks, names, saved, arguments["score_range"], expressions[0])
            figures = orjson.loads(job.plan("rows", lambda: job.reduce(evaluate, *task)))["figures"]
            table = [
                {"scores": when, "figure": name, "value": f["value"], "95% from": f["low"], "to": f["high"]}
                for when, found in figures.items()
                for name, f in found.items()
            ]
            extra = {"report": f"{output}/report.html", "tables": {"calibration": table}}
        return job.finish(**extra)


if __name__ == "__main__":
    run(command)
