"""normalize-dataset: replace each text by its normal form; every other byte of the row stays."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import input_option, output_option, run, run_options, text_option, verb

EXAMPLES = """
gristmill normalize-dataset -i data/raw -o data/potion -n potion
gristmill normalize-dataset -i data/raw -o data/uf -n ultrafine --tokenizer openbmb/Ultra-FineWeb-classifier
gristmill normalize-dataset -i s3://bucket/raw -o s3://bucket/ws -n whitespace --text-expression .content
"""


@verb("normalize-dataset", EXAMPLES)
@input_option("-i", "--input-dir")
@output_option
@click.option(
    "-n", "--normalization", default="plsfix", show_default=True, help="Which normal form; see docs/curation.md."
)
@click.option("--tokenizer", help="Hub id, directory or tokenizer.json, for the normal forms that need one.")
@text_option
@click.option("-l", "--label-expression", help="jq program whose value goes to .score. [default: rows keep theirs]")
@run_options
def command(**arguments: Any) -> Any:
    """Replace each text by its normal form.

    Normal forms: whitespace, plsfix, plsfix-fragments, ultrafine, potion, potion_code, hyperfine, hyperfine_code,
    tokenizer. The text that --text-expression names is replaced in place; every other byte of a row stays as it was.
    """
    from actors.normalizer import NormalizeText
    from jobs.job import Job, RunOptions
    from jobs.text_forms import described

    options = RunOptions.taken_from(arguments)
    inputs, output = arguments.pop("input_dirs"), arguments.pop("output_dir")
    form = described(arguments["normalization"], arguments.pop("tokenizer"))
    config = arguments | {"normalization": form}
    stage = NormalizeText(form, arguments["text_expression"], arguments["label_expression"])
    with Job("normalize-dataset", config, inputs, output, options, text_step=form) as job:
        if not job.complete:
            stage.form = job.form_to_apply
            job.write([stage])
        return job.finish()


if __name__ == "__main__":
    run(command)
