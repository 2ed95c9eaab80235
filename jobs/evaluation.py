"""What eval-fasttext and eval-model2vec share: a model, labelled rows, figures with intervals, and a report."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import input_option, label_option, run_options, stack, text_option

evaluation_options = stack(
    input_option("-d", "--dataset-dir"),
    click.option("-m", "--model-dir", required=True, help="The model: a directory or s3:// prefix."),
    click.option(
        "-o", "--output-dir", help="Where evaluation.json and report.html go. [default: MODEL_DIR/evaluation]"
    ),
    text_option,
    label_option,
    click.option(
        "--split",
        type=click.Choice(["train", "valid", "test"]),
        help="[default: test, else all rows of an unsplit dataset]",
    ),
    click.option("--tokenizer", help="Where the tokenizer of the model's normal form is, if it moved."),
    click.option(
        "--max-length", type=click.IntRange(1), help="Cut texts to this many characters. [default: as in training]"
    ),
    run_options,
)


def evaluate_model(verb: str, kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run an evaluation verb for models of one kind."""
    import orjson

    from actors.predictions import JudgeRows
    from actors.text_form import needed
    from actors.training_rows import TrainingRows
    from jobs.job import Job, RunOptions
    from jobs.models import card_of
    from pipelines.curation.model_evaluation import evaluate

    options = RunOptions.taken_from(arguments)
    inputs, model_dir = arguments["input_dirs"], arguments["model_dir"]
    card, digest = card_of(model_dir, options.endpoint_url, kind)
    output = arguments["output_dir"] or f"{model_dir.rstrip('/')}/evaluation"
    sources = EvaluationSources(arguments["split"])
    names = ("model_dir", "text_expression", "label_expression", "split", "tokenizer", "max_length")
    config = {name: arguments[name] for name in names} | {"model": digest}
    with Job(verb, config, inputs, output, options, find_sources=sources) as job:
        figures: dict[str, Any] = {}
        if not job.complete:
            form = needed(card.normalization, job.input_form, f"the model {model_dir}", "the dataset")
            judge = JudgeRows(
                model_dir,
                options.endpoint_url,
                arguments["text_expression"],
                arguments["label_expression"],
                form=form,
                max_length=arguments["max_length"],
                tokenizer=arguments["tokenizer"],
                fasttext_lines=sources.fasttext_lines,
            )
            chunks = job.scan("judge", [judge], TrainingRows(), counts=True)
            name = model_dir.rstrip("/").rsplit("/", 1)[-1]
            facts = {
                "Model": f"{name} ({card.kind})",
                "Dataset": ", ".join(i.rstrip("/").rsplit("/", 1)[-1] for i in inputs),
            }
            regression = card.task == "regression"
            task = (job.step("judge"), chunks, name, list(card.labels), regression, facts)
            figures = orjson.loads(job.plan("judge", lambda: job.reduce(evaluate, *task)))
        return job.finish(**evaluation_summary(figures, output))


def evaluation_summary(figures: dict[str, Any], output: str) -> dict[str, Any]:
    """The figures as a table for the summary, with the place of the report."""
    if not figures:
        return {}
    table = [
        {"figure": name, "value": found["value"], "95% from": found["low"], "to": found["high"]}
        for name, found in figures["figures"].items()
    ]
    return {"evaluated_rows": figures["rows"], "report": f"{output}/report.html", "tables": {"figures": table}}


class EvaluationSources:
    """Finds what is evaluated: the wanted split's shards, or the fastText file of that split."""

    def __init__(self, split: str | None) -> None:
        self.split = split
        self.fasttext_lines = False

    def __call__(self, urls: list[str], endpoint_url: str | None) -> list[Any]:
        from cluster.shards import DatasetError, shards_of, split_of
        from cluster.storage import open_storage
        from jobs.fasttext_files import fasttext_files

        name = f"{self.split or 'test'}.txt"
        if all(open_storage(url, endpoint_url).exists(name) for url in urls):
            self.fasttext_lines = True
            return [s for s in fasttext_files(urls, endpoint_url, self.split or "test") if s.path == name]
        shards = shards_of(urls, endpoint_url)
        present = {split_of(shard.name) for shard in shards}
        wanted = self.split or (None if present == {None} else "test")
        if wanted not in present:
            there = ", ".join(sorted(str(split) for split in present if split)) or "no splits"
            raise DatasetError(
                f"{', '.join(urls)}: there is no {wanted} split here (there is {there}); choose with --split"
            )
        return [shard for shard in shards if split_of(shard.name) == wanted]
