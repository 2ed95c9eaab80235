"""The journal in a directory: what is put is found by all, and damage costs entries, never answers."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from actors.journal import Entry, Journal
from actors.journal import journal as journal_module
from actors.journal.local_segments import LocalSegments
from actors.journal.segment_writer import SegmentWriter
from cluster.storage import LocalStorage, StorageError

RUN, OTHER = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


def key_of(number: int) -> bytes:
    return number.to_bytes(2, "big") * 8


def record_of(number: int, run: str = RUN) -> bytes:
    return json.dumps({"text": f"answer {number} " * 5, "run": run}).encode()


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(str(tmp_path / "journal"))


async def put_all(journal: Journal, numbers: Iterable[int], run: str = RUN) -> None:
    """One after another, so that each is a commit of its own."""
    for number in numbers:
        await journal.put(key_of(number), record_of(number, run))


def written(storage: LocalStorage, numbers: Iterable[int], run: str = RUN) -> tuple[Path, Path]:
    """The files of a segment with the entries."""
    journal = Journal.open(storage, run)

    async def write() -> None:
        await put_all(journal, numbers, run)
        await journal.close()

    before = set(storage.local_path("segments").glob("*"))
    asyncio.run(write())
    data, index = sorted(set(storage.local_path("segments").glob("*")) - before, key=lambda path: path.suffix != ".zst")
    return data, index


def starts_in(records: bytes) -> list[int]:
    """The offsets in the content of an index."""
    return [int.from_bytes(records[at + 16 : at + 24], "little") for at in range(0, len(records), 32)]


def known(storage: LocalStorage, numbers: Iterable[int] = range(10)) -> list[int]:
    """The numbers whose entries a fresh journal finds; whatever is found must be right."""
    journal = Journal.open(storage, OTHER)
    found = {number: journal.find(key_of(number)) for number in numbers}
    assert all(entry in (None, Entry(record_of(number), RUN)) for number, entry in found.items())
    asyncio.run(journal.close())
    return [number for number, entry in found.items() if entry]


def test_what_was_put_is_found(storage: LocalStorage) -> None:
    async def scenario() -> None:
        journal = Journal.open(storage, RUN)
        assert len(journal) == 0
        assert key_of(1) not in journal
        assert await journal.lookup(key_of(1)) is None
        await asyncio.gather(*(journal.put(key_of(number), record_of(number)) for number in range(300)))
        assert len(journal) == 300
        assert key_of(1) in journal
        assert journal.find(key_of(1)) == await journal.lookup(key_of(1)) == Entry(record_of(1), RUN)
        await journal.close()
        await journal.close()
        with pytest.raises(RuntimeError, match="closed"):
            await journal.put(key_of(1), b"1")

    asyncio.run(scenario())
    assert known(storage, range(301)) == list(range(300))


def test_nothing_is_created_by_reading(storage: LocalStorage) -> None:
    journal = Journal.open(storage, RUN)
    assert journal.find(key_of(1)) is None
    assert list(Journal.records_of(storage, RUN)) == []
    asyncio.run(journal.close())
    assert not storage.local_path().exists()


def test_journals_find_what_the_other_puts(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalSegments, "refresh_seconds", 0.0)
    monkeypatch.setattr(journal_module, "_SHARE", 1)

    async def scenario() -> None:
        one, other = Journal.open(storage, RUN), Journal.open(storage, OTHER)
        for number in range(20):
            await one.put(key_of(number), record_of(number))
            await other.put(key_of(100 + number), record_of(number, OTHER))
            assert await other.lookup(key_of(number)) == Entry(record_of(number), RUN)
            assert await one.lookup(key_of(100 + number)) == Entry(record_of(number, OTHER), OTHER)
        await one.put(key_of(50), record_of(50))
        assert other.find(key_of(50)) is None
        assert (other.refresh(), other.refresh(), one.refresh()) == (1, 0, 0)
        assert other.find(key_of(50)) == Entry(record_of(50), RUN)
        assert len(one) == len(other) == 41
        assert all(len(each._index.candidates(key_of(50))) == 1 for each in (one, other))
        await one.close()
        await other.close()

    asyncio.run(scenario())


def test_misses_look_for_the_entries_of_others_no_more_often_than_allowed(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    news = LocalSegments.news
    monkeypatch.setattr(LocalSegments, "news", lambda self, batches: (looks.append(1), news(self, batches))[1])
    monkeypatch.setattr(LocalSegments, "refresh_seconds", 3600.0)

    async def scenario() -> None:
        journal = Journal.open(storage, RUN)
        for _ in range(20):
            assert await journal.lookup(key_of(1)) is None
        assert len(looks) == 1
        journal._next_refresh = 0.0
        for _ in range(20):
            assert await journal.lookup(key_of(1)) is None
        assert len(looks) == 2

    asyncio.run(scenario())


def test_of_two_answers_all_who_open_find_the_same_and_who_knew_one_keeps_it(storage: LocalStorage) -> None:
    async def scenario() -> None:
        one, other = Journal.open(storage, OTHER), Journal.open(storage, RUN)
        await one.put(key_of(1), record_of(1, OTHER))
        await one.put(key_of(1), record_of(2, OTHER))
        await other.put(key_of(1), record_of(1, RUN))
        assert (one.refresh(), other.refresh()) == (0, 0)
        assert one.find(key_of(1)) == Entry(record_of(1, OTHER), OTHER)
        assert other.find(key_of(1)) == Entry(record_of(1, RUN), RUN)
        assert len(one) == len(other) == 1

    asyncio.run(scenario())
    # The run that wrote first has the greater name.
    assert Journal.open(storage, "c").find(key_of(1)) == Entry(record_of(1, RUN), RUN)
    (first,) = storage.local_path("segments").glob(f"{RUN}-*.zst")
    first.write_bytes(bytes(len(first.read_bytes())))
    assert Journal.open(storage, "c").find(key_of(1)) == Entry(record_of(1, OTHER), OTHER)


def test_the_records_of_a_run_are_those_of_all_its_writers(storage: LocalStorage) -> None:
    _, index = written(storage, [1, 2])
    written(storage, [3])
    written(storage, [4], OTHER)
    index.unlink()
    assert sorted(Journal.records_of(storage, RUN)) == [(key_of(number), record_of(number)) for number in (1, 2, 3)]
    assert list(Journal.records_of(storage, OTHER)) == [(key_of(4), record_of(4, OTHER))]
    assert list(Journal.records_of(storage, "cccc")) == []


def test_an_end_torn_anywhere_costs_no_more_than_the_last_entry(storage: LocalStorage) -> None:
    """Killed at any instant: the data ends anywhere within the last entry, its record is there, torn or missing."""
    data, index = written(storage, [0, 1, 2])
    frames, records = data.read_bytes(), index.read_bytes()
    last = starts_in(records)[-1]
    for end in range(last, len(frames)):
        for of_index in (64, 70, 96):
            data.write_bytes(frames[:end])
            index.write_bytes(records[:of_index])
            assert known(storage) == [0, 1], (end, of_index)
    data.write_bytes(frames)
    for of_index in range(len(records)):
        index.write_bytes(records[:of_index])
        assert known(storage) == [0, 1, 2], of_index
    index.unlink()
    assert known(storage) == [0, 1, 2]


def test_zeros_that_a_power_failure_leaves_are_no_entries(storage: LocalStorage) -> None:
    data, index = written(storage, [0, 1, 2])
    frames, records = data.read_bytes(), index.read_bytes()
    index.write_bytes(records[:64] + bytes(64))
    assert known(storage) == [0, 1, 2]
    data.write_bytes(frames[:-20] + bytes(20))
    assert known(storage) == [0, 1]


def test_a_flipped_byte_costs_the_entry_that_it_is_in(storage: LocalStorage) -> None:
    data, index = written(storage, [0, 1, 2])
    frames, starts = data.read_bytes(), starts_in(index.read_bytes())
    for at in range(len(frames)):
        data.write_bytes(frames[:at] + bytes([frames[at] ^ 0xFF]) + frames[at + 1 :])
        assert known(storage) == [number for number in range(3) if number != bisect_right(starts, at) - 1]


def test_a_flipped_byte_of_the_index_costs_nothing(storage: LocalStorage) -> None:
    _, index = written(storage, [0, 1, 2])
    records = index.read_bytes()
    for at in range(len(records)):
        index.write_bytes(records[:at] + bytes([records[at] ^ 0xFF]) + records[at + 1 :])
        assert known(storage) == [0, 1, 2]


def test_an_index_of_other_data_is_of_no_harm(storage: LocalStorage) -> None:
    _, index = written(storage, [0, 1, 2])
    other, _ = written(storage, [2, 1, 0])
    index.write_bytes(other.with_name(other.name.replace(".jsonl.zst", ".index")).read_bytes())
    other.unlink()
    data_of_index = Journal.open(storage, OTHER)
    assert all(key_of(number) in data_of_index for number in range(3))
    assert set(known(storage)) <= {0, 1, 2}  # `known` looks that none is the answer to another question


def test_what_a_live_writer_has_under_way_is_taken_up_once(storage: LocalStorage) -> None:
    """Seen first when its data is there and its record is not, then with the record, then with more."""
    data, index = written(storage, [0, 1, 2, 3])
    frames, records = data.read_bytes(), index.read_bytes()
    ends = [*starts_in(records), len(frames)]
    data.write_bytes(frames[: ends[2] + 7])
    index.write_bytes(records[:32])
    journal = Journal.open(storage, OTHER)
    assert len(journal) == 2
    data.write_bytes(frames[: ends[3]])
    index.write_bytes(records[: 2 * 32 + 5])
    assert journal.refresh() == 0
    data.write_bytes(frames)
    index.write_bytes(records)
    assert journal.refresh() == 2
    assert all(len(journal._index.candidates(key_of(number))) == 1 for number in range(4))
    assert all(journal.find(key_of(number)) == Entry(record_of(number), RUN) for number in range(4))


def test_foreign_files_are_ignored(storage: LocalStorage) -> None:
    written(storage, [1])
    for name in ("notes.txt", "x.jsonl.zst", ".x-0123456789abcdef.index", f"{RUN}-0123456789abcdef.index.part"):
        storage.local_path(f"segments/{name}").write_bytes(b"x" * 64)
    storage.local_path(f"segments/{RUN}-0123456789abcdef.index").write_bytes(b"x" * 64)
    assert known(storage) == [1]


def test_a_segment_that_went_away_is_a_miss(storage: LocalStorage) -> None:
    data, index = written(storage, [1])
    journal = Journal.open(storage, OTHER)
    data.unlink()
    index.unlink()
    assert key_of(1) in journal
    assert journal.find(key_of(1)) is None
    assert journal.refresh() == 0


def test_more_segments_than_files_may_be_open(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.journal.local_segments._OPEN_FILES", 3)
    for number in range(10):
        written(storage, [number])
    journal = Journal.open(storage, OTHER)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert all(journal.find(key_of(number)) for number in range(10))
    assert len(os.listdir("/proc/self/fd")) <= before + 3
    asyncio.run(journal.close())
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(
    ("key", "record"), [(b"short", b"1"), (bytes(17), b"1"), (bytes(16), b""), (bytes(16), b"{\n}")]
)
def test_what_is_no_entry_is_refused(storage: LocalStorage, key: bytes, record: bytes) -> None:
    with pytest.raises(ValueError, match="one line of JSON"):
        asyncio.run(Journal.open(storage, RUN).put(key, record))


def test_a_run_needs_a_name_that_can_be_told_from_a_writers(storage: LocalStorage) -> None:
    for run in ("", "a-b", "a/b", "../x"):
        with pytest.raises(ValueError, match="letters and digits"):
            Journal.open(storage, run)


class HeldSync:
    """os.fdatasync that waits to be let through, and says in which order what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.calls: list[tuple[str, str]] = []
        sync, write = os.fdatasync, os.write
        monkeypatch.setattr(os, "fdatasync", lambda file: (self._wait("sync", file), sync(file))[1])
        monkeypatch.setattr(os, "write", lambda file, data: (self._note("write", file), write(file, data))[1])

    def _note(self, call: str, file: int) -> None:
        name = os.readlink(f"/proc/self/fd/{file}")
        if "-" in name and name.endswith((".zst", ".index")):
            self.calls.append((call, name.rpartition(".")[2]))

    def _wait(self, call: str, file: int) -> None:
        self._note(call, file)
        self.asked.release()
        assert self.go.acquire(timeout=10)


