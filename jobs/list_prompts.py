"""list-prompts: the prompts that come with Gristmill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobs.command import run, verb

if TYPE_CHECKING:
    from actors.prompt import Prompt

EXAMPLES = """
gristmill list-prompts
gristmill list-prompts --json
"""


@verb("list-prompts", EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, with each prompt's fields and digest.")
def command(as_json: bool) -> list[dict[str, Any]]:
    """List the prompts that annotate-dataset knows by name.

    A task prompt says what is graded and how the answer looks, a system prompt who grades. A prompt of your own is given
    by its path; show-prompt prints one to start from.
    """
    import json

    from jobs.job import table_lines
    from pipelines.annotation import prompt_library

    prompts = [prompt_library.load(name) for name in prompt_library.names()]
    prompts.sort(key=lambda prompt: (prompt.kind != "task", prompt.name))
    found = [_entry(prompt) for prompt in prompts]
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        click.echo("\n".join(table_lines([_line(prompt) for prompt in prompts])))
    return found


def _entry(prompt: Prompt) -> dict[str, Any]:
    score = prompt.score and {
        "field": prompt.score.field,
        "minimum": prompt.score.minimum,
        "maximum": prompt.score.maximum,
    }
    return {
        "name": prompt.name,
        "kind": prompt.kind,
        "version": prompt.version,
        "summary": prompt.summary,
        "score": score,
        "fields": dict(prompt.fields),
        "text": prompt.uses_text,
        "embedded": prompt.embedded,
        "digest": prompt.digest,
    }


def _line(prompt: Prompt) -> dict[str, Any]:
    score = prompt.score
    return {
        "name": prompt.name,
        "kind": prompt.kind,
        "version": prompt.version,
        "score": None if score is None else f"{score.minimum:g} to {score.maximum:g}",
        "summary": prompt.summary,
    }


if __name__ == "__main__":
    run(command)
