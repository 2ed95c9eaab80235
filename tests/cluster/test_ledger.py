"""What a run remembers, what it refuses, and what is left of it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.ledger import (
    MANIFEST,
    CorruptChunk,
    Pass,
    Run,
    RunRefused,
    RunReplaced,
    StagedChunk,
    Tally,
    differences,
    merged,
    quarantine_lines,
)
from cluster.rows import Rejected
from cluster.shards import shards_of
from cluster.storage import open_storage


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a dataset `in` of two shards."""
    for name in ("a", "b"):
        path = tmp_path / "in" / "train" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'{"n": 1}\n')
    return tmp_path


def run_in(place: Path, output: str = "out", **config: Any) -> Run:
    shards = shards_of([str(place / "in")])
    resolved = {"skip_damaged": False, **config}
    return Run(open_storage(str(place / output)), "test-verb", resolved, shards, {"gristmill": "1"})


def opened(run: Run) -> Run:
    assert run.open() is None
    return run


def files(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}


CHUNK = StagedChunk(Tally(3, 1, 1, 1, 30, 10, {"tokens": 7}), b"rejected", b"payload" * 3)


# --------------------------------------------------------------------------------------------------- accounts


def test_tallies_add_up() -> None:
    total = merged([Tally(3, 1, 1, 1, 30, 10, {"x": 1}), Tally(2, 2, counters={"x": 2, "y": 0.5})])
    assert total == Tally(5, 3, 1, 1, 30, 10, {"x": 3, "y": 0.5})
    assert total.balanced
    assert not Tally(rows_in=1).balanced


def test_summing_leaves_the_parts_as_they_were() -> None:
    first = Tally(1, 1, counters={"x": 1})
    merged([first, first])
    assert first == Tally(1, 1, counters={"x": 1})


# ----------------------------------------------------------------------------------------------------- chunks


@settings(deadline=None)
@given(
    st.binary(max_size=50), st.binary(max_size=50), st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=3)
)
def test_a_staged_chunk_comes_back_as_it_was(rejected: bytes, payload: bytes, counters: dict[str, float]) -> None:
    chunk = StagedChunk(Tally(1, 1, counters=counters), rejected, payload)
    assert StagedChunk.from_bytes(chunk.to_bytes()) == chunk


@pytest.mark.parametrize("keep", [0, 3, 4, 11, 12, 40, -1])
def test_a_torn_chunk_is_recognized(keep: int) -> None:
    with pytest.raises(CorruptChunk, match="the place is not what was written there"):
        StagedChunk.from_bytes(CHUNK.to_bytes()[:keep], "the place")


def test_a_chunk_with_holes_is_recognized() -> None:
    data = CHUNK.to_bytes()
    for at in range(len(data)):
        with pytest.raises(CorruptChunk):
            StagedChunk.from_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_a_torn_staged_chunk_is_deleted_and_taken_for_unfinished(place: Path) -> None:
    step = opened(run_in(place)).step("write")
    step.stage("train/a.jsonl", 0, CHUNK)
    step.stage("train/a.jsonl", 1, CHUNK)
    torn = place / "out" / step.chunk_name("train/a.jsonl", 1)
    torn.write_bytes(torn.read_bytes()[:50])
    assert step.staged("train/a.jsonl") == {0, 1}
    assert step.read_tally("train/a.jsonl", 0) == CHUNK.tally
    assert step.read_tally("train/a.jsonl", 1) is None
    assert step.read_tally("train/a.jsonl", 2) is None
    assert step.staged("train/a.jsonl") == {0}


def test_chunks_of_shards_with_similar_names_are_apart(place: Path) -> None:
    step = opened(run_in(place)).step("write")
    for shard in ("a.jsonl", "a.jsonl.zst", "sub/a.jsonl"):
        step.stage(shard, 0, CHUNK)
    step.drop_chunks("a.jsonl")
    assert [step.staged(shard) for shard in ("a.jsonl", "a.jsonl.zst", "sub/a.jsonl")] == [set(), {0}, {0}]


