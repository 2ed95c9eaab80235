"""batch-annotate-submit: put the questions about all rows into a provider's batches, each once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from jobs.annotation_options import batch_model_options, question_options
from jobs.asking_options import cache_option
from jobs.command import BYTES, Number, run, run_options, stack, verb

if TYPE_CHECKING:
    from actors.engines.openai_batches import OpenAIBatches
    from jobs.batch_run import Order
    from jobs.job import Job, RunOptions
    from pipelines.annotation.batch_folder import BatchFolder, Round
    from pipelines.annotation.batches import Standing

EXAMPLES = """
gristmill batch-annotate-submit -d raw -o graded --model-name gpt-5-mini --annotation-task-prompt claude_rubric_code --max-new-tokens 2048
gristmill batch-annotate-submit -d raw -o graded --model-name gpt-5-mini --annotation-task-prompt claude_rubric_code --max-new-tokens 2048 --dry-run
gristmill batch-annotate-submit -d raw -o graded --model-name gpt-5-mini --annotation-task-prompt claude_rubric_code --max-new-tokens 2048 --resubmit
"""

TAKEN_BYTES = 200_000_000

batch_options = stack(
    cache_option,
    click.option("--completion-window", type=click.Choice(["24h"]), default="24h", show_default=True),
    click.option(
        "--max-requests-per-batch",
        type=click.IntRange(1, 50_000),
        default=50_000,
        show_default=True,
        help="Smaller batches fit under a limit on enqueued tokens.",
    ),
    click.option(
        "--max-bytes-per-batch",
        type=BYTES,
        default="195mb",
        show_default=True,
        help="Of an input file; the provider takes 200 MB.",
    ),
    # Only tests have a reason for another: what a server has made has to stand in its lists by then.
    click.option("--settle-seconds", type=Number(0), default=10.0, hidden=True),
    click.option(
        "--resubmit", is_flag=True, help="Ask again what has no answer and is in no batch that may still answer."
    ),
    click.option(
        "--dry-run", is_flag=True, help="Submit nothing: count questions and tokens, and say what it would cost."
    ),
)


@verb("batch-annotate-submit", EXAMPLES)
@question_options
@batch_model_options
@batch_options
@run_options
def command(**arguments: Any) -> Any:
    """Put a question about every row to a model by a provider's batches: half the price, within a day.

    What the request journal answers is not asked, equal questions are asked once. The same command again goes on where
    it was killed; no batch is submitted twice. batch-annotate-status shows how the batches stand, batch-annotate-retrieve
    takes the answers and writes the output.
    """
    from actors.engines.openai_batches import OpenAIBatches
    from jobs.batch_run import Order
    from jobs.job import RunOptions

    options = RunOptions.taken_from(arguments)
    inputs, output = arguments.pop("input_dirs"), arguments.pop("output_dir")
    resubmits, is_dry = arguments.pop("resubmit"), arguments.pop("dry_run")
    settle = arguments.pop("settle_seconds")
    if not 0 < arguments["max_bytes_per_batch"] <= TAKEN_BYTES:
        raise click.UsageError("--max-bytes-per-batch: the provider takes files of up to 200 MB (200mb)")
    order = Order.of(arguments | {"service_tier": None}, inputs, options)
    question = order.asked()
    if is_dry:
        return _estimate(order, question, options)
    provider = OpenAIBatches(order.service(), settle)
    _refuse_fresh(output, options)
    with order.job(question, output, options) as job:
        if job.complete:
            return job.finish()
        return _submit(job, order, question, provider, resubmits)


def _estimate(order: Order, question: Any, options: RunOptions) -> Any:
    from jobs.annotation_estimate import estimate

    # A batch has a tier of its own, no pace, and nobody to send an answer back to.
    batch = {"engine": "openai", "service_tier": "batch", "max_repairs": 0}
    unlimited = {"max_requests_per_minute": None, "max_tokens_per_minute": None}
    return estimate(order.arguments | batch | unlimited, question, order.inputs, options)


def _refuse_fresh(output: str, options: RunOptions) -> None:
    """Raise BatchError where --fresh would forget batches that are at the provider."""
    from cluster.storage import open_storage
    from pipelines.annotation.batch_folder import BatchError, BatchFolder

    place = open_storage(output, options.endpoint_url)
    folder = BatchFolder.found(place) if options.fresh else None
    there = sum(folder.state(part).step != "new" for part in folder.parts()) if folder else 0
    if there:
        raise BatchError(
            f"{place.url}: --fresh would forget {there:,} batches that are at the provider, and pay for them again; "
            "retrieve them, or cancel them there and delete the directory yourself"
        )


def _submit(job: Job, order: Order, question: Any, provider: OpenAIBatches, resubmits: bool) -> dict[str, Any]:
    from jobs.batch_run import account_of, hints_of, kept, tell
    from pipelines.annotation.batch_folder import BatchFolder
    from pipelines.annotation.batches import standings

    folder = BatchFolder(job.output, job.run.identity)
    with folder.locked():
        folder.save_order(kept(order))
        if not folder.rounds():
            _first_round(job, order, question, folder)
        submitted = _send(job, folder, order, provider)
        found = standings(folder, provider)
        again: Round | None = None
        if resubmits:
            again = _resubmit(job, order, question, folder, provider, found)
            submitted += _send(job, folder, order, provider)
            found = standings(folder, provider)
    job.stack.close()
    first = folder.rounds()[0]
    account = account_of(found, job.output) | first.counts | {"oversized": first.oversized, "submitted": submitted}
    head = f"batch-annotate-submit: {job.output.url}: {_said(submitted, found, first, resubmits, again)}"
    counts = ", ".join(f"{amount:,} {name.replace('_', ' ')}" for name, amount in first.counts.items())
    return tell(account, job.options, f"{head}\n  {counts}", hints_of(found, job.output))


def _said(submitted: int, found: Sequence[Standing], first: Round, resubmits: bool, again: Round | None) -> str:
    from pipelines.report.numbers import plural

    if submitted:
        batches = plural(submitted, "batch", "batches")
        return f"{batches} submitted" + (f", {len(found):,} in all" if submitted < len(found) else "")
    if not found:
        return f"{_why_none(first)}, no batch is needed"
    nothing = "nothing is left to ask again" if resubmits and again is None else "nothing was left to submit"
    return f"{plural(len(found), 'batch', 'batches')}, all submitted before; {nothing}"


def _why_none(first: Round) -> str:
    if not first.counts["questions"]:
        return "there is no row to ask about"
    return "what is left is larger than a whole file" if first.oversized else "the journal answers everything"


def _first_round(job: Job, order: Order, question: Any, folder: BatchFolder) -> None:
    """Render all rows, and cut what has to be asked into parts."""
    from actors.batch_requests import FewRows, KeepRequests, RenderRequests
    from cluster.ledger import merged
    from pipelines.annotation.batches import cut_round

    journal = order.journal(folder)
    journal.check_writable()
    stage = RenderRequests(question.questions, order.service(), order.arguments["model_name"], journal)
    sources = [FewRows(source) for source in question.sources(job.shards)]
    job.scan("requests", [stage], KeepRequests(), sources=sources)
    job.display.note("cutting the requests into batches")
    counted = merged(tally for _, tally in job.step("requests").finished_shards().values()).counters
    counts = {
        name.replace(" ", "_"): int(counted.get(name, 0)) for name in ("questions", "in the journal", "no question")
    }
    cut_round(folder, _requests(job), _limits(order), counts, None)


def _requests(job: Job) -> Any:
    """The lines of all requests, in the order of shards and rows."""
    from actors.batch_requests import requests_in
    from cluster.ledger import Chunks

    step = job.step("requests")
    done = step.finished_shards()
    chunks = [Chunks(shard.name, done[shard.name][0]) for shard in job.shards if shard.name in done]
    return (line for _, payload in step.payloads(chunks) for line in requests_in(payload))


def _limits(order: Order) -> Any:
    from pipelines.annotation.batch_parts import PartLimits

    return PartLimits(order.arguments["max_requests_per_batch"], order.arguments["max_bytes_per_batch"])


def _send(job: Job, folder: BatchFolder, order: Order, provider: OpenAIBatches) -> int:
    """Submit what is not; how many batches that were."""
    from pipelines.annotation.batches import submit

    parts, submitted = folder.parts(), 0
    for number, part in enumerate(parts, 1):
        job.display.note(f"batch {number:,} of {len(parts):,}: {part.requests:,} requests")
        submitted += submit(folder, part, provider, order.arguments["completion_window"])
    return submitted


def _resubmit(
    job: Job, order: Order, question: Any, folder: BatchFolder, provider: OpenAIBatches, found: Sequence[Standing]
) -> Round | None:
    """Cut what has no answer and cannot get one any more into one more round; None where there is nothing."""
    from actors.journal import Journal
    from jobs.batch_take import take_ended
    from pipelines.annotation.batches import cut_round, unanswered

    take_ended(order, folder, provider, question.prices, found)
    wanted = unanswered(folder, found, Journal.open(order.journal(folder), folder.run))
    if not wanted:
        return None
    # What a retrieve has begun to write holds their failures.
    folder.output.delete_tree(job.step("write").folder)
    return cut_round(folder, _requests(job), _limits(order), {}, wanted)


if __name__ == "__main__":
    run(command)
