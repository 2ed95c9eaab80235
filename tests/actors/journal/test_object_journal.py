"""The journal on an object store: one object per commit, and whatever is no pack is ignored."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow
import pytest

pytest.importorskip("boto3")

from actors.journal import Entry, Journal, group_commit, pack
from actors.journal import journal as journal_module
from actors.journal.object_segments import ObjectSegments
from actors.journal.pack import make_pack, records_of_pack
from cluster.storage import Storage, StorageError, open_storage
from cluster.storage.s3 import S3Storage

RUN, OTHER = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


def key_of(number: int) -> bytes:
    return number.to_bytes(2, "big") * 8


def record_of(number: int) -> bytes:
    return b'{"text":"answer %d"}' % number


@pytest.fixture
def storage(s3_server: str, s3_bucket: str) -> Storage:
    return open_storage(f"s3://{s3_bucket}/journal", s3_server)


async def put_all(journal: Journal, numbers: Iterable[int]) -> None:
    await asyncio.gather(*(journal.put(key_of(number), record_of(number)) for number in numbers))


def written(storage: Storage, numbers: Iterable[int], run: str = RUN) -> list[str]:
    async def write() -> None:
        journal = Journal.open(storage, run)
        await put_all(journal, numbers)
        await journal.close()

    before = names(storage)
    asyncio.run(write())
    return [name for name in names(storage) if name not in before]


def names(storage: Storage) -> list[str]:
    return [entry.name for entry in storage.list()]


def known(storage: Storage, numbers: Iterable[int] = range(6)) -> list[int]:
    journal = Journal.open(storage, OTHER)
    found = {number: journal.find(key_of(number)) for number in numbers}
    assert all(entry in (None, Entry(record_of(number), RUN)) for number, entry in found.items())
    return [number for number, entry in found.items() if entry]


def reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda start, length: data[start : start + length]


@pytest.mark.parametrize("end", [40, 100, 1 << 16])
def test_a_pack_tells_its_records_by_its_end(end: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "_END", end)
    data, records = make_pack([(key_of(number), record_of(number)) for number in range(5)])
    found = records_of_pack(len(data), reader(data))
    assert found is not None
    assert found.tolist() == records.tolist()


def test_a_pack_reads_as_json_lines() -> None:
    entries = [(key_of(number), record_of(number)) for number in range(5)]
    data = make_pack(entries)[0] + make_pack(entries)[0]
    lines = pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd").read().splitlines()
    assert lines == 2 * [b'{"key":"%b","record":%b}' % (key.hex().encode(), record) for key, record in entries]


def test_whatever_is_no_whole_pack_has_no_records(monkeypatch: pytest.MonkeyPatch) -> None:
    data, records = make_pack([(key_of(number), record_of(number)) for number in range(3)])
    assert records_of_pack(200, reader(bytes(200))) is None
    for length in range(len(data)):
        assert records_of_pack(length, reader(data[:length])) is None
    for end in (1 << 16, 40):
        monkeypatch.setattr(pack, "_END", end)
        for at in range(int(records["length"].sum()) + 8, len(data)):
            damaged = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
            assert records_of_pack(len(data), reader(damaged)) is None, at


def test_what_was_put_is_found_by_all(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ObjectSegments, "refresh_seconds", 0.0)
    monkeypatch.setattr(journal_module, "_SHARE", 1)
    monkeypatch.setattr(ObjectSegments, "commit_seconds", 0.0)

    async def scenario() -> None:
        one, other = Journal.open(storage, RUN), Journal.open(storage, OTHER)
        await put_all(one, range(5))
        assert one.find(key_of(1)) == Entry(record_of(1), RUN)
        assert other.find(key_of(1)) is None
        assert await other.lookup(key_of(1)) == Entry(record_of(1), RUN)
        await put_all(other, [7])
        assert await one.lookup(key_of(7)) == Entry(record_of(7), OTHER)
        assert await one.lookup(key_of(8)) is None
        assert (one.refresh(), other.refresh()) == (0, 0)
        assert len(one) == len(other) == 6
        await one.close()
        await other.close()

    asyncio.run(scenario())
    assert known(storage) == list(range(5))
    assert sorted(Journal.records_of(storage, RUN)) == [(key_of(number), record_of(number)) for number in range(5)]
    assert list(Journal.records_of(storage, OTHER)) == [(key_of(7), record_of(7))]


def test_puts_at_once_are_one_object(storage: Storage) -> None:
    (name,) = written(storage, range(200))
    assert name.startswith(f"packs/{RUN}-")
    assert name.endswith("/00000000.jsonl.zst")


def test_torn_and_foreign_objects_are_ignored(storage: Storage) -> None:
    (name,) = written(storage, [1])
    (torn,) = written(storage, [2])
    data = storage.read(torn)
    storage.publish(torn, data[:-1])
    storage.publish("packs/notes.txt", b"x")
    storage.publish(name.replace("00000000", "00000001"), b"x" * 500)
    storage.publish("packs/nobody/00000000.jsonl.zst", data)
    assert known(storage) == [1]
    damaged = bytearray(storage.read(name))
    damaged[20] ^= 0xFF
    storage.publish(name, bytes(damaged))
    assert known(storage) == []


def test_an_object_that_went_away_is_a_miss(storage: Storage) -> None:
    (name,) = written(storage, [1])
    journal = Journal.open(storage, OTHER)
    storage.delete(name)
    assert journal.find(key_of(1)) is None


class HeldPublish:
    """publish that waits to be let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.go = threading.Semaphore(0), threading.Semaphore(0)
        publish = S3Storage.publish

        def held(storage: S3Storage, name: str, data: Any, durable: bool = True) -> None:
            self.asked.release()
            assert self.go.acquire(timeout=10)
            publish(storage, name, data, durable)

        monkeypatch.setattr(S3Storage, "publish", held)


