"""What every verb's command line shares: its options, its errors and its exit status.

Status 0 is done, 1 failed, 2 used wrongly. An error is one line that names the thing, the place and the way out;
GRISTMILL_DEBUG=1 adds the traceback.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from cluster.errors import GristmillError

Function = TypeVar("Function", bound=Callable[..., Any])


class ByteSize(click.ParamType[int]):
    """A number of bytes: 1GB and 1GiB are 1024³, 1kB and 1gB style lower-case prefixes are powers of 1000."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from pipelines.curation.sizes import parse_size

        try:
            return value if isinstance(value, int) else parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Amount(click.ParamType[int | float]):
    """A whole number is a count; a number with a point, up to 1.0, is a fraction."""

    name = "count or fraction"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float:
        try:
            number = float(value) if "." in str(value) else int(str(value))
        except ValueError:
            self.fail(f"{value!r} is neither a count such as 1000 nor a fraction such as 0.05", param, ctx)
        if number < 0 or (isinstance(number, float) and number > 1):
            self.fail(f"{value} is out of range: a count from 0, or a fraction from 0.0 to 1.0", param, ctx)
        return number


class Number(click.FloatRange):
    """A number within bounds; NaN and infinity, which a float may be, are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number", param, ctx)
        return number


BYTES = ByteSize()
AMOUNT = Amount()


def verb(name: str, examples: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function the command of a verb, with its examples at the end of its help."""
    settings = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
    epilog = "\b\nExamples:\n" + "\n".join(f"  {line.strip()}" for line in examples.strip().splitlines())

    def decorate(function: Callable[..., Any]) -> click.Command:
        return click.command(name, epilog=epilog, context_settings=settings)(function)

    return decorate


def stack(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def input_option(*names: str, multiple: bool = True) -> Callable[[Function], Function]:
    """The dataset or datasets a verb reads."""
    text = "A dataset: a directory or s3:// prefix of JSONL shards." + (" Repeat for several." if multiple else "")
    return click.option(*names, "input_dirs" if multiple else "input_dir", multiple=multiple, required=True, help=text)


output_option = click.option(
    "-o", "--output-dir", required=True, help="Where the result goes: a new directory or s3:// prefix."
)
text_option = click.option(
    "-t", "--text-expression", default=".text", show_default=True, help="jq program for the text."
)
label_option = click.option(
    "-l", "--label-expression", default=".score", show_default=True, help="jq program for the label."
)
seed_option = click.option("-S", "--seed", type=int, default=42, show_default=True, help="Seed of every random choice.")

run_options = stack(
    click.option(
        "-p",
        "--num-workers",
        "--num-proc",
        type=click.IntRange(1),
        help="Actors that work at once. [default: all CPUs]",
    ),
    click.option("--address", help="A running Ray cluster. [default: RAY_ADDRESS, else an embedded Ray]"),
    click.option("--endpoint-url", help="Endpoint for s3:// paths (MinIO, Swift, R2 …)."),
    click.option(
        "--chunk-size",
        type=BYTES,
        default="4MiB",
        show_default=True,
        help="Uncompressed bytes that are worked on at once.",
    ),
    click.option(
        "--max-quarantined", type=AMOUNT, help="Fail if more rows than this (count or fraction) cannot be processed."
    ),
    click.option(
        "--skip-damaged", is_flag=True, help="Keep the rows before the damage of a truncated or corrupt shard."
    ),
    click.option("--fresh", is_flag=True, help="Delete an earlier run's output and start over."),
    click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on standard output."),
    click.option("-q", "--quiet", is_flag=True, help="No progress display."),
)


def run(command: click.Command) -> None:
    """Run a command as the whole program: its errors become one line and its exit status."""
    try:
        command.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        print("gristmill: interrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(1)
    except Exception as error:  # the outermost frame: whatever it is, the user gets one line and status 1
        if os.environ.get("GRISTMILL_DEBUG"):
            raise
        print(f"gristmill: {describe(error)}", file=sys.stderr)
        sys.exit(1)


def describe(error: BaseException) -> str:
    """The one line (or few) that a person is shown."""
    if isinstance(error, GristmillError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return str(error) if error.filename is None else f"{error.filename}: no such file or directory"
    return f"{type(error).__name__}: {error} (unexpected; GRISTMILL_DEBUG=1 shows where)"
