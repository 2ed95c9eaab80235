"""The work on shards without Ray: chunks, retries, suspects, and the commit."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import worker as worker_module
from cluster.isolation import WorkerLost
from cluster.ledger import Pass, Run, RunReplaced, Tally, merged
from cluster.rows import Failure, Rows
from cluster.shards import ChunkSize, RawChunk, Shard, encode, shards_of
from cluster.stage import ShardSink, Stage, Summarizer
from cluster.storage import open_storage
from cluster.worker import Report, ShardWorker, Shipment, WorkItem, commit, rows_of

# A child process gets the stages of this file with their code, and need not import the tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
CHUNKS = ChunkSize(bytes=100)
MAIN = os.getpid()


class Upper(Stage):
    """Upper-cases rows, drops those with "drop" in them and fails those with "bad"; counts in `seen` what it did."""

    def __init__(self, poison: bytes = b"poison") -> None:
        self.poison = poison
        self.seen: list[bytes] = []

    def process(self, rows: Rows) -> Rows:
        rows.count("bytes", sum(map(len, rows.lines)))
        self.seen += rows.lines
        return rows.settle([self.one(line) for line in rows.lines])

    def one(self, line: bytes) -> bytes | Failure | None:
        if self.poison in line:
            if os.getpid() == MAIN:
                raise Death
            os._exit(9)
        if b"error" in line:
            raise LookupError(line.decode())
        if b"drop" in line:
            return None
        return Failure("bad row") if b"bad" in line else line.upper()


class Death(BaseException):
    """Ends the work as a kill would: nothing is tidied up."""


class Sizes(Summarizer):
    """A sink that only looks."""

    def encode(self, rows: Rows) -> bytes:
        return b"%d," % len(rows)


def lines(count: int, **odd: int) -> bytes:
    words = {number: word for word, number in odd.items()}
    return b"".join(b'{"n": %d, "w": "%s"}\n' % (n, words.get(n, "row").encode()) for n in range(1, count + 1))


def make(root: Path, name: str = "train/a.jsonl", content: bytes = lines(40), damage: int = 0) -> tuple[Shard, Pass]:
    path = root / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = encode(content, name)
    path.write_bytes(stored[: len(stored) - damage] if damage else stored)
    shards = shards_of([str(root / "in")])
    run = Run(open_storage(str(root / "out")), "verb", {}, shards, {})
    run.open()
    return next(shard for shard in shards if shard.name == name), run.step("write")


def worker_of(step: Pass, stages: list[Stage] | None = None, sink: Any = None, **options: Any) -> ShardWorker:
    chunk_size = options.pop("size", CHUNKS)
    return ShardWorker(step, [Upper()] if stages is None else stages, sink or ShardSink(), chunk_size, **options)


def finish(step: Pass, reports: list[Report], publish: bool = True) -> Tally:
    totals = {report.total for report in reports if report.total is not None}
    assert len(totals) == 1
    total = totals.pop()
    assert sum(report.chunks for report in reports) == total
    tally = commit(step, reports[0].shard, total, publish)
    assert tally == merged(report.tally for report in reports)
    assert tally.balanced
    return tally


def output(step: Pass, shard: str = "train/a.jsonl") -> bytes:
    return step.output.read(shard)


# ------------------------------------------------------------------------------------------------------- rows


def test_blank_lines_are_no_rows_but_count_as_lines() -> None:
    rows = rows_of("s", RawChunk(0, 5, b"\n  \na\n\r\n\t\nb\n", 0))
    assert (rows.lines, rows.numbers, rows.rejected) == ([b"a", b"b"], [7, 10], [])


def test_a_row_that_is_not_utf8_is_quarantined_alone() -> None:
    rows = rows_of("s", RawChunk(0, 1, b'{"a": "\xe9"}\n{"b": "\xc3\xa9"}\n\n\xed\xa0\x80', 0))
    assert (rows.lines, rows.numbers) == ([b'{"b": "\xc3\xa9"}'], [2])
    assert [(row.line, row.reason) for row in rows.rejected] == [
        (1, "not UTF-8: byte 0xe9 at byte 8 of the line"),
        (4, "not UTF-8: byte 0xed at byte 1 of the line"),
    ]


def test_a_row_that_nothing_changes_leaves_byte_identical(tmp_path: Path) -> None:
    odd = [
        '{"zip": "007", "big": 1180591620717411303424, "huge": 1e400, "a": 1, "a": 2}',
        '{"t": "\u2028 \\u2028 \U0001f600 \\ud83d\\ude00 \\ud83d", "x" :\t1.0e+5 }\r',
        '{"d": "2020-01-01T00:00:00Z", "n": null}',
    ]
    shard, step = make(tmp_path, content=("\ufeff" + "\n".join(odd)).encode())
    finish(step, list(worker_of(step, []).work(WorkItem(shard))))
    assert output(step) == "".join(f"{line}\n" for line in odd).encode()


# ------------------------------------------------------------------------------------------------------- work


def test_a_shard_is_processed_chunk_by_chunk_and_accounted_for(tmp_path: Path) -> None:
    shard, step = make(tmp_path, content=lines(40, drop=3, bad=25))
    stage = Upper()
    reports = list(worker_of(step, [stage]).work(WorkItem(shard)))
    assert sum(report.stored_bytes for report in reports) == shard.size
    tally = finish(step, reports)
    assert (tally.rows_in, tally.rows_out, tally.filtered, tally.quarantined) == (40, 38, 1, 1)
    assert (tally.bytes_in, tally.bytes_out) == (shard.size, len(output(step)))
    assert tally.counters == {"bytes": shard.size - 40}
    expected = [line.upper() for n, line in enumerate(lines(40).splitlines(), 1) if n not in (3, 25)]
    assert output(step).splitlines() == expected
    assert json.loads(step.output.read("_quarantine/train/a.jsonl")) == {
        "shard": "train/a.jsonl",
        "line": 25,
        "raw": '{"n": 25, "w": "bad"}',
        "reason": "bad row",
    }
    assert step.record("train/a.jsonl") == (reports[-1].total, tally)
    assert step.staged("train/a.jsonl") == set()
    assert not list(step.output.list(f"{step.folder}/attempts"))


@settings(max_examples=25, deadline=None)
@given(
    stride=st.integers(1, 9),
    order=st.randoms(use_true_random=False),
    size=st.builds(ChunkSize, st.integers(1, 400), st.none() | st.integers(1, 7)),
    ending=st.sampled_from(["jsonl", "jsonl.zst", "jsonl.gz"]),
    damage=st.sampled_from([0, 5]),
)
def test_any_number_of_workers_makes_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, stride: int, order: Any, size: ChunkSize, ending: str, damage: int
) -> None:
    name = f"train/a.{ending}"
    damage = damage if ending != "jsonl" else 0
    found = []
    for workers in (1, stride):
        root = tmp_path_factory.mktemp("stride")
        shard, step = make(root, name, lines(40, drop=3, bad=25), damage)
        items = [WorkItem(shard, offset, workers) for offset in range(workers)]
        order.shuffle(items)
        reports = [r for item in items for r in worker_of(step, size=size, skip_damaged=True).work(item)]
        tally = finish(step, reports)
        quarantined = step.output.read(f"_quarantine/{name}") if tally.quarantined else b""
        found.append((output(step, name), quarantined, tally, {report.total for report in reports}))
    assert found[0] == found[1]


def test_reports_of_long_shards_come_on_the_way_and_repeat_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "REPORT_BYTES", 250)
    shard, step = make(tmp_path)
    first = list(worker_of(step).work(WorkItem(shard)))
    assert len(first) == 3
    again = list(worker_of(step).work(WorkItem(shard)))
    assert [(r.chunks, r.tally, r.stored_bytes, r.total) for r in again] == [
        (r.chunks, r.tally, r.stored_bytes, r.total) for r in first
    ]
    assert sum(report.reused for report in again) == first[-1].total


# -------------------------------------------------------------------------------------------- retries and deaths


def test_an_interrupted_item_goes_on_where_it_stopped(tmp_path: Path) -> None:
    shard, step = make(tmp_path, content=lines(40, error=30))
    failing, whole = Upper(), Upper()
    with pytest.raises(LookupError):
        list(worker_of(step, [failing]).work(WorkItem(shard)))
    done = len(step.staged(shard.name))
    assert done > 3
    whole.one = lambda line: line.upper()  # type: ignore[method-assign]
    reports = list(worker_of(step, [whole]).work(WorkItem(shard)))
    assert sum(report.reused for report in reports) == done
    assert len(whole.seen) < 20
    finish(step, reports)
    assert output(step) == lines(40, error=30).upper()


def test_a_torn_chunk_is_done_again(tmp_path: Path) -> None:
    shard, step = make(tmp_path)
    list(worker_of(step).work(WorkItem(shard)))
    torn = tmp_path / "out" / step.chunk_name(shard.name, 2)
    torn.write_bytes(torn.read_bytes()[:30])
    reports = list(worker_of(step).work(WorkItem(shard)))
    assert sum(report.reused for report in reports) == (reports[-1].total or 0) - 1
    finish(step, reports)
    assert output(step) == lines(40).upper()


def die(worker: ShardWorker, item: WorkItem, times: int) -> None:
    for _ in range(times):
        with pytest.raises(Death):
            list(worker.work(item))


def test_the_row_at_which_workers_die_ends_in_quarantine(tmp_path: Path) -> None:
    shard, step = make(tmp_path, content=lines(12, poison=7, bad=8, drop=9))
    # The first death is met on the way, two more at the chunk that comes first then.
    die(worker_of(step), WorkItem(shard), 3)
    tally = finish(step, list(worker_of(step).work(WorkItem(shard))))
    assert (tally.rows_in, tally.rows_out, tally.filtered, tally.quarantined) == (12, 9, 1, 2)
    rejected = [json.loads(line) for line in step.output.read("_quarantine/train/a.jsonl").splitlines()]
    assert [(row["line"], row["reason"]) for row in rejected] == [
        (7, "killed its worker (exit status 9)"),
        (8, "bad row"),
    ]
    assert [json.loads(line)["N"] for line in output(step).splitlines()] == [1, 2, 3, 4, 5, 6, 10, 11, 12]
    assert not list(step.output.list(f"{step.folder}/attempts"))


def test_an_isolated_chunk_without_a_killer_makes_the_same_bytes(tmp_path: Path) -> None:
    shard, step = make(tmp_path, content=lines(40, bad=2, drop=3))
    finish(step, list(worker_of(step).work(WorkItem(shard))))
    expected = output(step), step.output.read("_quarantine/train/a.jsonl")
    other_root = tmp_path / "other"
    shard, step = make(other_root, content=lines(40, bad=2, drop=3))
    die(worker_of(step, [Upper(poison=b"n")]), WorkItem(shard), 2)  # as if the machine had died twice
    finish(step, list(worker_of(step).work(WorkItem(shard))))
    assert (output(step), step.output.read("_quarantine/train/a.jsonl")) == expected


def test_errors_and_stops_are_no_deaths(tmp_path: Path) -> None:
    shard, step = make(tmp_path, content=lines(40, error=1))
    for _ in range(5):
        with pytest.raises(LookupError):
            list(worker_of(step).work(WorkItem(shard)))
    shard, step = make(tmp_path / "stopped")
    for _ in range(5):
        started: Iterator[Report] = worker_of(step, size=ChunkSize(100, 2)).work(WorkItem(shard))
        next(started)
        started.close()
    for path in (tmp_path, tmp_path / "stopped"):
        assert not [entry.name for entry in open_storage(str(path / "out")).list() if "/attempts/" in entry.name]


def test_deaths_outside_of_any_row_end_the_run_and_the_next_one_may_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DyingSink(ShardSink):
        def encode(self, rows: Rows) -> bytes:
            raise Death

    monkeypatch.setattr(worker_module, "GIVE_UP_AFTER", 4)
    shard, step = make(tmp_path)
    die(worker_of(step, [], DyingSink()), WorkItem(shard), 4)
    with pytest.raises(WorkerLost, match=r"died 4 times at chunk 0 of shard train/a\.jsonl, outside any row: look"):
        list(worker_of(step, [], DyingSink()).work(WorkItem(shard)))
    finish(step, list(worker_of(step).work(WorkItem(shard))))
    assert output(step) == lines(40).upper()


def test_an_item_that_is_committed_is_recalled_with_as_many_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "REPORT_BYTES", 250)
    for damage in (0, 5):
        shard, step = make(tmp_path / str(damage), "train/a.jsonl.zst", lines(40), damage)
        options = {"skip_damaged": True}
        for item in (WorkItem(shard), *(WorkItem(shard, offset, 3) for offset in range(3))):
            first = list(worker_of(step, **options).work(item))
            stage = Upper()
            if item.stride == 1:
                finish(step, first)
                expected = output(step, shard.name)
            again = list(worker_of(step, [stage], **options).work(item))
            assert len(again) == len(first)
            assert stage.seen == []
            assert {report.total for report in again} <= {None, first[-1].total}
        assert output(step, shard.name) == expected


# -------------------------------------------------------------------------------------------------------- damage


def test_damage_is_reported_and_the_chunks_before_it_are_staged(tmp_path: Path) -> None:
    shard, step = make(tmp_path, "train/a.jsonl.zst", lines(4000), damage=7)
    reports = list(worker_of(step).work(WorkItem(shard)))
    assert (reports[-1].damage or "").startswith(f"shard {shard.url}, after line ")
    assert len(step.staged(shard.name)) == sum(report.chunks for report in reports)


def test_skipped_damage_is_one_more_quarantined_row(tmp_path: Path) -> None:
    name = "train/a.jsonl.gz"
    shard, step = make(tmp_path, name, lines(4000), damage=12)
    tally = finish(step, list(worker_of(step, skip_damaged=True).work(WorkItem(shard))))
    rejected = json.loads(gzip.decompress(step.output.read(f"_quarantine/{name}")))
    assert rejected["line"] == tally.rows_out + 1
    assert rejected["reason"].startswith("the compressed stream ends early (")
    assert lines(4000).splitlines()[tally.rows_out].startswith(rejected["raw"].encode())
    assert gzip.decompress(output(step, name)) == b"".join(lines(4000).upper().splitlines(True)[: tally.rows_out])


# -------------------------------------------------------------------------------------------------------- commit


def work(step: Pass, shard: Shard, sink: Any = None) -> int:
    reports = list(worker_of(step, sink=sink).work(WorkItem(shard)))
    assert reports[-1].total is not None
    return reports[-1].total


def test_committing_again_changes_nothing(tmp_path: Path) -> None:
    shard, step = make(tmp_path, content=lines(40, bad=2))
    total = work(step, shard)
    first = commit(step, shard.name, total)
    entries = list(step.output.list())
    assert commit(step, shard.name, total) == first
    assert list(step.output.list()) == entries


@pytest.mark.parametrize("death", ["train/a.jsonl", "_quarantine/train/a.jsonl", "record"])
def test_a_commit_that_dies_at_any_step_is_finished_by_the_next(
    tmp_path: Path, death: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard, step = make(tmp_path, content=lines(40, bad=2))
    total = work(step, shard)
    place = step.record_name(shard.name) if death == "record" else death
    storage = type(step.output)
    publish = storage.publish

    def dying(self: Any, name: str, data: Any, durable: bool = True) -> None:
        publish(self, name, data, durable)
        if name == place:
            raise Death

    with monkeypatch.context() as patch:
        patch.setattr(storage, "publish", dying)
        with pytest.raises(Death):
            commit(step, shard.name, total)
    commit(step, shard.name, total)
    assert output(step) == b"".join(line for n, line in enumerate(lines(40).upper().splitlines(True), 1) if n != 2)
    assert json.loads(step.output.read("_quarantine/train/a.jsonl"))["line"] == 2
    assert step.staged(shard.name) == set()


def test_a_commit_that_a_dead_drivers_worker_won_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard, step = make(tmp_path)
    total = work(step, shard)
    real = Pass.read

    def meanwhile(self: Pass, name: str, index: int) -> Any:
        if index == 2:
            monkeypatch.setattr(Pass, "read", real)
            commit(step, name, total)
        return real(self, name, index)

    monkeypatch.setattr(Pass, "read", meanwhile)
    assert commit(step, shard.name, total).rows_out == 40
    assert output(step) == lines(40).upper()


def test_a_run_that_was_started_over_publishes_nothing_more(tmp_path: Path) -> None:
    shard, step = make(tmp_path)
    total = work(step, shard)
    Run(step.output, "verb", {"other": 1}, [shard], {}).open(fresh=True)
    with pytest.raises(RunReplaced):
        commit(step, shard.name, total)
    assert not step.output.exists(shard.name)


def test_an_output_that_was_removed_is_not_put_together_from_what_is_left(tmp_path: Path) -> None:
    shard, step = make(tmp_path)
    total = work(step, shard)
    step.output.delete_tree("_run")
    with pytest.raises(RunReplaced):
        commit(step, shard.name, total)
    assert not list(step.output.list())


@pytest.mark.parametrize("name", ["train/a.jsonl.zst", "train/a.jsonl.gz", "train/a.jsonl"])
@pytest.mark.parametrize("content", [b"", b"\n\n", b'{"w": "drop"}\n'])
def test_a_shard_without_rows_is_published_as_a_valid_empty_file(tmp_path: Path, name: str, content: bytes) -> None:
    shard, step = make(tmp_path, name, content)
    commit(step, name, work(step, shard))
    stored = output(step, name)
    if name.endswith(".zst"):
        assert zstandard.ZstdDecompressor().decompress(stored, max_output_size=10) == b""
    assert (stored == b"") == name.endswith(".jsonl")


def test_quarantines_of_shards_that_differ_in_their_ending_alone_are_apart(tmp_path: Path) -> None:
    names = ["a.jsonl", "a.jsonl.zst", "d.jsonl.d/b.jsonl", "d.jsonl.d/c.jsonl"]
    for name in names:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(lines(3, bad=2), name))
    shards = shards_of([str(tmp_path / "in")])
    run = Run(open_storage(str(tmp_path / "out")), "verb", {}, shards, {})
    run.open()
    for shard in shards:
        commit(run.step("write"), shard.name, work(run.step("write"), shard))
    assert [e.name for e in run.output.list("_quarantine")] == [f"_quarantine/{name}" for name in sorted(names)]


def test_a_pass_that_only_looks_publishes_what_it_quarantines_and_keeps_its_chunks(tmp_path: Path) -> None:
    shard, step = make(tmp_path, content=lines(40, bad=2))
    total = work(step, shard, Sizes())
    tally = commit(step, shard.name, total, publish=False)
    assert (tally.rows_out, tally.quarantined) == (39, 1)
    assert step.staged(shard.name) == set(range(total))
    assert not step.output.exists(shard.name)
    assert json.loads(step.output.read("_quarantine/train/a.jsonl"))["line"] == 2


# ------------------------------------------------------------------------------------------------------ shipping


class Reverse(Stage):
    """A second stage, for a second pool."""

    def __init__(self, poison: bytes = b"POISON") -> None:
        self.poison = poison

    def process(self, rows: Rows) -> Rows:
        for line in rows.lines:
            if self.poison in line:
                if os.getpid() == MAIN:
                    raise Death
                os._exit(9)
        return rows.settle([line[::-1] for line in rows.lines])


def shipped(step: Pass, item: WorkItem, **options: Any) -> list[Report]:
    reader = worker_of(step, [Upper()], pool=0, **options)
    writer = worker_of(step, [Reverse()], pool=1, **options)
    return [writer.receive(message) if isinstance(message, Shipment) else message for message in reader.ship(item)]


@pytest.mark.parametrize("damage", [0, 9])
@pytest.mark.parametrize("stride", [1, 3])
def test_several_pools_make_the_same_bytes_as_one(tmp_path: Path, stride: int, damage: int) -> None:
    name = "train/a.jsonl.gz"
    content = lines(40, drop=3, bad=25)
    shard, step = make(tmp_path / "one", name, content, damage)
    one = finish(step, list(worker_of(step, [Upper(), Reverse()], skip_damaged=True).work(WorkItem(shard))))
    expected = output(step, name), step.output.read(f"_quarantine/{name}")
    shard, step = make(tmp_path / "two", name, content, damage)
    items = [WorkItem(shard, offset, stride) for offset in range(stride)]
    two = finish(step, [report for item in items for report in shipped(step, item, skip_damaged=True)])
    assert (output(step, name), step.output.read(f"_quarantine/{name}")) == expected
    assert two == one


def test_shipping_again_sends_what_is_not_staged_in_as_many_messages(tmp_path: Path) -> None:
    shard, step = make(tmp_path)
    reader = worker_of(step)
    first = list(reader.ship(WorkItem(shard)))
    worker_of(step, [Reverse()]).receive(next(m for m in first if isinstance(m, Shipment)))
    again = list(reader.ship(WorkItem(shard)))
    assert len(again) == len(first)
    assert [isinstance(message, Shipment) for message in again] == [False] + [True] * (len(first) - 2) + [False]
    finish(step, shipped(step, WorkItem(shard)))
    stage = Upper()
    committed = list(worker_of(step, [stage]).ship(WorkItem(shard)))
    assert (len(committed), stage.seen) == (len(first), [])


def test_a_worker_in_place_of_a_dead_one_takes_the_chunk_apart_that_kills(tmp_path: Path) -> None:
    shard, step = make(tmp_path, content=lines(8, poison=3))
    reader = worker_of(step, [])
    shipments = [message for message in reader.ship(WorkItem(shard)) if isinstance(message, Shipment)]
    deadly = next(shipment for shipment in shipments if any(b"poison" in line for line in shipment.rows.lines))

    def writer(wary: bool) -> ShardWorker:
        found = worker_of(step, [Upper()], pool=1)
        found.wary = wary
        return found

    for wary in (False, True):  # the first death leaves no mark, but a wary worker
        with pytest.raises(Death):
            writer(wary).receive(deadly)
    report = writer(True).receive(deadly)
    assert (report.tally.quarantined, report.tally.rows_out) == (1, report.tally.rows_in - 1)
    assert not list(step.output.list(f"{step.folder}/attempts"))