def test_a_put_returns_when_its_object_is_there(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    held = HeldPublish(monkeypatch)
    monkeypatch.setattr(ObjectSegments, "commit_seconds", 0.0)

    async def scenario() -> None:
        journal = Journal.open(storage, RUN)
        first = asyncio.create_task(put_all(journal, [0]))
        assert await asyncio.to_thread(held.asked.acquire, True, 10)
        others = asyncio.create_task(put_all(journal, range(1, 50)))
        await asyncio.sleep(0.01)
        assert not first.done()
        assert journal.refresh() == 0
        assert len(journal) == 0
        held.go.release(2)
        await asyncio.gather(first, others)
        assert len(journal) == 50

    asyncio.run(scenario())
    assert len(names(storage)) == 2


def test_a_look_at_the_store_during_a_commit_takes_nothing_up_twice(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = S3Storage.publish
    journal = Journal.open(storage, RUN)

    def looked_at(self: S3Storage, name: str, data: Any, durable: bool = True) -> None:
        publish(self, name, data, durable)
        assert journal.refresh() == 0

    monkeypatch.setattr(S3Storage, "publish", looked_at)
    asyncio.run(put_all(journal, [1]))
    assert len(journal._index.candidates(key_of(1))) == 1


def test_the_first_put_goes_at_once_and_the_next_wait_for_company(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ObjectSegments, "commit_seconds", 3600.0)
    monkeypatch.setattr(group_commit, "_URGENT", 10_000)

    async def scenario() -> None:
        journal = Journal.open(storage, RUN)
        await put_all(journal, [0])
        waiting = [asyncio.create_task(journal.put(key_of(number), record_of(number))) for number in range(1, 5)]
        await asyncio.sleep(0.05)
        assert not any(each.done() for each in waiting)
        await journal.put(key_of(5), b'"%b"' % (b"x" * 10_000))  # enough to be worth a commit
        assert all(each.done() for each in waiting)
        last = asyncio.create_task(put_all(journal, [6]))
        await asyncio.sleep(0.05)
        assert not last.done()
        await journal.close()
        await last

    asyncio.run(scenario())
    assert len(names(storage)) == 3
    assert known(storage, [0, 1, 2, 3, 4, 6]) == [0, 1, 2, 3, 4, 6]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_failed_write_is_told_to_all_and_never_overwritten(
    storage: Storage, is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ObjectSegments, "commit_seconds", 0.0)
    publish = S3Storage.publish

    def failing(self: S3Storage, name: str, data: Any, durable: bool = True) -> None:
        if is_there:
            publish(self, name, data, durable)
        raise StorageError("the connection kept failing")

    async def scenario() -> None:
        journal = Journal.open(storage, RUN)
        with monkeypatch.context() as patch:
            patch.setattr(S3Storage, "publish", failing)
            puts = [journal.put(key_of(number), record_of(number)) for number in range(3)]
            errors = await asyncio.gather(*puts, return_exceptions=True)
        assert {type(error) for error in errors} == {StorageError}
        assert journal.find(key_of(0)) is None
        await put_all(journal, [5])
        assert journal.refresh() == 3 * is_there
        assert (journal.find(key_of(0)) is not None) == is_there

    asyncio.run(scenario())
    assert known(storage) == [0, 1, 2, 5] if is_there else [5]


def test_lookups_at_once_share_one_look_at_the_store(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    news = ObjectSegments.news

    def slow(self: ObjectSegments, batches: Any) -> None:
        looks.append(threading.get_ident())
        time.sleep(0.1)
        news(self, batches)

    monkeypatch.setattr(ObjectSegments, "news", slow)
    written(storage, [1])

    async def scenario() -> None:
        journal = Journal.open(storage, OTHER)
        written_later = await asyncio.to_thread(written, storage, [2])
        assert len(written_later) == 1
        looks.clear()
        journal._next_refresh = 0.0
        found = await asyncio.gather(*(journal.lookup(key_of(2)) for _ in range(30)))
        assert set(found) == {Entry(record_of(2), RUN)}
        assert await journal.lookup(key_of(3)) is None
        assert len(looks) == 1
        assert looks[0] != threading.get_ident()

    asyncio.run(scenario())


def test_an_error_while_looking_loses_nothing(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(storage, OTHER)
    written(storage, range(3))
    written(storage, range(3, 6))
    read_range = S3Storage.read_range
    calls: list[str] = []

    def failing(self: S3Storage, name: str, start: int, length: int) -> bytes:
        calls.append(name)
        if name == max(calls) and len(calls) > 1:
            raise StorageError("the connection kept failing")
        return read_range(self, name, start, length)

    with monkeypatch.context() as patch:
        patch.setattr(S3Storage, "read_range", failing)
        patch.setattr("actors.journal.object_segments._READERS", 1)
        with pytest.raises(StorageError):
            journal.refresh()
    journal.refresh()
    assert len(journal) == 6
    assert all(journal.find(key_of(number)) for number in range(6))
