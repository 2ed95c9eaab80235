"""show-prompt: one prompt as it is, or as it is rendered for a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import click

from jobs.command import run, text_option, verb

if TYPE_CHECKING:
    from actors.prompt import Prompt

EXAMPLES = """
gristmill show-prompt claude_rubric_code
gristmill show-prompt claude_rubric_code > my_rubric.md
gristmill show-prompt ./my_rubric.md --row row.json
head -1 data/raw/a.jsonl | gristmill show-prompt claude_rubric_code --row -
"""


@verb("show-prompt", EXAMPLES)
@click.argument("name")
@click.option("--row", type=click.File("rb"), help="Render it for this row: a JSON file, or - for standard input.")
@text_option
@click.option("--json", "as_json", is_flag=True, help="Print it as a JSON object, with the schema and the digest.")
def command(name: str, row: BinaryIO | None, text_expression: str, as_json: bool) -> dict[str, Any]:
    """Print the prompt NAME, or the one in the file NAME, with its head and its body.

    A prompt that can be printed is one that can be used: whatever is wrong with a file is said with its line. With --row
    the message is printed that a model would get for this row, and nothing is sent. Of several lines the first is taken.
    """
    import json

    from pipelines.annotation import prompt_library

    prompt = prompt_library.load(name)
    messages = None if row is None else _messages(prompt, row.read(), text_expression)
    found = _described(prompt) | ({} if messages is None else {"messages": messages})
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    elif messages is None:
        click.echo(prompt.source, nl=not prompt.source.endswith("\n"))
    else:
        click.echo("\n\n".join(f"[{message['role']}]\n{message['content']}" for message in messages))
    return found


def _described(prompt: Prompt) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": prompt.name,
        "version": prompt.version,
        "kind": prompt.kind,
        "summary": prompt.summary,
        "fields": dict(prompt.fields),
        "text": prompt.uses_text,
        "schema": prompt.schema,
        "score": None if prompt.score is None else asdict(prompt.score),
        "embedded": prompt.embedded,
        "digest": prompt.digest,
        "body": prompt.body,
    }


def _messages(prompt: Prompt, data: bytes, text_expression: str) -> list[dict[str, str]]:
    """The turn that this prompt makes of a row."""
    from actors.prompt import RenderFailed
    from actors.special_tokens import neutralize_value
    from cluster.errors import GristmillError

    programs = dict(prompt.fields) | ({"text": text_expression} if prompt.uses_text else {})
    row = _row(data)
    values = {name: neutralize_value(_value(program, row), prompt.delimiters)[0] for name, program in programs.items()}
    if prompt.uses_text and not isinstance(values["text"], str):
        raise GristmillError(f"--row: {text_expression} gives no string: name the text with --text-expression")
    try:
        content = prompt.render(values)
    except RenderFailed as error:
        raise GristmillError(f"--row: {error}") from None
    return [{"role": "system" if prompt.kind == "system" else "user", "content": content}]


def _row(data: bytes) -> bytes:
    """One row: the whole input if it is one JSON value, else its first line."""
    import orjson

    whole = data.strip()
    try:
        orjson.loads(whole)
    except orjson.JSONDecodeError:
        return whole.partition(b"\n")[0]
    return whole


def _value(program: str, row: bytes) -> object:
    from actors.expressions import Expression
    from cluster.errors import GristmillError
    from cluster.rows import Failure

    (value,) = Expression(program).values([row])
    if isinstance(value, Failure):
        raise GristmillError(f"--row: {value.reason}")
    return value


if __name__ == "__main__":
    run(command)
