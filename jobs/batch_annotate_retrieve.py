"""batch-annotate-retrieve: take the answers of a run's batches, and write its output when all have ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from jobs.batch_annotate_status import again_options
from jobs.command import AMOUNT, run, verb

if TYPE_CHECKING:
    from jobs.annotation_options import Asked
    from jobs.batch_run import Going
    from jobs.job import Job
    from pipelines.annotation.batches import Standing

EXAMPLES = """
gristmill batch-annotate-retrieve -o graded
gristmill batch-annotate-retrieve -o graded --wait
"""


@verb("batch-annotate-retrieve", EXAMPLES)
@again_options
@click.option("-p", "--num-workers", type=click.IntRange(1), help="Actors that work at once. [default: all CPUs]")
@click.option("--address", help="A running Ray cluster. [default: RAY_ADDRESS, else an embedded Ray]")
@click.option("--max-quarantined", type=AMOUNT, help="Fail if more rows than this (count or fraction) have no answer.")
@click.option(
    "--accept-failed", is_flag=True, help="Finish the run also where whole batches failed; their rows go to quarantine."
)
def command(**arguments: Any) -> Any:
    """Take the answers of batches that have ended, and write the graded rows when all have.

    Answers go into the request journal, at the price of batches. A row without a valid answer goes to _quarantine with
    its category. A retrieve that was killed is continued by the same command; one that is complete changes nothing.
    """
    from cluster.storage import open_storage
    from jobs.batch_run import check_prompts, complete, going, tell_complete
    from jobs.job import RunOptions

    wait, accepts = arguments.pop("wait"), arguments.pop("accept_failed")
    options = RunOptions.taken_from(arguments)
    output = open_storage(arguments["output_dir"], options.endpoint_url)
    summary = complete(output)
    if summary is not None:
        return tell_complete(summary, options)
    found = going(output, arguments, options)
    question = found.order.asked()
    check_prompts(output, found.order.config(question))
    with found.order.job(question, arguments["output_dir"], found.options) as job:
        return job.finish() if job.complete else _retrieve(job, found, question, wait, accepts)


def _retrieve(job: Job, going: Going, question: Asked, wait: bool, accepts: bool) -> dict[str, Any]:
    from jobs.batch_run import waited
    from jobs.batch_take import take_ended
    from pipelines.annotation.batches import standings

    folder, provider = going.folder, going.provider
    waited(lambda: standings(folder, provider), job.display.note, wait)
    with folder.locked():
        found = standings(folder, provider)
        job.display.note("taking the answers")
        take_ended(going.order, folder, provider, question.prices, found)
        _check_ended(found, job.output.url)
        if not accepts:
            _check_asked(going, found)
        _write(job, going, question)
        return _finished(job, going)


def _check_ended(found: Sequence[Standing], place: str) -> None:
    """Raise BatchError unless all batches have ended."""
    from pipelines.annotation.batch_folder import BatchError

    if any(each.batch is None for each in found):
        raise BatchError(f"{place}: not all batches are submitted; run gristmill batch-annotate-submit again")
    under_way = [f"{each.batch.id} ({each.batch.status})" for each in found if each.batch and not each.has_ended]
    if under_way:
        named = ", ".join(under_way[:3]) + (f" and {len(under_way) - 3:,} more" if len(under_way) > 3 else "")
        raise BatchError(
            f"{place}: {len(under_way):,} of {len(found):,} batches have not ended: {named}; the others' answers are "
            "taken. Come again later, or add --wait"
        )


def _check_asked(going: Going, found: Sequence[Standing]) -> None:
    """Raise BatchError where the provider refused whole batches: their rows were never asked."""
    from actors.journal import Journal
    from pipelines.annotation.batch_folder import BatchError
    from pipelines.annotation.batches import never_asked

    journal = Journal.open(going.order.journal(going.folder), going.folder.run)
    count = never_asked(going.folder, found, journal)
    if count:
        failed = next(each.batch for each in found if each.batch and each.batch.status == "failed")
        raise BatchError(
            f"{going.folder.output.url}: {count:,} requests were never asked, for their batches failed "
            f"({'; '.join(failed.problems) or failed.id}): batch-annotate-submit --resubmit asks them, "
            "--accept-failed finishes without them"
        )


def _write(job: Job, going: Going, question: Asked) -> None:
    """The pass that makes the output, with the answers of the journal alone."""
    from actors.annotator import AnnotateRows
    from actors.engine_choice import EngineChoice
    from cluster.resources import Resources

    choice = EngineChoice(
        kind="journal",
        model=going.order.arguments["model_name"],
        journal=going.order.journal(going.folder),
        run=going.folder.run,
        options={"failures": going.folder.failures},
    )
    stage = AnnotateRows(question.questions, choice, question.field, Resources(cpus=1), max_repairs=0)
    job.write([stage], sources=question.sources(job.shards))


def _finished(job: Job, going: Going) -> dict[str, Any]:
    import msgspec

    from jobs.spending import Spending
    from pipelines.annotation.batches import total

    parts = going.folder.parts()
    account = total(going.folder.state(part).account for part in parts)
    told = Spending(**msgspec.structs.asdict(account)).told()
    return job.finish(batches=len(parts), requests=sum(part.requests for part in parts), **told)


if __name__ == "__main__":
    run(command)