def test_a_put_returns_after_the_sync_and_what_came_meanwhile_goes_together(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = HeldSync(monkeypatch)

    async def scenario() -> None:
        journal = Journal.open(storage, RUN)
        first = asyncio.create_task(journal.put(key_of(0), record_of(0)))
        assert await asyncio.to_thread(held.asked.acquire, True, 10)
        others = [asyncio.create_task(journal.put(key_of(number), record_of(number))) for number in range(1, 50)]
        await asyncio.sleep(0.01)  # the loop is not blocked
        assert not first.done()
        assert key_of(0) not in journal
        held.go.release(4)
        await first
        await asyncio.gather(*others)
        assert len(journal) == 50
        await journal.close()

    asyncio.run(scenario())
    one = [("write", "zst"), ("write", "index"), ("sync", "zst"), ("sync", "index")]
    assert held.calls == 2 * one


def test_who_stops_waiting_stops_nobody_elses_put(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    held = HeldSync(monkeypatch)

    async def scenario() -> None:
        journal = Journal.open(storage, RUN)
        tasks = [asyncio.create_task(journal.put(key_of(number), record_of(number))) for number in range(3)]
        assert await asyncio.to_thread(held.asked.acquire, True, 10)
        tasks[1].cancel()
        held.go.release(2)
        assert [type(each) for each in await asyncio.gather(*tasks, return_exceptions=True)] == [
            type(None),
            asyncio.CancelledError,
            type(None),
        ]
        await journal.close()

    asyncio.run(scenario())
    assert known(storage) == [0, 1, 2]


def test_closing_waits_for_what_was_put(storage: LocalStorage) -> None:
    async def scenario() -> None:
        journal = Journal.open(storage, RUN)
        puts = [asyncio.create_task(journal.put(key_of(number), record_of(number))) for number in range(10)]
        await asyncio.sleep(0)
        await journal.close()
        assert all(each.done() for each in puts)

    asyncio.run(scenario())
    assert known(storage) == list(range(10))


def failing_writes(room: int) -> Callable[[int, Any], int]:
    """os.write on a disk with room for so many bytes: short at first, then an error."""
    write = os.write
    left = [room]

    def limited(file: int, data: Any) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(file, bytes(data[: left[0]]))
        left[0] -= done
        return done

    return limited


@pytest.mark.parametrize("room", [0, 1, 100, 400, 5000])
def test_a_full_disk_is_told_to_all_who_wait_and_the_next_put_begins_anew(
    storage: LocalStorage, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        journal = Journal.open(storage, RUN)
        await put_all(journal, [0])
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", failing_writes(room))
            puts = [journal.put(key_of(number), record_of(number)) for number in range(1, 200)]
            errors = await asyncio.gather(*puts, return_exceptions=True)
        assert {type(error) for error in errors} == {StorageError}
        assert "no space left on" in str(errors[0])
        assert "\n" not in str(errors[0])
        assert journal.find(key_of(1)) is None
        await put_all(journal, range(200, 203))
        assert [number for number in range(203) if journal.find(key_of(number))] == [0, 200, 201, 202]
        await journal.close()

    asyncio.run(scenario())
    # What reached the disk of the failed commit may be found: it is whole, or it is not there.
    assert {0, 200, 201, 202} <= set(known(storage, range(203)))


def test_short_writes_are_completed(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data[:7])))
    written(storage, range(5))
    assert known(storage) == list(range(5))


def test_a_failed_sync_is_a_failed_put(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def scenario() -> None:
        journal = Journal.open(storage, RUN)
        await put_all(journal, [0])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing)
            with pytest.raises(StorageError, match=r"cannot write .*segments/.*zst: .*check the disk"):
                await journal.put(key_of(1), record_of(1))
        assert journal.find(key_of(1)) is None
        await put_all(journal, [2])

    asyncio.run(scenario())
    # After a failed sync nobody knows what of a file is on the disk, so it is never appended to again.
    assert len(list(storage.local_path("segments").glob("*.zst"))) == 2


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b"")
    with pytest.raises(StorageError, match=f"cannot write {tmp_path}/journal/.*a file stands where"):
        asyncio.run(Journal.open(LocalStorage(str(tmp_path / "journal")), RUN).put(key_of(1), b"1"))


def test_files_are_let_go_of_after_a_failure(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        journal = Journal.open(storage, RUN)
        await put_all(journal, [0])
        before = len(os.listdir("/proc/self/fd"))
        publish = LocalStorage.publish

        def failing(self: LocalStorage, name: str, data: Any, durable: bool = True) -> None:
            if name.endswith(".index"):
                raise StorageError("no")
            publish(self, name, data, durable)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", lambda file: 1 / 0)
            patch.setattr(LocalStorage, "publish", failing)
            for _ in range(5):
                with pytest.raises((ZeroDivisionError, StorageError)):
                    await journal.put(key_of(1), b"1")
        assert len(os.listdir("/proc/self/fd")) <= before

    asyncio.run(scenario())


def test_a_writer_is_never_appended_to_by_another(storage: LocalStorage) -> None:
    folder = storage.child("segments")
    writer = SegmentWriter(folder, f"{RUN}-0123456789abcdef")
    writer.append([(key_of(1), record_of(1))])
    names = {written(storage, [number])[0].name for number in range(2, 5)}
    assert len(names) == 3
    assert known(storage) == [1, 2, 3, 4]
