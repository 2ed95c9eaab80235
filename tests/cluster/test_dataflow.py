"""Passes over datasets on a real Ray: the same bytes in every arrangement, errors as themselves, deadly rows."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from cluster import dataflow
from cluster.dataflow import RunFailed, plan_items, reduce, run_pass
from cluster.errors import GristmillError
from cluster.isolation import WorkerLost
from cluster.ledger import Chunks, Run, RunReplaced, Tally, merged
from cluster.resources import Resources
from cluster.rows import Failure, Rows
from cluster.session import Session
from cluster.shards import ChunkSize, DatasetError, Shard, encode, shards_of
from cluster.stage import Flow, Progress, ShardSink, Stage, Summarizer
from cluster.storage import StorageError, open_storage

# Workers get the stages of this file with their code, and need not import the tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SIZE = ChunkSize(bytes=2000)


class Upper(Stage):
    """Upper-cases, drops and fails rows by what they say, and does what a row tells it to do to its process."""

    def process(self, rows: Rows) -> Rows:
        rows.count("bytes", sum(map(len, rows.lines)))
        return rows.settle([self.one(line) for line in rows.lines])

    def one(self, line: bytes) -> bytes | Failure | None:
        if b"killed" in line:
            os.kill(os.getpid(), signal.SIGKILL)
        if b"drop" in line:
            return None
        return Failure("bad row") if b"bad" in line else line.upper()


class Reverse(Stage):
    resources = Resources(cpus=0.5)

    def process(self, rows: Rows) -> Rows:
        for line in rows.lines:
            if b"DIES-LATER" in line:
                os._exit(4)
        return rows.settle([line[::-1] for line in rows.lines])


class Bracket(Stage):
    resources = Resources(cpus=0.25)

    def process(self, rows: Rows) -> Rows:
        return rows.settle([b"[" + line + b"]" for line in rows.lines])


class Sizes(Summarizer):
    def encode(self, rows: Rows) -> bytes:
        return b"%d," % len(rows)


def lines(shard: int, count: int) -> bytes:
    words = {3: "drop", 5: "bad"}
    return b"".join(
        b'{"id": "%d-%d", "w": "%s"}\n' % (shard, n, words.get(n, "row" * (n % 9)).encode()) for n in range(count)
    )


def make(root: Path, shards: int, rows: int = 200) -> list[Path]:
    paths = []
    for number in range(shards):
        split, ending = ("test" if number % 5 == 0 else "train"), ("jsonl.zst", "jsonl.gz", "jsonl")[number % 3]
        path = root / "in" / split / f"s{number:03}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(lines(number, rows + number), path.name))
        paths.append(path)
    return paths


def opened(root: Path, output: str = "out", **config: Any) -> Run:
    run = Run(open_storage(str(root / output)), "verb", config, shards_of([str(root / "in")]), {})
    run.open()
    return run


def write(session: Session, run: Run, *stages: Stage, **options: Any) -> dict[str, tuple[int, Tally]]:
    watch: Callable[[Progress], None] = options.pop("watch", lambda progress: None)
    return run_pass(
        session, run, run.step("write"), Flow(list(stages), ShardSink(), SIZE, **options), run.shards, watch
    )


def tree(root: Path, output: str = "out") -> dict[str, bytes]:
    """Everything that is left when the run is over."""
    run = opened(root, output)
    run.finish({})
    place = root / output
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


# ------------------------------------------------------------------------------------------- the plan, without Ray


def shard_of(size: int, name: str = "s") -> Shard:
    return Shard(open_storage("/nowhere"), name, name, size, "")


@pytest.mark.parametrize("sizes", [[], [0, 0], [1] * 1000, [1 << 40], [5, 1 << 30, 7], [10 << 20] * 3 + [1] * 50])
@pytest.mark.parametrize("workers", [1, 2, 7])
def test_every_chunk_of_every_shard_is_planned_once(sizes: list[int], workers: int) -> None:
    shards = [shard_of(size, f"s{number}") for number, size in enumerate(sizes)]
    items = [item for group in plan_items(shards, workers) for item in group]
    for shard in shards:
        mine = [item for item in items if item.shard == shard]
        assert sorted(item.offset for item in mine) == list(range(mine[0].stride))
        assert {item.stride for item in mine} <= {1, workers}
    assert all(plan_items(shards, workers))


def test_a_shard_that_would_keep_the_others_waiting_is_striped() -> None:
    items = [item for group in plan_items([shard_of(1 << 30), shard_of(1 << 10)], 4) for item in group]
    assert [item.stride for item in items] == [4, 4, 4, 4, 1]


# -------------------------------------------------------------------------------------------------------- on Ray


@pytest.mark.ray
def test_a_pass_takes_every_shard_through_the_stages_once(tmp_path: Path, ray_session: Session) -> None:
    make(tmp_path, 12)
    run = opened(tmp_path)
    seen: list[tuple[int, int]] = []
    done = write(ray_session, run, Upper(), watch=lambda p: seen.append((p.shards_done, p.tally.rows_in)))
    assert done.keys() == {shard.name for shard in run.shards}
    total = merged(tally for _, tally in done.values())
    assert (total.rows_in, total.filtered, total.quarantined) == (12 * 200 + 66, 12, 12)
    assert total.balanced
    assert seen == sorted(seen)
    assert seen[-1] == (12, total.rows_in)
    found = tree(tmp_path)
    for number, path in enumerate(sorted(tmp_path.rglob("in/*/*"), key=lambda path: path.name)):
        kept = [line for n, line in enumerate(lines(number, 200 + number).splitlines(True)) if n not in (3, 5)]
        name = str(path.relative_to(tmp_path / "in"))
        assert decoded(found[name], name) == b"".join(kept).upper()
        assert json.loads(decoded(found[f"_quarantine/{name}"], name))["line"] == 6
    assert len(found) == 12 * 2 + 2


def decoded(data: bytes, name: str) -> bytes:
    import gzip
    import io

    import zstandard

    if name.endswith(".gz"):
        return gzip.decompress(data)
    if name.endswith(".zst"):
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    return data


@pytest.mark.ray
def test_what_is_finished_is_not_done_again(tmp_path: Path, ray_session: Session) -> None:
    make(tmp_path, 4)
    first = write(ray_session, opened(tmp_path), Upper())
    (tmp_path / "out/train/s001.jsonl.gz").unlink()  # somebody's mistake
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/train").iterdir()}
    again = write(ray_session, opened(tmp_path), Upper())
    # In the sources' order whatever came first, since a summary's sums and keys follow it.
    assert list(again.items()) == sorted(first.items()) == list(first.items())
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/train").iterdir()}
    assert after.keys() - before.keys() == {tmp_path / "out/train/s001.jsonl.gz"}
    assert before.items() <= after.items()


@pytest.mark.ray
def test_any_number_of_workers_and_any_arrangement_of_pools_makes_the_same_bytes(
    tmp_path: Path, ray_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, 5)
    stages = Upper(), Reverse(), Bracket()

    def alike(stage: Stage) -> Stage:
        stage.resources = Resources(cpus=1)
        return stage

    def outcome(workers: int, *arranged: Stage) -> tuple[dict[str, bytes], dict[str, tuple[int, Tally]]]:
        name = f"out-{len(list(tmp_path.iterdir()))}"
        done = write(replace(ray_session, workers=workers), opened(tmp_path, name), *arranged)
        return tree(tmp_path, name), done

    fused = outcome(1, *[alike(type(stage)()) for stage in stages])
    assert outcome(4, *[alike(type(stage)()) for stage in stages]) == fused
    assert outcome(1, *stages) == fused  # three pools
    monkeypatch.setattr(dataflow, "STRIPE_BYTES", 100)
    assert outcome(3, *stages) == fused
    assert outcome(4, *[alike(type(stage)()) for stage in stages]) == fused


class Raises(Stage):
    def __init__(self, error: Callable[[], Exception]) -> None:
        self.error = error

    def process(self, rows: Rows) -> Rows:
        raise self.error()


class RaisesLater(Raises):
    resources = Resources(cpus=0.5)


class OwnError(GristmillError):
    """An error with arguments of its own, as stages raise them."""

    def __init__(self, place: str, line: int) -> None:
        super().__init__(place, line)
        self.place, self.line = place, line

    def __str__(self) -> str:
        return f"{self.place}:{self.line} is wrong"


def holding_a_lock() -> Exception:
    error = ValueError("an error that cannot travel")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    return error


@pytest.mark.ray
@pytest.mark.parametrize("stage", [Raises, RaisesLater])
def test_an_error_of_a_stage_comes_out_as_itself(
    tmp_path: Path, ray_session: Session, stage: Callable[[Callable[[], Exception]], Stage]
) -> None:
    make(tmp_path, 1)
    with pytest.raises(GristmillError) as caught:
        write(ray_session, opened(tmp_path), Upper(), stage(lambda: OwnError("here", 3)))
    assert str(caught.value) == "here:3 is wrong"
    with pytest.raises(LookupError, match=r"^nothing there$"):
        write(ray_session, opened(tmp_path), Upper(), stage(lambda: LookupError("nothing there")))


@pytest.mark.ray
def test_an_error_that_cannot_travel_still_says_what_it_said(tmp_path: Path, ray_session: Session) -> None:
    make(tmp_path, 1)
    with pytest.raises(RuntimeError, match=r"^ValueError: an error that cannot travel$"):
        write(ray_session, opened(tmp_path), Raises(holding_a_lock))


@pytest.mark.ray
def test_a_shard_that_changes_while_the_run_is_at_work_is_an_error(tmp_path: Path, ray_session: Session) -> None:
    paths = make(tmp_path, 2)
    run = opened(tmp_path)
    paths[1].write_bytes(encode(lines(7, 7), paths[1].name))
    with pytest.raises(DatasetError, match=r"s001\.jsonl\.gz has [\d,]+ bytes now and had [\d,]+ when this run listed"):
        write(ray_session, run, Upper())


@dataclass
class TakenAway(Stage):
    """What a write meets when somebody moves the output in the middle of it."""

    output: Path

    def process(self, rows: Rows) -> Rows:
        with suppress(OSError):  # another worker has taken it already, and this one's marks lie there anew
            self.output.rename(self.output.with_name("taken"))
        raise StorageError("cannot write there: No such file or directory")


@pytest.mark.ray
def test_a_write_that_fails_because_the_output_was_taken_away_says_so(tmp_path: Path, ray_session: Session) -> None:
    make(tmp_path, 2)
    with pytest.raises(RunReplaced, match=r"/out was removed, started over, or finished by another process"):
        write(ray_session, opened(tmp_path), TakenAway(tmp_path / "out"))


@pytest.mark.ray
def test_a_row_that_kills_its_worker_is_quarantined_and_nothing_else_changes(
    tmp_path: Path, ray_session: Session
) -> None:
    make(tmp_path, 40, rows=60)
    write(replace(ray_session, workers=1), opened(tmp_path), Upper())
    expected = tree(tmp_path)
    deadly = tmp_path / "in/train/s002.jsonl"  # small: one of several shards in its task
    deadly.write_bytes(deadly.read_bytes() + b'{"w": "killed"}\n')
    done = write(replace(ray_session, workers=1), opened(tmp_path, "other"), Upper())
    found = tree(tmp_path, "other")
    rejected = [json.loads(line) for line in found["_quarantine/train/s002.jsonl"].splitlines()]
    assert (rejected[-1]["raw"], rejected[-1]["reason"]) == ('{"w": "killed"}', "killed its worker (signal SIGKILL)")
    changed = {"_quarantine/train/s002.jsonl", "_run/manifest.json"}
    assert {name for name in expected if found[name] != expected[name]} == changed
    assert found.keys() == expected.keys()
    total = merged(tally for _, tally in done.values())
    assert (total.rows_in, total.quarantined, total.balanced) == (40 * 60 + 780 + 1, 41, True)


@pytest.mark.ray
def test_a_row_that_kills_the_worker_of_a_later_pool_is_quarantined_too(tmp_path: Path, ray_session: Session) -> None:
    paths = make(tmp_path, 2)
    paths[0].write_bytes(encode(b'{"w": "dies-later"}\n', paths[0].name) + paths[0].read_bytes())
    done = write(replace(ray_session, workers=1), opened(tmp_path), Upper(), Reverse())
    assert merged(tally for _, tally in done.values()).quarantined == 3
    name = str(paths[0].relative_to(tmp_path / "in"))
    first = json.loads(decoded(tree(tmp_path)[f"_quarantine/{name}"], name).splitlines()[0])
    assert (first["line"], first["reason"]) == (1, "killed its worker (exit status 4)")


class DiesInSetup(Stage):
    def setup(self) -> None:
        os._exit(7)

    def process(self, rows: Rows) -> Rows:
        return rows


@pytest.mark.ray
def test_a_stage_that_dies_in_its_setup_ends_the_run_with_the_reason(tmp_path: Path, ray_session: Session) -> None:
    make(tmp_path, 1)
    with pytest.raises(WorkerLost, match=r"dies while it sets up \(exit status 7\)"):
        write(ray_session, opened(tmp_path), DiesInSetup())


@pytest.mark.ray
def test_damage_stops_the_run_when_everything_else_is_done(tmp_path: Path, ray_session: Session) -> None:
    paths = make(tmp_path, 4)
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[:-20])
    with pytest.raises(RunFailed) as caught:
        write(ray_session, opened(tmp_path), Upper())
    assert str(caught.value).startswith(f"shard {paths[1]}, after line ")
    assert str(caught.value).endswith(
        "; the other 3 shards are done. Repair the file and run the same command again, or add --skip-damaged to keep "
        "the rows before the damage"
    )
    assert sorted(path.name for path in (tmp_path / "out/train").iterdir()) == ["s002.jsonl", "s003.jsonl.zst"]
    paths[1].write_bytes(whole)
    done = write(ray_session, opened(tmp_path), Upper())
    assert len(done) == 4
    found = tree(tmp_path)
    write(ray_session, opened(tmp_path, "fresh"), Upper())
    assert found == tree(tmp_path, "fresh")


@pytest.mark.ray
def test_a_pass_that_looks_keeps_its_chunks_for_a_reduction_and_publishes_the_quarantine(
    tmp_path: Path, ray_session: Session
) -> None:
    make(tmp_path, 3)
    run = opened(tmp_path)
    step = run.step("scan")
    done = run_pass(ray_session, run, step, Flow([Upper()], Sizes(), SIZE), run.shards)

    def total(chunks: list[Chunks]) -> bytes:
        return b"".join(payload for _, payload in step.payloads(chunks))

    sizes = reduce(total, [Chunks(name, count) for name, (count, _) in done.items()])
    assert sum(map(int, sizes.split(b",")[:-1])) == 3 * 200 + 3 - 6
    assert run_pass(ray_session, run, step, Flow([Upper()], Sizes(), SIZE), run.shards) == done
    assert [name for name in tree(tmp_path) if not name.startswith("_run/")] == [
        f"_quarantine/{shard.name}" for shard in run.shards
    ]


@pytest.mark.ray
def test_an_error_of_a_reduction_comes_out_as_itself(ray_session: Session) -> None:
    def fails() -> bytes:
        raise OwnError("reduction", 1)

    with pytest.raises(GristmillError, match="reduction:1 is wrong"):
        reduce(fails)
