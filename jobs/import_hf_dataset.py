"""import-hf-dataset: a Hugging Face dataset, or Parquet, Arrow or JSONL files, to shards with a seeded test split."""

from __future__ import annotations

import os
import re
from itertools import count
from typing import Any

import click

from jobs.command import AMOUNT, output_option, run, run_options, verb

EXAMPLES = """
gristmill import-hf-dataset --name HuggingFaceFW/fineweb-edu --subset sample-10BT -o data/raw --test-split 0.01
gristmill import-hf-dataset --name ./parquet -o data/raw --test-split 1000
gristmill import-hf-dataset --name 'crawl/*.parquet' -o s3://bucket/raw
gristmill import-hf-dataset --name saved-dataset --split validation -o data/valid
"""

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)


@verb("import-hf-dataset", EXAMPLES)
@click.option(
    "-n", "--name", required=True, help="Hub id, or a directory, file, pattern or s3:// prefix of Parquet or JSONL."
)
@click.option("-s", "--subset", help="The configuration of a hub dataset, or the folder of a local one.")
@click.option("--split", help="Take only this split. [default: train, validation and test, as far as there are]")
@output_option
@click.option("-t", "--test-split", type=AMOUNT, help="Rows that become the test split: a count, or a fraction.")
@click.option("-S", "--seed", type=int, default=333, show_default=True, help="Seed of the test split.")
@click.option("-b", "--batch-size", type=int, hidden=True, help="Accepted and not needed: work is cut by bytes.")
@run_options
def command(**arguments: Any) -> Any:
    """Make shards of JSON lines from a dataset of the hub, or from Parquet, Arrow or JSONL files.

    The splits of the dataset are kept, with validation as valid. Where there is no test split, --test-split takes
    exactly that many rows out of train, chosen by --seed. Rows stay in their order; a shard holds about 256 MB before
    compression (JSONL files stay one shard each, see reshard-dataset). Local directories may be what `save_to_disk`
    wrote.

    A row becomes an object with all columns. Integers stay exact; NaN and infinities become null; dates, times and
    timestamps become ISO 8601 strings (UTC and Z with a time zone), durations PT…S, decimals strings, binary values
    base64, maps lists of pairs. Rows with text that is not UTF-8 are quarantined. Lines of JSONL files are kept as
    they are.

    A hub dataset is downloaded into the cache of the `datasets` library (HF_HOME); on a cluster that has to be a
    directory that all nodes see.
    """
    from jobs.job import Job, RunOptions

    options = RunOptions.taken_from(arguments)
    files = located(arguments["name"], arguments["subset"], arguments["split"], options)
    place = files.root.url if files.root else arguments["name"]
    config = {"name": place, **{name: arguments[name] for name in ("subset", "split", "test_split", "seed")}}
    inputs, output = [place], arguments["output_dir"]
    with Job(
        "import-hf-dataset", config, inputs, output, options, find_sources=lambda urls, endpoint: files.inputs()
    ) as job:
        found: dict[str, Any] = {}
        if not job.complete:
            sources, checks = planned(job, files, arguments["test_split"], arguments["seed"])
            written = job.write(checks, sources=sources)
            found = {**rows_per_split(written), "shards": len(sources)}
            if files.left_out:
                found["splits_left_out"] = ", ".join(files.left_out)
            if arguments["test_split"] and "test" in files.splits:
                found["note"] = "the dataset has a test split, so --test-split was not applied"
        return job.finish(**found)


def located(name: str, subset: str | None, split: str | None, options: Any) -> Any:
    """The files of the dataset under the splits that are taken: a local path's, or those of a hub id in its cache."""
    from pipelines.curation.dataset_files import choose_splits, find_dataset
    from pipelines.curation.hub import download

    is_hub_id = HUB_ID.fullmatch(name) and not os.path.exists(name) and not name.endswith((".parquet", ".zst", ".gz"))
    if is_hub_id and not name.startswith("."):
        found = download(name, subset, options.quiet)
    else:
        found = find_dataset(name, subset, options.endpoint_url)
    return choose_splits(found, split, name)


def planned(job: Any, files: Any, test_split: int | float | None, seed: int) -> tuple[list[Any], list[Any]]:
    """The sources of the output's shards, and the stages that their rows go through."""
    from actors.row_checker import CheckRows
    from pipelines.curation.importing import ShardPart, named, shard_groups, split_tables, table_parts

    wanted = test_split if test_split and "test" not in files.splits and "train" in files.splits else None
    sources: list[Any] = []
    for split, tables in files.tables.items():
        parts = table_parts(split, tables)
        if split == "train" and wanted is not None:
            sources += with_seed(lambda seed, parts=parts: split_tables(parts, wanted, seed), seed)
        else:
            sources += named(split, shard_groups(parts))
    for split, shards in files.shards.items():
        if split == "train" and wanted is not None:
            sources += split_by_counting(job, shards, wanted, seed)
        else:
            sources += named(split, [[ShardPart(shard)] for shard in shards])
    return sources, [CheckRows()] if files.shards else []


def split_by_counting(job: Any, shards: list[Any], wanted: int | float, seed: int) -> list[Any]:
    """The sources of train and test of JSONL shards, after a pass that counts their rows."""
    import orjson

    from actors.row_checker import CheckRows
    from actors.selector import Grouping, RankRows
    from pipelines.curation.importing import decide_shard_split, split_shards

    names = {shard.name for shard in shards}
    job.use_only(shard.name in names for shard in job.shards)

    def split(seed: int) -> list[Any]:
        name = f"rank-{seed}"
        chunks = job.scan(name, [CheckRows()], RankRows(Grouping(), seed))
        plan = job.plan(name, lambda: job.reduce(decide_shard_split, job.step(name), chunks, wanted))
        return split_shards(shards, orjson.loads(plan), seed)

    return with_seed(split, seed)


def with_seed(split: Any, seed: int) -> list[Any]:
    """The split by this seed, or by the next one derived from it where two rows tie at its edge."""
    from pipelines.curation.selection import TiedPriorities

    for attempt in count():
        try:
            return list(split(seed + (attempt << 32)))
        except TiedPriorities:
            continue
    raise AssertionError("unreachable")


def rows_per_split(written: dict[str, Any]) -> dict[str, int]:
    """The rows that were written, by split."""
    rows: dict[str, int] = {}
    for name, (_, tally) in written.items():
        key = f"{name.split('/')[0]}_rows"
        rows[key] = rows.get(key, 0) + tally.rows_out
    return rows


if __name__ == "__main__":
    run(command)
