"""Processes that share a journal, and processes that are killed: what was acknowledged is there."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actors.journal import Entry, Journal
from cluster.storage import LocalStorage, Storage, open_storage

ROOT = Path(__file__).resolve().parents[3]

# Puts entries from many tasks at once, and says the key of each after its put returned.
WRITER = """
import asyncio, os, sys
from actors.journal import Journal
from cluster.storage import open_storage
url, endpoint, run, first, count = sys.argv[1], sys.argv[2] or None, sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
async def main():
    journal = Journal.open(open_storage(url, endpoint), run)
    async def putter(start):
        for number in range(first + start, first + count, 20):
            key = number.to_bytes(8, "big") * 2
            await journal.put(key, b'{"run":"%b","number":%d,"text":"%b"}' % (run.encode(), number, b"x" * (number % 97)))
            os.write(1, key.hex().encode() + b"\\n")
    await asyncio.gather(*(putter(start) for start in range(20)))
    await journal.close()
asyncio.run(main())
"""


def start(storage: Storage, endpoint: str, run: str, first: int, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, storage.url, endpoint, run, str(first), str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


def expected(key: bytes, run: str) -> Entry:
    number = int.from_bytes(key[:8], "big")
    text = b"x" * (number % 97)
    return Entry(b'{"run":"%b","number":%d,"text":"%b"}' % (run.encode(), number, text), run)


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path / "journal"))
    acknowledged: dict[bytes, str] = {}
    for turn in range(5):
        run = f"run{turn}"
        with start(storage, "", run, turn * 10**7, 10**7) as child:
            assert child.stdout
            lines = [child.stdout.readline() for _ in range(20 + 300 * turn)]
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.readlines()
        acknowledged |= {bytes.fromhex(line.decode()): run for line in lines if line.endswith(b"\n")}
    journal = Journal.open(storage, "reader")
    assert len(acknowledged) > 1000
    assert all(journal.find(key) == expected(key, run) for key, run in acknowledged.items())
    assert dict(Journal.records_of(storage, "run4")).keys() >= {k for k, run in acknowledged.items() if run == "run4"}


def check_two_at_once(storage: Storage, endpoint: str, count: int) -> None:
    watcher = Journal.open(storage, "watcher")
    writers = [start(storage, endpoint, run, first, count) for run, first in (("one", 0), ("two", count // 2))]
    outputs = []
    for writer in writers:
        outputs.append(writer.communicate(timeout=120)[0])
        assert writer.returncode == 0
        watcher.refresh()
    assert [len(output.splitlines()) for output in outputs] == [count, count]
    opened = Journal.open(storage, "other")
    assert len(opened) == len(watcher) == count + count // 2
    for number in range(count + count // 2):
        key = number.to_bytes(8, "big") * 2
        both = [expected(key, "one")] * (number < count) + [expected(key, "two")] * (number >= count // 2)
        if number % 37 == 0 or storage.is_local:
            assert opened.find(key) == both[0]  # of two answers that of the smaller name
            assert watcher.find(key) in both
    for run in ("one", "two"):
        assert len(list(Journal.records_of(storage, run))) == count
    asyncio.run(watcher.close())
    asyncio.run(opened.close())


def test_two_processes_write_into_one_directory(tmp_path: Path) -> None:
    check_two_at_once(LocalStorage(str(tmp_path / "journal")), "", 2000)


def test_two_processes_write_under_one_prefix(s3_server: str, s3_bucket: str) -> None:
    pytest.importorskip("boto3")
    check_two_at_once(open_storage(f"s3://{s3_bucket}/journal", s3_server), s3_server, 60)


# A limit on the size of files stands for a full disk: the kernel refuses, not a patched function.
LIMITED = """
import asyncio, resource, sys
from actors.journal import Journal
from cluster.storage import StorageError, open_storage
async def main():
    journal = Journal.open(open_storage(sys.argv[1]), "limited")
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
    puts = [journal.put(n.to_bytes(8, "big") * 2, b'"%b"' % bytes(97 + n * i % 26 for i in range(300))) for n in range(100)]
    errors = await asyncio.gather(*puts, return_exceptions=True)
    assert {type(error) for error in errors} == {StorageError}, errors[0]
    assert "cannot write" in str(errors[0]) and "\\n" not in str(errors[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await journal.put(b"k" * 16, b"1")
    assert journal.find(b"k" * 16).record == b"1"
asyncio.run(main())
"""


def test_a_write_that_the_kernel_refuses_is_told(tmp_path: Path) -> None:
    place = str(tmp_path / "journal")
    subprocess.run([sys.executable, "-c", LIMITED, place], cwd=ROOT, check=True, timeout=60)
    assert Journal.open(LocalStorage(place), "reader").find(b"k" * 16) == Entry(b"1", "limited")
