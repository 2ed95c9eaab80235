"""compare-agreement: whether one pair of graders agrees better than another, and whether the figures mislead."""

from __future__ import annotations

from typing import Any

import click

from jobs.agreement import agreement_options, keyed
from jobs.command import run, verb

EXAMPLES = """
gristmill compare-agreement --pair old/a old/b --pair new/a new/b -l .score -k .id --ordinal -o reports/rubrics
"""


@verb("compare-agreement", EXAMPLES)
@click.option("--pair", "pairs", type=(str, str), multiple=True, help="Two datasets; give two pairs, the older first.")
@agreement_options
def command(**arguments: Any) -> Any:
    """Put two pairs of graders side by side, such as an old rubric and a new one.

    Every difference has an interval (a paired bootstrap where the pairs share rows). The verdict is in words, and says
    so when raw agreement rises only because labels pile up in one class while kappa falls.
    """
    import orjson

    from jobs.job import Job, RunOptions
    from jobs.looking import finish_looking, ledger_place
    from pipelines.annotation.agreement_run import Grader, comparison

    options = RunOptions.taken_from(arguments)
    pairs = arguments.pop("pairs")
    if len(pairs) != 2:
        raise click.UsageError("compare-agreement takes two pairs: --pair OLD_A OLD_B --pair NEW_A NEW_B")
    four = [dataset for pair in pairs for dataset in pair]
    datasets = list(dict.fromkeys(four))  # a dataset may be in both pairs
    output = arguments.pop("output_dir")
    config = arguments | {"pairs": [list(pair) for pair in pairs]}
    with ledger_place(output, options) as place, Job("compare-agreement", config, datasets, place, options) as job:
        found: dict[str, Any] = {}
        if not job.complete:
            graders = dict(zip(datasets, keyed(job, arguments, datasets), strict=True))
            old, new = ([Grader(graders[url].name, graders[url].chunks) for url in pair] for pair in pairs)
            task = (job.step("key"), old, new, arguments["ordinal"])
            found = orjson.loads(job.plan("key", lambda: job.reduce(comparison, *task)))
        return finish_looking(job, output, **found)


if __name__ == "__main__":
    run(command)
