"""train-model2vec: a classifier (or a regression) on static embeddings, saved without pickle."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import input_option, label_option, output_option, run, run_options, text_option, verb

EXAMPLES = """
gristmill train-model2vec --dataset-dir data/a --dataset-dir data/b --output-dir models/m2v
gristmill train-model2vec --dataset-dir data/a --output-dir models/m2v --model-name ./models/static --max-epochs 5
gristmill train-model2vec --dataset-dir data/a --output-dir models/score --regression
"""


@verb("train-model2vec", EXAMPLES)
@input_option("-d", "--dataset-dir")
@output_option
@click.option(
    "-m", "--model-name", default="minishlab/potion-base-32M", show_default=True, help="Static model: hub id or path."
)
@text_option
@label_option
@click.option(
    "-n", "--normalization", "--normalizer", help="Bring the texts into this normal form. [default: as they are]"
)
@click.option("--tokenizer", help="Tokenizer of the normal form, where it needs one.")
@click.option("--max-length", type=click.IntRange(1), help="Cut texts to this many characters.")
@click.option("--learning-rate", type=float, default=1e-3, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), help="[default: chosen by model2vec]")
@click.option("--min-epochs", type=click.IntRange(1))
@click.option("--max-epochs", type=int, default=-1, show_default=True, help="-1: as long as it gets better.")
@click.option("--patience", "--early-stopping-patience", type=click.IntRange(1), default=5, show_default=True)
@click.option(
    "--loss-class-weight", type=click.Choice(["uniform", "balanced", "sqrt"]), default="uniform", show_default=True
)
@click.option("--regression", is_flag=True, help="Predict a number instead of a class.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, or cuda to train on a GPU.")
@click.option("--seed", type=int, default=42, show_default=True)
@run_options
def command(**arguments: Any) -> Any:
    """Train a classifier on static embeddings, on the train split of one or several datasets.

    Training stops when the valid split (or a tenth of the training rows, where there is none) brings nothing more. The
    same data, seed and number of threads give the same bytes.
    """
    from actors.classifiers.model2vec import Model2VecParams
    from actors.training_rows import LabelledTexts, TrainingRows
    from cluster.shards import split_of
    from jobs.job import Job, RunOptions
    from jobs.text_forms import described
    from pipelines.curation.training import card_summary, train_model2vec

    options = RunOptions.taken_from(arguments)
    inputs, output = arguments.pop("input_dirs"), arguments.pop("output_dir")
    form = described(arguments.pop("normalization"), arguments.pop("tokenizer"))
    config = arguments | {"normalization": form}
    names = ("learning_rate", "batch_size", "min_epochs", "patience", "loss_class_weight", "seed", "threads", "device")
    epochs = arguments["max_epochs"]
    params = Model2VecParams(
        base_model=arguments["model_name"],
        max_epochs=epochs if epochs > 0 else None,
        **{name: arguments[name] for name in names},
    )
    with Job("train-model2vec", config, inputs, output, options, text_step=form) as job:
        found: dict[str, Any] = {}
        if not job.complete:
            expressions = arguments["text_expression"], arguments["label_expression"]
            stage = LabelledTexts(*expressions, job.form_to_apply, arguments["max_length"], arguments["regression"])
            job.use_only(split in (None, "train", "valid") for split in (split_of(s.name) for s in job.shards))
            chunks = job.scan("rows", [stage], TrainingRows(), counts=True)
            train, valid = (
                [part for part in chunks if (split_of(part.shard) or "train") == split] for split in ("train", "valid")
            )
            prepared = (job.text_form, arguments["max_length"], options.endpoint_url)
            task = (job.step("rows"), train, valid, job.output, params, arguments["regression"], *prepared)
            gpus = 1 if params.device.startswith("cuda") else 0
            card = job.plan("rows", lambda: job.reduce(train_model2vec, *task, cpus=params.threads, gpus=gpus))
            found = card_summary(card)
        return job.finish(**found)


if __name__ == "__main__":
    run(command)