@pytest.mark.parametrize("rejected", [b"", b"r" * 10, b"r" * 5000])
@pytest.mark.parametrize("counters", [{}, {f"counter-{n}": 1.0 for n in range(500)}])
def test_parts_of_a_chunk_are_read_by_range(place: Path, rejected: bytes, counters: dict[str, float]) -> None:
    step = opened(run_in(place)).step("scan")
    payload = bytes(range(256)) * 40
    tally = Tally(2, 1, 0, 1, counters=counters)
    step.stage("a.jsonl", 0, StagedChunk(tally, rejected, payload))
    assert step.read_account("a.jsonl", 0) == (tally, rejected)
    for start, length in ((0, 0), (0, 10), (100, 4096), (len(payload) - 3, 3), (0, len(payload))):
        assert step.read_range("a.jsonl", 0, start, length) == payload[start : start + length]


# ------------------------------------------------------------------------------------------------- quarantine


@pytest.mark.parametrize("shard", ["train/a.jsonl", "train/a.jsonl.zst"])
def test_quarantined_rows_say_where_they_stood_and_keep_every_byte(shard: str) -> None:
    raws = [b'{"a": "\xe2\x80\xa8 \\u2028 \\ud83d\\ude00"}\r', b"\xff\xfe", b"", "é".encode("latin-1")]
    stored = quarantine_lines(shard, [Rejected(n, raw, f"reason {n} ✗") for n, raw in enumerate(raws, 1)])
    text = zstandard.ZstdDecompressor().decompressobj().decompress(stored) if shard.endswith(".zst") else stored
    rows = [json.loads(line) for line in text.split(b"\n")[:-1]]
    assert [(row["shard"], row["line"], row["reason"]) for row in rows] == [
        (shard, n, f"reason {n} ✗") for n in range(1, 5)
    ]
    assert [
        row["raw"].encode() if "raw" in row else base64.b64decode(row["raw_base64"], validate=True) for row in rows
    ] == raws
    assert ["raw_base64" in row for row in rows] == [False, True, False, True]


# --------------------------------------------------------------------------------------------- open and finish


def test_a_complete_run_leaves_its_manifest_and_its_summary_and_nothing_else(place: Path) -> None:
    run = opened(run_in(place))
    run.step("scan").stage("train/a.jsonl", 0, CHUNK)
    run.step("scan").save_plan(b"plan")
    run.mark_damaged("train/a.jsonl", "why")
    run.finish({"rows_in": 3})
    assert files(place / "out") == {"_run/manifest.json", "_run/summary.json"}
    assert run_in(place).open() == {"rows_in": 3}


def test_a_kill_between_the_summary_and_the_cleaning_is_made_good_by_the_next_run(place: Path) -> None:
    run = opened(run_in(place))
    run.step("write").stage("train/a.jsonl", 0, CHUNK)
    run.output.publish("_run/summary.json", b"{}")  # as if killed right after
    tell_name = "from cluster.storage.temporaries import temporary_name; print(temporary_name('x.jsonl'))"
    dead_writer = subprocess.run([sys.executable, "-c", tell_name], capture_output=True, text=True, check=True)
    (place / "out" / dead_writer.stdout.strip()).write_bytes(b"half a row")
    assert run_in(place).open() == {}
    assert files(place / "out") == {"_run/manifest.json", "_run/summary.json"}


def test_the_same_command_continues_and_sees_what_was_done(place: Path) -> None:
    first = opened(run_in(place)).step("write")
    first.stage("train/a.jsonl", 2, CHUNK)
    first.finish_shard("train/b.jsonl", 3, CHUNK.tally)
    first.save_plan(b"plan")
    again = opened(run_in(place)).step("write")
    assert again == first
    assert again.staged("train/a.jsonl") == {2}
    assert again.finished_shards() == {"train/b.jsonl": (3, CHUNK.tally)}
    assert again.load_plan() == b"plan"
    assert again.record("train/a.jsonl") is None
    assert opened(run_in(place)).step("other").load_plan() is None


