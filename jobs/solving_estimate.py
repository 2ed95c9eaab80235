"""run-tasks --dry-run: what would be run, resolved; how many attempts that is, and what they would cost at most."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from actors.engines.contract import Request
from actors.engines.openai_api import most_prompt_tokens
from actors.estimator import TOKENS_AROUND_A_MESSAGE
from actors.synthesis.prompt import TaskPrompt
from jobs.asking_estimate import least_time, money, token_counting
from jobs.job import RunOptions, summary_text
from jobs.solving_options import SEARCH, Order

# Of a grid drawn as text, where every other character is a number and mostly a token.
CHARACTERS_PER_TOKEN = 2.0


def estimate(arguments: Mapping[str, Any], order: Order, output: str, options: RunOptions) -> dict[str, Any]:
    """Count, print, and leave nothing behind."""
    tokens, method = token_counting(order.choice.model, CHARACTERS_PER_TOKEN)
    counter = tokens.counter()
    prompt = TaskPrompt.load(order.solving.mode)
    asked = [prompt.messages(task, False) for task in order.tasks]
    each = sum(counter(message.content) + TOKENS_AROUND_A_MESSAGE for messages in asked for message in messages)
    most = sum(most_prompt_tokens(Request(tuple(messages))) for messages in asked)
    found: dict[str, Any] = {
        "dry_run": True,
        "verb": "run-tasks",
        "output": output,
        "tasks": len(order.tasks),
        "runs": order.runs,
        "to_be_asked": order.planned,
        "prompt_tokens": each * order.runs * order.attempts,
        "tokens_counted": method,
        "prompt_tokens_at_most": most * order.runs * order.attempts,
    }
    if order.solving.in_series:
        found["note"] = "attempts in series stop early, and later prompts are longer: counted as if all were the first"
    if order.choice.kind != SEARCH:
        named = {**arguments, "model_name": order.choice.model}
        found |= money(named, found, order.choice.prices) | least_time(named, found)
    found["configuration"] = {name: value for name, value in order.config.items() if name != "tasks"}
    if options.as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    elif not options.quiet:
        click.echo(_text(found))
    return found


def _text(found: dict[str, Any]) -> str:
    config = {f"  {name}": value for name, value in found["configuration"].items()}
    shown = {name: value for name, value in found.items() if name not in ("configuration", "dry_run")}
    lines = summary_text({**shown, **config}, 0.0, resumed=False).splitlines()
    return "\n".join([f"run-tasks --dry-run: nothing was asked; {found['output']} was not touched", *lines[1:]])
