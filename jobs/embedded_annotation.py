"""annotate-dataset by the embedded grader: no model, no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from jobs.job import Job, RunOptions

# What the grader has no use for; who gives one of these meant a model.
_OF_MODELS = (
    *("annotation_system_prompt", "model_name", "base_url", "service_tier", "reasoning_effort", "max_new_tokens"),
    *("temperature", "top_p", "sampling_seed", "max_requests_per_minute", "max_tokens_per_minute", "max_cost"),
    *("cache_location", "tokenizer", "fields", "api_key_file", "prices", "patience", "request_timeout"),
    *("engine_options", "chat_template"),
)


def annotate(arguments: dict[str, Any], inputs: Sequence[str], output: str, options: RunOptions) -> Any:
    """Run it. Raises click.UsageError for options that only a model can meet."""
    from actors.embedded_grader import GradeRows
    from actors.engines.static_analysis import VERSION
    from cluster.first_rows import first_rows

    given = next((name for name in _OF_MODELS if arguments[name]), None)
    if given is not None:
        option = {"fields": "field", "engine_options": "engine-option"}.get(given, given).replace("_", "-")
        raise click.UsageError(f"--{option}: the static-analysis engine takes no such option; give --model-name")
    if arguments["truncate"] != "head" or arguments["length_unit"] != "characters":
        raise click.UsageError("the static-analysis engine grades the head of a text, by characters")
    rubric = _rubric(arguments["annotation_task_prompt"])
    field = arguments["output_field"] or arguments["annotation_task_prompt"]
    config = {
        "engine": "static-analysis",
        "annotation_task_prompt": rubric,
        "output_field": field,
        "text_expression": arguments["text_expression"],
        "max_text_length": arguments["max_text_length"],
        "limit_rows": arguments["limit_rows"],
    }
    stage = GradeRows(rubric, field, arguments["text_expression"], arguments["max_text_length"])
    versions = {"static-analysis": VERSION}
    with Job("annotate-dataset", config, inputs, output, options, versions=versions) as job:
        if not job.complete:
            limit = arguments["limit_rows"]
            job.write([stage], sources=None if limit is None else first_rows(job.shards, limit))
        return job.finish()


def _rubric(name: str) -> str:
    """The grader's rubric for a prompt: its own name, or what a prompt of the library says. Raises click.UsageError."""
    from actors.engines.static_analysis import RUBRICS
    from pipelines.annotation.prompt_library import task

    if name in RUBRICS:
        return name
    embedded = task(name).embedded
    if embedded is None:
        raise click.UsageError(
            f"--annotation-task-prompt {name}: without a model there are {' and '.join(RUBRICS)}; give --model-name"
        )
    return embedded
