"""validate-training-data: every row of training data executed again, and tasks looked for on both sides of a split."""

from __future__ import annotations

from typing import Any

import click

from cluster.errors import GristmillError
from jobs.command import run, run_options, verb
from jobs.executors import sandbox_options
from jobs.looking import first_quarantined, ledger_place, looking_output_option

EXAMPLES = """
gristmill validate-training-data data/rows
gristmill validate-training-data rows.parquet --cpu-seconds 2
gristmill validate-training-data 'exports/*.parquet' -o checks/rows --json
"""

SHOWN = 20  # rows, and tasks; --output-dir keeps all rows


class DataDisagrees(GristmillError):
    """The data are not what they say; the message counts what is wrong."""


@verb("validate-training-data", EXAMPLES)
@click.argument("path")
@looking_output_option("_quarantine with every row that does not agree")
@click.option(
    "--function", default="transform", show_default=True, help="The function that a program defines and is called by."
)
@sandbox_options
@run_options
def command(**arguments: Any) -> Any:
    """Execute every row of PATH again; status 1 where a row does not agree, or a task is in two splits.

    PATH is a file, a directory, a pattern or an s3:// prefix: JSONL (.zst, .gz), Parquet, or what `datasets` saved to
    disk, in the columns of build-training-data, whoever made it. Only model, generation and reasoning may be missing.

    A row agrees when all its grids are valid, its program gives the outputs that it says, and what it says is right
    and wrong is. Tasks with the same id, or with the same inputs, must not be in two splits.
    """
    import orjson

    from actors.synthesis.row_validator import NoteTasks, ValidateRows
    from jobs.executing_again import limits_config, patient, waiting
    from jobs.executors import executors, sandbox_choice
    from jobs.job import Job, RunOptions
    from pipelines.program_synthesis.data_files import find_data, find_tasks_on_both_sides

    options = RunOptions.taken_from(arguments)
    sandbox, limits = sandbox_choice(arguments)
    data = find_data(arguments["path"], options.endpoint_url)
    place = data.files.root.url if data.files.root else arguments["path"]
    config = {
        "path": place,
        "function": arguments["function"],
        **limits_config(limits, sandbox.packages),
    }
    output_dir = arguments["output_dir"]
    with (
        ledger_place(output_dir, options) as ledger,
        Job(
            "validate-training-data",
            config,
            [place],
            ledger,
            options,
            find_sources=lambda urls, endpoint: data.files.inputs(),
        ) as job,
    ):
        found: dict[str, Any] = {}
        if not job.complete:
            session = job.connected()
            again = waiting(session), patient(limits)
            with executors(session, sandbox) as pool:
                stage = ValidateRows(arguments["function"], pool, *again)
                chunks = job.scan("validate", [stage], NoteTasks(), counts=True, sources=data.sources)
            task = (job.step("validate"), chunks, data.splits)
            plan = orjson.loads(job.plan("validate", lambda: job.reduce(find_tasks_on_both_sides, *task, cpus=0.5)))
            leaks = plan["on_both_sides"]
            found = {"agreement": agreement(job.tally.rows_out, job.tally.rows_in), "tasks": plan["tasks"]}
            found["tasks_on_both_sides"] = len(leaks)
            rows = first_quarantined(job.output, SHOWN) if job.tally.quarantined else []
            tables = {"rows that do not agree": rows, "tasks on both sides": leaks[:SHOWN]}
            found["tables"] = {title: table for title, table in tables.items() if table}
            if output_dir is None:
                found["output"] = None
        summary = job.finish(**found)
    complain(summary)
    return summary


def agreement(agreeing: int, rows: int) -> str:
    """ "1,234 rows: 1,234 agree (100 %)"; 100 % is said only of all."""
    share = 100 * agreeing / rows if rows else 0.0
    exact = "100" if agreeing == rows and rows else f"{min(share, 99.99):.2f}"
    return f"{rows:,} rows: {agreeing:,} agree ({exact} %)"


def complain(summary: dict[str, Any]) -> None:
    """Raise DataDisagrees where something is wrong."""
    wrong = []
    if not summary["rows_in"]:
        wrong.append("there are no rows")
    if summary["quarantined"]:
        wrong.append(f"{summary['quarantined']:,} of {summary['rows_in']:,} rows do not agree")
    if summary["tasks_on_both_sides"]:
        wrong.append(f"{summary['tasks_on_both_sides']:,} tasks are in two splits")
    if wrong:
        raise DataDisagrees(" and ".join(wrong) + _where(summary))


def _where(summary: dict[str, Any]) -> str:
    """Where more is told of what is wrong, if anywhere."""
    if summary["quarantined"]:
        return f"; see {summary['output']}/_quarantine" if summary["output"] else "; --output-dir DIR lists all of them"
    return "; see the table" if summary["tasks_on_both_sides"] else ""


if __name__ == "__main__":
    run(command)
