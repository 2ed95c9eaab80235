"""One Python, with numpy, as a tree of files of its own: the only files that a program in a sandbox can see.

The tree is copied once from the Python that runs this, with the shared libraries that it loads and the packages that
programs may import, and is used as the root of every sandbox. It lies where every user may read it, since the sandbox
runs as nobody, and belongs to the user who made it.
"""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePath
from uuid import uuid4

import xxhash

from actors.sandboxes import fork_server
from actors.sandboxes.contract import SandboxUnusable
from actors.sandboxes.owner import is_dead, owner

VERSION = 2  # of the tree's layout
PYTHON = "/python/bin/python3"
PACKAGES = "/packages"
SERVER = "/fork_server.py"
UNUSED_DAYS = 30  # after which a tree that nobody started a sandbox from is removed
# Of the standard library: what needs a network, a window, a database or a compiler, and tests.
LEFT_OUT = (
    "config-*", "curses", "dbm", "distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages",
    "dist-packages", "sqlite3", "test", "tests", "tkinter", "turtledemo", "venv", "wsgiref", "xmlrpc", "*.a",
    "*.opt-*.pyc", "_test*.so", "_ctypes_test*.so", "_xx*.so", "xx*.so", "_curses*.so", "_dbm*.so", "_gdbm*.so",
    "_hashlib*.so", "_sqlite3*.so", "_ssl*.so", "_tkinter*.so", "nis*.so", "ossaudiodev*.so", "readline*.so",
)  # fmt: skip
# Of packages: what serves to compile against them, or to test them.
PARTS_LEFT_OUT = ("tests", "include", "f2py", "distutils")
ENDINGS_LEFT_OUT = (".a", ".pyi", ".pxd", ".pyx", ".h", ".c")
MAKING = "-making-"  # in the name of a tree that is not whole yet, before its maker's word
_held: dict[Path, int] = {}  # the trees that this process uses, and the descriptors by which it says so
_LIBRARY = re.compile(r"(?:=>\s*)?(/\S+)\s+\(0x")


def runtime(packages: Sequence[str] = ("numpy",)) -> Path:
    """The tree for these distributions, made now where it is not there yet. Raises SandboxUnusable."""
    found = [_distribution(name) for name in packages]
    place = _folder() / f"{_prefix()}{_fingerprint(found)}"
    if not place.exists():
        _sweep(place.parent)
        _publish(found, place)
    state = place.lstat()
    if state.st_uid != os.getuid() or state.st_mode & 0o022 or not stat.S_ISDIR(state.st_mode):
        raise SandboxUnusable(f"{place} belongs to somebody else, or others may write into it: remove it")
    os.utime(place)  # so that it does not count as unused
    _hold(place)
    return place


def _hold(tree: Path) -> None:
    """Let nobody remove the tree for as long as this process lives, and with it the sandboxes that it starts."""
    if tree not in _held:
        _held[tree] = os.open(tree, os.O_RDONLY)
        fcntl.flock(_held[tree], fcntl.LOCK_SH)


