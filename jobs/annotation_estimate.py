"""annotate-dataset --dry-run: what it would ask for, what it would cost at most, and how long it would take at least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actors.estimator import CountTokens, EstimateRows, Nothing
from jobs.annotation_options import Asked
from jobs.asking_estimate import least_time, money, token_counting
from jobs.job import Job, RunOptions
from jobs.looking import finish_looking, ledger_place


def estimate(arguments: Mapping[str, Any], question: Asked, inputs: Sequence[str], options: RunOptions) -> Any:
    """Count, print, and leave nothing behind."""
    from cluster.storage import open_storage

    # Of a model behind a server the name is all that its answers are kept by; others are known when they are loaded.
    place = arguments["cache_location"] if arguments["engine"] == "openai" else None
    journal = open_storage(place, options.endpoint_url) if place else None
    identity = {"engine": "openai", "model": arguments["model_name"]}
    tokens, method = _counting(arguments, question)
    with ledger_place(None, options) as folder, Job("annotate-dataset", {}, inputs, folder, options) as job:
        sends_schema = arguments["engine"] == "openai"  # others have it beside the prompt, or not at all
        stage = EstimateRows(question.questions, identity, journal, tokens, sends_schema)
        job.scan("estimate", [stage], Nothing(), counts=True, sources=question.sources(job.shards))
        counted = ("questions", "in the journal", "prompt tokens", "prompt tokens at most")
        counts = {name: int(job.tally.counters.pop(name, 0)) for name in counted}
        found = {
            "dry_run": True,
            "questions": counts["questions"],
            "in_the_journal": counts["in the journal"],
            "to_be_asked": counts["questions"] - counts["in the journal"],
            "prompt_tokens": counts["prompt tokens"],
            "tokens_counted": method,
            "prompt_tokens_at_most": counts["prompt tokens at most"],
        }
        found |= money(arguments, found, question.prices) | least_time(arguments, found)
        if repairs := arguments["max_repairs"]:
            found["not_counted"] = f"up to {repairs} repairs of each answer that is not valid (--max-repairs)"
        return finish_looking(job, None, **found)


def _counting(arguments: Mapping[str, Any], question: Asked) -> tuple[CountTokens, str]:
    if question.questions.tokenizer is not None:
        return CountTokens(question.questions.tokenizer), f"with {arguments['tokenizer']}"
    tokens, method = token_counting(arguments["model_name"])
    return tokens, f"{method}; exactly with --tokenizer FILE" if method.startswith("roughly") else method