def test_a_finished_shard_whose_output_is_gone_is_not_finished(place: Path) -> None:
    step = opened(run_in(place)).step("write")
    for shard in ("train/a.jsonl", "train/b.jsonl"):
        step.finish_shard(shard, 1, CHUNK.tally)
    step.output.publish("train/a.jsonl", b"rows\n")
    assert step.published_shards().keys() == {"train/a.jsonl"}
    assert step.record("train/b.jsonl") is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda place, run: run.config.update(seed=2), "config.seed: was 1, now 2"),
        (lambda place, run: run.config.update(extra=["x"]), 'config.extra: new, ["x"]'),
        (lambda place, run: run.config.pop("seed"), "config.seed: gone, was 1"),
        (lambda place, run: run.versions.update(gristmill="2"), 'versions.gristmill: was "1", now "2"'),
        (lambda place, run: run.shards.pop(), "inputs.train/b.jsonl: gone, was "),
    ],
)
def test_another_configuration_is_refused_with_what_changed(place: Path, change: Any, told: str) -> None:
    opened(run_in(place, seed=1))
    other = run_in(place, seed=1)
    change(place, other)
    with pytest.raises(RunRefused) as caught:
        other.open()
    head, *changes, way_on = str(caught.value).split("\n")
    assert head == f"{place}/out holds a run with another configuration or other inputs:"
    assert [line[2:].startswith(told) for line in changes] == [True]
    assert way_on == "Use another --output-dir, or --fresh to delete that output and start over."


def test_a_changed_input_is_refused_by_name(place: Path) -> None:
    opened(run_in(place))
    (place / "in/train/a.jsonl").write_bytes(b'{"n": 22}\n')
    with pytest.raises(RunRefused, match=r"\n  inputs\.train/a\.jsonl\.size: was 9, now 10\n"):
        run_in(place).open()


def test_a_long_list_of_differences_is_cut() -> None:
    told = differences({"inputs": {}}, {"inputs": {f"s{n:03}": n for n in range(50)}})
    assert (len(told), told[-1]) == (21, "… and 30 more")
    assert differences({"a": 1}, {"a": 1}) == []
    assert len(differences("x" * 500, "y")[0]) < 130


def test_a_directory_with_foreign_files_is_left_alone(place: Path) -> None:
    foreign = place / "out" / "train" / "mine.jsonl"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    for leftover in (False, True):
        if leftover:  # of a run whose manifest is gone: no licence to overwrite what stands beside it
            (place / "out/_run/passes").mkdir(parents=True)
            (place / "out/_run/passes/x").write_bytes(b"")
        for fresh in (False, True):
            with pytest.raises(RunRefused, match=r"is not empty \(it holds train/mine\.jsonl\) and holds no run"):
                run_in(place).open(fresh)
    assert foreign.read_bytes() == b"mine"


def test_a_summary_without_its_manifest_is_not_believed(place: Path) -> None:
    (place / "out/_run").mkdir(parents=True)
    (place / "out/_run/summary.json").write_bytes(b'{"rows_in": 1}')
    assert run_in(place).open() is None


def test_fresh_deletes_what_the_earlier_run_made_and_starts_over(place: Path) -> None:
    run = opened(run_in(place, seed=1))
    run.output.publish("train/a.jsonl", b"")
    run.output.publish("_quarantine/train/a.jsonl", b"")
    run.output.publish("top.json", b"")
    run.step("write").stage("train/a.jsonl", 0, CHUNK)
    run.finish({})
    again = run_in(place, seed=2)
    assert again.open(fresh=True) is None
    assert files(place / "out") == {"_run/manifest.json", "_run/identity"}
    assert json.loads((place / "out" / MANIFEST).read_bytes())["config"]["seed"] == 2


def test_what_a_killed_run_still_writes_is_not_taken_for_the_work_of_the_fresh_one(place: Path) -> None:
    zombie = opened(run_in(place, seed=1)).step("write")
    fresh = run_in(place, seed=2)
    fresh.open(fresh=True)
    step = fresh.step("write")
    zombie.stage("train/a.jsonl", 0, CHUNK)
    zombie.finish_shard("train/b.jsonl", 1, CHUNK.tally)
    zombie.save_plan(b"old")
    assert step.staged("train/a.jsonl") == set()
    assert step.finished_shards() == {}
    assert step.load_plan() is None
    step.check_current()
    with pytest.raises(RunReplaced, match=r"out was removed, started over, or finished by another process"):
        zombie.check_current()


