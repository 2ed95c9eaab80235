"""Outputs that cannot be written, or not to the end: one line says so, and nothing that was finished is lost."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.ledger import Run, RunReplaced
from cluster.session import Session
from cluster.shards import shards_of
from cluster.stage import Flow, Progress, ShardSink
from cluster.storage import open_storage

pytestmark = [pytest.mark.component, pytest.mark.ray]


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A dataset of eight shards of 200 kB that do not compress."""
    dice = random.Random(3)
    root = tmp_path / "in"
    root.mkdir()
    for shard in range(8):
        rows = (b'{"text": "%s"}\n' % dice.randbytes(500).hex().encode() for _ in range(400))
        (root / f"s{shard}.jsonl.gz").write_bytes(_gzip(b"".join(rows)))
    return root


def _gzip(data: bytes) -> bytes:
    import gzip

    return gzip.compress(data, mtime=0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root, and a system that lets it")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    from jobs.cli import main

    monkeypatch.setattr(sys, "argv", ["gristmill", *arguments])
    status = 0
    try:
        main()
    except SystemExit as end:
        status = int(end.code or 0)
    return status, capfd.readouterr().err


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_full_disk_is_said_so_and_the_same_command_goes_on_when_there_is_space(
    noise: Path,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    ray_session: Session,
) -> None:
    output = small_disk / "out"
    command = ["sample-dataset", "-i", str(noise), "-o", str(output), "-r", "1", "-q", "-p", "1"]
    status, said = run(monkeypatch, capfd, *command, "--chunk-size", "64kB")
    assert status == 1
    assert said.startswith(f"gristmill: cannot write {output}/")
    assert said.endswith(
        "No space left on device; free space and run the same command again; what is finished is kept\n"
    )
    assert said.count("\n") == 1
    finished = {path: path.stat().st_mtime_ns for path in output.glob("*.jsonl.gz")}
    staged = list(output.glob("_run/passes/*/write/chunks/*/*"))
    assert len(finished) < 8
    assert finished or staged
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert run(monkeypatch, capfd, *command, "--chunk-size", "64kB") == (0, "")
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    found = tree(output)
    assert run(monkeypatch, capfd, *command, "--chunk-size", "64kB", "--fresh") == (0, "")
    assert tree(output) == found


def test_a_disk_that_is_full_from_the_start_is_found_before_any_work(
    noise: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (small_disk / "filler").write_bytes(bytes(1 << 20))
    command = ["sample-dataset", "-i", str(noise), "-o", str(small_disk / "out"), "-r", "1"]
    status, said = run(monkeypatch, capfd, *command)
    assert (status, said.count("\n")) == (1, 1)
    assert "no space left on " in said


def test_an_output_below_a_file_is_refused(
    noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    status, said = run(
        monkeypatch, capfd, "sample-dataset", "-i", str(noise), "-o", str(tmp_path / "file/out"), "-r", "1"
    )
    assert (status, said.count("\n")) == (1, 1)
    assert "a file stands where a directory is needed" in said
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_an_output_that_is_taken_away_while_the_run_is_at_work_is_not_called_done(
    noise: Path, tmp_path: Path, ray_session: Session
) -> None:
    from cluster.dataflow import run_pass

    run = Run(open_storage(str(tmp_path / "out")), "verb", {}, shards_of([str(noise)]), {})
    run.open()

    def take_away(progress: Progress) -> None:
        if progress.shards_done and not (tmp_path / "taken").exists():
            (tmp_path / "out").rename(tmp_path / "taken")

    with pytest.raises(RunReplaced, match=r"/out was removed, started over, or finished by another process"):
        run_pass(ray_session, run, run.step("write"), Flow([], ShardSink()), run.shards, take_away)
        run.finish({})
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert (tmp_path / "taken/_run/manifest.json").exists()
