"""The tree that is every sandbox's root."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.metadata import PackagePath
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.sandboxes import runtime
from actors.sandboxes.contract import SandboxUnusable
from actors.sandboxes.owner import owner


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runtime, "_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies one file in place of all."""
    monkeypatch.setattr(runtime, "_copy_all", lambda packages, tree: (tree / "whole").write_text("yes"))


def test_the_tree_runs_python_with_numpy_and_holds_nothing_that_is_not_needed() -> None:
    tree = runtime.runtime()
    files = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in files if path.suffix in (".a", ".h", ".pyi") or "tests" in path.parts]
    assert sum(path.stat().st_size for path in files) < 150 << 20
    assert not [path for path in tree.rglob("*") if path.is_symlink() or path.lstat().st_mode & 0o022]
    assert (tree / "lib64").exists() or (tree / "lib").exists()


def test_the_tree_is_made_once(folder: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    first = runtime.runtime()
    monkeypatch.setattr(runtime, "_copy_all", lambda packages, tree: pytest.fail("made again"))
    assert runtime.runtime() == first and [path.name for path in folder.iterdir()] == [first.name]


def test_other_packages_have_a_tree_of_their_own(folder: Path, quick: None) -> None:
    assert runtime.runtime(("numpy",)) != runtime.runtime(("numpy", "click"))


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(SandboxUnusable, match=r"no-such-package.*pip install no-such-package"):
        runtime.runtime(("no-such-package",))


def test_a_tree_that_others_may_write_into_is_refused(folder: Path, quick: None) -> None:
    runtime.runtime().chmod(0o777)
    with pytest.raises(SandboxUnusable, match="others may write"):
        runtime.runtime()


def test_a_link_in_the_trees_place_is_refused(
    folder: Path, quick: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = runtime.runtime()
    (place / "whole").unlink()
    place.rmdir()
    place.symlink_to(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(SandboxUnusable, match="belongs to somebody else"):
        runtime.runtime()


def test_a_folder_that_has_no_room_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runtime, "_copy_all", full)
    with pytest.raises(SandboxUnusable, match="No space left on device"):
        runtime.runtime()
    assert list(folder.iterdir()) == []


def test_what_a_maker_that_died_left_is_removed_and_what_one_makes_now_is_not(folder: Path, quick: None) -> None:
    told = subprocess.run(
        [sys.executable, "-c", "from actors.sandboxes.owner import owner; print(owner())"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    left = folder / f"gristmill-python-{os.getuid()}-0123{runtime.MAKING}{told}-abc"
    made_now = folder / f"gristmill-python-{os.getuid()}-0123{runtime.MAKING}{owner()}-abc"
    for place in (left, made_now):
        (place / "python").mkdir(parents=True)
    runtime.runtime()
    assert not left.exists() and made_now.exists()


def test_a_tree_that_was_not_used_for_long_is_removed_and_one_in_use_is_not(folder: Path, quick: None) -> None:
    old, new = (folder / f"gristmill-python-{os.getuid()}-{name}" for name in ("old", "new"))
    foreign = folder / "somebody's own folder"
    for place in (old, new, foreign):
        place.mkdir()
    long_ago = time.time() - (runtime.UNUSED_DAYS + 1) * 86_400
    os.utime(old, (long_ago, long_ago))
    os.utime(foreign, (long_ago, long_ago))
    place = runtime.runtime()
    assert not old.exists() and new.exists() and foreign.exists()
    os.utime(place, (long_ago, long_ago))
    assert runtime.runtime() == place and place.stat().st_mtime > long_ago


def test_a_tree_that_a_process_uses_stays_whatever_the_clock_says(
    folder: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = runtime.runtime()
    later = time.time() + (runtime.UNUSED_DAYS + 1) * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    runtime.runtime(("numpy", "click"))
    assert used.exists()
    os.close(runtime._held.pop(used))  # as when the process has ended
    runtime.runtime(("numpy", "jinja2"))
    assert not used.exists()


@pytest.mark.parametrize(
    ("package", "modules"), [("numpy", ["numpy"]), ("PyYAML", ["yaml"]), ("click", ["click"]), ("orjson", ["orjson"])]
)
def test_programs_import_a_package_by_the_name_of_its_module(package: str, modules: list[str]) -> None:
    assert runtime.modules((package,)) == modules


@pytest.mark.parametrize("files", [None, [], [PackagePath("_only/__init__.py"), PackagePath("tests/__init__.py")]])
def test_a_package_that_does_not_say_what_it_brings_is_refused(files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    package = SimpleNamespace(files=files, metadata={"Name": "odd"}, read_text=lambda name: None)
    monkeypatch.setattr(runtime, "_distribution", lambda name: package)
    with pytest.raises(SandboxUnusable, match="odd does not say which modules it brings"):
        runtime.modules(("odd",))


def test_two_makers_at_once_both_get_the_whole_tree(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made_meanwhile(packages: object, tree: Path) -> None:
        (tree / "whole").write_text("mine")
        place = Path(str(tree).partition(runtime.MAKING)[0])
        if not place.exists():
            place.mkdir()
            (place / "whole").write_text("the other's")

    monkeypatch.setattr(runtime, "_copy_all", made_meanwhile)
    place = runtime.runtime()
    assert (place / "whole").read_text() == "the other's" and list(folder.iterdir()) == [place]


def test_a_folder_that_nothing_can_be_run_from_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoExecution:
        f_flag = os.ST_NOEXEC

    monkeypatch.setattr(os, "statvfs", lambda path: NoExecution)
    with pytest.raises(SandboxUnusable, match="set TMPDIR"):
        runtime._folder()
