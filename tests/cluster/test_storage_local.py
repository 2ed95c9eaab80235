"""Storage in a directory: links, leftovers of dead writers, full and read-only disks, durability, memory."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.storage import LocalStorage, StorageError
from cluster.storage.temporaries import is_abandoned, is_temporary, temporary_name

MIB = 1 << 20


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(str(tmp_path / "root"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    place = tmp_path / "small disk"
    place.mkdir()
    yield from mounted(place, "size=1m")


def mounted(place: Path, options: str) -> Iterator[Path]:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command here")
    if done.returncode != 0:
        pytest.skip(f"cannot mount a file system here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def names(storage: LocalStorage, prefix: str = "") -> list[str]:
    return [entry.name for entry in storage.list(prefix)]


def leftovers(directory: Path) -> list[str]:
    return [each for _, _, files in os.walk(directory) for each in files if is_temporary(each)]


def test_names_may_hold_anything_a_file_name_may(storage: LocalStorage) -> None:
    odd = ["line\nbreak", "tab\tand\rreturn", "bell\a", " leading", "trailing ", "\u2028", "e\u0301", "\u00e9"]
    for name in odd:
        storage.publish(f"{name}/{name}", name.encode())
    assert names(storage) == sorted((f"{name}/{name}" for name in odd), key=str.encode)
    assert all(storage.read(f"{name}/{name}") == name.encode() for name in odd)


def test_linked_files_and_folders_are_listed_under_the_name_of_the_link(storage: LocalStorage, tmp_path: Path) -> None:
    elsewhere = LocalStorage(str(tmp_path / "elsewhere"))
    elsewhere.publish("deep/shard", b"123")
    storage.publish("own", b"")
    storage.local_path("folder").symlink_to(tmp_path / "elsewhere")
    storage.local_path("shard").symlink_to(tmp_path / "elsewhere" / "deep" / "shard")
    assert [(entry.name, entry.size) for entry in storage.list()] == [
        ("folder/deep/shard", 3),
        ("own", 0),
        ("shard", 3),
    ]
    linked_root = tmp_path / "linked root"
    linked_root.symlink_to(storage.root)
    assert names(LocalStorage(str(linked_root))) == names(storage)


def test_a_loop_of_links_is_listed_once_and_does_not_hang(storage: LocalStorage) -> None:
    storage.publish("a/b/shard", b"")
    storage.local_path("a/b/up").symlink_to(storage.local_path("a"))
    storage.local_path("a/self").symlink_to(".")
    storage.local_path("a/root").symlink_to(storage.root)
    assert names(storage) == ["a/b/shard"]


@pytest.mark.parametrize("target", ["absent", "dangling", "../root/dangling/x"])
def test_a_link_to_nowhere_is_an_error_not_a_shorter_dataset(storage: LocalStorage, target: str) -> None:
    storage.publish("shard", b"")
    storage.local_path("dangling").symlink_to(target)
    with pytest.raises(StorageError, match=r"dangling' leads nowhere .*restore its target") as caught:
        list(storage.list())
    assert "\n" not in str(caught.value)


def test_what_is_no_regular_file_is_not_listed(storage: LocalStorage) -> None:
    storage.publish("shard", b"")
    os.mkfifo(storage.local_path("pipe"))
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(str(storage.local_path("socket")))
        storage.local_path("null").symlink_to(os.devnull)
        assert names(storage) == ["shard"]


def test_a_name_that_is_not_utf8_is_an_error_naming_the_file(storage: LocalStorage) -> None:
    storage.publish("shard", b"")
    Path(os.fsdecode(os.fsencode(storage.root) + b"/latin-\xe9")).touch()
    with pytest.raises(StorageError, match=r"latin-\\xe9.*not UTF-8; rename"):
        list(storage.list())


def test_deleting_a_tree_removes_links_but_not_what_they_lead_to(storage: LocalStorage, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    storage.publish("tree/shard", b"")
    storage.local_path("tree/link").symlink_to(tmp_path / "precious")
    storage.local_path("linked").symlink_to(tmp_path / "precious")
    storage.delete_tree("tree")
    storage.delete_tree("linked")
    assert names(storage) == []
    storage.local_path("linked").symlink_to(tmp_path / "precious")
    storage.delete_tree("")
    assert os.listdir(storage.root) == []
    assert (tmp_path / "precious" / "file").exists()
    with pytest.raises(StorageError, match="refusing"):
        LocalStorage("/").delete_tree("")


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def plant(storage: LocalStorage, folder: str, pid: int, machine: str | None = None) -> Path:
    """Leave a temporary file as the process `pid` would."""
    name = temporary_name("shard").replace(f"-{os.getpid()}-", f"-{pid}-")
    if machine is not None:
        name = re.sub(r"\.[0-9a-f]{8}-", f".{machine}-", name)
    path = storage.local_path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    return path


def test_a_sweep_removes_what_dead_writers_left_and_spares_live_ones(storage: LocalStorage) -> None:
    storage.publish("deep/.er/shard", b"")
    storage.publish("deep/not-ours.part", b"")
    alive = sleeper()
    dead = sleeper()
    dead.kill()
    dead.wait()
    spared = [plant(storage, "deep", alive.pid), plant(storage, "deep/.er", os.getpid()), plant(storage, "deep", 1)]
    removed = [plant(storage, "deep", dead.pid), plant(storage, "deep/.er", dead.pid)]
    try:
        assert names(storage) == ["deep/.er/shard", "deep/not-ours.part"]
        assert storage.sweep() == 2
        assert storage.sweep() == 0
    finally:
        alive.kill()
        alive.wait()
    assert all(path.exists() for path in spared)
    assert not any(path.exists() for path in removed)
    assert storage.sweep() == 1
    assert LocalStorage(storage.root + "/absent").sweep() == 0


def test_leftovers_of_another_machine_are_swept_after_a_day(storage: LocalStorage) -> None:
    fresh, old = (plant(storage, "deep", 999_999_999, machine="00000000") for _ in range(2))
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    assert storage.sweep() == 1
    assert fresh.exists()


def test_temporary_names_fit_where_their_object_fits(storage: LocalStorage) -> None:
    longest = "é" * 127 + "x"
    storage.publish(longest, b"content")
    assert storage.read(longest) == b"content"
    assert len(temporary_name(longest).encode()) <= 143
    assert is_temporary(temporary_name("line\nbreak"))
    assert not is_temporary(".vimrc.part")
    assert not is_abandoned(".vimrc.part", 0.0)
    with pytest.raises(StorageError, match="shorten it"):
        storage.publish("x" * 256, b"")


def test_a_full_disk_is_named_with_its_way_out_and_keeps_what_was_there(small_disk: Path) -> None:
    storage = LocalStorage(str(small_disk))
    storage.publish("finished", b"f" * 1000)
    said = f"no space left on {small_disk}.*free space and run the same command again; what is finished is kept"
    with pytest.raises(StorageError, match=said) as caught:
        storage.publish("object", (b"x" * 100_000 for _ in range(50)))
    assert "\n" not in str(caught.value)
    with pytest.raises(StorageError, match=said):
        storage.publish("finished", b"x" * 2 * MIB)
    with pytest.raises(StorageError, match=said):
        storage.publish_once("claim", b"x" * 2 * MIB)
    with pytest.raises(StorageError, match=said):
        source = LocalStorage(str(small_disk.parent))
        source.publish("large", bytes(2 * MIB))
        source.fetch("large", small_disk / "copy")
    assert os.listdir(small_disk) == ["finished"]
    assert storage.read("finished") == b"f" * 1000
    storage.publish("object", b"x" * 500_000)
    storage.check_writable()


def test_a_disk_without_room_for_anything_fails_the_check(small_disk: Path) -> None:
    with open(small_disk / "filler", "wb", buffering=0) as filler, pytest.raises(OSError):
        while True:
            filler.write(bytes(4096))
    with pytest.raises(StorageError, match="no space left on"):
        LocalStorage(str(small_disk)).check_writable()


def test_a_read_only_disk_fails_the_check(tmp_path: Path) -> None:
    place = tmp_path / "read only"
    place.mkdir()
    for _ in mounted(place, "ro"):
        with pytest.raises(StorageError, match=r"read only.*Read-only file system; use another directory"):
            LocalStorage(str(place)).check_writable()
        with pytest.raises(StorageError, match="Read-only"):
            LocalStorage(str(place)).publish("deep/object", b"")
        LocalStorage(str(place)).delete("absent")


def test_a_file_in_the_place_of_a_folder_is_said_so(storage: LocalStorage) -> None:
    storage.publish("object", b"")
    storage.publish("folder/object", b"")
    below = storage.child("object")
    with pytest.raises(StorageError, match="a file stands where a directory is needed"):
        below.check_writable()
    for call in (storage.publish, storage.publish_once):
        with pytest.raises(StorageError, match="a file stands where a directory is needed"):
            call("object/below", b"")
        with pytest.raises(StorageError, match="a file stands where a directory is needed"):
            call("folder", b"")
    with pytest.raises(StorageError, match="a file stands where a directory is needed"):
        storage.delete("folder")
    assert names(storage) == ["folder/object", "object"]
    assert leftovers(Path(storage.root)) == []


def unprivileged(code: str, *arguments: str) -> str:
    """What the code prints when an ordinary user runs it; skips where the tests are not root's."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    root = Path(__file__).resolve().parents[2]
    program = f"import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n{code}"
    preload = "import sys; from cluster.storage import *\n"
    command = [sys.executable, "-c", preload + program, *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_directory_of_somebody_else_is_refused_with_the_way_out(storage: LocalStorage) -> None:
    storage.publish("secret", b"")
    storage.local_path("secret").chmod(0o600)
    reachable = Path(storage.root)
    while reachable != reachable.parent:
        reachable.chmod(reachable.stat().st_mode | 0o055)
        reachable = reachable.parent
    code = """
storage = LocalStorage(sys.argv[1])
for call in (storage.check_writable, lambda: storage.open("secret"), lambda: storage.delete("secret")):
    try:
        call()
    except StorageError as error:
        print(error)
"""
    said = unprivileged(code, storage.root).splitlines()
    assert len(said) == 3
    assert all("Permission denied; change its permissions or use another directory" in each for each in said)
    assert said[1].startswith(f"cannot read {storage.root}/secret:")


def test_a_durable_publication_syncs_the_file_before_and_the_folders_after_renaming(tmp_path: Path) -> None:
    if not Path("/usr/bin/strace").exists():
        pytest.skip("needs strace to see the system calls")
    code = "import sys; from cluster.storage import *; LocalStorage(sys.argv[1]).publish('new/object', b'x')"
    trace = tmp_path / "trace"
    calls = "trace=fsync,rename,renameat,renameat2,mkdir,mkdirat"
    command = ["strace", "-f", "-y", "-e", calls, "-o", str(trace), sys.executable, "-c", code, str(tmp_path / "store")]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    ours = [line for line in trace.read_text().splitlines() if str(tmp_path) in line]
    seen = [found[1] for line in ours if (found := re.search(r"(mkdir|fsync|rename)", line))]
    assert seen == ["mkdir", "mkdir", "fsync", "rename", "fsync", "fsync", "fsync"]
    synced = [found[1] for line in ours if (found := re.search(r"fsync\(\d+<(.*?)>", line))]
    assert synced[1:] == [f"{tmp_path}/store/new", f"{tmp_path}/store", str(tmp_path)]


def test_what_need_not_be_durable_syncs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    LocalStorage(str(tmp_path / "store")).publish("new/object", b"x", durable=False)
    assert not synced
    LocalStorage(str(tmp_path / "store")).publish("new/other", b"x")
    first = len(synced)
    LocalStorage(str(tmp_path / "store")).publish("new/third", b"x")
    assert first > 3 and len(synced) - first == 2, "the folders on the way are made durable once"


def test_a_new_object_has_the_permissions_the_user_chose(storage: LocalStorage) -> None:
    before = os.umask(0o027)
    try:
        storage.publish("object", b"")
    finally:
        os.umask(before)
    assert storage.local_path("object").stat().st_mode & 0o777 == 0o640


def test_an_interrupted_publication_leaves_nothing(storage: LocalStorage) -> None:
    def interrupted() -> Iterator[bytes]:
        yield b"x" * 10 * MIB
        signal.raise_signal(signal.SIGINT)
        yield b"y"

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            storage.publish("object", interrupted())
    finally:
        signal.signal(signal.SIGINT, before)
    assert os.listdir(storage.root) == []


def test_publishing_and_reading_a_stream_take_bounded_memory(storage: LocalStorage) -> None:
    tracemalloc.start()
    try:
        storage.publish("object", (bytes(MIB) for _ in range(200)), durable=False)
        with storage.open("object") as stream:
            while stream.read(MIB):
                pass
        storage.fetch("object", storage.local_path("copy"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * MIB


def test_a_wide_directory_is_listed_in_little_memory(storage: LocalStorage) -> None:
    Path(storage.root).mkdir()
    for number in range(8_000):
        Path(storage.root, f"shard-{number:08d}").touch()
    tracemalloc.start()
    try:
        assert sum(1 for _ in storage.list()) == 8_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8_000 * 150
