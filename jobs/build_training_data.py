"""build-training-data: rows to train on from the attempts of earlier runs, every one executed again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from jobs.command import Number, input_option, output_option, run, run_options, seed_option, verb
from jobs.executors import sandbox_options

if TYPE_CHECKING:
    from actors.synthesis.known_tasks import KnownTasks
    from cluster.ledger import Tally
    from cluster.shards import Shard
    from pipelines.program_synthesis.run_folder import RunFolder

EXAMPLES = """
gristmill build-training-data -d runs/small-model -o data/rows
gristmill build-training-data -d runs/a -d runs/b -o data/rows --model 'Qwen/*' --subset all_training
gristmill build-training-data -d runs/a -o data/chat --format chat --max-per-task 50 --validation-split 0.05
"""


@verb("build-training-data", EXAMPLES)
@input_option("-d", "--run-dir", "--input-dir")
@output_option
@click.option("--model", "models", multiple=True, help="Only attempts of this model; may be a pattern. Repeat.")
@click.option(
    "--dataset", "datasets", multiple=True, help="Only tasks of this data set. Repeat. [default: those of the runs]"
)
@click.option("--subset", help="Only tasks of this subset, or of a file of ids (see run-tasks).")
@click.option("--since", type=click.DateTime(), help="Only run files last written at this time (UTC) or later.")
@click.option("--until", type=click.DateTime(), help="Only run files last written before this time (UTC).")
@click.option(
    "--format",
    "form",
    type=click.Choice(["soar", "chat"]),
    default="soar",
    show_default=True,
    help="soar: the columns of SOAR's data. chat: a column `messages` besides, for trainers of chat models.",
)
@click.option("--max-per-task", type=click.IntRange(1), help="At most so many programs of a task, right ones first.")
@click.option(
    "--balance/--no-balance",
    default=True,
    show_default=True,
    help="As many rows of tasks with a right program as of tasks without one, in each split.",
)
@click.option(
    "--validation-split",
    type=Number(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="The share of tasks whose rows go to valid.",
)
@click.option("--keep-transductive", is_flag=True, help="Keep programs that spell their answers out.")
@seed_option
@sandbox_options
@run_options
def command(**arguments: Any) -> Any:
    """Make training data from what models tried: also a program that solves nothing solves the task of its own outputs.

    A program qualifies when it ran on every training input with a valid grid. It is cleaned of comments and executed
    again, on changed inputs as well: programs that spell their answers out, or answer without looking, are left out
    with the reason. Of equal programs of a task one stays: by their code where they are right on the test, by their
    training outputs otherwise. Tasks are split by --seed and their ids, so that none is on both sides, not even one
    that two data sets share. Every row is executed once more before it is written; what does not agree goes to
    _quarantine.

    --since and --until go by the files of the runs (run-1.jsonl.zst …), since attempts have no date of their own.
    """
    import orjson

    from actors.synthesis.candidates import ExamineAttempts, JoinRecords, Wanted
    from actors.synthesis.row_writer import WriteRows
    from jobs.executing_again import limits_config, patient, waiting
    from jobs.executors import executors, sandbox_choice
    from jobs.job import Job, RunOptions
    from pipelines.program_synthesis.training_data import Choice, ChosenAttempts, Origin, decide_training_data

    options = RunOptions.taken_from(arguments)
    sandbox, limits = sandbox_choice(arguments)
    folders = run_folders(arguments["input_dirs"], arguments["datasets"], options.endpoint_url)
    are_runs = len(folders) == len(arguments["input_dirs"])
    tasks = wanted_tasks(folders, arguments["datasets"], arguments["subset"], options.endpoint_url, are_runs)
    choice = Choice(arguments["max_per_task"], arguments["balance"], arguments["validation_split"], arguments["seed"])
    config = {
        **{name: arguments[name] for name in ("models", "subset", "form", "max_per_task", "balance")},
        **{name: arguments[name] for name in ("validation_split", "keep_transductive", "seed")},
        "datasets": list(tasks.datasets),
        "tasks": tasks.digest(),  # another directory may hold others by these names
        "since": _iso(arguments["since"]),
        "until": _iso(arguments["until"]),
        **limits_config(limits, sandbox.packages),
    }
    config["models"] = list(config["models"])
    with Job("build-training-data", config, arguments["input_dirs"], arguments["output_dir"], options) as job:
        found: dict[str, Any] = {}
        if not job.complete:
            job.use_only(written_between(job.shards, arguments["since"], arguments["until"]))
            session = job.connected()
            again = waiting(session), patient(limits)
            with executors(session, sandbox) as pool:
                wanted = Wanted(tuple(arguments["models"]), arguments["keep_transductive"])
                examine = ExamineAttempts(tasks, wanted, pool, *again)
                chunks = job.scan("examine", [examine], JoinRecords(), counts=True)
                step = job.step("examine")
                asked = (step, chunks, Origin.of(tasks), choice)
                # Half a CPU, since the sandboxes hold the others.
                plan = orjson.loads(job.plan("examine", lambda: job.reduce(decide_training_data, *asked, cpus=0.5)))
                sources = [ChosenAttempts(side, job.shards[number]) for side, number in plan["outputs"]]
                stage = WriteRows(tasks, step, arguments["form"] == "chat", pool, *again)
                written = job.write([stage], sources=sources, counts=False)
            found = account(job, written) | {name: plan[name] for name in plan if name not in ("outputs", "table")}
            chosen = arguments["datasets"] or tasks.datasets
            found |= missing_runs(folders) | no_rows(job.tally, folders, chosen, arguments["models"])
            found["tables"] = {"tasks": plan["table"]}
        return job.finish(**found)


def run_folders(places: Sequence[str], datasets: Sequence[str], endpoint_url: str | None) -> list[RunFolder]:
    """Those of the places that are runs of tasks. All have to be where no data set is named."""
    from pipelines.program_synthesis.run_folder import NoRun, RunFolder

    found = []
    for place in places:
        try:
            found.append(RunFolder.open(place, endpoint_url))
        except NoRun as error:
            if not datasets:
                raise click.UsageError(f"{error}; name the data set of such attempts with --dataset") from None
    return found


def missing_runs(folders: Sequence[RunFolder]) -> dict[str, str]:
    """The repeats that runs were to have and have not finished, for the summary; nothing where all are there."""
    from pipelines.program_synthesis.run_folder import missing_in_words

    told = [f"of {folder.name} {missing_in_words(folder.missing)}" for folder in folders if folder.missing]
    return {"not_finished": "; ".join(told)} if told else {}


def wanted_tasks(
    folders: Sequence[RunFolder],
    datasets: Sequence[str],
    subset: str | None,
    endpoint_url: str | None,
    are_runs: bool = True,
) -> KnownTasks:
    """The tasks of the data sets named, else of those that the runs were made on. `are_runs`: there is nothing else."""
    from actors.synthesis.known_tasks import KnownTasks
    from pipelines.program_synthesis.subsets import choose
    from pipelines.program_synthesis.task_sets import PUBLISHED, load_tasks

    names = datasets or [folder.config["dataset"] for folder in folders]
    theirs = _datasets_of(folders)
    sets = {}
    for name in dict.fromkeys(names):
        tasks = load_tasks(name, endpoint_url)
        chosen = (*tasks.training, *tasks.evaluation) if subset is None else choose(tasks, subset, endpoint_url)
        # A single data set that was named may lie elsewhere by now than when the runs were made on it. The published
        # ones share ids and are not the same.
        is_moved = are_runs and len(datasets) == len(theirs) == 1 and not {tasks.name, *theirs} <= PUBLISHED.keys()
        sets[theirs[0] if is_moved else tasks.name] = list({task.id: task for task in chosen}.values())
    return KnownTasks.of(sets)


def _datasets_of(folders: Sequence[RunFolder]) -> list[str]:
    from pipelines.program_synthesis.task_sets import dataset_name

    return sorted({dataset_name(folder.config["dataset"]) for folder in folders})


def no_rows(
    tally: Tally, folders: Sequence[RunFolder], datasets: Sequence[str], models: Sequence[str]
) -> dict[str, str]:
    """Why no attempt became a row, for the summary; nothing where some did."""
    left_out = {name: count for name, count in tally.counters.items() if name.startswith("left out: ")}
    if tally.rows_out or not left_out:
        return {}
    most = max(sorted(left_out), key=lambda name: left_out[name])  # they stand in the order of arrival
    told = f"{left_out[most]:,} of {tally.rows_in:,} attempts were {most}"
    if most.endswith("another model"):
        theirs = sorted({folder.config["model"] for folder in folders if "model" in folder.config})
        told += f" than --model {' or '.join(models)}" + (f"; the runs' are {', '.join(theirs)}" if theirs else "")
    if most.endswith("another task"):
        told += f" than those chosen of {' and '.join(datasets)}"
        told += f"; the runs are on {' and '.join(_datasets_of(folders))}" if folders else ""
    return {"no_rows": told}


def written_between(shards: list[Shard], since: datetime | None, until: datetime | None) -> list[bool]:
    """Which files were last written in that time. Raises click.UsageError where storage does not tell."""
    if since is None and until is None:
        return [True] * len(shards)
    remote = next((shard for shard in shards if not shard.source.is_local), None)
    if remote is not None:
        raise click.UsageError(f"{remote.url}: --since and --until need files on a file system; name the runs instead")
    # A local file's version is the time of its last change, in nanoseconds.
    times = [datetime.fromtimestamp(int(shard.version) / 1e9, UTC) for shard in shards]
    first, end = (bound.replace(tzinfo=UTC) if bound else None for bound in (since, until))
    return [(first is None or time >= first) and (end is None or time < end) for time in times]


def account(job: Any, written: dict[str, Any]) -> dict[str, int]:
    """Correct the account of rows by the writing pass; returns the rows by split."""
    rows = {f"{side}_rows": 0 for side in ("train", "valid")}
    for name, (_, tally) in written.items():
        rows[f"{name.partition('/')[0]}_rows"] += tally.rows_out
        job.tally.quarantined += tally.quarantined
        job.tally.rows_out -= tally.quarantined
    job.leave_out(sum(rows.values()))
    return rows


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


if __name__ == "__main__":
    run(command)