def _is_held(tree: Path) -> bool:
    descriptor = os.open(tree, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def modules(packages: Sequence[str] = ("numpy",)) -> list[str]:
    """What programs import of these distributions: PyYAML brings yaml. Raises SandboxUnusable."""
    return [module for name in packages for module in _modules(_distribution(name))]


def _modules(package: Distribution) -> list[str]:
    told = package.read_text("top_level.txt")
    if told is not None:
        found = told.split()
    else:
        files = [path for path in package.files or () if path.suffix in (".py", ".so")]
        found = list(dict.fromkeys(path.parts[0].partition(".")[0] for path in files))
    modules = [name for name in found if name.isidentifier() and name[0] != "_" and name not in PARTS_LEFT_OUT]
    if not modules:
        raise SandboxUnusable(f"{package.metadata['Name']} does not say which modules it brings: install it by pip")
    return modules


def _folder() -> Path:
    """Where the tree lies: kept over restarts of the machine where that can be, open to all users, good to run from."""
    places = [Path("/var/tmp"), Path(os.environ.get("TMPDIR") or "/tmp")]
    for place in places:
        if os.access(place, os.W_OK) and not os.statvfs(place).f_flag & os.ST_NOEXEC:
            return place
    raise SandboxUnusable(
        f"the sandbox's Python needs a folder to run from: neither {places[0]} nor {places[1]} can be written and run "
        "from; set TMPDIR to one"
    )


def _prefix() -> str:
    return f"gristmill-python-{os.getuid()}-"


def _sweep(folder: Path) -> None:
    """Remove this user's trees that nobody has used for long, and those whose maker died over them."""
    for place in folder.glob(f"{_prefix()}*"):
        maker = place.name.partition(MAKING)[2].rpartition("-")[0]
        with contextlib.suppress(OSError):  # another process sweeps too
            state = place.lstat()
            is_unused = time.time() - state.st_mtime > UNUSED_DAYS * 86_400
            if state.st_uid == os.getuid() and (is_dead(maker) or (is_unused and not _is_held(place))):
                shutil.rmtree(place, ignore_errors=True)


def _distribution(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise SandboxUnusable(f"programs are to have {name}, which is not installed: pip install {name}") from error


def _fingerprint(packages: Iterable[Distribution]) -> str:
    """What the tree is made from: this Python, the packages' versions, the fork server's text."""
    executable = os.stat(sys.executable)
    parts = [str(VERSION), sys.version, sys.base_prefix, str(executable.st_size), str(executable.st_mtime_ns)]
    parts += [f"{package.metadata['Name']} {package.version} {package.locate_file('')}" for package in packages]
    parts.append(Path(fork_server.__file__).read_text())
    return xxhash.xxh3_128_hexdigest("\0".join(parts).encode())[:16]


def _publish(packages: Sequence[Distribution], place: Path) -> None:
    """Make the tree beside its place and rename it, so that nobody ever sees half of it."""
    making = place.parent / f"{place.name}{MAKING}{owner()}-{uuid4().hex[:8]}"
    try:
        making.mkdir(mode=0o700)
        _copy_all(packages, making)
        making.chmod(0o755)
        try:
            making.rename(place)
        except OSError:
            if not place.exists():  # else somebody else was quicker
                raise
    except OSError as error:
        raise SandboxUnusable(f"cannot make the sandbox's Python in {place.parent}: {error}") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _copy_all(packages: Sequence[Distribution], tree: Path) -> None:
    library = Path(sysconfig.get_path("stdlib"))
    home = tree / "python"
    _copy_file(Path(os.path.realpath(sys.executable)), home / "bin" / "python3")
    inside = library.relative_to(sys.base_prefix)
    shutil.copytree(library, home / inside, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=False)
    for package in packages:
        for relative in package.files or ():
            if _is_wanted(relative):
                _copy_file(Path(str(package.locate_file(relative))), tree / "packages" / relative)
    folders = (str(tree), sys.base_prefix, *{str(package.locate_file("")) for package in packages})
    own = tuple(f"{folder}{os.sep}" for folder in folders)
    libraries = [Path(path) for path in _libraries(tree)]
    system = next((path.parent for path in libraries if path.name.startswith("libc.so")), Path("/lib"))
    for path in libraries:
        # The loader has to lie where programs name it; the others where it looks first, whatever folder they came from.
        if path.name.startswith("ld-"):
            _copy_file(path, tree / str(path).lstrip("/"))
        elif path.name.startswith("libpython") or not str(path).startswith(own):
            _copy_file(path, tree / str(system / path.name).lstrip("/"))
    _copy_file(Path(fork_server.__file__), tree / SERVER.lstrip("/"))
    # Most was compiled when it was installed; what was not would be compiled at every start.
    compileall.compile_dir(tree, quiet=2, stripdir=str(tree), prependdir="/")
    for empty in ("dev", "proc", "tmp", "etc"):  # where a container's runtime mounts its own
        (tree / empty).mkdir(exist_ok=True)
    for folder, _, _ in os.walk(tree):
        os.chmod(folder, 0o755)


def _is_wanted(path: PurePath) -> bool:
    """Whether a package's file is something that a program could need."""
    return path.suffix not in ENDINGS_LEFT_OUT and not {"..", *PARTS_LEFT_OUT}.intersection(path.parts)


def _copy_file(source: Path, target: Path) -> None:
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
        target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def _libraries(tree: Path) -> Iterator[str]:
    """The shared libraries that the tree's Python and its extension modules load, by the paths they are found at."""
    binaries = [str(tree / PYTHON.lstrip("/")), *(str(path) for path in tree.rglob("*.so*") if path.is_file())]
    try:
        told = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError as error:
        raise SandboxUnusable("there is no ldd here, which tells what Python's own libraries are") from error
    yield from sorted({match[1] for match in map(_LIBRARY.search, told.splitlines()) if match})
