"""count-tokens: rows, characters, bytes and tokens per split and in total, with exact quantiles over the rows."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import input_option, run, run_options, verb
from jobs.looking import finish_looking, ledger_place, looking_output_option

EXAMPLES = """
gristmill count-tokens -d data/raw --tokenizer allenai/dolma2-tokenizer
gristmill count-tokens -d data/a -d data/b -t tokenizer.json -i .content -o data/counts
gristmill count-tokens -d data/raw --no-tokens --json
"""

FILE = "counts.json"


@verb("count-tokens", EXAMPLES)
@input_option("-d", "--dataset-dir", "--input-dir")
@looking_output_option(FILE)
@click.option(
    "-t", "--tokenizer", "--tokenizer-name-or-path", help="Hub id, directory or tokenizer.json. Needed for tokens."
)
@click.option("--no-tokens", is_flag=True, help="Count characters and bytes alone, without a tokenizer.")
@click.option(
    "-i",
    "--text-expression",
    "--input-field-expression",
    default=".text",
    show_default=True,
    help="jq program for the text.",
)
@run_options
def command(**arguments: Any) -> Any:
    """Count the rows, characters, bytes and tokens of texts, per split and in total.

    Bytes are those of the text in UTF-8, tokens those of the text alone, without special tokens and without
    truncation. Quantiles over the rows are exact. Rows without a text are quarantined.
    """
    import orjson

    from actors.text_counter import CountTexts
    from actors.texts import ExtractTexts
    from jobs.job import Job, RunOptions
    from pipelines.curation.token_counts import count_lengths, length_table

    options = RunOptions.taken_from(arguments)
    tokenizer, facts = wanted_tokenizer(arguments["tokenizer"], arguments["no_tokens"])
    facts["text_expression"] = arguments["text_expression"]
    config = {name: facts[name] for name in ("tokenizer_sha256", "text_expression")}
    output_dir, inputs = arguments["output_dir"], arguments["input_dirs"]
    with ledger_place(output_dir, options) as place, Job("count-tokens", config, inputs, place, options) as job:
        found: dict[str, Any] = {}
        if not job.complete:
            sink = CountTexts(tokenizer)
            chunks = job.scan("count", [ExtractTexts(arguments["text_expression"])], sink, counts=True)
            task = (job.step("count"), chunks, FILE if output_dir else None, facts)
            counts = orjson.loads(job.plan("count", lambda: job.reduce(count_lengths, *task)))
            totals = {measure: summary["total"] for measure, summary in counts["total"].items()}
            found = {**totals, "tables": {"per row": length_table(counts)}}
        return finish_looking(job, output_dir, **found)


def wanted_tokenizer(source: str | None, no_tokens: bool) -> tuple[str | None, dict[str, Any]]:
    """The text of the tokenizer.json that is asked for, and what identifies it. Raises click.UsageError."""
    if no_tokens:
        if source is not None:
            raise click.UsageError("--tokenizer and --no-tokens exclude each other")
        return None, {"tokenizer": None, "tokenizer_sha256": None}
    from actors.normalizers.tokenizer_file import how_to_get, locate

    if source is None:
        raise click.UsageError(
            f"give --tokenizer, or --no-tokens for characters and bytes alone; {how_to_get('dolma2')}"
        )
    file = locate(source, "dolma2")
    text = file.path.read_text(encoding="utf-8")
    check_tokenizer(text, str(file.path))
    return text, {"tokenizer": source, "tokenizer_sha256": file.sha256}


def check_tokenizer(text: str, path: str) -> None:
    """Load the tokenizer once before any row. Raises TokenizerUnusable."""
    from tokenizers import Tokenizer

    from actors.normalizers.tokenizer_file import TokenizerUnusable

    try:
        Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception on a file that it cannot read
        raise TokenizerUnusable(f"{path} is not a tokenizer.json: {error}") from None


if __name__ == "__main__":
    run(command)
