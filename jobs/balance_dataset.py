"""balance-dataset: the same number of rows for every label of a split, exactly; whole rows, untouched."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import Any

from jobs.command import input_option, label_option, output_option, run, run_options, seed_option, verb

EXAMPLES = """
gristmill balance-dataset -i data/a -i data/b -i data/c -o data/balanced
gristmill balance-dataset -i data/graded -o data/balanced --label-expression '.code_quality.score >= 3'
"""


@verb("balance-dataset", EXAMPLES)
@input_option("-i", "--input-dir")
@output_option
@label_option
@seed_option
@run_options
def command(**arguments: Any) -> Any:
    """Keep as many rows of every label as the rarest label has, exactly, in each split.

    Which rows are kept is a uniform choice by --seed. Rows are kept whole, in their order and shards.
    """
    import orjson

    from actors.row_checker import CheckRows
    from actors.selector import Grouping, GroupRows, KeepRows, RankRows
    from jobs.job import Job, RunOptions
    from pipelines.curation.balance import decide_balance
    from pipelines.curation.selection import TiedPriorities

    options = RunOptions.taken_from(arguments)
    config = {name: arguments[name] for name in ("label_expression", "seed")}
    grouping = Grouping(arguments["label_expression"])
    with Job("balance-dataset", config, arguments["input_dirs"], arguments["output_dir"], options) as job:
        table: list[dict[str, Any]] = []
        for attempt in count() if not job.complete else ():
            seed, name = arguments["seed"] + (attempt << 32), f"rank-{attempt}"
            chunks = job.scan(name, [CheckRows(), GroupRows(grouping)], RankRows(grouping, seed))
            try:
                task = (job.step(name), chunks)
                plan = orjson.loads(job.plan(name, partial(job.reduce, decide_balance, *task)))
            except TiedPriorities:
                continue
            job.write([CheckRows(), KeepRows(grouping, seed, plan["thresholds"])])
            table = plan["table"]
            break
        return job.finish(tables={"labels": table})


if __name__ == "__main__":
    run(command)
