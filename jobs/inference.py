"""What infer-fasttext and infer-model2vec share: a model over every row, its probabilities in a new column."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import input_option, output_option, run_options, stack, text_option

inference_options = stack(
    click.option("-m", "--model-dir", required=True, help="The model: a directory or s3:// prefix."),
    input_option("-i", "--input-dir"),
    output_option,
    click.option(
        "-c", "--column", "--classifier-name", default="prediction", show_default=True, help="The field to set."
    ),
    text_option,
    click.option("--tokenizer", help="Where the tokenizer of the model's normal form is, if it moved."),
    click.option(
        "--max-length", type=click.IntRange(1), help="Cut texts to this many characters. [default: as in training]"
    ),
    run_options,
)


def classify(verb: str, kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run an inference verb for models of one kind."""
    from actors.classifier import ClassifyRows
    from jobs.job import Job, RunOptions
    from jobs.models import card_of

    options = RunOptions.taken_from(arguments)
    inputs, output = arguments.pop("input_dirs"), arguments.pop("output_dir")
    _, digest = card_of(arguments["model_dir"], options.endpoint_url, kind)
    with Job(verb, arguments | {"model": digest}, inputs, output, options) as job:
        if not job.complete:
            stage = ClassifyRows(
                arguments["model_dir"],
                arguments["column"],
                arguments["text_expression"],
                arguments["max_length"],
                done=job.input_form,
                tokenizer=arguments["tokenizer"],
                endpoint_url=options.endpoint_url,
            )
            job.write([stage])
        return job.finish()
