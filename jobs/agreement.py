"""What annotation-agreement and compare-agreement share: datasets as graders, keyed in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from jobs.command import run_options, stack

if TYPE_CHECKING:
    from jobs.job import Job
    from pipelines.annotation.agreement_run import Grader

agreement_options = stack(
    click.option("-o", "--output-dir", help="Where the JSON and report.html go. [default: printed only]"),
    click.option("-l", "--label-expression", required=True, help="jq program for the label."),
    click.option("-k", "--key-expression", required=True, help="jq program for what makes two rows the same."),
    click.option(
        "--ordinal/--no-ordinal", default=False, help="Labels are numbers on a scale: adds MAE, bias, Spearman."
    ),
    run_options,
)


def keyed(job: Job, arguments: dict[str, Any], datasets: Sequence[str]) -> list[Grader]:
    """Key every dataset's rows in one pass; the graders come in the order of the datasets."""
    from actors.keyed_labels import KeyedRows, KeyRows
    from cluster.shards import labels_of
    from cluster.storage import open_storage
    from pipelines.annotation.agreement_run import Grader

    chunks = job.scan(
        "key", [KeyRows(arguments["key_expression"], arguments["label_expression"])], KeyedRows(), counts=True
    )
    names = labels_of(list(datasets))
    place = {shard.name: shard.source.url for shard in job.shards}
    graders = []
    for url, name in zip(datasets, names, strict=True):
        root = open_storage(url, job.options.endpoint_url).url
        graders.append(Grader(name or url, [part for part in chunks if place[part.shard] == root]))
    return graders
