"""What the three verbs of provider batches share: the order that submit leaves for the others, and how batches are told.

The order (inputs, prompts, options, addresses; never a key) lies in the run's folder, so that status and retrieve need
the output directory alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from cluster.ledger import IDENTITY, MANIFEST, PASSES, SUMMARY
from cluster.storage import Storage, open_storage
from jobs.annotation_options import Asked, asked, fingerprint
from jobs.asking_options import service
from jobs.job import Job, RunOptions, summary_text, table_lines
from jobs.progress import duration
from pipelines.annotation.batch_folder import BatchError, BatchFolder

if TYPE_CHECKING:
    from actors.engines.json_service import Service
    from actors.engines.openai_batches import OpenAIBatches
    from pipelines.annotation.batches import Standing

VERB = "batch-annotate"
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # s, between two looks at batches that are waited for
_PATHS = ("tokenizer", "prices", "api_key_file")
_PROMPTS = ("annotation_task_prompt", "annotation_system_prompt")
# How the batches are asked for, not what; the journal's place counts, for what was taken lies there.
_UNBOUND = ("completion_window", "max_requests_per_batch", "max_bytes_per_batch")


@dataclass(frozen=True, slots=True)
class Order:
    """What submit was asked, resolved to places that mean the same wherever the next command is started."""

    arguments: dict[str, Any]
    inputs: list[str]
    chunk_size: int
    skip_damaged: bool
    endpoint_url: str | None

    @classmethod
    def of(cls, arguments: Mapping[str, Any], inputs: Sequence[str], options: RunOptions) -> Order:
        resolved = dict(arguments, fields=[list(pair) for pair in arguments["fields"]])
        for name in _PATHS:
            if resolved.get(name):
                resolved[name] = _absolute(resolved[name])
        for name in _PROMPTS:
            given = resolved[name]
            if given and ("/" in given or given.endswith(".md")):
                resolved[name] = _absolute(given)
        if resolved["cache_location"]:
            resolved["cache_location"] = open_storage(resolved["cache_location"], options.endpoint_url).url
        places = [open_storage(each, options.endpoint_url).url for each in inputs]
        return cls(resolved, places, options.chunk_size, options.skip_damaged, options.endpoint_url)

    def asked(self) -> Asked:
        return asked(self.arguments)

    def service(self) -> Service:
        return service(self.arguments)

    def config(self, question: Asked) -> dict[str, Any]:
        found = fingerprint(self.arguments, question) | {"cache_location": self.arguments["cache_location"]}
        return {name: value for name, value in found.items() if name not in _UNBOUND}

    def job(self, question: Asked, output: str, options: RunOptions) -> Job:
        return Job(VERB, self.config(question), self.inputs, output, options)

    def journal(self, folder: BatchFolder) -> Storage:
        """Where answers are kept: the place that was named, else the run's own."""
        place = self.arguments["cache_location"]
        if place:
            return open_storage(place, self.endpoint_url)
        return folder.output.child(f"{PASSES}/{folder.run}/journal")


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


@dataclass(frozen=True, slots=True)
class Going:
    """A run of batches that is under way, as status and retrieve find it."""

    order: Order
    folder: BatchFolder
    provider: OpenAIBatches
    options: RunOptions


def going(output: Storage, arguments: Mapping[str, Any], options: RunOptions) -> Going:
    """The run under way in `output`. Raises BatchError where there is none."""
    from actors.engines.openai_batches import OpenAIBatches

    _check_verb(output)
    folder = BatchFolder.found(output)
    kept = folder.order() if folder else None
    if folder is None or kept is None or not folder.rounds():
        raise BatchError(f"{output.url}: nothing was submitted yet; run gristmill batch-annotate-submit again")
    order = Order(**kept)
    given = {name: arguments[name] for name in ("base_url", "api_key_file") if arguments[name]}
    order = replace(order, arguments=order.arguments | given, endpoint_url=options.endpoint_url or order.endpoint_url)
    options = replace(
        options, endpoint_url=order.endpoint_url, chunk_size=order.chunk_size, skip_damaged=order.skip_damaged
    )
    return Going(order, folder, OpenAIBatches(order.service()), options)


def _check_verb(output: Storage) -> None:
    try:
        verb = json.loads(output.read(MANIFEST))["verb"]
    except FileNotFoundError:
        verb = None
    if verb != VERB:
        what = "holds no run" if verb is None else f"holds a run of {verb}"
        raise BatchError(f"{output.url} {what}: begin with gristmill batch-annotate-submit -o {output.url}")


