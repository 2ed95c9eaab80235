"""build-subset: the tasks that tell models apart, from earlier runs, as a file of ids."""

from __future__ import annotations

from typing import Any

import click

from jobs.command import run, verb

EXAMPLES = """
gristmill build-subset --strong runs/large --weak runs/small -o ids.txt
gristmill build-subset --strong runs/a --strong runs/b --weak runs/c -o s3://bucket/subsets/calibrated.txt
gristmill run-tasks --dataset arc-agi-1 --subset ids.txt --model gpt-5-mini -o runs/calibrated
"""


@verb("build-subset", EXAMPLES)
@click.option("--strong", multiple=True, required=True, help="A run of a strong model. Repeat for several.")
@click.option("--weak", multiple=True, required=True, help="A run of a weak model. Repeat for several.")
@click.option("-o", "--output", required=True, help="The file of ids to write, one a line; it must not exist yet.")
@click.option("--endpoint-url", help="Endpoint for s3:// paths (MinIO, Swift, R2 …).")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on standard output.")
def command(
    strong: tuple[str, ...], weak: tuple[str, ...], output: str, endpoint_url: str | None, as_json: bool
) -> dict[str, Any]:
    """Choose the tasks that any of the strong runs solved and none of the weak ones did.

    A task is solved where one attempt is right on all its test inputs. Tasks that no weak run has an answer for are left
    out and counted: nobody knows whether they are hard. The runs should be of the same data set.
    """
    import json
    from itertools import chain

    from cluster.errors import GristmillError
    from cluster.storage import open_parent
    from pipelines.program_synthesis.attempts import read_attempts
    from pipelines.program_synthesis.subsets import calibrated

    found = calibrated(
        *(chain.from_iterable(read_attempts(each, endpoint_url) for each in runs) for runs in (strong, weak))
    )
    if not found.ids:
        raise GristmillError(
            f"no task is left: the strong runs solved {len(found.solved_by_weak) + len(found.not_tried)}, the weak ones "
            f"{len(found.solved_by_weak)} of these, and {len(found.not_tried)} they never tried"
        )
    place, name = open_parent(output, endpoint_url)
    if not place.publish_once(name, "".join(f"{each}\n" for each in found.ids).encode()):
        raise GristmillError(f"{output} exists already: give another --output, or remove it first")
    summary = {
        "output": output,
        "tasks": len(found.ids),
        "solved by strong and weak": len(found.solved_by_weak),
        "solved by strong, not tried by weak": len(found.not_tried),
    }
    if as_json:
        click.echo(json.dumps(summary, ensure_ascii=False))
    else:
        click.echo("\n".join(f"{name}: {value}" for name, value in summary.items()))
    return summary


if __name__ == "__main__":
    run(command)
