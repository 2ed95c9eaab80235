"""annotate-dataset: grade every row; the row comes back whole, with the answer under the task prompt's name."""

from __future__ import annotations

from typing import Any

import click

from jobs.annotation_options import (
    CHUNK_ROWS,
    EMBEDDED,
    ENGINES,
    Asked,
    asked,
    asking_options,
    fingerprint,
    model_options,
    question_options,
)
from jobs.asking_options import check_engine_options, limits, service, worker_engine_options
from jobs.command import run, run_options, stack, verb

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
    worker_engine_options,
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
        if is_dry:
            raise click.UsageError("--dry-run: the static-analysis engine asks nobody and costs nothing; leave it out")
        from jobs.embedded_annotation import annotate

        return annotate(arguments, inputs, output, options)
    if not arguments["model_name"]:
        raise click.UsageError(f"--engine {engine} needs --model-name")
    if arguments["base_url"] and engine not in ("openai", "sglang"):
        raise click.UsageError(f"--engine {engine} loads the model in its workers; --base-url is for openai and sglang")
    check_engine_options(engine, arguments)
    question = asked(arguments)
    if is_dry:
        from jobs.annotation_estimate import estimate

        return estimate(arguments, question, inputs, options)
    return _annotate(arguments, question, inputs, output, options)


def _annotate(arguments: dict[str, Any], question: Asked, inputs: Any, output: str, options: Any) -> Any:
    from actors.annotator import AnnotateRows
    from actors.engine_choice import EngineChoice
    from jobs.asking import asking
    from jobs.engines import checked
    from jobs.job import Job

    choice = EngineChoice(
        kind=arguments["engine"],
        model=arguments["model_name"],
        limits=limits(arguments, question.prices),
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
        with asking(job, choice, arguments["cache_location"], arguments["gpus_per_engine"]) as run_asking:
            stage = AnnotateRows(
                question.questions, run_asking.choice, question.field, run_asking.resources, arguments["max_repairs"]
            )
            job.write([stage], sources=question.sources(job.shards), chunk_rows=CHUNK_ROWS)
        return job.finish(**run_asking.spent())


if __name__ == "__main__":
    run(command)
