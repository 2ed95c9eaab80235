"""A run of tasks as it lies in its output directory: what was asked for, and which repeats are finished.

Only finished repeats, `run-<number>.jsonl.zst`, are looked at; what a run at work has staged is its own business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from actors.synthesis.attempt import Attempt
from actors.synthesis.task import Task
from cluster.errors import GristmillError
from cluster.ledger import MANIFEST, SUMMARY
from cluster.shards import Shard
from cluster.storage import Storage, open_storage
from pipelines.program_synthesis.attempts import files_of, finished_runs, read_rows, run_number

VERB = "run-tasks"


class NoRun(GristmillError):
    """A place where no run of tasks lies, or one that cannot be scored yet."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run. `config` is its resolved configuration, `runs` the numbers of its finished repeats."""

    storage: Storage
    config: dict[str, Any]
    runs: tuple[int, ...]
    files: tuple[Shard, ...]
    is_complete: bool

    @classmethod
    def open(cls, place: str, endpoint_url: str | None = None) -> RunFolder:
        """Raises NoRun where there is no run of tasks, or none of its repeats is finished."""
        storage = open_storage(place, endpoint_url)
        config = _config(storage)
        if not finished_runs(storage):
            raise NoRun(
                f"{storage.url}: none of the {config['repeat_runs']} runs is finished yet; let run-tasks go on, or "
                "start it again with the same command, then score"
            )
        files = files_of(place, endpoint_url)
        runs = tuple(run_number(file.name) for file in files)
        return cls(storage, config, runs, tuple(files), storage.exists(SUMMARY))

    @property
    def name(self) -> str:
        return self.storage.url.rstrip("/").rsplit("/", 1)[-1]

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers of the repeats that were asked for and are not finished."""
        return tuple(number for number in range(1, int(self.config["repeat_runs"]) + 1) if number not in self.runs)

    def attempts(self) -> Iterator[Attempt]:
        """The attempts of all finished repeats."""
        return read_rows(self.files, Attempt)

    def tasks(self, dataset: str | None = None, endpoint_url: str | None = None) -> list[Task]:
        """The tasks asked for, in that order; `dataset` where it lies elsewhere by now. Raises NoRun for missing ones."""
        from pipelines.program_synthesis.task_sets import load_tasks

        source = dataset or self.config["dataset"]
        found = load_tasks(source, endpoint_url)
        known = {task.id: task for task in (*found.evaluation, *found.training)}
        missing = [name for name in self.config["tasks"] if name not in known]
        if missing:
            raise NoRun(
                f"{self.storage.url}: {len(missing)} of its tasks are not in {source} (such as {missing[0]!r}); "
                "name the task set that it was run on with --dataset"
            )
        return [known[name] for name in self.config["tasks"]]


def missing_in_words(numbers: Sequence[int]) -> str:
    """`repeat 2 is missing`, `repeats 2, 3 and 5 are missing`."""
    if len(numbers) == 1:
        return f"repeat {numbers[0]} is missing"
    return f"repeats {', '.join(map(str, numbers[:-1]))} and {numbers[-1]} are missing"


def _config(storage: Storage) -> dict[str, Any]:
    try:
        manifest = orjson.loads(storage.read(MANIFEST))
    except FileNotFoundError:
        raise NoRun(
            f"{storage.url}: no run of tasks lies here (there is no {MANIFEST}); give the --output-dir of {VERB}. "
            "gristmill vote reads any file of attempts"
        ) from None
    except orjson.JSONDecodeError as error:
        raise NoRun(f"{storage.url}/{MANIFEST} is damaged: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("verb") != VERB:
        verb = manifest.get("verb") if isinstance(manifest, dict) else None
        raise NoRun(f"{storage.url}: this is the output of {verb or 'something else'}, not of {VERB}")
    config = manifest["config"]
    absent = [name for name in ("dataset", "tasks", "repeat_runs") if name not in config]
    if absent:
        raise NoRun(f"{storage.url}/{MANIFEST} does not say {', '.join(absent)}: another version of {VERB} wrote it")
    return dict(config)
