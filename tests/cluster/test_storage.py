"""What every storage promises, on a local directory and on an S3 server alike."""

from __future__ import annotations

import io
import itertools
import os
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.storage import Entry, LocalStorage, Storage, StorageError, open_parent, open_storage
from cluster.storage.interface import blocks, printable

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
ODD_NAMES = [
    "plain.jsonl.zst",
    "two words .jsonl",
    "100%25+1&2=3?.jsonl",
    "#hash;semi:colon.jsonl",
    "ünïcødé/日本語/😀.jsonl",
    "quote'\"<>|\\*[a]{b}.jsonl",
    ".hidden/.file",
    "~tilde/-dash",
    "a.b/c",
    "a/b",
    "a!b/c",
    "a0",
]


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return open_storage(str(tmp_path / "odd %20 #dir\né"))
    endpoint = request.getfixturevalue("s3_server")
    return open_storage(f"s3://{request.getfixturevalue('s3_bucket')}/some/odd %20 #prefix é", endpoint)


def names(storage: Storage, prefix: str = "") -> list[str]:
    return [entry.name for entry in storage.list(prefix)]


def in_process(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def where(storage: Storage) -> list[str]:
    return [storage.url, getattr(storage, "endpoint_url", None) or ""]


def test_what_is_published_is_read_back_whole_and_in_ranges(storage: Storage) -> None:
    content = random.Random(0).randbytes(3 * MIB + 17)
    storage.publish("train/deep/er/shard.bin", content)
    assert storage.read("train/deep/er/shard.bin") == content
    assert storage.size("train/deep/er/shard.bin") == len(content)
    assert storage.read_range("train/deep/er/shard.bin", 1000, 2 * MIB) == content[1000 : 1000 + 2 * MIB]
    assert storage.read_range("train/deep/er/shard.bin", len(content) - 5, 100) == content[-5:]
    assert storage.read_range("train/deep/er/shard.bin", len(content), 100) == b""
    assert storage.read_range("train/deep/er/shard.bin", len(content) + 9, 100) == b""
    assert storage.read_range("train/deep/er/shard.bin", 7, 0) == b""
    with storage.open("train/deep/er/shard.bin") as stream:
        pieces = [stream.read(11), stream.read(MIB + 3), stream.readline(), stream.read()]
    assert b"".join(pieces) == content


def test_an_empty_object_is_an_object(storage: Storage) -> None:
    storage.publish("empty", b"")
    storage.publish("empty too", iter(()))
    assert storage.exists("empty")
    assert storage.read("empty") == storage.read("empty too") == b""
    assert storage.read_range("empty", 0, 10) == b""
    with storage.open("empty") as stream:
        assert stream.read(10) == b""
    assert [entry.size for entry in storage.list()] == [0, 0]


@pytest.mark.parametrize("pieces", [[b"a"] * 1000, [b"x" * 9 * MIB, b"", b"y" * 9 * MIB, b"z" * 17 * MIB, b"!"]])
def test_an_iterable_is_published_in_order_whatever_its_pieces(storage: Storage, pieces: list[bytes]) -> None:
    storage.publish("object", iter(pieces))
    assert storage.read("object") == b"".join(pieces)


def test_publishing_replaces_the_whole_object_and_changes_its_version(storage: Storage) -> None:
    storage.publish("object", b"long old content")
    (before,) = storage.list()
    storage.publish("object", [b"new"], durable=False)
    (after,) = storage.list()
    assert storage.read("object") == b"new"
    assert (after.name, after.size) == ("object", 3)
    assert before.version != after.version


def test_a_stream_opened_before_a_replacement_never_mixes_old_and_new(storage: Storage) -> None:
    old, new = b"o" * 3 * MIB, b"n" * 3 * MIB
    storage.publish("object", old)
    with storage.open("object") as stream:
        head = stream.read(10)
        storage.publish("object", new)
        assert head + stream.read() == old
    assert storage.read("object") == new


@pytest.mark.parametrize("size", [10, 40 * MIB])
def test_an_error_of_the_iterable_passes_through_and_publishes_nothing(storage: Storage, size: int) -> None:
    def failing() -> Iterator[bytes]:
        for _ in range(0, size, 10 * MIB):
            yield bytes(min(size, 10 * MIB))
        raise FileNotFoundError(2, "the input is gone", "input.jsonl")

    storage.publish("object", b"old")
    with pytest.raises(FileNotFoundError, match=r"the input is gone: 'input\.jsonl'"):
        storage.publish("object", failing())
    with pytest.raises(FileNotFoundError, match="the input is gone"):
        storage.publish("other", failing())
    assert names(storage) == ["object"]
    assert storage.read("object") == b"old"
    if isinstance(storage, LocalStorage):
        assert os.listdir(storage.root) == ["object"]


def test_publishing_once_creates_and_never_replaces(storage: Storage) -> None:
    assert storage.publish_once("deep/claim", b"first")
    assert not storage.publish_once("deep/claim", b"second")
    assert storage.read("deep/claim") == b"first"
    storage.delete("deep/claim")
    assert storage.publish_once("deep/claim", b"third")


RACER = """
import sys, time
from cluster.storage import open_storage
storage = open_storage(sys.argv[1], sys.argv[2] or None)
storage.exists("warm up")
print("ready", flush=True)
start, rounds, pause = float(sys.stdin.readline()), int(sys.argv[4]), float(sys.argv[5])
wins = []
for each in range(rounds):
    while time.time() < start + each * pause:
        pass
    wins.append(int(storage.publish_once(f"claim-{each}", sys.argv[3].encode() * 1000)))
print(*wins)
"""


def test_of_two_processes_racing_to_create_exactly_one_wins(storage: Storage) -> None:
    rounds, pause = (300, 0.002) if storage.is_local else (30, 0.02)
    racers = [in_process(RACER, *where(storage), each, str(rounds), str(pause)) for each in "ab"]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    start = str(time.time() + 0.1)
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(start + "\n")
        racer.stdin.flush()
    wins = [[int(each) for each in racer.communicate(timeout=60)[0].split()] for racer in racers]
    assert [first + second for first, second in zip(*wins, strict=True)] == [1] * rounds
    for number, first in enumerate(wins[0]):
        assert storage.read(f"claim-{number}") == (b"a" if first else b"b") * 1000


WRITER = """
import sys
from cluster.storage import open_storage
storage = open_storage(sys.argv[1], sys.argv[2] or None)
pieces = {each: each * (1 << 20) for each in (b"a", b"b")}
storage.exists("warm up")
print("ready", flush=True)
while True:
    for letter in (b"a", b"b"):
        storage.publish("object", (pieces[letter] for _ in range(int(sys.argv[3]))), durable=False)
        storage.publish_once("once", pieces[letter])
        storage.delete("once")
"""


def test_a_writer_killed_at_any_moment_leaves_no_part_of_an_object(storage: Storage) -> None:
    mebibytes, kills, longest = (8, 16, 0.05) if storage.is_local else (20, 4, 1.0)
    chance = random.Random(1)
    for _ in range(kills):
        writer = in_process(WRITER, *where(storage), str(mebibytes))
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(chance.uniform(0.0, longest))
        writer.kill()
        writer.communicate()
        assert set(names(storage)) <= {"object", "once"}
        for name in names(storage):
            content = storage.read(name)
            assert content == content[:1] * MIB * (mebibytes if name == "object" else 1)
    storage.sweep()
    if isinstance(storage, LocalStorage):
        assert set(os.listdir(storage.root)) <= {"object", "once"}


STUCK_WRITER = """
import sys, time
from cluster.storage import open_storage
storage = open_storage(sys.argv[1], sys.argv[2] or None)
def pieces():
    for _ in range(3):
        yield b"new" * (10 << 20)
    print("half way", flush=True)
    time.sleep(60)
storage.publish("object", pieces())
"""


def test_a_writer_killed_half_way_leaves_the_old_object_and_a_leftover_that_is_swept(storage: Storage) -> None:
    storage.publish("object", b"old")
    writer = in_process(STUCK_WRITER, *where(storage))
    assert writer.stdout is not None
    assert writer.stdout.readline() == "half way\n"
    assert [(entry.name, entry.size) for entry in storage.list()] == [("object", 3)]
    storage.sweep()
    if isinstance(storage, LocalStorage):
        assert len(os.listdir(storage.root)) == 2
    writer.kill()
    writer.communicate()
    assert storage.read("object") == b"old"
    assert names(storage) == ["object"]
    storage.sweep()
    if isinstance(storage, LocalStorage):
        assert os.listdir(storage.root) == ["object"]


def test_listings_are_recursive_and_in_bytewise_order_of_the_whole_name(storage: Storage) -> None:
    for name in reversed(ODD_NAMES):
        storage.publish(name, name.encode(), durable=False)
    assert names(storage) == sorted(ODD_NAMES, key=str.encode)
    assert all(storage.read(name) == name.encode() for name in ODD_NAMES)
    assert all(entry.size == len(entry.name.encode()) and entry.version for entry in storage.list())


def test_a_prefix_is_a_folder_and_names_stay_relative_to_the_storage(storage: Storage) -> None:
    for name in ("train/a", "train/b/c", "train2/d", "train.txt", "test/e"):
        storage.publish(name, b"")
    assert names(storage, "train") == names(storage, "train/") == ["train/a", "train/b/c"]
    assert names(storage, "train/b") == ["train/b/c"]
    assert names(storage, "train/a") == []
    assert names(storage, "absent") == []
    assert names(storage.child("train")) == names(storage.child("train/")) == ["a", "b/c"]
    assert storage.child("train").url == storage.url + "/train"
    assert names(storage.child("absent")) == []
    assert storage.child("") == storage


def test_listings_leave_out_what_is_being_written(storage: Storage) -> None:
    def watching() -> Iterator[bytes]:
        yield b"x" * 20 * MIB
        assert names(storage) == []
        assert not storage.exists("object")
        yield b"y"

    storage.publish("object", watching())
    assert names(storage) == ["object"]


@pytest.mark.parametrize("call", ["open", "read", "size"])
def test_a_missing_object_is_named_with_its_full_place(storage: Storage, call: str, tmp_path: Path) -> None:
    storage.publish("folder/object", b"")
    for name in ("absent", "folder", "folder/object/below"):
        with pytest.raises(FileNotFoundError) as caught:
            getattr(storage, call)(name)
        assert caught.value.filename == f"{storage.url}/{name}"
        assert not storage.exists(name)
    with pytest.raises(FileNotFoundError):
        storage.read_range("absent", 0, 1)
    with pytest.raises(FileNotFoundError):
        storage.fetch("absent", tmp_path / "unused")
    assert not (tmp_path / "unused").exists()
    with pytest.raises(FileNotFoundError), storage.localize("absent"):
        pass


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../other", "a/../../b", "a//b", "./a", "a/", "nul\0", "\udcff"])
def test_names_that_could_leave_the_storage_are_refused(storage: Storage, name: str) -> None:
    for call in (storage.open, storage.exists, storage.delete, storage.size):
        with pytest.raises(StorageError, match="no relative name"):
            call(name)
    with pytest.raises(StorageError, match="no relative name"):
        storage.publish(name, b"")
    with pytest.raises(StorageError, match="no relative name"):
        storage.publish_once(name, b"")


def test_deleting_what_is_not_there_is_fine(storage: Storage) -> None:
    storage.publish("a/b", b"")
    storage.delete("a/b")
    storage.delete("a/b")
    storage.delete("never/there")
    storage.delete_tree("never")
    assert names(storage) == []


def test_deleting_a_tree_leaves_its_neighbours(storage: Storage) -> None:
    for name in ("tree/a", "tree/b/c", "tree2/d", "tree.txt", "tre"):
        storage.publish(name, b"")
    storage.delete_tree("tree")
    assert names(storage) == ["tre", "tree.txt", "tree2/d"]
    storage.delete_tree("")
    assert names(storage) == []


def test_a_file_travels_there_and_back(storage: Storage, tmp_path: Path) -> None:
    content = random.Random(2).randbytes(33 * MIB)
    (tmp_path / "source").write_bytes(content)
    storage.publish_file("models/weights", tmp_path / "source")
    storage.fetch("models/weights", tmp_path / "new" / "folder" / "copy")
    assert (tmp_path / "new/folder/copy").read_bytes() == content
    assert os.listdir(tmp_path / "new/folder") == ["copy"]
    with pytest.raises(FileNotFoundError):
        storage.fetch("absent", tmp_path / "new" / "folder" / "copy")
    assert (tmp_path / "new/folder/copy").read_bytes() == content


def model(directory: Path, version: str) -> Path:
    for name in ("z/weights.bin", "card.json", "a.txt", "sub/card.json"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(version)
    return directory


def test_a_tree_travels_there_and_back_with_its_marker_last(storage: Storage, tmp_path: Path) -> None:
    directory = model(tmp_path / "model", "one")
    storage.publish_tree("models/m", directory)
    assert names(storage) == [
        "models/m/a.txt",
        "models/m/card.json",
        "models/m/sub/card.json",
        "models/m/z/weights.bin",
    ]
    with storage.localize("models/m") as copy:
        assert copy.name == "m"
        assert sorted(each.relative_to(copy).as_posix() for each in copy.rglob("*") if each.is_file()) == [
            "a.txt",
            "card.json",
            "sub/card.json",
            "z/weights.bin",
        ]
    assert copy.exists() == storage.is_local
    with storage.child("models").localize() as tree, storage.localize("models/m/a.txt") as file:
        assert (tree / "m" / "a.txt").read_text() == file.read_text() == "one"


def test_a_tree_that_is_replaced_has_no_marker_until_it_is_whole(storage: Storage, tmp_path: Path) -> None:
    directory = model(tmp_path / "model", "one")
    storage.publish_tree("m", directory)
    model(directory, "two")
    (directory / "zz-link").symlink_to("leads nowhere")
    with pytest.raises(StorageError, match="leads nowhere"):
        storage.publish_tree("m", directory)
    assert storage.exists("m/card.json")
    (directory / "zz-link").unlink()
    (directory / "zz").write_text("")
    published: list[str] = []

    class Watched(type(storage)):  # type: ignore[misc]
        def publish_file(self, name: str, path: Path) -> None:
            published.append(name)
            assert not storage.exists("m/card.json")
            super().publish_file(name, path)

    Watched(**vars(storage)).publish_tree("m", directory)
    assert published == ["a.txt", "sub/card.json", "z/weights.bin", "zz", "card.json"]
    assert storage.read("m/card.json") == b"two"
    with pytest.raises(StorageError, match="holds no files"):
        storage.publish_tree("m", tmp_path / "absent")


def test_a_writable_place_passes_the_check_and_shows_no_trace_of_it(storage: Storage) -> None:
    storage.check_writable()
    assert names(storage) == []
    if isinstance(storage, LocalStorage):
        assert os.listdir(storage.root) == []


def test_a_storage_survives_pickling_without_its_client_or_secrets(storage: Storage) -> None:
    storage.publish("object", b"content")
    frozen = pickle.dumps(storage)
    assert b"secret-that-must-not-show" not in frozen
    assert b"AKIDTESTTESTTEST" not in frozen
    assert len(frozen) < 500
    thawed = pickle.loads(frozen)
    assert thawed == storage
    assert hash(thawed) == hash(storage)
    assert thawed.read("object") == b"content"
    assert "secret-that-must-not-show" not in repr(storage)
    assert pickle.loads(pickle.dumps(StorageError("said"))).args == ("said",)


def test_its_own_url_opens_the_same_storage(storage: Storage) -> None:
    assert open_storage(storage.url, getattr(storage, "endpoint_url", None)) == storage


@pytest.mark.parametrize(
    ("url", "opened"),
    [
        ("/data/corpus", "/data/corpus"),
        ("/data//corpus/../other/", "/data/other"),
        ("/data/a b%20c#d?e", "/data/a b%20c#d?e"),
        ("file:///data/a%20b", "/data/a b"),
        ("file://localhost/data", "/data"),
        ("FILE:///data", "/data"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("S3://bucket/a#b?c%20d", "s3://bucket/a#b?c%20d"),
    ],
)
def test_a_url_opens_the_place_it_names(url: str, opened: str) -> None:
    assert open_storage(url).url == opened


def test_relative_paths_are_made_absolute_when_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert open_storage("data").url == str(tmp_path / "data")
    assert open_storage("~/data").url == str(tmp_path / "home" / "data")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "no place to keep data"),
        ("gs://bucket/x", "gs:// is not supported"),
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket"),
        ("s3://bucket/a/../b", "no relative prefix"),
        ("file://host/x", "absolute path"),
        ("file://x", "absolute path"),
        ("a\0b", "no place to keep data"),
    ],
)
def test_a_url_that_is_none_is_refused_in_one_line(url: str, said: str) -> None:
    with pytest.raises(StorageError, match=said) as caught:
        open_storage(url)
    assert "\n" not in str(caught.value)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=4), max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_local_order_is_the_order_of_object_keys(tmp_path: Path, parts: list[str]) -> None:
    storage = LocalStorage(str(tmp_path)).child(f"run-{len(os.listdir(tmp_path))}")
    made: set[str] = set()
    for first, second in itertools.pairwise(parts):
        if first in (".", "..") or second in (".", ".."):
            continue
        try:
            storage.publish(name := f"{first}/{second}" if len(second) % 2 else first, b"", durable=False)
        except StorageError:
            continue  # a file where a folder is needed
        made.add(name)
    assert names(storage) == sorted(made, key=str.encode)


