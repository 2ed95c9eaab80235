"""Real data that every machine has: the Python source files of the interpreter and of the installed packages.

Which files are taken depends on their paths alone (the smallest hashes first), so the same installation gives the
same dataset. Only for a session on one machine: the files are read where the worker is.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import xxhash

from cluster.shards import ChunkSize, RawChunk

LARGEST_FILE = 200_000  # bytes; beyond it lie generated tables, which grade alike
FILES_PER_SHARD = 500


@dataclass(frozen=True, slots=True)
class PythonFiles:
    """A source of rows {id, package, text}: one shard's worth of files."""

    name: str
    roots: tuple[str, ...]
    files: tuple[tuple[int, str], ...]  # (index of the root, path below it)
    size: int

    @property
    def divisible(self) -> bool:
        return False

    def chunks(self, size: ChunkSize) -> Iterator[RawChunk]:
        index, line, read = 0, 1, 0
        pending: list[bytes] = []
        held = 0
        for root, path in self.files:
            row = _row(Path(self.roots[root], path), path)
            pending.append(row)
            held += len(row) + 1
            if held >= size.bytes:
                read += held
                yield RawChunk(index, line, b"\n".join((*pending, b"")), read)
                index, line, pending, held = index + 1, line + len(pending), [], 0
        if pending:
            yield RawChunk(index, line, b"\n".join((*pending, b"")), read + held)


def _row(file: Path, path: str) -> bytes:
    text = file.read_bytes().decode("utf-8", "replace")
    return orjson.dumps({"id": path, "package": path.split("/", 1)[0], "text": text})


def python_sources(num_docs: int) -> list[PythonFiles]:
    """Sources of up to `num_docs` Python files of this machine, in shards of 500."""
    roots = tuple(dict.fromkeys(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")))
    found: dict[str, tuple[int, int]] = {}
    for number, root in enumerate(roots):
        for path in Path(root).rglob("*.py"):
            below = path.relative_to(root).as_posix()
            if number < 2 and below.startswith("site-packages/"):
                continue
            if path.is_file() and 0 < (size := path.stat().st_size) <= LARGEST_FILE:
                found.setdefault(below, (number, size))
    chosen = sorted(found, key=lambda path: xxhash.xxh3_64_intdigest(path.encode("utf-8", "replace")))[:num_docs]
    sources = []
    for start in range(0, len(chosen), FILES_PER_SHARD):
        paths = chosen[start : start + FILES_PER_SHARD]
        size = sum(found[path][1] for path in paths)
        files = tuple((found[path][0], path) for path in paths)
        sources.append(PythonFiles(f"sources-{start // FILES_PER_SHARD:03d}.jsonl.zst", roots, files, size))
    return sources
