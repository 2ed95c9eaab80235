"""The `gristmill` command: a table of contents whose verbs are loaded when they are called."""

from __future__ import annotations

from importlib import import_module

import click

from jobs.command import run

# Verb, module under jobs/, and the line that `gristmill --help` shows. Modules are imported on use: help stays instant.
CONTENTS: dict[str, dict[str, tuple[str, str]]] = {
    "Start here": {
        "quickstart": ("quickstart", "The whole line of work on Python sources found on this machine."),
    },
    "Datasets": {
        "import-hf-dataset": ("import_hf_dataset", "A Hugging Face dataset, or Parquet files, to shards."),
        "transform-dataset": ("transform_dataset", "Make new rows with jq programs."),
        "normalize-dataset": ("normalize_dataset", "Replace each text by its normal form."),
        "balance-dataset": ("balance_dataset", "The same number of rows for every label."),
        "sample-dataset": ("sample_dataset", "A uniform sample, by rate or by size."),
        "reshard-dataset": ("reshard_dataset", "Shuffle into N shards of equal size, and into splits."),
        "deduplicate-dataset": ("deduplicate_dataset", "Remove exact or near duplicates."),
        "convert-to-fasttext": ("convert_to_fasttext", "One labelled line per row, as fastText reads it."),
        "count-tokens": ("count_tokens", "Rows, characters, bytes and tokens, with quantiles."),
        "label-distribution": ("label_distribution", "How many rows each label has."),
    },
    "Annotation": {
        "annotate-dataset": ("annotate_dataset", "Ask a model about every row, or measure it."),
        "batch-annotate-submit": ("batch_annotate_submit", "Ask by a provider's batches: half the price, in a day."),
        "batch-annotate-status": ("batch_annotate_status", "How the batches stand."),
        "batch-annotate-retrieve": ("batch_annotate_retrieve", "Take the batches' answers and write the rows."),
        "list-prompts": ("list_prompts", "The prompts that come along."),
        "show-prompt": ("show_prompt", "A prompt, and what it makes of a row."),
        "annotation-agreement": ("annotation_agreement", "How far graders agree, with intervals."),
        "compare-agreement": ("compare_agreement", "Whether one pair of graders agrees better than another."),
    },
    "Classifiers": {
        "train-fasttext": ("train_fasttext", "Train a fastText classifier."),
        "train-model2vec": ("train_model2vec", "Train a classifier on static embeddings."),
        "distill-model2vec": ("distill_model2vec", "Distil a sentence transformer into static embeddings."),
        "eval-fasttext": ("eval_fasttext", "Evaluate a fastText classifier; JSON and HTML."),
        "eval-model2vec": ("eval_model2vec", "Evaluate a model2vec classifier; JSON and HTML."),
        "infer-fasttext": ("infer_fasttext", "Add a fastText classifier's probabilities to each row."),
        "infer-model2vec": ("infer_model2vec", "Add a model2vec classifier's probabilities to each row."),
        "train-calibration": ("train_calibration", "Learn to map a probability to a score."),
        "eval-calibration": ("eval_calibration", "Measure how well probabilities are calibrated."),
    },
    "Sandboxes": {
        "execute": ("execute", "Run one program on some inputs, in a sandbox."),
        "execute-dataset": ("execute_dataset", "Run the program of every row, in sandboxes on the cluster."),
    },
    "Program synthesis": {
        "run-tasks": ("run_tasks", "Have a model write programs for tasks, run and score them."),
        "build-subset": ("build_subset", "Tasks that strong models solve and weak ones do not."),
        "score-run": ("score_run", "How many tasks a run solved, with intervals; JSON and HTML."),
        "vote": ("vote", "The two answers that each task's attempts give together."),
        "compare-runs": ("compare_runs", "Whether one run beats another, and what it takes to tell."),
        "build-training-data": ("build_training_data", "Rows to train on from what models tried, relabelled."),
        "validate-training-data": ("validate_training_data", "Execute every row again, whoever made it."),
        "export-training-data": ("export_training_data", "Rows as Parquet, or as a saved Hugging Face dataset."),
    },
    "Serving": {
        "serve": ("serve", "Classifiers behind an HTTP endpoint, with a page to try them on."),
        "classify": ("classify", "Add an endpoint's probabilities to each row."),
    },
}
VERBS = {verb: entry for section in CONTENTS.values() for verb, entry in section.items()}


class Contents(click.Group):
    """A group that knows its verbs' names without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"jobs.{VERBS[cmd_name][0]}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], VERBS, 1)
            hint = f"did you mean {close[0]!r}?" if close else "see gristmill --help"
            raise click.UsageError(f"no such verb: {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, verbs in CONTENTS.items():
            with formatter.section(section):
                formatter.write_dl([(verb, line) for verb, (_, line) in verbs.items()])


@click.group(
    cls=Contents,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Each verb has examples: gristmill VERB --help. Every directory may be a path or s3://bucket/prefix.",
)
@click.version_option(package_name="gristmill")
def command() -> None:
    """Grind raw text and tasks into graded, executed, verified training data, and into classifiers.

    The same verb runs on this machine (an embedded Ray), on a cluster with --address, and as
    `ray job submit --working-dir . -- python -m jobs.VERB`. A run that was killed is continued by the same command.
    """


def main() -> None:
    """The console script."""
    run(command)