@given(st.lists(st.binary(max_size=9)), st.integers(1, 20))
def test_blocks_join_small_pieces_and_lose_nothing(pieces: list[bytes], size: int) -> None:
    joined = list(blocks(iter(pieces), size))
    assert b"".join(joined) == b"".join(pieces)
    assert all(len(each) >= size for each in joined[:-1])


def test_entries_are_small_values() -> None:
    assert Entry("a", 1, "v") == Entry("a", 1, "v")
    assert not hasattr(Entry("a", 1, "v"), "__dict__")


@pytest.mark.parametrize(
    ("url", "parent", "name"),
    [
        ("/a/b.txt", "/a", "b.txt"),
        ("/b.txt", "/", "b.txt"),
        ("b.txt", str(Path.cwd()), "b.txt"),
        ("a/b.txt", str(Path.cwd() / "a"), "b.txt"),
        ("s3://bucket/b.txt", "s3://bucket", "b.txt"),
        ("s3://bucket/a/b.txt", "s3://bucket/a", "b.txt"),
        ("file:///a/b.txt", "/a", "b.txt"),
    ],
)
def test_an_object_lies_in_a_storage(url: str, parent: str, name: str) -> None:
    storage, found = open_parent(url)
    assert (storage.url, found) == (parent, name)


def test_a_bucket_is_no_object() -> None:
    with pytest.raises(StorageError, match="s3://bucket names no object"):
        open_parent("s3://bucket")


def test_messages_stay_on_one_line_whatever_the_names() -> None:
    assert printable("a\nb\x1b[2J é") == "a\\nb\\x1b[2J é"


def test_threads_share_a_storage(storage: Storage) -> None:
    def work(number: int) -> bytes:
        storage.publish(f"own-{number}", b"%d" % number, durable=False)
        storage.publish("shared", b"%d" % number * 1000, durable=False)
        seen = storage.read("shared")
        assert seen == seen[:1] * 1000
        return storage.read(f"own-{number}")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(8))) == [b"%d" % number for number in range(8)]
    assert len(names(storage)) == 9


def test_a_stream_can_be_wrapped_by_other_streams(storage: Storage) -> None:
    storage.publish("lines", "één\ntwee\n".encode())
    with storage.open("lines") as stream, io.TextIOWrapper(stream, "utf-8") as text:
        assert list(text) == ["één\n", "twee\n"]
