"""annotate-dataset --dry-run: what it would ask for, what it would cost at most, and how long it would take at least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from actors.estimator import CountTokens, EstimateRows, Nothing
from actors.prices import NANO, Prices
from jobs.annotation_options import Asked
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
        stage = EstimateRows(question.questions, identity, journal, tokens)
        job.scan("estimate", [stage], Nothing(), counts=True, sources=question.sources(job.shards))
        counts = {
            name: int(job.tally.counters.pop(name, 0)) for name in ("questions", "in the journal", "prompt tokens")
        }
        found = {
            "dry_run": True,
            "questions": counts["questions"],
            "in_the_journal": counts["in the journal"],
            "to_be_asked": counts["questions"] - counts["in the journal"],
            "prompt_tokens": counts["prompt tokens"],
            "tokens_counted": method,
        }
        return finish_looking(
            job, None, **found, **_money(arguments, found, question.prices), **_time(arguments, found)
        )


def _counting(arguments: Mapping[str, Any], question: Asked) -> tuple[CountTokens, str]:
    if question.questions.tokenizer is not None:
        return CountTokens(question.questions.tokenizer), f"with {arguments['tokenizer']}"
    own = Path(arguments["model_name"]).expanduser() / "tokenizer.json"
    if own.is_file():
        return CountTokens(own.read_text()), f"with {own}"
    if find_spec("tiktoken") is not None:
        import tiktoken

        try:
            name = tiktoken.encoding_for_model(arguments["model_name"]).name
        except Exception:  # unknown model, or its file cannot be had: requests' errors and its own
            pass
        else:
            return CountTokens(tiktoken_model=arguments["model_name"]), f"with tiktoken's {name}"
    return CountTokens(), "roughly, as a quarter of the characters (give --tokenizer for the true number)"


def _money(arguments: Mapping[str, Any], found: Mapping[str, Any], prices: Prices | None) -> dict[str, Any]:
    """Between no answer at all and every answer as long as it may be."""
    if prices is None:
        return {"cost": f"unknown: no price of {arguments['model_name']!r}; give --prices FILE"}
    price = prices.dearest(arguments["service_tier"])
    prompts = 1000 * price.input * found["prompt_tokens"] / NANO
    money: dict[str, Any] = {"prices": f"{prices.model}, table {prices.version}", "cost_of_the_prompts_usd": prompts}
    most = arguments["max_new_tokens"]
    if most is None:
        return money | {"cost_at_most_usd": None, "why": "give --max-new-tokens, which bounds the answers"}
    answers = found["to_be_asked"] * most
    return money | {
        "answered_tokens_at_most": answers,
        "cost_at_most_usd": prompts + 1000 * price.output * answers / NANO,
    }


def _time(arguments: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The limits' share of the time, which nobody can beat."""
    minutes = []
    if arguments["max_requests_per_minute"]:
        minutes.append(found["to_be_asked"] / arguments["max_requests_per_minute"])
    if arguments["max_tokens_per_minute"]:
        minutes.append(found["prompt_tokens"] / arguments["max_tokens_per_minute"])
    return {"minutes_at_least": round(max(minutes), 1)} if minutes else {}
