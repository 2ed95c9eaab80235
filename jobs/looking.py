"""Verbs that only look: what they find is printed, and written down where an --output-dir is given.

The run's ledger needs a place too. Without an output directory it is a temporary one on this machine, which only an
embedded Ray can see; on a cluster the user has to name one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import click

from cluster.shards import DamagedShard, Shard, read_chunks
from cluster.storage import Storage
from jobs.command import Function
from jobs.job import Job, RunOptions

REASONS_SHOWN = 5


def looking_output_option(file: str) -> Callable[[Function], Function]:
    """The optional output directory of a verb that writes `file` there."""

    def decorate(function: Function) -> Function:
        return click.option("-o", "--output-dir", help=f"Also write {file} there. [default: print only]")(function)

    return decorate


@contextmanager
def ledger_place(output_dir: str | None, options: RunOptions) -> Iterator[str]:
    """The directory of the run: the one given, or a temporary one. Raises click.UsageError where neither will do."""
    if output_dir is not None:
        yield output_dir
        return
    address = options.address or os.environ.get("RAY_ADDRESS") or "local"
    if address != "local":
        raise click.UsageError(
            f"on the cluster {address} give --output-dir: a place that all nodes see, for the run's ledger"
        )
    with TemporaryDirectory(prefix="gristmill-") as folder:
        yield folder


def finish_looking(job: Job, output_dir: str | None, **found: Any) -> dict[str, Any]:
    """Finish the run. Where its directory is temporary, the summary tells what would be read there."""
    if output_dir is not None:
        return job.finish(**found)
    reasons = first_quarantined(job.output) if job.tally.quarantined else []
    tables = found.pop("tables", {}) | ({"first quarantined rows": reasons} if reasons else {})
    return job.finish(output=None, **found, tables=tables)


def first_quarantined(output: Storage, limit: int = REASONS_SHOWN) -> list[dict[str, Any]]:
    """Shard, line and reason of the first few quarantined rows of a run."""
    import orjson

    from cluster.shards import ChunkSize

    rows: list[dict[str, Any]] = []
    for entry in output.list("_quarantine"):
        shard = Shard(output, entry.name, entry.name, entry.size, entry.version)
        try:
            for chunk in read_chunks(shard, ChunkSize()):
                for line in chunk.payload.splitlines():
                    row = orjson.loads(line)
                    rows.append({name: row[name] for name in ("shard", "line", "reason")})
                    if len(rows) == limit:
                        return rows
        except DamagedShard:
            continue
    return rows
