"""Characters per second of each normalizer against bonepick's own function, identical output checked in the same run.

bonepick is no dependency: unpack its wheel from PyPI into a folder, install anyascii there too, and name the folder.
Only its modules for texts are loaded. Both sides are warmed on other texts first; the texts measured have not been
seen before.

    pip download --no-deps --python-version 3.12 --only-binary=:all: --dest peer bonepick
    python -m zipfile -e peer/bonepick-*.whl peer && pip install --target peer anyascii
    python -m benchmarks.normalizers --bonepick peer --tokenizers DIR --megabytes 4
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from actors.normalizers import NAMES, needs_tokenizer, normalizer
from cluster.shards import ChunkSize
from pipelines.curation.python_sources import python_sources

# bonepick has no whole-text plsfix: its `plsfix` works on fragments.
THEIRS = {"plsfix-fragments": "plsfix"}


def texts(megabytes: float) -> list[str]:
    """Python sources of this machine."""
    found: list[str] = []
    size = 0
    for source in python_sources(100_000):
        for chunk in source.chunks(ChunkSize()):
            for line in chunk.payload.splitlines():
                found.append(json.loads(line)["text"])
                size += len(found[-1])
                if size > megabytes * 1e6:
                    return found
    return found


def peer(folder: Path) -> Callable[[str], Any]:
    """bonepick's own registry, without the rest of the package: its __init__ wants everything that it works with."""
    if not hasattr(itertools, "batched"):  # it wants Python 3.12
        itertools.batched = lambda items, size: map(tuple, batches(items, size))  # type: ignore[attr-defined]
    sys.path.insert(0, str(folder))
    for name in ("bonepick", "bonepick.data"):
        package = ModuleType(name)
        package.__path__ = [str(folder / name.replace(".", "/"))]
        sys.modules[name] = package
    normalizers = importlib.import_module("bonepick.data.normalizers")
    return cast(Callable[[str], Any], normalizers.get_normalizer)


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """What itertools.batched gives from Python 3.12 on."""
    rest = iter(items)
    while batch := list(itertools.islice(rest, size)):
        yield batch


def timed(function: Callable[[], list[str]]) -> tuple[list[str], float]:
    began = time.process_time()
    result = function()
    return result, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bonepick", required=True, help="folder that holds the unpacked package")
    parser.add_argument("--tokenizers", required=True, help="folder of {ultra_fineweb,dolma2}_tokenizer.json")
    parser.add_argument("--megabytes", type=float, default=4)
    parser.add_argument("--names", nargs="+", default=[name for name in NAMES if name != "plsfix"])
    chosen = parser.parse_args()
    get_normalizer = peer(Path(chosen.bonepick))
    rows = texts(2 * chosen.megabytes)
    warm, unseen = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    characters = sum(map(len, unseen))
    for name in chosen.names:
        kind = needs_tokenizer(name)
        ours = normalizer(name, str(Path(chosen.tokenizers) / f"{kind}_tokenizer.json") if kind else None)
        theirs = get_normalizer(THEIRS.get(name, name))
        ours(warm)
        list(map(theirs.normalize, warm[:50]))
        found, seconds = timed(lambda ours=ours: ours(unseen))
        expected, reference = timed(lambda theirs=theirs: list(map(theirs.normalize, unseen)))
        differing = sum(a != b for a, b in zip(found, expected, strict=True))
        print(
            f"{name:18} {characters / seconds / 1e6:8.2f} M characters/s, bonepick {characters / reference / 1e6:6.2f}: "
            f"{reference / seconds:5.1f} times, {differing} of {len(unseen)} texts differ",
            flush=True,
        )


if __name__ == "__main__":
    main()
