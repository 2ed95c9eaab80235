"""reshard-dataset: all rows shuffled into N shards of near-equal bytes, and into splits if asked."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import AMOUNT, input_option, output_option, run, run_options, seed_option, verb

EXAMPLES = """
gristmill reshard-dataset -i data/raw -o data/resharded --num-files 32
gristmill reshard-dataset -i data/raw -o data/split --num-files 32 --test-split 0.01 --valid-split 5000
"""

# Chunks of this pass are cut apart into buckets; large ones keep the pieces from getting tiny.
BUCKETING_CHUNK_BYTES = 32 << 20


@verb("reshard-dataset", EXAMPLES)
@input_option("-i", "--dataset-dir", "--input-dir")
@output_option
@click.option("-n", "--num-files", type=click.IntRange(1), required=True, help="Shards to make, over all splits.")
@click.option("--train-split", type=AMOUNT, help="Rows for train. [default: what test and valid leave]")
@click.option(
    "--test-split", "--test-split-frac", type=AMOUNT, help="Rows for test: a count, or a fraction such as 0.05."
)
@click.option("--valid-split", "--valid-split-frac", type=AMOUNT, help="Rows for valid, likewise.")
@seed_option
@run_options
def command(**arguments: Any) -> Any:
    """Shuffle all rows into N shards of near-equal bytes.

    Without split options the splits that the dataset has are kept, each shuffled in itself, and the N files are
    shared out by bytes. With them all rows are split anew, by --seed. Memory does not grow with the corpus.
    """
    import orjson

    from actors.bucketer import BucketRows
    from actors.row_checker import CheckRows
    from cluster.shards import SPLITS, split_of
    from jobs.job import Job, RunOptions
    from pipelines.curation.reshard import BucketRange, Output, bucket_count, decide_reshard

    options = RunOptions.taken_from(arguments)
    splits = wanted_splits(arguments)
    config = {name: arguments[name] for name in ("num_files", "train_split", "test_split", "valid_split", "seed")}
    with Job("reshard-dataset", config, arguments["input_dirs"], arguments["output_dir"], options) as job:
        files = 0
        if not job.complete:
            present = {split_of(shard.name) for shard in job.shards}
            groups = [""] if splits or present == {None} else [name for name in SPLITS if name in present]
            buckets = bucket_count(job.shards)
            sink = BucketRows(groups, buckets, arguments["seed"])
            chunks = job.scan("bucket", [CheckRows()], sink, counts=True, chunk_bytes=BUCKETING_CHUNK_BYTES)
            step = job.step("bucket")
            task = (step, chunks, buckets, groups, splits, arguments["num_files"])
            plan = orjson.loads(job.plan("bucket", lambda: job.reduce(decide_reshard, *task)))
            outputs = [Output(*fields) for fields in plan["outputs"]]
            sizes = plan["bucket_bytes"]
            sources = [BucketRange(o, step, tuple(chunks), o.group, tuple(sizes[o.group])) for o in outputs]
            written = job.write([], sources=sources, counts=False)
            job.leave_out(sum(tally.rows_out for _, tally in written.values()))
            files = len(outputs)
        return job.finish(files=files)


def wanted_splits(arguments: dict[str, Any]) -> list[Any]:
    """The splits asked for, in the order in which they are cut off; train takes the rest unless it is given."""
    from pipelines.curation.reshard import Split

    given = {name: arguments[f"{name}_split"] for name in ("test", "valid", "train")}
    if all(amount is None for amount in given.values()):
        return []
    fractions = [amount for amount in given.values() if isinstance(amount, float)]
    if sum(fractions) > 1 + 1e-9:
        raise click.UsageError(f"the splits' fractions add up to {sum(fractions):g}, more than 1.0")
    splits = [Split(name, amount) for name, amount in given.items() if amount]
    if given["train"] is None:
        splits.append(Split("train", None))
    return splits


if __name__ == "__main__":
    run(command)
