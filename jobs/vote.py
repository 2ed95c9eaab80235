"""vote: the two answers that a task's attempts give together, from any file of attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobs.command import run, verb

if TYPE_CHECKING:
    from pipelines.program_synthesis.ballots import TaskBallots
    from pipelines.program_synthesis.votes import Group, Method

VOTES_FILE = "votes.jsonl"
EXAMPLES = """
gristmill vote runs/demo -o votes
gristmill vote runs/demo/run-1.jsonl.zst -o - --method train-majority
gristmill vote attempts.jsonl -o - | jq -c '[.task_id, .guesses[0].output]'
"""


@verb("vote", EXAMPLES)
@click.argument("attempts")
@click.option("-o", "--output-dir", required=True, help=f"Where {VOTES_FILE} goes, or - for standard output.")
@click.option(
    "--method",
    type=click.Choice(["weighted", "train-majority"]),
    default="weighted",
    show_default=True,
    help="Each attempt weighs 1 + 1000 · its training accuracy, or the best in training have one vote each.",
)
@click.option("--exclude-transductive", is_flag=True, help="Leave out programs that are held to spell the answer out.")
@click.option("--endpoint-url", help="Endpoint for s3:// paths (MinIO, Swift, R2 …).")
def command(
    attempts: str, output_dir: str, method: Method, exclude_transductive: bool, endpoint_url: str | None
) -> list[dict[str, Any]]:
    """Vote on each task of each run in ATTEMPTS, a run's directory or a file, and write the two best predictions.

    A row needs task_id, predicted_test and, for each training pair, train[].correct. Attempts with the same valid
    predictions for all test inputs are one group; the two best groups are the guesses, ties by first attempt. A row that
    predicts for another number of test inputs than most at its task has no vote.
    """
    import orjson

    from cluster.storage import open_storage
    from pipelines.program_synthesis.attempts import files_of
    from pipelines.program_synthesis.ballots import read_ballots

    ballots = read_ballots(files_of(attempts, endpoint_url))
    voted = [_voted(each, method, exclude_transductive) for each in ballots]
    lines = b"".join(orjson.dumps(row) + b"\n" for row in voted)
    if output_dir == "-":
        click.echo(lines, nl=False)
    else:
        storage = open_storage(output_dir, endpoint_url)
        storage.publish(VOTES_FILE, lines)
        guessed = sum(bool(row["guesses"]) for row in voted)
        click.echo(f"vote: {storage.url}/{VOTES_FILE}: {guessed:,} of {len(voted):,} tasks have a guess")
    if odd := sum(each.odd for each in ballots):
        whose = "1 attempt predicts" if odd == 1 else f"{odd:,} attempts predict"
        click.echo(f"vote: {whose} for another number of test inputs than most at the task, without a vote", err=True)
    return voted


def _voted(found: TaskBallots, method: Method, excluding: bool) -> dict[str, Any]:
    from pipelines.program_synthesis.votes import GUESSES, VOTES, without_transductive

    ballots = without_transductive(found.ballots) if excluding else found.ballots
    guesses = VOTES[method](ballots)[:GUESSES]
    return {
        "task_id": found.task_id,
        "run": found.run,
        "attempts": len(found.ballots),
        "method": method,
        "guesses": [_guess(group) for group in guesses],
    }


def _guess(group: Group) -> dict[str, Any]:
    return {"weight": group.weight, "attempts": list(group.attempts), "output": group.grids}


if __name__ == "__main__":
    run(command)