def test_a_run_whose_output_was_removed_does_not_call_itself_complete(place: Path) -> None:
    run = opened(run_in(place))
    run.output.delete_tree("_run")
    with pytest.raises(RunReplaced):
        run.finish({})
    assert files(place / "out") == set()


@pytest.mark.parametrize("output", ["in", "in/out", "in/train", ".", "link", "link/out"])
def test_input_and_output_must_not_overlap(place: Path, output: str) -> None:
    (place / "link").symlink_to(place / "in")
    with pytest.raises(RunRefused, match=r"lies inside the (in|out)put"):
        run_in(place, output).open()
    assert not any(path.name == "_run" for path in place.rglob("*"))


def test_a_neighbour_with_a_longer_name_does_not_overlap(place: Path) -> None:
    opened(run_in(place, "in-normalized"))
    opened(run_in(place, "i"))


# ----------------------------------------------------------------------------------------------------- damage


def test_a_repaired_shard_is_taken_up_again_and_its_chunks_redone(place: Path) -> None:
    run = opened(run_in(place))
    for shard in ("train/a.jsonl", "train/b.jsonl"):
        run.step("write").stage(shard, 0, CHUNK)
        run.step("scan").stage(shard, 0, CHUNK)
    run.mark_damaged("train/a.jsonl", "broken")
    assert run.damage("train/a.jsonl") == "broken"
    (place / "in/train/a.jsonl").write_bytes(b"repaired\n")
    repaired = opened(run_in(place))
    for name in ("write", "scan"):
        assert repaired.step(name).staged("train/a.jsonl") == set()
        assert repaired.step(name).staged("train/b.jsonl") == {0}
    assert repaired.damaged() == []
    assert repaired.damage("train/a.jsonl") is None
    assert json.loads((place / "out" / MANIFEST).read_bytes()) == repaired.manifest


def test_only_the_damaged_shard_may_change(place: Path) -> None:
    run = opened(run_in(place))
    run.mark_damaged("train/a.jsonl", "broken")
    for name in ("a", "b"):
        (place / f"in/train/{name}.jsonl").write_bytes(b"changed\n")
    with pytest.raises(RunRefused, match="other inputs"):
        run_in(place).open()


def test_a_kill_while_a_repair_is_taken_up_changes_nothing(place: Path) -> None:
    class Killed(Exception):
        pass

    opened(run_in(place)).step("write").stage("train/a.jsonl", 0, CHUNK)
    opened(run_in(place)).mark_damaged("train/a.jsonl", "broken")
    (place / "in/train/a.jsonl").write_bytes(b"repaired\n")
    for method in ("publish", "delete"):  # the last two things that are done
        with pytest.MonkeyPatch.context() as patch:
            real = getattr(open_storage("/x").__class__, method)

            def dying(self: Any, name: str, *rest: Any, real: Any = real, **options: Any) -> Any:
                if name.startswith("_run/"):
                    raise Killed
                return real(self, name, *rest, **options)

            patch.setattr(open_storage("/x").__class__, method, dying)
            with pytest.raises(Killed):
                run_in(place).open()
    assert opened(run_in(place)).step("write").staged("train/a.jsonl") == set()


def test_skipping_damage_may_be_decided_after_it_was_met_but_not_taken_back(place: Path) -> None:
    run = opened(run_in(place))
    run.step("write").stage("train/a.jsonl", 0, CHUNK)
    run.mark_damaged("train/a.jsonl", "broken")
    lenient = opened(run_in(place, skip_damaged=True))
    assert lenient.step("write").staged("train/a.jsonl") == {0}
    with pytest.raises(RunRefused, match=r"config\.skip_damaged: was true, now false"):
        run_in(place).open()


def test_passes_are_apart(place: Path) -> None:
    run = opened(run_in(place))
    assert isinstance(run.step("x"), Pass)
    run.step("x").stage("train/a.jsonl", 0, CHUNK)
    assert run.step("y").staged("train/a.jsonl") == set()
    assert list(run.step("x").payloads([])) == []
