"""batch-annotate-status: how the batches of a run stand."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import output_option, run, stack, verb

EXAMPLES = """
gristmill batch-annotate-status -o graded
gristmill batch-annotate-status -o graded --wait
gristmill batch-annotate-status -o graded --json
"""


# Those of every verb that comes after batch-annotate-submit.
again_options = stack(
    output_option,
    click.option("--base-url", help="The server, where it has another address by now."),
    click.option("--api-key-file", type=click.Path(), help="A file with the API key. [default: as submitted]"),
    click.option("--endpoint-url", help="Endpoint for s3:// paths. [default: as submitted]"),
    click.option("--wait", is_flag=True, help="Look again, after growing pauses, until all batches have ended."),
    click.option("--json", "as_json", is_flag=True, help="Print what there is to say as JSON on standard output."),
    click.option("-q", "--quiet", is_flag=True, help="No progress display."),
)


@verb("batch-annotate-status", EXAMPLES)
@again_options
def command(**arguments: Any) -> Any:
    """Show the batches that batch-annotate-submit has made: id, status, requests done and failed, age."""
    from cluster.storage import open_storage
    from jobs.batch_run import account_of, complete, going, hints_of, tell, tell_complete, waited
    from jobs.job import RunOptions
    from jobs.progress import display
    from pipelines.annotation.batches import standings

    wait, options = arguments.pop("wait"), RunOptions.taken_from(arguments)
    output = open_storage(arguments["output_dir"], options.endpoint_url)
    summary = complete(output)
    if summary is not None:
        return tell_complete(summary, options)
    found_run = going(output, arguments, options)
    with display("batch-annotate-status", options.quiet or not wait) as shown:
        found = waited(lambda: standings(found_run.folder, found_run.provider), shown.note, wait)
    account = account_of(found, output)
    head = f"batch-annotate-status: {output.url}: {account['ended']:,} of {account['batches']:,} batches have ended"
    return tell(account, options, head, hints_of(found, output))


if __name__ == "__main__":
    run(command)
