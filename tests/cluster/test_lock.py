"""The lock of a place: one holder at a time, and nobody's once its holder has died."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cluster.lock import locked
from cluster.storage import open_storage


def test_a_place_has_one_holder_at_a_time(tmp_path: Path) -> None:
    place = open_storage(str(tmp_path / "new"))
    for _ in range(2):
        with locked(place, "folder/lock") as mine, locked(place, "folder/lock") as another, locked(place, "b") as b:
            assert (mine, another, b) == (True, False, True)


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from cluster.lock import locked\n"
        "from cluster.storage import open_storage\n"
        "with locked(open_storage(sys.argv[1]), 'lock') as is_mine:\n"
        "    print(is_mine, flush=True)\n"
        "    time.sleep(60)\n"
    )
    place = open_storage(str(tmp_path))
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=root) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"True\n"
        with locked(place, "lock") as mine:
            assert not mine
        holder.kill()
        holder.wait()
        with locked(place, "lock") as mine:
            assert mine
