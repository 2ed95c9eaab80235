"""The options of everything that puts questions about rows to a model, and what they resolve to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from jobs.asking_options import (
    UNBOUND,
    Named,
    api_key_option,
    base_url_option,
    option,
    pace_options,
    prices_option,
    reasoning_effort_option,
    sampling_seed_option,
    service_tier_option,
    top_p_option,
)
from jobs.command import Number, input_option, output_option, stack, text_option
from jobs.count_tokens import wanted_tokenizer

if TYPE_CHECKING:
    from actors.prices import Prices
    from actors.questions import Questions
    from cluster.first_rows import FirstRows
    from cluster.shards import Shard

EMBEDDED = "static-analysis"
ENGINES = ("openai", "vllm", "sglang", "transformers", EMBEDDED)
CHUNK_ROWS = 32

question_options = stack(
    input_option("-d", "--dataset-dir"),
    output_option,
    option("--annotation-task-prompt", required=True, help="The prompt: a name of `list-prompts`, or a file."),
    option("--annotation-system-prompt", help="The system prompt: a name, or a file. [default: none]"),
    option("--output-field", help="Where the answer is set. [default: the task prompt's name]"),
    text_option,
    option("--field", "fields", type=Named(), multiple=True, help="NAME=JQ: where a field of the prompt comes from."),
    option("--max-text-length", type=click.IntRange(1), help="Cut longer texts to this length."),
    option(
        "--truncate",
        type=click.Choice(["head", "tail", "middle"]),
        default="head",
        show_default=True,
        help="What is kept of a long text: its head, its tail, or both ends without the middle.",
    ),
    option("--length-unit", type=click.Choice(["characters", "tokens"]), default="characters", show_default=True),
    option("--tokenizer", type=click.Path(), help="The model's tokenizer.json, by which tokens are counted and cut."),
    option("--limit-rows", type=click.IntRange(1), help="Only the first so many rows, in the order of the shards."),
)

_answers = (
    reasoning_effort_option,
    option("--max-new-tokens", type=click.IntRange(1), help="Tokens of an answer at most, reasoning included."),
    option("--temperature", type=Number(0), help="[default: the model's]"),
    top_p_option,
    sampling_seed_option,
    prices_option,
)

model_options = stack(
    option("--model-name", help="The model: as its provider calls it, or a directory for engines in the workers."),
    base_url_option,
    api_key_option,
    service_tier_option,
    *_answers,
)

# A batch has a tier of its own.
batch_model_options = stack(
    option("--model-name", required=True, help="The model, as its provider calls it."),
    base_url_option,
    api_key_option,
    *_answers,
)

asking_options = stack(
    option("--max-repairs", type=click.IntRange(0), default=2, show_default=True, help="Retries of an invalid answer."),
    pace_options(),
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


def fingerprint(arguments: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """What decides the output, for the run's manifest. Prompts are named with their content's digest."""
    questions = asked.questions
    config = {name: value for name, value in arguments.items() if name not in UNBOUND}
    config["fields"] = dict(arguments["fields"])
    config["annotation_task_prompt"] = f"{questions.prompt.name} {questions.prompt.digest}"
    if questions.system is not None:
        config["annotation_system_prompt"] = f"{questions.system.name} {questions.system.digest}"
    return config | {"tokenizer_sha256": asked.tokenizer_sha256}
