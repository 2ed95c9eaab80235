"""distill-model2vec: static embeddings from a sentence transformer."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import output_option, run, run_options, verb

EXAMPLES = """
gristmill distill-model2vec --model-name sentence-transformers/all-MiniLM-L6-v2 --output-dir models/static
gristmill distill-model2vec --model-name ./models/my-encoder --output-dir models/static --pca-dims 128
"""


@verb("distill-model2vec", EXAMPLES)
@click.option(
    "-m", "--model-name", "--model-name-or-path", required=True, help="A sentence transformer: hub id or path."
)
@output_option
@click.option(
    "-d", "--pca-dims", default="256", show_default=True, help="Dimensions, a share of the variance, auto, or none."
)
@click.option(
    "--sif-coefficient", type=float, default=1e-4, show_default=True, help="Down-weighting of frequent tokens."
)
@click.option("--pooling", type=click.Choice(["mean", "last", "first", "pooler"]), default="mean", show_default=True)
@click.option("--quantize-to", type=click.Choice(["float16", "float32", "int8"]), default="float16", show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@run_options
def command(**arguments: Any) -> Any:
    """Distil a sentence transformer into static embeddings, one per token, for train-model2vec --model-name."""
    from jobs.job import Job, RunOptions
    from pipelines.curation.training import card_summary, distill_model2vec

    options = RunOptions.taken_from(arguments)
    model, output = arguments.pop("model_name"), arguments.pop("output_dir")
    config = {"model_name": model, **arguments}
    arguments["pca_dims"] = dimensions(arguments["pca_dims"])
    with Job("distill-model2vec", config, [], output, options) as job:
        found: dict[str, Any] = {}
        if not job.complete:
            task = (model, job.output, arguments, options.endpoint_url)
            found = card_summary(
                job.plan("distil", lambda: job.reduce(distill_model2vec, *task, cpus=arguments["threads"]))
            )
        return job.finish(**found)


def dimensions(text: str) -> int | float | str | None:
    """`256` is a number of dimensions, `0.9` a share of the variance, `auto` keeps all rotated, `none` keeps all."""
    if text in ("auto", "none"):
        return None if text == "none" else "auto"
    try:
        number = float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a number nor auto nor none", param_hint="--pca-dims") from None
    return int(number) if number >= 1 else number


if __name__ == "__main__":
    run(command)
