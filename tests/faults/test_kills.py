"""Verbs whose processes are killed at random moments: started again they end with the bytes of an undisturbed run.

Each scenario runs a verb's real command line. Moments are drawn from a seed and tied to what the run has written, so
that they fall on all its phases. GRISTMILL_FAULT_ROUNDS (1 unless it is set) multiplies the kills and adds all verbs.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.jobs.synthesis_runs import (
    FLIP,
    FLIP_LONG,
    RAISES,
    SAME,
    SAME_LONG,
    TURN,
    attempt_at,
    flip_task,
    hard_task,
    write_run,
    write_tasks,
)

pytestmark = [pytest.mark.component, pytest.mark.timeout(1800)]

ROUNDS = int(os.environ.get("GRISTMILL_FAULT_ROUNDS", "1"))
SMALL = ["--chunk-size", "8KiB", "-q"]

# A verb's command line without its output; {corpus} and {prepared} are directories or prefixes.
INPUT = ["--input-dir", "{corpus}"]
PREPARED = ["--dataset-dir", "{prepared}/lines"]
MODEL = ["--model-dir", "{prepared}/model"]
UNBOXED = ["--isolation", "process", "--unsafe-sandbox"]  # so that it runs everywhere; boxes are tested elsewhere
SEARCH = ["--engine", "search", "--max-attempts", "4", "--repeat-runs", "2"]
TINY = ["--bucket", "1000", "--dimension", "8", "--min-count", "1", "--epoch", "40"]
VERBS: dict[str, list[str]] = {
    "reshard": ["reshard-dataset", *INPUT, "--num-files", "6", "--test-split", "0.2", *SMALL],
    "balance": ["balance-dataset", *INPUT, "--label-expression", ".label", *SMALL],
    "sample": ["sample-dataset", *INPUT, "--target-size", "100kB", *SMALL],
    "normalize": ["normalize-dataset", *INPUT, "--normalization", "whitespace", *SMALL],
    "deduplicate": ["deduplicate-dataset", *INPUT, *SMALL],
    "transform": ["transform-dataset", *INPUT, "-l", "{score: (if .label < 2 then 0 else 1 end)}", *SMALL],
    "annotate": ["annotate-dataset", "-d", "{corpus}", "--annotation-task-prompt", "prose_quality", *SMALL],
    "convert": ["convert-to-fasttext", *INPUT, "--label-expression", ".label", *SMALL],
    "import": ["import-hf-dataset", "--name", "{prepared}/tables", "--test-split", "100", *SMALL],
    "train": ["train-fasttext", *PREPARED, *TINY, "-q"],
    "infer": ["infer-fasttext", *MODEL, *INPUT, *SMALL],
    "evaluate": ["eval-fasttext", *MODEL, *PREPARED, "-q"],
    "execute": ["execute-dataset", "-d", "{prepared}/programs", "--cpu-seconds", "0.1", *UNBOXED, *SMALL],
    "solve": ["run-tasks", "--dataset", "{prepared}/tasks", "--subset", "all_training", *SEARCH, *UNBOXED, *SMALL],
    "relabel": ["build-training-data", "-d", "{prepared}/run", "--format", "chat", *UNBOXED, *SMALL],
}
ALWAYS = ["reshard", "balance", "normalize", "import", "execute", "solve", "relabel"]
ON_S3 = ["sample"]

# What is killed, by the beginning of its command line; a worker's name is what it is doing.
DRIVER, RAYLET, GCS = "driver", "raylet", "gcs_server"
WORKER = "ray::"
IDLE = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")

Tree = dict[str, bytes]


@dataclass(frozen=True)
class Process:
    pid: int
    command: str

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, 9)


def processes_of(session: int) -> list[Process]:
    """The live processes of a session, which is that of a run's driver: what it starts stays in it."""
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            state, _, _, sid = (place / "stat").read_text().rpartition(")")[2].split()[:4]
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if int(sid) == session and state != "Z":
            found.append(Process(int(place.name), command.strip()))
    return found


