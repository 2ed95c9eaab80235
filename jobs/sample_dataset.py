"""sample-dataset: a uniform sample of rows, by rate or up to a size of uncompressed bytes."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import BYTES, Number, input_option, output_option, run, run_options, seed_option, verb

EXAMPLES = """
gristmill sample-dataset -i data/raw -o data/sample --target-size 1GB
gristmill sample-dataset -i data/raw -o data/tenth --sampling-rate 0.1
"""


@verb("sample-dataset", EXAMPLES)
@input_option("-i", "--dataset-dir", "--input-dir")
@output_option
@click.option(
    "-t", "--target-size", type=BYTES, help="Uncompressed bytes to keep: 1GB and 1GiB are 1024³, 1gB is 1000³."
)
@click.option("-r", "--sampling-rate", type=Number(0, 1), help="Share of the rows to keep.")
@seed_option
@run_options
def command(**arguments: Any) -> Any:
    """Keep a uniform sample of the rows, whole, in their order and shards.

    With --target-size the sample's uncompressed bytes are as near to the target as whole rows can be. With
    --sampling-rate every row is kept with that chance.
    """
    import orjson

    from actors.row_checker import CheckRows
    from actors.selector import Grouping, KeepRows, RankRows
    from jobs.job import Job, RunOptions
    from pipelines.curation.sample import decide_sample, rate_threshold

    options = RunOptions.taken_from(arguments)
    target, rate, seed = arguments["target_size"], arguments["sampling_rate"], arguments["seed"]
    if (target is None) == (rate is None):
        raise click.UsageError("give either --target-size or --sampling-rate")
    config = {"target_size": target, "sampling_rate": rate, "seed": seed}
    with Job("sample-dataset", config, arguments["input_dirs"], arguments["output_dir"], options) as job:
        extra: dict[str, Any] = {}
        if not job.complete:
            grouping = Grouping()
            threshold: int | None = None
            if rate is not None:
                threshold = rate_threshold(rate)
            else:
                chunks = job.scan("rank", [CheckRows()], RankRows(grouping, seed))
                decided = job.plan("rank", lambda: job.reduce(decide_sample, job.step("rank"), chunks, target))
                plan = orjson.loads(decided)
                threshold = plan["threshold"]
                extra = {"available_bytes": plan["available_bytes"], "target_bytes": target}
            job.write([CheckRows(), KeepRows(grouping, seed, {} if threshold is None else {"": threshold})])
            extra["kept_bytes"] = job.tally.bytes_out
        return job.finish(**extra)


if __name__ == "__main__":
    run(command)
