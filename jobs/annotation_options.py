"""The options of everything that puts questions about rows to a model, and what they resolve to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from jobs.command import Function, input_option, output_option, stack, text_option
from jobs.count_tokens import wanted_tokenizer

if TYPE_CHECKING:
    from actors.engines.json_service import Service
    from actors.prices import Prices
    from actors.questions import Questions
    from actors.spend_limiter import Limits
    from cluster.first_rows import FirstRows
    from cluster.shards import Shard

EMBEDDED = "static-analysis"
ENGINES = ("openai", "vllm", "sglang", "transformers", EMBEDDED)
CHUNK_ROWS = 32


class Place(click.ParamType[str]):
    """A directory or an s3:// prefix; an empty one is an error."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not str(value).strip():
            self.fail("names no place: give a directory or s3://bucket/prefix", param, ctx)
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


def _option(*names: str, **settings: Any) -> Callable[[Function], Function]:
    return click.option(*names, **settings)


question_options = stack(
    input_option("-d", "--dataset-dir"),
    output_option,
    _option("--annotation-task-prompt", required=True, help="The prompt: a name of `list-prompts`, or a file."),
    _option("--annotation-system-prompt", help="The system prompt: a name, or a file. [default: none]"),
    _option("--output-field", help="Where the answer is set. [default: the task prompt's name]"),
    text_option,
    _option("--field", "fields", type=Named(), multiple=True, help="NAME=JQ: where a field of the prompt comes from."),
    _option("--max-text-length", type=click.IntRange(1), help="Cut longer texts to this length."),
    _option(
        "--truncate",
        type=click.Choice(["head", "tail", "middle"]),
        default="head",
        show_default=True,
        help="What is kept of a long text: its head, its tail, or both ends without the middle.",
    ),
    _option("--length-unit", type=click.Choice(["characters", "tokens"]), default="characters", show_default=True),
    _option("--tokenizer", type=click.Path(), help="The model's tokenizer.json, by which tokens are counted and cut."),
    _option("--limit-rows", type=click.IntRange(1), help="Only the first so many rows, in the order of the shards."),
)

_base_url = _option("--base-url", help="An OpenAI-compatible server, such as http://host:8000/v1. [default: OpenAI's]")
_api_key = _option("--api-key-file", type=click.Path(), help="A file with the API key. [default: OPENAI_API_KEY]")
_answers = (
    _option("--reasoning-effort", help="minimal, low, medium or high, as the model takes it."),
    _option("--max-new-tokens", type=click.IntRange(1), help="Tokens of an answer at most, reasoning included."),
    _option("--temperature", type=click.FloatRange(0), help="[default: the model's]"),
    _option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="[default: the model's]"),
    _option("--sampling-seed", type=int, help="Seed of the model's draws, where the server takes one."),
    _option("--prices", type=click.Path(), help="A YAML file of prices, used before the list prices that come along."),
)

model_options = stack(
    _option("--model-name", help="The model: as its provider calls it, or a directory for engines in the workers."),
    _base_url,
    _api_key,
    _option("--service-tier", type=click.Choice(["auto", "default", "flex", "priority"]), help="The provider's tier."),
    *_answers,
)

# A batch has a tier of its own.
batch_model_options = stack(
    _option("--model-name", required=True, help="The model, as its provider calls it."),
    _base_url,
    _api_key,
    *_answers,
)
cache_option = _option(
    "--cache-location", type=Place(), help="The request journal, shared by runs. [default: this run's own]"
)