@dataclass
class Attempt:
    """One start of the verb, watched until its end."""

    command: list[str]
    driver: subprocess.Popen[str] = field(init=False)
    worked: bool = False  # whether Ray had started when something was killed

    def __enter__(self) -> Attempt:
        self.driver = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        return self

    def __exit__(self, *error: object) -> None:
        if self.driver.poll() is None:
            self.driver.kill()
            self.driver.communicate()
        for process in processes_of(self.driver.pid):
            process.kill()

    def find(self, victim: str) -> Process | None:
        if victim == DRIVER:
            return Process(self.driver.pid, DRIVER)
        found = [process for process in processes_of(self.driver.pid) if self._is(victim, process)]
        return found[0] if found else None

    def _is(self, victim: str, process: Process) -> bool:
        if victim == WORKER:
            return process.command.startswith(WORKER) and not process.command.startswith(IDLE)
        return process.command.split(" ")[0].endswith(f"/{victim}")

    def end(self, within: float) -> tuple[int, str]:
        """Exit status and standard error; fails if the driver goes on for longer than `within` seconds."""
        try:
            _, said = self.driver.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            running = "\n".join(process.command[:100] for process in processes_of(self.driver.pid))
            pytest.fail(f"the driver still runs after {within:.0f} s, with\n{running}")
        return self.driver.returncode, said

    def check_nothing_is_left(self) -> None:
        """All processes of the run end with it, also where the driver was killed."""
        deadline = time.monotonic() + 20
        while left := processes_of(self.driver.pid):
            assert time.monotonic() < deadline, "left behind: " + ", ".join(p.command[:80] for p in left)
            time.sleep(0.2)