def check_prompts(output: Storage, config: Mapping[str, Any]) -> None:
    """Raise BatchError where a prompt is another than when the batches were submitted."""
    before = json.loads(output.read(MANIFEST))["config"]
    for name in _PROMPTS:
        if before.get(name) != config.get(name):
            raise BatchError(
                f"the prompt of --{name.replace('_', '-')} has changed since the batches were submitted (it was "
                f"{before.get(name)}, it is {config.get(name)}): put its file back as it was"
            )


def complete(output: Storage) -> dict[str, Any] | None:
    """The summary of a run that is complete, with whatever a kill kept from being cleaned up gone."""
    if not output.exists(SUMMARY):
        return None
    _check_verb(output)
    output.delete_tree(PASSES)
    output.delete(IDENTITY)
    found: dict[str, Any] = json.loads(output.read(SUMMARY))
    return found


def tell_complete(summary: dict[str, Any], options: RunOptions) -> dict[str, Any]:
    if options.as_json:
        click.echo(json.dumps(summary, ensure_ascii=False))
    elif not options.quiet:
        click.echo(summary_text(summary, 0.0, resumed=True))
    return summary


# How batches stand


def waited(look: Callable[[], list[Standing]], note: Callable[[str], None], wait: bool) -> list[Standing]:
    """How the parts stand, with `wait` when all that are submitted have ended."""
    pause = FIRST_PAUSE
    while True:
        found = look()
        open_ = [each for each in found if each.batch is not None and not each.has_ended]
        if not wait or not open_:
            return found
        done = sum(each.batch.completed + each.batch.failed for each in found if each.batch)
        total = sum(each.part.requests for each in found)
        note(f"{len(open_):,} of {len(found):,} batches under way, {done:,} of {total:,} requests done")
        time.sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 1.5)


def account_of(found: Sequence[Standing], output: Storage) -> dict[str, Any]:
    """The batches as a table, with their sum."""
    rows = [_row(each) for each in found]
    return {
        "verb": f"{VERB}-status",
        "output": output.url,
        "complete": False,
        "batches": len(rows),
        "ended": sum(each.has_ended for each in found),
        "requests": sum(each.part.requests for each in found),
        "completed": sum(row["completed"] for row in rows),
        "failed": sum(row["failed"] for row in rows),
        "parts": rows,
    }


def _row(each: Standing) -> dict[str, Any]:
    batch = each.batch
    age = round(time.time() - batch.created_at) if batch and batch.created_at else None
    return {
        "part": each.part.name,
        "batch": batch.id if batch else None,
        "status": batch.status if batch else "not submitted",
        "completed": batch.completed if batch else 0,
        "failed": batch.failed if batch else 0,
        "requests": each.part.requests,
        "age_s": age,
        "taken": each.state.step == "taken",
        "problem": "; ".join(batch.problems) if batch and batch.problems else None,
    }


def tell(account: dict[str, Any], options: RunOptions, head: str, hints: Sequence[str]) -> dict[str, Any]:
    """Print it, as lines for a person or as one JSON object."""
    if options.as_json:
        click.echo(json.dumps(account, ensure_ascii=False))
    elif not options.quiet:
        shown = [_shown(row) for row in account["parts"]]
        click.echo("\n".join([head, *table_lines(shown), *(f"  {hint}" for hint in hints)]))
    return account


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    status = row["status"] + (", taken" if row["taken"] else "") + (f" ({row['problem']})" if row["problem"] else "")
    counts = {name: row[name] for name in ("completed", "failed", "requests")}
    age = "–" if row["age_s"] is None else duration(row["age_s"])
    return {"part": row["part"], "batch": row["batch"], **counts, "age": age, "status": status}


def hints_of(found: Sequence[Standing], output: Storage) -> list[str]:
    """What to do next, for whoever looks at the table."""
    place, hints = output.url, []
    if any(each.batch is None for each in found):
        hints.append("some parts are not submitted: run the same gristmill batch-annotate-submit again")
    if any(each.batch and each.has_ended and each.batch.completed < each.part.requests for each in found):
        hints.append("what failed and has no answer yet is asked again by gristmill batch-annotate-submit … --resubmit")
    if all(each.has_ended for each in found):
        hints.append(f"next: gristmill batch-annotate-retrieve -o {place}")
    elif not hints:
        hints.append(f"next: gristmill batch-annotate-retrieve -o {place} --wait")
    return hints


def kept(order: Order) -> dict[str, Any]:
    return asdict(order)
