"""deduplicate-dataset: the first of equal texts stays, with --near also the first of nearly equal ones."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import Number, input_option, output_option, run, run_options, text_option, verb

EXAMPLES = """
gristmill deduplicate-dataset -i data/raw -o data/unique
gristmill deduplicate-dataset -i data/crawl-1 -i data/crawl-2 -o data/unique --near
gristmill deduplicate-dataset -i data/raw -o data/unique --near --threshold 0.9 --ngram 7
"""

DEFAULTS = {"threshold": 0.8, "num_perm": 128, "ngram": 5}


@verb("deduplicate-dataset", EXAMPLES)
@input_option("-i", "--input-dir", "--dataset-dir")
@output_option
@text_option
@click.option("--near", is_flag=True, help="Also remove near duplicates (MinHash over word n-grams).")
@click.option(
    "--threshold",
    type=Number(0, 1, min_open=True),
    help=f"With --near: Jaccard similarity from which texts are duplicates. [default: {DEFAULTS['threshold']}]",
)
@click.option(
    "--num-perm",
    type=click.IntRange(16, 1024),
    help=f"With --near: places of a signature; the estimate's error is 1/√N. [default: {DEFAULTS['num_perm']}]",
)
@click.option(
    "--ngram", type=click.IntRange(1, 100), help=f"With --near: words in an n-gram. [default: {DEFAULTS['ngram']}]"
)
@run_options
def command(**arguments: Any) -> Any:
    """Remove duplicate texts over all splits and inputs: of each group the first row in input order stays.

    Texts are equal if all their characters are. With --near, two texts are near duplicates if the Jaccard similarity
    of their word n-grams, as their MinHash signatures estimate it, reaches the threshold; a group is what is linked by
    such pairs. The order of the input is that of the --input-dir options, then that of the shards' names.

    What was removed, and in favour of which row, is written to _duplicates/ beside the shards. The groups are found in
    one task, which needs 33 bytes of local disk for each row, with --near about 700, and memory for a part of that.
    """
    import orjson

    from actors.duplicate_dropper import DropDuplicates
    from actors.fingerprints import FingerprintTexts
    from actors.texts import CheckTexts, ExtractTexts
    from jobs.job import Job, RunOptions
    from pipelines.curation.deduplicate import decide_duplicates

    options = RunOptions.taken_from(arguments)
    near, versions = wanted_near(arguments)
    text_expression = arguments["text_expression"]
    settings = {name: arguments[name] for name in DEFAULTS} if near else {}
    config = {"text_expression": text_expression, "near": arguments["near"], **settings}
    inputs, output = arguments["input_dirs"], arguments["output_dir"]
    with Job("deduplicate-dataset", config, inputs, output, options, versions=versions) as job:
        counts: dict[str, int] = {}
        if not job.complete:
            sink = FingerprintTexts(near.signatures if near else None)
            chunks = job.scan("fingerprint", [ExtractTexts(text_expression)], sink)
            step = job.step("fingerprint")
            plan = job.plan("fingerprint", lambda: job.reduce(decide_duplicates, step, chunks, near))
            counts = orjson.loads(plan)
            job.write([CheckTexts(text_expression), DropDuplicates(step)])
        return job.finish(**counts)


def wanted_near(arguments: dict[str, Any]) -> tuple[Any, dict[str, str]]:
    """What --near asks for, None without it, with the version of the library; fills in the defaults."""
    from actors.fingerprints import Signatures, check_near_duplicates
    from pipelines.curation.deduplicate import Near

    given = [name for name in DEFAULTS if arguments[name] is not None]
    if not arguments["near"]:
        if given:
            raise click.UsageError(f"--{given[0].replace('_', '-')} is for near duplicates: add --near")
        return None, {}
    arguments.update({name: default for name, default in DEFAULTS.items() if arguments[name] is None})
    signatures = Signatures(arguments["num_perm"], arguments["ngram"])
    return Near(arguments["threshold"], signatures), {"rensa": check_near_duplicates()}


if __name__ == "__main__":
    run(command)
