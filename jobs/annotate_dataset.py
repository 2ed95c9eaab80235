"""annotate-dataset: grade every row; the row comes back whole, with the answer under the task prompt's name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from jobs.annotation_options import (
    CHUNK_ROWS,
    EMBEDDED,
    ENGINES,
    Asked,
    Named,
    asked,
    asking_options,
    fingerprint,
    limits,
    model_options,
    question_options,
    service,
)
from jobs.command import run, run_options, stack, verb

if TYPE_CHECKING:
    from cluster.storage import Storage
    from jobs.job import Job

EXAMPLES = """
gristmill annotate-dataset -d raw -o graded --annotation-task-prompt code_quality
gristmill annotate-dataset -d raw -o graded --model-name gpt-5-mini --service-tier flex --annotation-task-prompt claude_rubric_code --annotation-system-prompt code_system --max-new-tokens 2048 --max-cost 20 --cache-location cache
gristmill annotate-dataset -d raw -o graded --model-name Qwen/Qwen3-8B --base-url http://gpu1:8000/v1 --annotation-task-prompt my/prompt.md
gristmill annotate-dataset -d raw -o graded --engine vllm --model-name models/Qwen3-8B --annotation-task-prompt prose_quality
gristmill annotate-dataset -d raw -o graded --model-name gpt-5-mini --annotation-task-prompt claude_rubric_code --max-new-tokens 2048 --dry-run
"""

engine_options = stack(
    click.option(
        "--engine",
        type=click.Choice(ENGINES),
        help=f"Who answers. [default: openai with --model-name, else {EMBEDDED}]",
    ),
    click.option("--gpus-per-engine", type=click.FloatRange(0), default=1, show_default=True, help="For vllm, sglang."),
    click.option(
        "--engine-option",
        "engine_options",
        type=Named(),
        multiple=True,
        help="NAME=VALUE for vllm, sglang, transformers.",
    ),
    click.option("--chat-template", type=click.Path(), help="A Jinja file, for a model that has no chat template."),
    click.option("--dry-run", is_flag=True, help="Ask nobody: count questions and tokens, and say what it would cost."),
)


@verb("annotate-dataset", EXAMPLES)
@question_options
@model_options
@engine_options
@asking_options
@run_options
def command(**arguments: Any) -> Any:
    """Put a question about every row to a model; its validated answer is set under the task prompt's name, with _meta.

    A row without a valid answer goes to _quarantine with its category. Every answer is in the request journal before
    it is used: a run that was killed, or stopped by --max-cost, is continued by the same command and asks nothing twice;
    with --cache-location other runs find the answers too.

    Without a model the static-analysis engine answers: it measures the text, sees form and not meaning, and every answer
    says so in _meta. code_quality looks at programs, prose_quality applies the heuristics of Gopher, C4 and FineWeb.
    """
    from jobs.job import RunOptions

    options = RunOptions.taken_from(arguments)
    engine = arguments["engine"] or ("openai" if arguments["model_name"] else EMBEDDED)
    arguments["engine"] = engine
    inputs, output = arguments.pop("input_dirs"), arguments.pop("output_dir")
    is_dry = arguments.pop("dry_run")
    if engine == EMBEDDED:
        from jobs.embedded_annotation import annotate

        return annotate(arguments, inputs, output, options)
    if not arguments["model_name"]:
        raise click.UsageError(f"--engine {engine} needs --model-name")
    if arguments["base_url"] and engine not in ("openai", "sglang"):
        raise click.UsageError(f"--engine {engine} loads the model in its workers; --base-url is for openai and sglang")
    question = asked(arguments)
    if is_dry:
        from jobs.annotation_estimate import estimate

        return estimate(arguments, question, inputs, options)
    return _annotate(arguments, question, inputs, output, options)


def _annotate(arguments: dict[str, Any], question: Asked, inputs: Any, output: str, options: Any) -> Any:
    from actors.annotator import AnnotateRows
    from actors.engine_choice import EngineChoice
    from cluster.storage import open_storage
    from jobs.engines import checked, resources
    from jobs.job import Job
    from jobs.spending import shared_limiter, spending_of

    held = limits(arguments, question.prices)
    choice = EngineChoice(
        kind=arguments["engine"],
        model=arguments["model_name"],
        limits=held,
        service=service(arguments) if arguments["engine"] == "openai" or arguments["base_url"] else None,
        prices=question.prices,
        chat_template=arguments["chat_template"],
        options=dict(arguments["engine_options"]),
    )
    checked(choice)
    config = fingerprint(arguments, question)
    with Job("annotate-dataset", config, inputs, output, options) as job:
        if job.complete:
            return job.finish()
        place = arguments["cache_location"]
        own = job.output.child(job.step("journal").folder)
        journal = open_storage(place, options.endpoint_url) if place else own
        journal.check_writable()
        run = job.run.identity
        session = job.connected()
        before = spending_of(journal, run)
        state = job.output.child(job.step("limiter").folder)
        with _explained(job, journal), shared_limiter(held, state, run, before.cost, job.display) as limiter:
            choice = replace(choice, limiter=limiter, journal=journal, run=run)
            needs = resources(choice, session, options.num_workers, arguments["gpus_per_engine"])
            stage = AnnotateRows(question.questions, choice, question.field, needs, arguments["max_repairs"])
            job.write([stage], sources=question.sources(job.shards), chunk_rows=CHUNK_ROWS)
        return job.finish(**spending_of(journal, run).told())


@contextmanager
def _explained(job: Job, journal: Storage) -> Iterator[None]:
    """Say what was spent where the budget ends, and leave no trace of a run that could not ask anything."""
    from actors.engines.contract import BudgetSpent, EngineUnusable
    from actors.prices import dollars
    from jobs.spending import spending_of

    try:
        yield
    except BudgetSpent as error:
        spent = spending_of(journal, job.run.identity)
        raise BudgetSpent(f"{error} ({spent.answers:,} answers for {dollars(spent.cost)} so far)") from error
    except EngineUnusable:
        job.run.withdraw()
        raise


if __name__ == "__main__":
    run(command)
