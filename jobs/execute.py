"""execute: run one program on some inputs in a sandbox, and see what becomes of each."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cluster.errors import GristmillError
from jobs.command import run, verb
from jobs.executors import sandbox_options

if TYPE_CHECKING:
    from actors.sandboxes.contract import Execution

EXAMPLES = """
gristmill execute --program solution.py --inputs inputs.json
gristmill execute --program solution.py --input '[[1, 2], [3, 4]]' --json
generate | gristmill execute --program - --inputs inputs.json --function solve --cpu-seconds 2
"""
SHOWN = 200  # characters of a value


class CannotRead(GristmillError):
    """The program or its inputs cannot be read; the message names the file and what is wrong with it."""


@verb("execute", EXAMPLES)
@click.option("--program", required=True, help="A file of Python source code; - reads standard input.")
@click.option("--inputs", help="A JSON file with a list of inputs.")
@click.option("--input", "given", multiple=True, help="One input as JSON. Repeat for several.")
@click.option("--function", default="transform", show_default=True, help="What is called with each input.")
@sandbox_options
@click.option("--json", "as_json", is_flag=True, help="Print the outcomes as JSON on standard output.")
def command(**arguments: Any) -> None:
    """Run a program that nobody has to trust on some inputs, and print the outcome of each.

    The program is run in a fresh process of a sandbox, without network, files or other processes. The exit status is 0
    when it returned a value for every input, and 1 otherwise.
    """
    from actors.program_executor import ProgramExecutor
    from jobs.executors import sandbox_choice

    choice, limits = sandbox_choice(arguments)
    if arguments["program"] == arguments["inputs"] == "-":
        raise click.UsageError(
            "--program and --inputs cannot both be read from standard input: give one of them a file"
        )
    program = _text(arguments["program"])
    inputs = [] if arguments["inputs"] is None else _inputs(arguments["inputs"])
    inputs += [_json(text, f"--input {text!r}") for text in arguments["given"]]
    if not inputs:
        where = f"{arguments['inputs']} holds an empty list" if arguments["inputs"] else "nothing to run it on"
        raise click.UsageError(f"{where}: give --inputs FILE.json or --input JSON")
    executor = ProgramExecutor(choice)
    try:
        execution = executor.run(program, arguments["function"], inputs, limits)
    finally:
        executor.close()
    if arguments["as_json"]:
        click.echo(_told(choice.resolved, execution))
    else:
        _show(execution)
    sys.exit(int(any(outcome.status != "ok" for outcome in execution.outcomes)))


def _text(path: str) -> str:
    """The text of a file, without the mark of its byte order that editors on Windows put before it."""
    try:
        return (sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()).decode("utf-8-sig")
    except OSError as error:
        raise CannotRead(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CannotRead(f"{path} is not UTF-8 (byte {error.start})") from error


def _json(text: str, place: str) -> Any:
    from actors.sandboxes.contract import DEEPEST_INPUT, is_too_deep

    try:
        found = json.loads(text, parse_constant=_refused)
        if not is_too_deep(found):
            return found
    except RecursionError:
        pass
    except ValueError as error:
        raise CannotRead(f"{place} is not JSON: {error}") from error
    raise CannotRead(f"{place} is nested more than {DEEPEST_INPUT} levels deep")


def _refused(constant: str) -> None:
    raise ValueError(f"it has no {constant}")


def _inputs(path: str) -> list[Any]:
    found = _json(_text(path), path)
    if not isinstance(found, list):
        raise CannotRead(f"{path} holds no list of inputs but one {type(found).__name__}: put it in brackets")
    return found


def _told(isolation: str, execution: Execution) -> bytes:
    import orjson

    return orjson.dumps({"isolation": isolation} | orjson.loads(execution.told()))


def _show(execution: Execution) -> None:
    from actors.sandboxes.warm import printable

    for number, outcome in enumerate(execution.outcomes, 1):
        said = json.dumps(outcome.value) if outcome.status == "ok" else outcome.message
        cut = said if len(said) <= SHOWN else f"{said[:SHOWN]}… ({len(said):,} characters; --json shows them all)"
        click.echo(f"input {number}: {outcome.status}, {outcome.cpu_ms:.1f} ms CPU: {cut}")
    if execution.output:
        click.echo("printed:")
        click.echo(printable(execution.output))


if __name__ == "__main__":
    run(command)
