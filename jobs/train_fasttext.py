"""train-fasttext: a fastText classifier from `train.txt` files, with its card."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import input_option, output_option, run, run_options, verb

EXAMPLES = """
gristmill train-fasttext --dataset-dir data/ft --output-dir models/ft
gristmill train-fasttext --dataset-dir data/ft --output-dir models/ft --dimension 64 --epoch 5 --threads 8
gristmill train-fasttext --dataset-dir data/ft --output-dir models/ft --autotune 600
"""


@verb("train-fasttext", EXAMPLES)
@input_option("-d", "--dataset-dir")
@output_option
@click.option("--learning-rate", "--lr", type=float, default=0.1, show_default=True)
@click.option("--word-ngrams", type=int, default=3, show_default=True, help="Longest word n-gram.")
@click.option("--min-count", type=int, default=5, show_default=True, help="Leave out words that occur less often.")
@click.option("--epoch", type=int, default=3, show_default=True)
@click.option("--bucket", type=int, default=2_000_000, show_default=True, help="Rows that n-grams are hashed to.")
@click.option("--min-char-ngram", "--minn", type=int, default=0, show_default=True)
@click.option("--max-char-ngram", "--maxn", type=int, default=0, show_default=True)
@click.option("--window-size", "--ws", type=int, default=5, show_default=True)
@click.option("--dimension", "--dim", type=int, default=256, show_default=True, help="Size of the vectors.")
@click.option("--loss", type=click.Choice(["softmax", "hs", "ns", "ova"]), default="softmax", show_default=True)
@click.option("--num-negatives", type=int, default=5, show_default=True)
@click.option(
    "--threads",
    "--thread",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="More than 1 is faster and not reproducible.",
)
@click.option("--seed", type=int, default=42, show_default=True)
@click.option("--autotune", type=click.IntRange(1), help="Search parameters for this many seconds on valid.txt.")
@run_options
def command(**arguments: Any) -> Any:
    """Train a fastText classifier on the train.txt of one or several datasets (see convert-to-fasttext).

    Writes model.bin, card.json and README.md. With one thread (the default) the same data give the same bytes.
    """
    from actors.classifiers.fasttext import FastTextParams
    from jobs.fasttext_files import fasttext_files, preparation
    from jobs.job import Job, RunOptions
    from pipelines.curation.training import card_summary, train_fasttext

    options = RunOptions.taken_from(arguments)
    inputs, output, autotune = (arguments.pop(name) for name in ("input_dirs", "output_dir", "autotune"))
    params = FastTextParams(**arguments)
    config = arguments | {"autotune": autotune}
    with Job("train-fasttext", config, inputs, output, options, find_sources=fasttext_files) as job:
        found: dict[str, Any] = {}
        if not job.complete:
            train, valid = ([s for s in job.shards if s.path == name] for name in ("train.txt", "valid.txt"))
            if autotune is not None and not valid:
                raise click.UsageError("--autotune needs a valid.txt in the dataset to judge by")
            form, max_length = preparation(inputs, options.endpoint_url)
            task = (train, valid, job.output, params, autotune, form, max_length)
            found = card_summary(job.plan("train", lambda: job.reduce(train_fasttext, *task, cpus=params.threads)))
        return job.finish(**found)


if __name__ == "__main__":
    run(command)