@dataclass
class Scene:
    """A verb, where it writes, and how to look at that."""

    command: list[str]
    names: Callable[[], set[str]]
    contents: Callable[[], Tree]
    clear: Callable[[], None]
    dice: random.Random

    def undisturbed(self) -> tuple[Tree, int]:
        """What the verb leaves if nothing happens to it, and how many names appear meanwhile."""
        seen: set[str] = set()
        with Attempt(self.command) as attempt:
            while attempt.driver.poll() is None:
                seen |= self.names()
                time.sleep(0.05)
            assert attempt.end(60) == (0, "")
        return self.contents(), len(seen)

    def disturb(self, victims: list[str], names: int) -> list[str]:
        """Kill the victims, each at a moment of its own, starting the verb again where it ended by that."""
        killed = []
        while victims:
            with Attempt(self.command) as attempt:
                ended = False
                while victims and not ended:
                    victim = victims.pop(0)
                    if not self._kill_at_a_moment(attempt, victim, names):
                        return killed
                    killed.append(victim)
                    ended = victim != WORKER
                    if ended:
                        self._check_end(attempt, victim)
                        attempt.check_nothing_is_left()
                if not ended:
                    assert attempt.end(300) == (0, "")
        return killed

    def _kill_at_a_moment(self, attempt: Attempt, victim: str, names: int) -> bool:
        """Kill once a random number of new names has appeared; False if the run is over before."""
        before, wanted = self.names(), self.dice.randint(0, names // 2)
        seen = set(before)
        deadline = time.monotonic() + 300
        while len(seen) - len(before) < wanted or (found := attempt.find(victim)) is None:
            if attempt.driver.poll() is not None:
                assert attempt.end(60) == (0, "")
                return False
            assert time.monotonic() < deadline, f"no {victim} to kill"
            seen |= self.names()
            time.sleep(0.02)
        time.sleep(self.dice.random() ** 2)
        attempt.worked = attempt.find(WORKER) is not None
        found.kill()
        return True

    def _check_end(self, attempt: Attempt, victim: str) -> None:
        status, said = attempt.end(30 if attempt.worked else 300)
        if victim == DRIVER:
            assert status in (-9, 0)  # 0 when it had just come to its end by itself
        elif status != 0:  # 0 when it was killed in the run's last moments, or so early that Ray was started again
            assert (status, said) == (
                1,
                f"gristmill: Ray's {victim} died on this machine (killed, or out of memory); run the same command "
                "again to continue\n",
            )

    def finish(self) -> Tree:
        with Attempt(self.command) as attempt:
            assert attempt.end(300) == (0, "")
        return self.contents()


def check(scene: Scene) -> None:
    expected, names = scene.undisturbed()
    for _ in range(ROUNDS):
        scene.clear()
        victims = [WORKER, DRIVER, RAYLET, GCS, DRIVER]
        scene.dice.shuffle(victims)
        killed = scene.disturb(list(victims), names)
        found = scene.finish()
        assert found.keys() == expected.keys(), f"after killing {killed}"
        differ = [name for name in expected if found[name] != expected[name]]
        assert not differ, f"after killing {killed}"


def command_of(verb: str, corpus: str, prepared: str, output: str, *more: str) -> list[str]:
    given = [part.replace("{corpus}", corpus).replace("{prepared}", prepared) for part in VERBS[verb]]
    return [sys.executable, "-m", "jobs", *given, "--output-dir", output, *more]


@pytest.fixture(scope="session")
def prepared(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the verbs at the end of the way start from: a table, fastText lines, and a model."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = tmp_path_factory.mktemp("prepared")
    (root / "tables").mkdir()
    for number in range(3):
        columns = {"text": [f"row {number} {row} of a table" for row in range(900)], "score": list(range(900))}
        pq.write_table(pa.table(columns), root / "tables" / f"{number}.parquet", row_group_size=100)
    for verb, output in (("convert", "lines"), ("train", "model")):
        subprocess.run(command_of(verb, str(corpus), str(root), str(root / output)), check=True)
    write_programs(root / "programs")
    tasks = [*(flip_task(f"flip{n}", n) for n in range(4)), hard_task("hard", 9)]
    write_tasks(root / "tasks", tasks)
    programs = (FLIP, FLIP_LONG, SAME, SAME_LONG, TURN, RAISES)
    attempts = [attempt_at(task, n, program) for task in tasks for n, program in enumerate(programs, 1)]
    write_run(root / "run", str(root / "tasks"), attempts)
    return root


def write_programs(folder: Path) -> None:
    """Rows for execute-dataset; every tenth program does not come to an end by itself."""
    folder.mkdir()
    rows = []
    for number in range(300):
        body = "while True: pass" if number % 10 == 0 else f"return [{number}, grid]"
        rows.append({"id": number, "program": f"def transform(grid):\n    {body}\n", "inputs": [[number], [[1, 2]]]})
    for shard in range(3):
        lines = "".join(json.dumps(row) + "\n" for row in rows[shard::3])
        (folder / f"{shard}.jsonl").write_text(lines)


def without_times(name: str, data: bytes) -> bytes:
    """The attempts of a run without the CPU times that were measured, which are never the same twice."""
    if not re.search(r"(^|/)run-\d+\.jsonl\.zst$", name):
        return data
    text = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    return re.sub(rb'"cpu_ms":[0-9.e-]+', b'"cpu_ms":0', text)


@pytest.mark.parametrize("verb", VERBS if ROUNDS > 1 else ALWAYS)
def test_on_local_disk(verb: str, corpus: Path, prepared: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"

    def files() -> set[str]:
        return {os.path.join(folder, name) for folder, _, names in os.walk(output) for name in names}

    def contents() -> Tree:
        found = {str(Path(name).relative_to(output)): Path(name).read_bytes() for name in files()}
        return {name: without_times(name, data) for name, data in found.items()}

    command = command_of(verb, str(corpus), str(prepared), str(output))
    check(Scene(command, files, contents, lambda: shutil.rmtree(output), random.Random(f"local {verb}")))


@pytest.mark.parametrize("verb", VERBS if ROUNDS > 1 else ON_S3)
def test_on_object_storage(verb: str, corpus: Path, prepared: Path, s3_process: str, s3: Any, bucket: str) -> None:
    for root, prefix in ((corpus, "in"), (prepared, "prepared")):
        for path in root.rglob("*"):
            if path.is_file():
                s3.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(root)}")

    def keys() -> set[str]:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="out/")
        return {each["Key"] for page in pages for each in page.get("Contents", ())}

    def contents() -> Tree:
        assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
        found = {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys()}
        return {key: without_times(key, data) for key, data in found.items()}

    def clear() -> None:
        for key in keys():
            s3.delete_object(Bucket=bucket, Key=key)

    places = [f"s3://{bucket}/{prefix}" for prefix in ("in", "prepared", "out")]
    command = command_of(verb, *places, "--endpoint-url", s3_process)
    check(Scene(command, keys, contents, clear, random.Random(f"s3 {verb}")))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_says_how_to_go_on(number: int, corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with Attempt(command_of("normalize", str(corpus), "", str(output))) as attempt:
        deadline = time.monotonic() + 200
        while attempt.find(WORKER) is None:
            assert attempt.driver.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(attempt.driver.pid, number)
        status, said = attempt.end(45)
        assert (status, said.strip()) == (1, "gristmill: interrupted; run the same command again to continue")
        attempt.check_nothing_is_left()
