"""execute-dataset: run the program of every row on the row's inputs, in sandboxes on the cluster."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from jobs.command import input_option, output_option, run, run_options, verb
from jobs.executors import sandbox_options

EXAMPLES = """
gristmill execute-dataset -d programs -o executed
gristmill execute-dataset -d s3://bucket/samples -o s3://bucket/executed --program-expression .completion.code --inputs-expression '[.tests[].input]' --function solve
gristmill execute-dataset -d programs -o executed --isolation docker --docker-runtime runsc --cpu-seconds 2
"""
CHUNK_ROWS = 64
# A worker only sends programs and waits; whole CPUs would leave none for the sandboxes of a small machine.
WORKER_CPUS = 0.25


@verb("execute-dataset", EXAMPLES)
@input_option("-d", "--input-dir", "--dataset-dir")
@output_option
@click.option("--program-expression", default=".program", show_default=True, help="jq program for the source code.")
@click.option("--inputs-expression", default=".inputs", show_default=True, help="jq program for the list of inputs.")
@click.option("--function", default="transform", show_default=True, help="What is called with each input.")
@click.option("-c", "--column", default="execution", show_default=True, help="The field to set.")
@click.option("--times", is_flag=True, help="Tell the CPU and wall time of each input, which are never the same twice.")
@sandbox_options
@run_options
def command(**arguments: Any) -> Any:
    """Run the Python program of every row on the row's inputs, each program in a fresh process of a sandbox.

    The row comes back whole, with the outcome of each input: ok and the value, wrong_type, exception, timeout, memory,
    output_limit, killed, or sandbox_failure. What a program is measured against stays out of the sandbox: compare
    afterwards, with transform-dataset for example. A row without a program or inputs goes to _quarantine.
    """
    from actors.executed_rows import ExecuteRows
    from actors.expressions import Expression
    from cluster.resources import Resources
    from jobs.executors import executors, sandbox_choice
    from jobs.job import Job, RunOptions

    options = RunOptions.taken_from(arguments)
    inputs, output = arguments.pop("input_dirs"), arguments.pop("output_dir")
    choice, limits = sandbox_choice(arguments)
    for expression in ("program_expression", "inputs_expression"):
        Expression(arguments[expression])  # what does not compile is told before there is an output directory
    config = arguments | {"limits": msgspec.to_builtins(limits), "packages": choice.packages}
    with Job("execute-dataset", config, inputs, output, options) as job:
        if not job.complete:
            session = job.connected()
            workers = Resources(cpus=WORKER_CPUS, replicas=(1, max(1, session.workers // 4)))
            with executors(session, choice) as pool:
                stage = ExecuteRows(
                    pool,
                    arguments["program_expression"],
                    arguments["inputs_expression"],
                    arguments["function"],
                    arguments["column"],
                    limits,
                    arguments["times"],
                    workers,
                )
                job.write([stage], chunk_rows=CHUNK_ROWS)
        return job.finish()


if __name__ == "__main__":
    run(command)