asking_options = stack(
    _option(
        "--max-concurrent-requests",
        type=click.IntRange(1),
        default=100,
        show_default=True,
        help="Requests under way at once, over all workers.",
    ),
    _option("--max-requests-per-minute", type=click.IntRange(1), help="Requests begun in a minute, over all workers."),
    _option("--max-tokens-per-minute", type=click.IntRange(1), help="Prompt and the most answered, over all workers."),
    _option("--max-cost", type=click.FloatRange(0, min_open=True), help="Stop before this many USD are exceeded."),
    _option(
        "--max-repairs", type=click.IntRange(0), default=2, show_default=True, help="Retries of an invalid answer."
    ),
    _option(
        "--max-attempts", type=click.IntRange(1), default=8, show_default=True, help="Tries of a request that fails."
    ),
    _option("--request-timeout", type=click.FloatRange(1), help="Seconds for one try. [default: 600; flex: 1800]"),
    _option(
        "--patience",
        type=click.FloatRange(1),
        help="Seconds without any answer, after which the run stops. [default: 600; flex: 1800]",
    ),
    cache_option,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options say of the questions, resolved and checked, and what the model's tokens cost."""

    questions: Questions
    field: str
    prices: Prices | None
    limit_rows: int | None
    tokenizer_sha256: str | None

    def sources(self, shards: Sequence[Shard]) -> Sequence[Shard] | list[FirstRows]:
        from cluster.first_rows import first_rows

        return shards if self.limit_rows is None else first_rows(shards, self.limit_rows)


def asked(arguments: Mapping[str, Any]) -> Asked:
    """Resolve the options. Raises PromptError, ExpressionError, PriceError, click.UsageError."""
    from actors.engines.contract import Sampling
    from actors.prices import prices_of
    from actors.questions import Questions
    from pipelines.annotation.prompt_library import system, task

    prompt = task(arguments["annotation_task_prompt"])
    named = arguments["annotation_system_prompt"]
    fields = dict(arguments["fields"])
    if unknown := fields.keys() - prompt.fields.keys():
        there = ", ".join(prompt.fields) or "none"
        raise click.UsageError(f"--field {unknown.pop()}: the prompt {prompt.name} has no such field; it has {there}")
    if arguments["length_unit"] == "tokens" and arguments["tokenizer"] is None:
        raise click.UsageError("--length-unit tokens needs --tokenizer, the tokenizer.json to count by")
    tokenizer, facts = wanted_tokenizer(arguments["tokenizer"], no_tokens=arguments["tokenizer"] is None)
    questions = Questions(
        prompt=prompt,
        system=system(named) if named else None,
        sampling=Sampling(
            max_new_tokens=arguments["max_new_tokens"],
            temperature=arguments["temperature"],
            top_p=arguments["top_p"],
            seed=arguments["sampling_seed"],
            reasoning_effort=arguments["reasoning_effort"],
            service_tier=arguments["service_tier"],
        ),
        text_expression=arguments["text_expression"],
        fields=fields,
        max_text_length=arguments["max_text_length"],
        where=arguments["truncate"],
        unit=arguments["length_unit"],
        tokenizer=tokenizer,
    )
    prices = prices_of(arguments["model_name"], arguments["prices"]) if arguments["model_name"] else None
    field = arguments["output_field"] or prompt.name
    return Asked(questions, field, prices, arguments["limit_rows"], facts["tokenizer_sha256"])


def service(arguments: Mapping[str, Any]) -> Service:
    """The server that is asked, checked as far as can be without asking. Raises EngineUnusable."""
    from actors.engines.openai_api import service_at

    patient = 1800.0 if arguments["service_tier"] == "flex" else 600.0
    found = service_at(
        arguments["base_url"],
        key_file=arguments["api_key_file"],
        timeout=arguments.get("request_timeout") or patient,
        patience=arguments.get("patience") or patient,
        max_attempts=arguments.get("max_attempts") or 8,
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


# What may differ between two attempts at the same run: how it is asked, not what.
_UNBOUND = (
    *("base_url", "api_key_file", "prices", "max_concurrent_requests", "max_requests_per_minute"),
    *(
        "max_tokens_per_minute",
        "max_cost",
        "gpus_per_engine",
        "max_attempts",
        "request_timeout",
        "patience",
        "cache_location",
        "tokenizer",
    ),
)


def fingerprint(arguments: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """What decides the output, for the run's manifest. Prompts are named with their content's digest."""
    questions = asked.questions
    config = {name: value for name, value in arguments.items() if name not in _UNBOUND}
    config["fields"] = dict(arguments["fields"])
    config["annotation_task_prompt"] = f"{questions.prompt.name} {questions.prompt.digest}"
    if questions.system is not None:
        config["annotation_system_prompt"] = f"{questions.system.name} {questions.system.digest}"
    return config | {"tokenizer_sha256": asked.tokenizer_sha256}
