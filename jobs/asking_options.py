"""The options of everything that asks a model: which one, how it answers, how fast and for how much; and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from jobs.command import Function, Number, stack

if TYPE_CHECKING:
    from actors.engines.json_service import Service
    from actors.prices import Prices
    from actors.spend_limiter import Limits


class Place(click.ParamType[str]):
    """A directory or an s3:// prefix; an empty one is an error."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not str(value).strip():
            self.fail("names no place: give a directory or s3://bucket/prefix", param, ctx)
        if str(value).startswith("-"):
            self.fail(f"{value} is an option and no place: give a directory or s3://bucket/prefix", param, ctx)
        return str(value)


class Named(click.ParamType[tuple[str, str]]):
    """NAME=VALUE."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, rest = str(value).partition("=")
        if not (name.strip() and equals and rest.strip()):
            self.fail(f"{value!r}: write NAME=VALUE", param, ctx)
        return name.strip(), rest.strip()


def option(*names: str, **settings: Any) -> Callable[[Function], Function]:
    return click.option(*names, **settings)


base_url_option = option(
    "--base-url", help="An OpenAI-compatible server, such as http://host:8000/v1. [default: OpenAI's]"
)
api_key_option = option("--api-key-file", type=click.Path(), help="A file with the API key. [default: OPENAI_API_KEY]")
service_tier_option = option(
    "--service-tier", type=click.Choice(["auto", "default", "flex", "priority"]), help="The provider's tier."
)
reasoning_effort_option = option("--reasoning-effort", help="minimal, low, medium or high, as the model takes it.")
top_p_option = option("--top-p", type=Number(0, 1, min_open=True), help="[default: the model's]")
sampling_seed_option = option(
    "--sampling-seed", type=int, help="Seed of the model's draws, where the server takes one."
)
prices_option = option(
    "--prices", type=click.Path(), help="A YAML file of prices, used before the list prices that come along."
)
cache_option = option(
    "--cache-location", type=Place(), help="The request journal, shared by runs. [default: this run's own]"
)

worker_engine_options = stack(
    option("--gpus-per-engine", type=Number(0), default=1, show_default=True, help="For vllm, sglang."),
    option(
        "--engine-option",
        "engine_options",
        type=Named(),
        multiple=True,
        help="NAME=VALUE for vllm, sglang, transformers.",
    ),
    option("--chat-template", type=click.Path(), help="A Jinja file, for a model that has no chat template."),
)


def pace_options(*concurrent: str, tries: str = "--max-attempts") -> Callable[..., Any]:
    """The limits over all workers of a run, and what is done about requests that fail.

    A verb may have other names for the requests at once, besides their own, and for the tries of a request.
    """
    return stack(
        option(
            *concurrent,
            "--max-concurrent-requests",
            "max_concurrent_requests",
            type=click.IntRange(1),
            default=100,
            show_default=True,
            help="Requests under way at once, over all workers.",
        ),
        option(
            "--max-requests-per-minute", type=click.IntRange(1), help="Requests begun in a minute, over all workers."
        ),
        option(
            "--max-tokens-per-minute", type=click.IntRange(1), help="Prompt and the most answered, over all workers."
        ),
        option("--max-cost", type=Number(0, min_open=True), help="Stop before this many USD are exceeded."),
        option(
            tries,
            "max_tries",
            type=click.IntRange(1),
            default=8,
            show_default=True,
            help="Tries of a request that fails.",
        ),
        option("--request-timeout", type=Number(1), help="Seconds for one try. [default: 600; flex: 1800]"),
        option(
            "--patience",
            type=Number(1),
            help="Seconds without any answer, after which the run stops. [default: 600; flex: 1800; 60 where nobody "
            "has listened at that address yet]",
        ),
        cache_option,
    )


# What may differ between two attempts at the same run: how it is asked, not what.
UNBOUND = (
    *("base_url", "api_key_file", "prices", "max_concurrent_requests", "max_requests_per_minute"),
    *("max_tokens_per_minute", "max_cost", "gpus_per_engine", "max_tries", "request_timeout", "patience"),
    *("cache_location", "tokenizer"),
)


# What only a server that is asked can be held to, and what only an engine in the workers takes.
_OF_SERVERS = ("service_tier", "api_key_file", "max_cost", "max_requests_per_minute", "max_tokens_per_minute")
_OF_WORKERS = {"engine_options": "engine-option", "chat_template": "chat-template"}


def check_engine_options(engine: str, arguments: Mapping[str, Any]) -> None:
    """Raises click.UsageError for an option that this engine would ignore."""
    if engine == "openai":
        for name, shown in _OF_WORKERS.items():
            if arguments[name]:
                raise click.UsageError(f"--{shown} is for engines in the workers; --engine openai asks a server")
    elif not arguments["base_url"]:
        given = next((name for name in _OF_SERVERS if arguments[name] is not None), None)
        if given is not None:
            raise click.UsageError(
                f"--{given.replace('_', '-')} is for a server that is asked; --engine {engine} works in this run's workers"
            )


def service(arguments: Mapping[str, Any]) -> Service:
    """The server that is asked, checked as far as can be without asking. Raises EngineUnusable."""
    from actors.engines.json_service import FIRST_PATIENCE
    from actors.engines.openai_api import service_at

    patient = 1800.0 if arguments["service_tier"] == "flex" else 600.0
    found = service_at(
        arguments["base_url"],
        key_file=arguments["api_key_file"],
        timeout=arguments.get("request_timeout") or patient,
        patience=arguments.get("patience") or patient,
        first_patience=arguments.get("patience") or FIRST_PATIENCE,
        max_attempts=arguments.get("max_tries") or 8,
    ).checked()
    found.key()
    return found


def limits(arguments: Mapping[str, Any], prices: Prices | None) -> Limits:
    """The limits over all workers. Raises click.UsageError for a budget that cannot be held."""
    from actors.prices import NANO
    from actors.spend_limiter import Limits

    cost = arguments["max_cost"]
    if cost is not None and prices is None:
        model = arguments["model_name"]
        raise click.UsageError(f"--max-cost: no price of {model!r} is known; give --prices FILE with its price")
    if cost is not None and arguments["max_new_tokens"] is None:
        raise click.UsageError("--max-cost needs --max-new-tokens, which bounds what one answer can cost")
    return Limits(
        concurrent_requests=arguments["max_concurrent_requests"],
        requests_per_minute=arguments["max_requests_per_minute"],
        tokens_per_minute=arguments["max_tokens_per_minute"],
        cost=None if cost is None else round(cost * NANO),
    )
