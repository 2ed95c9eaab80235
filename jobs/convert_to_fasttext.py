"""convert-to-fasttext: `{split}.txt` with one `__label__x text` line per row, as fastText reads it."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import input_option, label_option, output_option, run, run_options, text_option, verb

EXAMPLES = """
gristmill convert-to-fasttext -i data/graded -o data/ft --normalization ultrafine --tokenizer tok.json
gristmill convert-to-fasttext -i data/graded -o data/ft --label-expression 'if .score >= 3 then "pos" else "neg" end'
gristmill convert-to-fasttext -i data/graded -o data/ft --auto 4
"""


@verb("convert-to-fasttext", EXAMPLES)
@input_option("-i", "--input-dir")
@output_option
@click.option(
    "-n", "--normalization", help="Normal form of the texts, or none. [default: whitespace, if they are in none]"
)
@click.option("--tokenizer", help="Hub id, directory or tokenizer.json, for the normal forms that need one.")
@text_option
@label_option
@click.option("--max-length", type=click.IntRange(1), help="Cut texts to this many characters before normalizing.")
@click.option("--auto", type=click.IntRange(2), help="Cut numeric labels into this many bins of equal counts.")
@click.option(
    "--multi-label", is_flag=True, help="The label is an object {name: 0 or 1}; every name that is 1 is a label."
)
@run_options
def command(**arguments: Any) -> Any:
    """Write train.txt, valid.txt and test.txt for fastText: one physical line per row, whatever the text holds.

    Rows without a text or a label are quarantined. The bins of --auto are the quantiles of the train split.
    """
    import orjson

    from actors.fasttext_rows import FastTextRows, NumericLabels, TextLines
    from actors.row_checker import CheckRows
    from cluster.shards import split_of
    from jobs.job import Job, RunOptions
    from jobs.text_forms import common_form, described
    from pipelines.curation.quantile_bins import decide_bins
    from pipelines.curation.text_files import publish_text

    options = RunOptions.taken_from(arguments)
    if arguments["multi_label"] and arguments["auto"]:
        raise click.UsageError("--multi-label and --auto exclude each other")
    found = common_form(arguments["input_dirs"], options.endpoint_url)
    wanted = arguments["normalization"] or ("none" if found else "whitespace")
    form = described(wanted, arguments["tokenizer"])
    expressions = arguments["text_expression"], arguments["label_expression"]
    config = {
        "normalization": form,
        "text_expression": expressions[0],
        "label_expression": expressions[1],
        **{name: arguments[name] for name in ("max_length", "auto", "multi_label")},
    }
    inputs = arguments["input_dirs"]
    with Job("convert-to-fasttext", config, inputs, arguments["output_dir"], options, text_step=form) as job:
        edges = None
        if not job.complete:
            if arguments["auto"]:
                chunks = job.scan("labels", [CheckRows()], NumericLabels(expressions[1]))
                plan = job.plan(
                    "labels", lambda: job.reduce(decide_bins, job.step("labels"), chunks, arguments["auto"])
                )
                edges = orjson.loads(plan)
            stage = FastTextRows(
                job.form_to_apply, *expressions, arguments["max_length"], edges, arguments["multi_label"]
            )
            chunks = job.scan("lines", [stage], TextLines(), counts=True)
            for split in dict.fromkeys(split_of(part.shard) for part in chunks):
                parts = [part for part in chunks if split_of(part.shard) == split]
                job.reduce(publish_text, job.step("lines"), parts, f"{split or 'train'}.txt")
        return job.finish(**({"bin_edges": edges} if edges else {}))


if __name__ == "__main__":
    run(command)
